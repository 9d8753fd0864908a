"""The index of runs, asked from an event loop."""

import asyncio
import threading
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TypeVar

from sqlalchemy import Executable

from jtask_index.engines import translated
from jtask_index.reader import IndexReader

T = TypeVar("T")
_THREADS = 4  # questions at once: a database has more to do than answer one console


class ThreadedIndex:
    """Asks the index in threads, so that no page waits for another's question."""

    def __init__(self) -> None:
        self._reader: IndexReader | None = None
        self._asked = 0  # how many questions it answers now
        self._is_closed = False
        self._lock = threading.Lock()
        self._threads = ThreadPoolExecutor(_THREADS, "jtask-console-index")

    async def ask(self, question: Callable[[IndexReader], T]) -> T:
        """Return the answer to a question.

        Args:
            question: Calls the index; in another thread.

        Raises:
            ConfigurationError: There is no index.
            IndexUnavailable: The database cannot be read.
        """
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._ask, question)

    async def write(self, statement: Executable) -> None:
        """Change something beside the runs, in a transaction of its own.

        Raises:
            IndexUnavailable: The database cannot be written.
        """

        def write(index: IndexReader) -> None:
            engine = index.engine.execution_options(jtask_writes=True)
            with engine.begin() as connection:
                connection.execute(statement)

        await self.ask(write)

    def close(self) -> None:
        """Close the connections once nothing is asked; what is asked later opens its own."""
        with self._lock:
            self._is_closed = True
            self._close_idle()

    def _ask(self, question: Callable[[IndexReader], T]) -> T:
        with self._open_reader() as reader, translated(reader.engine):
            return question(reader)

    @contextmanager
    def _open_reader(self) -> Generator[IndexReader]:
        with self._lock:
            if self._reader is None:
                self._reader = IndexReader.open()
            reader = self._reader
            self._asked += 1
        try:
            yield reader
        finally:
            with self._lock:
                self._asked -= 1
                self._close_idle()

    def _close_idle(self) -> None:
        if self._is_closed and self._reader is not None and not self._asked:
            self._reader.close()
            self._reader = None
