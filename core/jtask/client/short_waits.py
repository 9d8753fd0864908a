"""Waits of threads for runs that end soon, without a word to the I/O thread.

For each of these the I/O thread would wake up, read what was pushed and wake whoever waits. A
broker may let the thread listen itself (`get_from_thread`). One that has waited for a moment in
vain goes on as everybody else does, so nothing depends on it.
"""

from collections.abc import Callable

from jtask.contract import OutcomeRecord, ResultStore
from jtask.wire.envelope import is_outcome_of

_MOMENT = 0.025  # seconds; what takes longer gains less than one part in a hundred
_LONGEST_REST = 63  # waits

GetFromThread = Callable[[str, float], OutcomeRecord | None]


class ShortWaits:
    """Fetch outcomes from any thread but the broker's, where they come soon.

    Args:
        results: Where they are.
    """

    def __init__(self, results: ResultStore) -> None:
        # Optional in the contract.
        self._get: GetFromThread | None = getattr(results, "get_from_thread", None)
        self._rest = 0
        self._resting = 0

    def fetch(self, run_id: str, timeout: float | None) -> bytes | None:
        """Block for a moment until a run ends; return its outcome if it did.

        Args:
            run_id: The run.
            timeout: Seconds that the caller would wait at most; None for ever.
        """
        seconds = _MOMENT if timeout is None else min(_MOMENT, timeout)
        if self._get is None or seconds <= 0:
            return None
        if self._resting > 0:
            self._resting -= 1
            return None
        record = self._get(run_id, seconds)
        # Anybody may push; what counts is what is stored.
        if record is not None and is_outcome_of(run_id, record.body):
            self._rest = 0
            return record.body
        # A thread that listens keeps a connection from others: where runs take longer, few do.
        self._rest = min(2 * self._rest + 1, _LONGEST_REST)
        self._resting = self._rest
        return None
