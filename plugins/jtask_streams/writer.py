"""Items of one attempt on their way to the broker: in batches, each of them stored.

Whoever yields waits while too many are on their way, so that a fast generator needs no more memory
than a slow one; how fast they are read does not matter, for they lie with the broker.
"""

import asyncio
import concurrent.futures
import contextlib
import threading
import time
from collections import deque
from typing import TYPE_CHECKING, Any, NamedTuple

from jtask.contract import END_OF_ATTEMPT, ITEM, LogLine
from jtask.errors import BrokerFull, BrokerUnavailable, ResultError, RunAbandoned
from jtask.randomness import RANDOM
from jtask_streams.texts import check_size

if TYPE_CHECKING:
    from jtask.client import Client
    from jtask.runtime import RunContext

_FLUSH_SECONDS = 0.02  # how long an item may wait for others to be sent with
_BATCH = 500  # items
_MOST_BYTES = 4_000_000  # on their way, in one run
_PAUSE = 1.0  # seconds before a batch is sent again
_LOOK_SECONDS = 0.1  # a thread that waits can be interrupted so often

Room = concurrent.futures.Future[None]


class _Waiting(NamedTuple):
    most: int
    room: Room


class ItemWriter:
    """Sends the items of one attempt.

    Args:
        run: Whose.
        client: This process's.
        limit: How many bytes all of them may have.
    """

    def __init__(self, run: "RunContext", client: "Client", limit: int) -> None:
        self._task = run.task
        self._run_id = run.run_id
        self._attempt = run.attempt
        # Another execution of the same attempt, after a crash say, counts anew.
        self._writer = f"{run.worker}:{RANDOM.getrandbits(32):08x}"
        self._client = client
        self._limit = self._left = limit
        self._lines: deque[tuple[LogLine, int]] = deque()
        self._lock = threading.Lock()
        self._number = 0
        self._bytes = 0
        self._waiting: list[_Waiting] = []
        self._error: Exception | None = None
        self._is_closed = False
        self._sending: asyncio.Task[None] | None = None

    def put(self, text: str, timeout: float | None = None) -> None:
        """Send an item; blocks this thread while too many are on their way.

        Args:
            text: The item.
            timeout: Seconds to wait for that; None waits for as long as the broker takes.

        Raises:
            BrokerUnavailable: It did not come about in time.
            ResultError: It is too large, or all together are.
            BrokerError: The broker refuses them.
        """
        self._add_item(text)
        if not self.wait(_MOST_BYTES, timeout):
            raise BrokerUnavailable("the broker does not take the items of the run")

    async def put_async(self, text: str) -> None:
        """Do what `put` does without blocking the event loop."""
        self._add_item(text)
        await self._wait_async(_MOST_BYTES)

    def finish(self, timeout: float | None = None) -> None:
        """Return once all items are stored, and it is said that no more come of this attempt.

        Args:
            timeout: Seconds; None waits for as long as the broker takes.
        """
        if self._add_end():
            self.wait(0, timeout)

    async def finish_async(self, timeout: float | None = None) -> None:
        """Do what `finish` does without blocking the event loop."""
        if self._add_end():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._wait_async(0), timeout)

    def close(self) -> None:
        """Take no more items."""
        self._is_closed = True

    def fail(self, error: Exception) -> None:
        """Have the attempt end with an error; from any thread."""
        with self._lock:
            self._error = self._error or error
            waiting, self._waiting = self._waiting, []
        for one in waiting:
            _end(one.room)

    def wait(self, most: int, timeout: float | None = None) -> bool:
        """Block this thread while more bytes are on their way.

        Args:
            most: How many.
            timeout: Seconds; None waits for as long as it takes.

        Returns:
            bool: False when that did not come about in time.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        while (room := self._room(most)) is not None:
            while not room.done():
                # Not for ever at once: an interruption by another thread waits for Python code.
                with contextlib.suppress(TimeoutError):
                    room.result(_LOOK_SECONDS)
                if deadline is not None and time.monotonic() > deadline:
                    return False
        return True

    async def _wait_async(self, most: int) -> None:
        while (room := self._room(most)) is not None:
            await asyncio.wrap_future(room)

    def _room(self, most: int) -> Room | None:
        with self._lock:
            if self._error is not None:
                raise self._error
            if self._bytes <= most:
                return None
            room = Room()
            self._waiting.append(_Waiting(most, room))
            return room

    def _add_item(self, text: str) -> None:
        if self._is_closed:
            raise RunAbandoned(f"run {self._run_id} has ended")
        size = check_size(self._task, text, self._client.inline_limit)
        self._left -= size
        if self._left < 0:
            raise ResultError(
                f"the items of the run have reached JTASK_RUN_STREAM_LIMIT ({self._limit} bytes)"
            )
        line = LogLine(self._run_id, time.time(), ITEM, self._task.serializer, text)
        self._add(line, size)

    def _add_end(self) -> bool:
        # Of an attempt that was taken back meanwhile, another worker has the run.
        if not self._is_closed:
            self._add(LogLine(self._run_id, time.time(), END_OF_ATTEMPT, "", ""), 1)
        return not self._is_closed

    def _add(self, line: LogLine, size: int) -> None:
        with self._lock:
            self._number += 1
            line = line._replace(attempt=self._attempt, worker=self._writer, number=self._number)
            self._lines.append((line, size))
            self._bytes += size
            is_first = len(self._lines) == 1
        if is_first:
            self._client.io.post(self._arm)

    def _arm(self) -> None:
        # What comes while a batch is on its way goes with the next one.
        if self._sending is None or self._sending.done():
            self._client.io.loop.call_later(_FLUSH_SECONDS, self._start)

    def _start(self) -> None:
        if self._lines and (self._sending is None or self._sending.done()):
            self._sending = self._client.io.loop.create_task(self._send())

    async def _send(self) -> None:
        try:
            while batch := self._next_batch():
                await self._store([line for line, _ in batch])
                self._sent(sum(size for _, size in batch))
        except Exception as error:
            self.fail(error)

    def _next_batch(self) -> list[tuple[Any, int]]:
        with self._lock:
            lines = self._lines
            return [lines.popleft() for _ in range(min(len(lines), _BATCH))]

    async def _store(self, lines: list[LogLine]) -> None:
        while True:
            try:
                return await self._client.broker.items.append(lines)
            except (BrokerUnavailable, BrokerFull):
                # The very same batch, so that what is stored of it is not stored twice.
                await asyncio.sleep(_PAUSE)

    def _sent(self, size: int) -> None:
        with self._lock:
            self._bytes -= size
            free = [one for one in self._waiting if self._bytes <= one.most]
            self._waiting = [one for one in self._waiting if self._bytes > one.most]
        for one in free:
            _end(one.room)


def _end(room: Room) -> None:
    with contextlib.suppress(concurrent.futures.InvalidStateError):  # nobody waits any more
        room.set_result(None)
