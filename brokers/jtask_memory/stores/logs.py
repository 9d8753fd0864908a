"""The logs of runs."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence

from jtask.contract import LogLine, LogPage
from jtask_memory.loops import call_on
from jtask_memory.storage import Storage
from jtask_memory.storage.client import StoragePart

_PAGE = 1000  # lines


class MemoryLogs(StoragePart):
    """The contract's `LogStore`."""

    async def append(self, lines: Sequence[LogLine]) -> None:
        """Store lines of one or more runs."""
        storage = self._storage
        with storage.lock:
            storage.logs.append(lines, self._now(), storage.settings.log_ttl)
            readers = storage.log_readers.of({line.run_id for line in lines})
        # Without the lock: each carries the news to its own loop.
        for notify in readers:
            notify()

    async def read(self, run_id: str, *, after: int = 0) -> AsyncIterator[LogPage]:
        """Read what is kept of one run, oldest first, up to now, a page at a time."""
        while True:
            storage = self._storage
            with storage.lock:
                found = storage.logs.read(run_id, after, _PAGE)
            if found:
                after = found[-1].position
                yield LogPage([one.line for one in found], after)
            if len(found) < _PAGE:
                return

    async def watch(self, run_id: str, on_news: Callable[[], None]) -> "MemoryLogSubscription":
        """Push the news that more lines of a run are stored."""
        return MemoryLogSubscription(self._storage, run_id, on_news, self._client.loop)


class MemoryLogSubscription:
    """Passes news on until closed.

    Args:
        storage: Where the lines are stored.
        run_id: Whose.
        on_news: Called on the loop.
        loop: Of the client.
    """

    def __init__(
        self,
        storage: Storage,
        run_id: str,
        on_news: Callable[[], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._storage = storage
        self._run_id = run_id
        self._on_news = on_news
        self._loop = loop
        self._is_closed = False
        with storage.lock:
            storage.log_readers.add(run_id, self._notify)

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
            self._storage.log_readers.remove(self._run_id, self._notify)
