"""Log lines of runs on their way to the broker: collected, sent in batches, never waited for.

One batch is on its way at a time, so a broker that is slow makes the others larger. What does not
fit meanwhile is refused, and whoever has written it says so in the log (`add` returns False).
"""

import asyncio
import logging
import threading
from collections import deque

from jtask.client.io_thread import IoThread
from jtask.contract import LogLine, LogStore
from jtask.errors import BrokerUnavailable
from jtask.rate_limited_log import RateLimitedLog

FLUSH_SECONDS = 0.05
"""How long a line may wait for others to be sent with."""

_BATCH = 2000  # lines
_MOST_LINES = 50_000
_MOST_CHARACTERS = 16_000_000
_PAUSE = 1.0  # seconds before a batch is sent again
_SILENCE = 60.0  # seconds between two warnings of the same text
_log = logging.getLogger("jtask")


class LogBuffer:
    """Collect the lines of this process's runs; any thread may add.

    Args:
        io: Where `store` lives.
        store: Takes the batches.
    """

    def __init__(self, io: IoThread, store: LogStore) -> None:
        self._io = io
        self._store = store
        self._lines: deque[LogLine] = deque()
        self._characters = 0
        # A signal handler may log in the middle of `add`.
        self._lock = threading.RLock()
        self._failures = RateLimitedLog(_SILENCE)
        self._is_armed = False
        self._sending: asyncio.Task[None] | None = None

    def add(self, line: LogLine) -> bool:
        """Add a line; from any thread. It is sent within FLUSH_SECONDS.

        Returns:
            bool: False where there is no room: the line is dropped.
        """
        size = len(line.message)
        with self._lock:
            if len(self._lines) >= _MOST_LINES or self._characters + size > _MOST_CHARACTERS:
                return False
            self._lines.append(line)
            self._characters += size
            is_first, self._is_armed = not self._is_armed, True
        if is_first:
            self._io.post(self._arm)
        return True

    async def flush(self, timeout: float) -> None:
        """Send what is there, as far as that can be done in time; on the I/O loop.

        Args:
            timeout: Seconds.
        """
        self._start()
        if self._sending is None:
            return
        await asyncio.wait([self._sending], timeout=timeout)
        if not self._sending.done():
            _log.warning(
                "the broker did not take the last %d lines that runs have logged", len(self._lines)
            )
            self._sending.cancel()

    def _arm(self) -> None:
        self._io.loop.call_later(FLUSH_SECONDS, self._start)

    def _start(self) -> None:
        if self._lines and (self._sending is None or self._sending.done()):
            self._sending = self._io.loop.create_task(self._send())

    async def _send(self) -> None:
        while batch := self._take():
            await self._store_batch(batch)

    def _take(self) -> list[LogLine]:
        with self._lock:
            lines = self._lines
            batch = [lines.popleft() for _ in range(min(len(lines), _BATCH))]
            self._characters -= sum(len(line.message) for line in batch)
            if not batch:
                # Under the lock: a line that comes after this arms the buffer again.
                self._is_armed = False
        return batch

    async def _store_batch(self, batch: list[LogLine]) -> None:
        while True:
            try:
                return await self._store.append(batch)
            except BrokerUnavailable as error:
                _log.debug("%d lines of runs' logs wait for the broker: %s", len(batch), error)
                # The very same batch, so that what is stored of it is not stored twice.
                await asyncio.sleep(_PAUSE)
            except Exception as error:
                # Such as a permission that is missing: it would be said for each batch.
                if self._failures.count(str(error)):
                    _log.warning("lines of runs' logs are lost: %s", error)
                return None
