"""The logs of runs, and the items of generators."""

from collections.abc import AsyncIterator, Callable, Sequence

from jtask.contract import LogLine, LogPage
from jtask_memory.storage import Storage
from jtask_memory.storage.client import StoragePart
from jtask_memory.storage.log_history import LogHistory
from jtask_memory.storage.subscribers import Subscribers
from jtask_memory.stores.news import NewsSubscription

_PAGE = 1000  # lines


class MemoryLogs(StoragePart):
    """The contract's `LogStore`."""

    async def append(self, lines: Sequence[LogLine]) -> None:
        """Store lines of one or more runs."""
        storage = self._storage
        with storage.lock:
            self._history(storage).append(lines, self._now(), self._ttl(storage))
            readers = self._readers(storage).of({line.run_id for line in lines})
        # Without the lock: each carries the news to its own loop.
        for notify in readers:
            notify()

    async def read(
        self, run_id: str, *, after: int = 0, to_the_last: bool = False
    ) -> AsyncIterator[LogPage]:
        """Read what is kept of one run, oldest first, up to now, a page at a time."""
        del to_the_last  # nothing lags
        while True:
            storage = self._storage
            with storage.lock:
                found = self._history(storage).read(run_id, after, _PAGE)
            if found:
                after = found[-1].position
                yield LogPage([one.line for one in found], after)
            if len(found) < _PAGE:
                return

    async def watch(self, run_id: str, on_news: Callable[[], None]) -> NewsSubscription:
        """Push the news that more lines of a run are stored."""
        storage = self._storage
        readers = self._readers(storage)
        return NewsSubscription(storage, readers, run_id, on_news, self._client.loop)

    def _history(self, storage: Storage) -> LogHistory:
        return storage.logs

    def _readers(self, storage: Storage) -> Subscribers[[]]:
        return storage.log_readers

    def _ttl(self, storage: Storage) -> float:
        return storage.settings.log_ttl


class MemoryItems(MemoryLogs):
    """The same for the items of generators."""

    def _history(self, storage: Storage) -> LogHistory:
        return storage.items

    def _readers(self, storage: Storage) -> Subscribers[[]]:
        return storage.item_readers

    def _ttl(self, storage: Storage) -> float:
        return storage.settings.item_ttl
