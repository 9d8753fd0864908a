"""What runs have logged, in order of arrival."""

from collections import deque
from collections.abc import Sequence
from typing import NamedTuple

from jtask.contract import LogLine

_MOST_LINES = 500_000  # of all runs; beyond, the oldest go
_Writer = tuple[str, int]


class _Stored(NamedTuple):
    position: int
    line: LogLine


class LogHistory:
    """Keep lines for a while, by run; the caller holds the lock."""

    def __init__(self) -> None:
        self._arrivals: deque[tuple[float, str]] = deque()
        self._by_run: dict[str, deque[_Stored]] = {}
        self._last_numbers: dict[str, dict[_Writer, int]] = {}
        self._position = 0

    def append(self, lines: Sequence[LogLine], now: float, ttl: float) -> None:
        """Add lines that are new, and delete those older than the time to live."""
        for line in lines:
            last = self._last_numbers.setdefault(line.run_id, {})
            writer = (line.worker, line.attempt)
            # Sent a second time, as the number tells: see `LogStore.append`.
            if line.number <= last.get(writer, 0):
                continue
            last[writer] = line.number
            self._position += 1
            self._by_run.setdefault(line.run_id, deque()).append(_Stored(self._position, line))
            self._arrivals.append((now, line.run_id))
        self._delete_old(now - ttl)

    def read(self, run_id: str, after: int, most: int) -> list[_Stored]:
        """Return the first lines of a run after a position."""
        stored = self._by_run.get(run_id, ())
        return [one for one in stored if one.position > after][:most]

    def _delete_old(self, oldest: float) -> None:
        arrivals = self._arrivals
        while arrivals and (arrivals[0][0] <= oldest or len(arrivals) > _MOST_LINES):
            _, run_id = arrivals.popleft()
            of_run = self._by_run[run_id]
            # The oldest of all is the oldest of its run too.
            of_run.popleft()
            if not of_run:
                del self._by_run[run_id], self._last_numbers[run_id]
