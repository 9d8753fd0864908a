"""Which runs are below a run, told from the events of all runs: decisions only.

An event says of which run it is, and the first one of a run, who called or enqueued it. Events of
several processes arrive in any order: a run's end may come before its first event, and a grandchild
before the child.
"""

from jtask.cli.run_lookup import CLOCK_MARGIN
from jtask.contract import Event
from jtask.states import FINAL

_ENDS_KEPT = 100_000  # of runs that may turn out to be below


class Descendants:
    """Follow who called whom, and tell when no more runs can come.

    Args:
        root: The run above all others.
    """

    def __init__(self, root: str) -> None:
        self.run_ids: set[str] = set()
        """The runs that are known to be below, and the root."""
        self._children: dict[str, list[str]] = {}
        self._ends: dict[str, float] = {}
        self._open: set[str] = set()
        self._last_end = 0.0
        self._join(root)

    @property
    def until(self) -> float | None:
        """When nothing more can happen, seconds since the epoch; None while one is not over."""
        return None if self._open else self._last_end + CLOCK_MARGIN

    def add(self, event: Event) -> None:
        """Take in an event of any run."""
        if event.parent:
            self._children.setdefault(event.parent, []).append(event.run_id)
            if event.parent in self.run_ids:
                self._join(event.run_id)
        if event.state in FINAL:
            self._end(event.run_id, event.at)

    def _join(self, run_id: str) -> None:
        found = [run_id]
        # Not recursive: a run may have enqueued the next one ten thousand times.
        while found:
            one = found.pop()
            if one in self.run_ids:
                continue
            self.run_ids.add(one)
            self._open.add(one)
            if one in self._ends:
                self._end(one, self._ends[one])
            found += self._children.get(one, ())

    def _end(self, run_id: str, at: float) -> None:
        if run_id in self.run_ids:
            self._open.discard(run_id)
            self._last_end = max(self._last_end, at)
            return
        self._ends[run_id] = at
        if len(self._ends) > _ENDS_KEPT:
            # Without its end, a run counts as open, and more is read than must be.
            del self._ends[next(iter(self._ends))]
