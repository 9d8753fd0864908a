"""The events of all runs."""

from collections.abc import AsyncIterator, Callable, Sequence

from jtask.contract import Event, EventBounds, EventPage
from jtask_memory.storage.client import StoragePart
from jtask_memory.stores.news import NewsSubscription

_PAGE = 1000  # events
_ALL = ""
"""What all who watch are subscribed to."""


class MemoryEventLog(StoragePart):
    """The contract's `EventLog`."""

    def append(self, events: Sequence[Event]) -> None:
        """Add a batch of events; a closed client drops it."""
        # Not `_storage`, which raises: the events of the last runs may come after the end.
        storage = self._client.raw_storage
        with storage.lock:
            if not self._client.is_closed:
                storage.events.append(events, self._now(), storage.settings.event_ttl)
            readers = storage.event_readers.of([_ALL])
        # Without the lock: each carries the news to its own loop.
        for notify in readers:
            notify()

    async def read(self, *, since: float | None = None) -> AsyncIterator[Event]:
        """Read back what is kept, oldest first, up to now."""
        storage = self._storage
        with storage.lock:
            events = storage.events.read(self._oldest(since))
        # Without the lock: the caller may do anything between two events.
        for event in events:
            yield event

    async def read_run(self, run_id: str, *, since: float | None = None) -> AsyncIterator[Event]:
        """Read back what is kept of one run, oldest first, up to now."""
        storage = self._storage
        with storage.lock:
            events = storage.events.read_run(run_id, self._oldest(since))
        for event in events:
            yield event

    async def read_pages(self, *, after: int = 0) -> AsyncIterator[EventPage]:
        """Read what is kept, oldest first, up to now, a page at a time."""
        while True:
            storage = self._storage
            with storage.lock:
                page = storage.events.page(after, self._oldest(None), _PAGE)
            if page is None:
                return
            after = page.position
            yield page

    async def bounds(self) -> EventBounds:
        """Return what is kept now."""
        storage = self._storage
        with storage.lock:
            return storage.events.bounds(self._oldest(None))

    async def watch(self, on_news: Callable[[], None]) -> NewsSubscription:
        """Push the news that there are more events."""
        storage, loop = self._storage, self._client.loop
        return NewsSubscription(storage, storage.event_readers, _ALL, on_news, loop)

    def _oldest(self, since: float | None) -> float:
        oldest = self._now() - self._storage.settings.event_ttl
        return oldest if since is None else max(since, oldest)
