"""Where runs stand, told from their events: decisions only."""

import heapq
from collections.abc import Iterable, Sequence

from jtask.contract import Event
from jtask.run_filters import RunFilter
from jtask.run_summaries import RunSummary, is_of_task, summary_of


def summarise(events: Iterable[Event]) -> dict[str, RunSummary]:
    """Fold events into one summary per run."""
    summaries: dict[str, RunSummary] = {}
    for event in events:
        known = summaries.get(event.run_id)
        if known is None:
            summaries[event.run_id] = summary_of(event)
        else:
            known.take_in(event)
    return summaries


class NewestRuns:
    """Fold events into summaries of the newest runs; what is older is forgotten on the way.

    Args:
        count: How many runs to keep.
        tasks: Keep runs of the tasks with these names or keys only; without any those of all.
    """

    def __init__(self, count: int, tasks: Sequence[str] = ()) -> None:
        self._count = count
        self._tasks = tasks
        self._kept: dict[str, RunSummary] = {}
        self._ids: list[str] = []  # a heap: the oldest first, for ids are ordered by time
        self.has_forgotten = False

    def add(self, event: Event) -> None:
        """Take in one event; those of a run may come in any order."""
        known = self._kept.get(event.run_id)
        if known is None:
            if not self._makes_room(event):
                return
            self._kept[event.run_id] = summary_of(event)
        else:
            known.take_in(event)

    def summaries(self, wanted: RunFilter, since: float = 0.0) -> list[RunSummary]:
        """Return the runs that are wanted and were created since an instant, newest first."""
        found = [
            summary
            for summary in self._kept.values()
            if summary.created >= since and wanted.takes(summary)
        ]
        return sorted(found, key=lambda summary: summary.run_id, reverse=True)

    def _makes_room(self, event: Event) -> bool:
        if self._tasks and not any(is_of_task(event.task, wanted) for wanted in self._tasks):
            return False
        if len(self._ids) < self._count:
            heapq.heappush(self._ids, event.run_id)
            return True
        self.has_forgotten = True
        oldest = heapq.heappushpop(self._ids, event.run_id)
        self._kept.pop(oldest, None)
        return oldest != event.run_id
