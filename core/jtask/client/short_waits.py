"""Waits for runs that end soon, by threads and loops, without a word to the I/O thread.

For each of these the I/O thread would wake up, read what was pushed and wake whoever waits. A
broker may let the thread or the loop listen itself (`get_from_thread`, `get_from_loop`). Who has
waited for a moment in vain goes on as everybody else does, so nothing depends on it.
"""

import time
from collections.abc import Awaitable, Callable

from jtask.contract import OutcomeRecord, ResultStore
from jtask.wire.envelope import is_outcome_of

_MOMENT = 0.025  # seconds; what takes longer gains less than one part in a hundred
_LONGEST_REST = 63  # waits

GetFromThread = Callable[[str, float], OutcomeRecord | None]
GetFromLoop = Callable[[str, float], Awaitable[OutcomeRecord | None]]


class ShortWaits:
    """Fetch outcomes from any thread or loop but the broker's, where they come soon.

    Args:
        results: Where they are.
    """

    def __init__(self, results: ResultStore) -> None:
        # Optional in the contract.
        self._from_thread: GetFromThread | None = getattr(results, "get_from_thread", None)
        self._from_loop: GetFromLoop | None = getattr(results, "get_from_loop", None)
        self._rest = 0
        self._resting = 0

    def fetch(self, run_id: str, timeout: float | None) -> bytes | None:
        """Block for a moment until a run ends; return its outcome if it did.

        Args:
            run_id: The run.
            timeout: Seconds that the caller would wait at most; None for ever.
        """
        seconds = self._seconds(timeout)
        if self._from_thread is None or not seconds:
            return None
        begun = time.monotonic()
        return self._outcome(run_id, self._from_thread(run_id, seconds), begun)

    async def fetch_async(self, run_id: str, timeout: float | None) -> bytes | None:
        """Do what `fetch` does without blocking the event loop."""
        seconds = self._seconds(timeout)
        if self._from_loop is None or not seconds:
            return None
        begun = time.monotonic()
        return self._outcome(run_id, await self._from_loop(run_id, seconds), begun)

    def _seconds(self, timeout: float | None) -> float:
        """Return how long to wait; 0 for not at all."""
        if self._resting > 0:
            self._resting -= 1
            return 0.0
        return _MOMENT if timeout is None else max(0.0, min(_MOMENT, timeout))

    def _outcome(self, run_id: str, record: OutcomeRecord | None, begun: float) -> bytes | None:
        # Anybody may push; what counts is what is stored.
        if record is not None and is_outcome_of(run_id, record.body):
            self._rest = 0
            return record.body
        # Who listens keeps a connection from others: where runs take longer, few do.
        if time.monotonic() >= begun + _MOMENT / 2:
            self._rest = min(2 * self._rest + 1, _LONGEST_REST)
            self._resting = self._rest
        return None
