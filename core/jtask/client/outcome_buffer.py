"""The ends of direct calls on their way to the result store: sent one by one, never waited for."""

import asyncio
import logging
import time
from collections import deque

from jtask.background import BackgroundTasks
from jtask.client.io_thread import IoThread
from jtask.client.open_calls import OpenCalls
from jtask.contract import OutcomeRecord, ResultStore
from jtask.execution.recording import encode_end
from jtask.outcomes import Outcome
from jtask.rate_limited_log import RateLimitedLog
from jtask.runtime import RunContext

MOST = 10_000  # outcomes that wait; beyond this, while the broker is away, the oldest go
_IN_FLIGHT = 200  # outcomes
_FLUSH_SECONDS = 2.0  # how long the end of a process may be delayed
_log = logging.getLogger("jtask")
_lost = RateLimitedLog(60.0)


class OutcomeBuffer:
    """Store the outcomes of this process's direct calls; any thread may add.

    Args:
        io: Where `results` lives.
        results: Takes them.
        calls: Is told which are on their way, and which are stored.
    """

    def __init__(self, io: IoThread, results: ResultStore, calls: OpenCalls) -> None:
        self._io = io
        self._results = results
        self._calls = calls
        self._waiting: deque[OutcomeRecord] = deque()
        self._background = BackgroundTasks()

    def on_end(self, run: RunContext, outcome: Outcome) -> None:
        """Add the end of a direct call; from any thread."""
        record = record_of(run, outcome)
        if record is not None:
            self.add(record)

    def add(self, record: OutcomeRecord) -> None:
        """Add one outcome; from any thread."""
        if len(self._waiting) >= MOST:
            report_lost("the broker does not keep up")
            return
        self._calls.storing(record.run_id, time.time())
        self._waiting.append(record)
        self._io.post(self._send)

    async def flush(self) -> None:
        """Wait until all are stored, for a bounded time; on the I/O loop."""
        self._send()
        deadline = asyncio.get_running_loop().time() + _FLUSH_SECONDS
        while flying := list(self._background):
            left = deadline - asyncio.get_running_loop().time()
            await asyncio.wait(flying, timeout=max(0.0, left))
            if left <= 0:
                report_lost("the program has ended")
                self._background.cancel()
                return

    def _send(self) -> None:
        while self._waiting and len(list(self._background)) < _IN_FLIGHT:
            self._background.start(self._put(self._waiting.popleft()))

    async def _put(self, record: OutcomeRecord) -> None:
        try:
            await self._results.put(record)
        except Exception as error:  # of a store that may be somebody else's
            self._calls.dropped(record.run_id)
            report_lost(str(error))
        else:
            await self._calls.stored(record.run_id)
        if self._waiting:
            self._io.post(self._send)


def record_of(run: RunContext, outcome: Outcome) -> OutcomeRecord | None:
    """Return what to store of a direct call; None, after a line in the log, if that fails."""
    try:
        return OutcomeRecord(run.run_id, encode_end(run, outcome))
    except Exception as error:  # of the user's own classes: the call must go on
        report_lost(repr(error))
        return None


def report_lost(reason: str) -> None:
    """Log now and then that a direct call is not recorded.

    Args:
        reason: Why.
    """
    if count := _lost.count(None):
        _log.warning("a direct call, one of %d, is not recorded: %s", count, reason)
