"""The events of all runs."""

from collections.abc import AsyncIterator, Sequence

from jtask.contract import Event
from jtask_memory.storage.client import StoragePart


class MemoryEventLog(StoragePart):
    """The contract's `EventLog`."""

    def append(self, events: Sequence[Event]) -> None:
        """Add a batch of events; a closed client drops it."""
        # Not `_storage`, which raises: the events of the last runs may come after the end.
        storage = self._client.raw_storage
        with storage.lock:
            if not self._client.is_closed:
                storage.events.append(events, self._now(), storage.settings.event_ttl)

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

    def _oldest(self, since: float | None) -> float:
        oldest = self._now() - self._storage.settings.event_ttl
        return oldest if since is None else max(since, oldest)
