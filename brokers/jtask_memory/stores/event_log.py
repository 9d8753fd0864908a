"""The events of all runs."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from weakref import WeakSet

from jtask.contract import Event
from jtask_memory.storage import Storage
from jtask_memory.storage.client import StorageClient
from jtask_memory.storage.event_feed import Follower


class MemoryEventLog(StorageClient):
    """The contract's `EventLog`."""

    def __init__(self, url: str, storage: Storage, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(url, storage, loop)
        self._followers: WeakSet[Follower] = WeakSet()

    def append(self, events: Sequence[Event]) -> None:
        """Add a batch of events; a closed client drops it."""
        # Not `_storage`, which raises: the events of the last runs may come after the end.
        with self._raw_storage.lock:
            if not self._is_closed:
                self._raw_storage.events.append(
                    events, self._now(), self._raw_storage.settings.event_ttl
                )

    async def read(self, *, since: float | None = None) -> AsyncIterator[Event]:
        """Read back what is kept, oldest first, up to now."""
        storage = self._storage
        oldest = self._now() - storage.settings.event_ttl
        with storage.lock:
            events = storage.events.read(oldest if since is None else max(since, oldest))
        # Without the lock: the caller may do anything between two events.
        for event in events:
            yield event

    def follow(self) -> AsyncIterator[Event]:
        """Return the events from now on; they end when this client is closed."""
        storage = self._storage
        with storage.lock:
            follower = storage.events.follow(self._loop)
        self._followers.add(follower)
        return follower

    def _end_following(self) -> None:
        for follower in self._followers:
            follower.close()
