"""What is kept to be looked at: events and dead letters."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from weakref import WeakSet

from jtask.contract import DeadLetter, Event
from jtask_memory.client import SpaceClient
from jtask_memory.events import Follower
from jtask_memory.space import Space


class MemoryHistory(SpaceClient):
    """The contract's `EventLog` and `DeadLetters`."""

    def __init__(self, url: str, space: Space, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(url, space, loop)
        self._followers: WeakSet[Follower] = WeakSet()

    def append(self, events: Sequence[Event]) -> None:
        """Add a batch of events; a closed client drops it."""
        with self._all.lock:
            if not self._is_closed:
                self._all.events.append(events, self._now(), self._all.settings.event_ttl)

    async def read(self, *, since: float | None = None) -> AsyncIterator[Event]:
        """Read back what is kept, oldest first, up to now."""
        space = self._space
        oldest = self._now() - space.settings.event_ttl
        with space.lock:
            events = space.events.read(oldest if since is None else max(since, oldest))
        for event in events:
            yield event

    def follow(self) -> AsyncIterator[Event]:
        """Return the events from now on; they end when this client is closed."""
        space = self._space
        with space.lock:
            follower = space.events.follow(self._loop)
        self._followers.add(follower)
        return follower

    async def letters(self) -> AsyncIterator[DeadLetter]:
        """Yield the dead letters, oldest first."""
        space = self._space
        with space.lock:
            letters = space.letters.items(self._now())
        for _, letter in letters:
            yield letter

    async def drop_letter(self, run_id: str) -> bool:
        """Forget one dead letter; False when there is none."""
        space = self._space
        with space.lock:
            return space.letters.pop(run_id, self._now()) is not None

    def _end_following(self) -> None:
        for follower in self._followers:
            follower.close()
