"""The items of a generator that executes in the background, as whoever has the run reads them."""

import asyncio
import base64
import concurrent.futures
import functools
from collections.abc import AsyncGenerator, Coroutine, Generator
from dataclasses import dataclass
from typing import Any, Generic, NoReturn, Protocol, TypeVar, cast

from jtask.contract import ITEM, LogLine
from jtask.declaration.task_info import TaskInfo
from jtask.errors import JTaskError, RunDeadlock, SerializationError
from jtask.numbers import is_within
from jtask.runtime.blocking import blocked, blocked_async
from jtask.runtime.loop_blocks import blocking_loop
from jtask.serialization.codecs import codecs_of
from jtask.serialization.results import read_untyped
from jtask.wire.progress import Progress

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class StreamItem:
    """One item.

    Attributes:
        value: What the generator yielded.
        index: How many items come before it in the stream, those of earlier attempts included.
        attempt: Which attempt of the run yielded it; a retry yields all anew.
        at: When, seconds since the epoch.
    """

    value: Any
    index: int
    attempt: int
    at: float


class LineReader(Protocol):
    """Reads the lines of a run; its coroutines run on the I/O loop."""

    async def follow(self) -> list[LogLine] | None:
        """Return more once there is more; None when the run has ended and that is all."""
        ...

    async def close(self) -> None:
        """Hear of nothing any more."""
        ...


class StreamSource(Protocol):
    """Where a stream is read: this process's link to the broker."""

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the I/O loop and block until it is done."""
        ...

    async def bridge(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the I/O loop and await it from any other loop."""
        ...

    async def find_progress(self, run_id: str) -> Progress | None:
        """Return the latest that a run has said of its progress; on the I/O loop."""
        ...

    async def read_items(self, run_id: str) -> LineReader:
        """Return what reads the items of a run; on the I/O loop."""
        ...


class StreamedRun(Protocol[R_co]):
    """The handle whose stream it is."""

    @property
    def run_id(self) -> str:
        """The run."""
        ...

    def result(self) -> R_co:
        """Wait for what the generator returns."""
        ...

    async def result_async(self) -> R_co:
        """Do the same without blocking the event loop."""
        ...


class Stream(Generic[R]):
    """The items of a run as they come: `for item in run.stream()`, or `async for`.

    It ends when the run has ended; if that failed, with its exception. A page of items is held at
    a time, however many there are. Each iteration begins where the stream does.

    Args:
        run: The run.
        source: Where it is read.
        task: The run's task, which says how items are read; None reads plain JSON.
        start: How many items to leave out.
    """

    def __init__(
        self,
        run: StreamedRun[R],
        source: StreamSource,
        task: TaskInfo[..., Any] | None,
        start: int,
    ) -> None:
        _check_start(start)
        self._run = run
        self._source = source
        self._task = task
        self._start = start

    def __iter__(self) -> Generator[Any, None, R]:
        items = self.items()
        while True:
            try:
                item = next(items)
            except StopIteration as stop:
                return cast("R", stop.value)
            yield item.value

    async def __aiter__(self) -> AsyncGenerator[Any]:
        async for item in self.items_async():
            yield item.value

    def items(self) -> Generator[StreamItem, None, R]:
        """Yield the items with what is known of each; return what the generator returned.

        Raises:
            Exception: What `run.result()` raises, after the last item.
        """
        source, order = self._source, _Order(self._start)
        reader = source.run(source.read_items(self._run.run_id))
        try:
            while (lines := self._followed(reader)) is not None:
                for line, index in order.take(lines):
                    yield self._item(line, index)
        finally:
            source.run(reader.close())
        return self._run.result()

    async def items_async(self) -> AsyncGenerator[StreamItem]:
        """Do what `items` does without blocking the event loop."""
        source, order = self._source, _Order(self._start)
        reader = await source.bridge(source.read_items(self._run.run_id))
        try:
            while (lines := await self._followed_async(reader)) is not None:
                for line, index in order.take(lines):
                    yield self._item(line, index)
        finally:
            await source.bridge(reader.close())
        await self._run.result_async()

    def _followed(self, reader: LineReader) -> list[LogLine] | None:
        # Not endless: of a run that waits for this one there may be items before its end.
        with blocked((self._run.run_id,), is_endless=False):
            # Not get_running_loop, which raises: mostly there is none.
            if asyncio._get_running_loop() is None:
                return self._source.run(reader.follow())
            return self._followed_in_loop(reader)

    def _followed_in_loop(self, reader: LineReader) -> list[LogLine] | None:
        trouble = concurrent.futures.Future[NoReturn]()
        end = functools.partial(_raise_in, trouble)
        with blocking_loop((self._run.run_id,), end, is_endless=True):
            return self._source.run(_unless(trouble, reader.follow()))

    async def _followed_async(self, reader: LineReader) -> list[LogLine] | None:
        async with blocked_async((self._run.run_id,), is_endless=False):
            return await self._source.bridge(reader.follow())

    def _item(self, line: LogLine, index: int) -> StreamItem:
        return StreamItem(self._value(line), index, line.attempt, line.at)

    def _value(self, line: LogLine) -> Any:
        payload = line.message.encode()
        if self._task is not None:
            codecs = codecs_of(self._task)
            codecs.check(line.logger)
            return codecs.item.decode(payload if line.logger == "json" else _unpacked(payload))
        if line.logger != "json":
            raise JTaskError(
                f"run {self._run.run_id}: its items are encoded with {line.logger!r}, which can be "
                f"read only with the task's own code: use get_run(run_id, task).stream()"
            )
        return read_untyped(payload, f"an item of run {self._run.run_id}")


def _unpacked(payload: bytes) -> bytes:
    try:
        return base64.b64decode(payload)
    except ValueError as error:
        raise SerializationError(f"an item cannot be read: {error}") from None


class _Order:
    """Counts the items of a run, and leaves out what is not to be read.

    A worker that was lost may still execute what another one has taken over: once that has begun,
    no item of the first one counts.

    Args:
        start: How many items to leave out.
    """

    def __init__(self, start: int) -> None:
        self._start = start
        self._next = 0
        self._writer: str | None = None
        self._superseded: set[str] = set()

    def take(self, lines: list[LogLine]) -> list[tuple[LogLine, int]]:
        """Return those lines that are to be read, each with its index."""
        taken: list[tuple[LogLine, int]] = []
        for line in lines:
            if line.level != ITEM or not self._counts(line.worker):
                continue
            if self._next >= self._start:
                taken.append((line, self._next))
            self._next += 1
        return taken

    def _counts(self, writer: str) -> bool:
        if writer != self._writer and writer not in self._superseded:
            if self._writer is not None:
                self._superseded.add(self._writer)
            self._writer = writer
        return writer == self._writer


def _check_start(start: object) -> None:
    if not is_within(start, whole=True):
        raise ValueError(f"start is how many items to leave out, not {start!r}")


def _raise_in(trouble: "concurrent.futures.Future[NoReturn]", error: RunDeadlock) -> None:
    if not trouble.done():
        trouble.set_exception(error)


async def _unless(
    trouble: "concurrent.futures.Future[NoReturn]", coroutine: Coroutine[Any, Any, T]
) -> T:
    """Await a coroutine, until there is trouble, which is raised instead."""
    awaited = asyncio.ensure_future(coroutine)
    raised = asyncio.wrap_future(trouble)
    try:
        await asyncio.wait((awaited, raised), return_when=asyncio.FIRST_COMPLETED)
        return awaited.result() if awaited.done() else raised.result()
    finally:
        awaited.cancel()
        raised.cancel()
