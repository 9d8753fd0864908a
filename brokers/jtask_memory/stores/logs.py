"""The logs of runs, and the items of generators."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

from jtask.contract import LogLine, LogPage
from jtask_memory.loops import call_on
from jtask_memory.storage import Storage
from jtask_memory.storage.client import StoragePart
from jtask_memory.storage.log_history import LogHistory
from jtask_memory.storage.subscribers import Subscribers

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

    async def read(self, run_id: str, *, after: int = 0) -> AsyncIterator[LogPage]:
        """Read what is kept of one run, oldest first, up to now, a page at a time."""
        while True:
            storage = self._storage
            with storage.lock:
                found = self._history(storage).read(run_id, after, _PAGE)
            if found:
                after = found[-1].position
                yield LogPage([one.line for one in found], after)
            if len(found) < _PAGE:
                return

    async def watch(self, run_id: str, on_news: Callable[[], None]) -> "MemoryLogSubscription":
        """Push the news that more lines of a run are stored."""
        storage = self._storage
        readers = self._readers(storage)
        return MemoryLogSubscription(storage, readers, run_id, on_news, self._client.loop)

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


class MemoryLogSubscription:
    """Passes news on until closed.

    Args:
        storage: Where the lines are stored.
        readers: Those who hear of them.
        run_id: Whose.
        on_news: Called on the loop.
        loop: Of the client.
    """

    def __init__(
        self,
        storage: Storage,
        readers: Subscribers[[]],
        run_id: str,
        on_news: Callable[[], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._storage = storage
        self._readers = readers
        self._run_id = run_id
        self._on_news = on_news
        self._loop = loop
        self._is_closed = False
        with storage.lock:
            readers.add(run_id, self._notify)

    async def close(self) -> None:
        """Pass nothing on any more."""
        self._is_closed = True
        self._forget()

    def _notify(self) -> None:
        # Called by whoever stored a line, on any thread.
        if not call_on(self._loop, self._push):
            self._forget()

    def _push(self) -> None:
        if not self._is_closed:
            self._on_news()

    def _forget(self) -> None:
        with self._storage.lock:
            self._readers.remove(self._run_id, self._notify)
