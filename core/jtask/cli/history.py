"""Where runs stand, told from their events: decisions only."""

import heapq
import re
from collections.abc import Iterable
from dataclasses import dataclass

from jtask.contract import Event
from jtask.ids import created_at
from jtask.states import FINAL, StateName

_EXECUTING = (StateName.RUNNING, StateName.RETRYING)
_HASH = re.compile(r"-[0-9a-f]{12}$")  # see `declaration.keys.task_key`


@dataclass(slots=True)
class RunSummary:
    """The latest that is known of one run; times in seconds since the epoch.

    Attributes:
        run_id: The run.
        task: Its task's key.
        state: Its latest state.
        at: When it entered that.
        created: When it was enqueued.
        started: When its first attempt that is known of began.
        attempt: The latest.
        worker: Who holds or held it.
        detail: What was said with the latest state.
        tags: Those of the run.
        parent: The run that called or enqueued it.
        version: The task's version.
        run_name: The run's own name.
    """

    run_id: str
    task: str
    state: str
    at: float
    created: float
    started: float | None = None
    attempt: int = 1
    worker: str = ""
    detail: str = ""
    tags: tuple[str, ...] = ()
    parent: str = ""
    version: str = ""
    run_name: str = ""

    @property
    def ended(self) -> float | None:
        """When it was over; None before."""
        return self.at if self.state in FINAL else None


def summarise(events: Iterable[Event]) -> dict[str, RunSummary]:
    """Fold events into one summary per run.

    The events of one run come from several processes, so their order of arrival is not that of
    their instants, and clocks differ: a final state stands whatever else arrives.
    """
    summaries: dict[str, RunSummary] = {}
    for event in events:
        known = summaries.get(event.run_id)
        if known is None:
            known = summaries[event.run_id] = _first(event)
        _take_in(known, event)
    return summaries


class NewestRuns:
    """Fold events into summaries of the newest runs; what is older is forgotten on the way.

    Args:
        count: How many runs to keep.
        task: Keep runs of the task with this name or key only.
    """

    def __init__(self, count: int, task: str | None = None) -> None:
        self._count = count
        self._task = task
        self._kept: dict[str, RunSummary] = {}
        self._ids: list[str] = []  # a heap: the oldest first, for ids are ordered by time
        self.has_forgotten = False

    def add(self, event: Event) -> None:
        """Take in one event; those of a run may come in any order."""
        known = self._kept.get(event.run_id)
        if known is None:
            if not self._makes_room(event):
                return
            known = self._kept[event.run_id] = _first(event)
        _take_in(known, event)

    def summaries(self, state: str | None = None, since: float = 0.0) -> list[RunSummary]:
        """Return the runs that were created since an instant, in a state if given, newest first."""
        found = [
            summary
            for summary in self._kept.values()
            if summary.created >= since and state in (None, summary.state)
        ]
        return sorted(found, key=lambda summary: summary.run_id, reverse=True)

    def _makes_room(self, event: Event) -> bool:
        if self._task is not None and not is_of_task(event.task, self._task):
            return False
        if len(self._ids) < self._count:
            heapq.heappush(self._ids, event.run_id)
            return True
        self.has_forgotten = True
        oldest = heapq.heappushpop(self._ids, event.run_id)
        self._kept.pop(oldest, None)
        return oldest != event.run_id


def is_of_task(key: str, wanted: str) -> bool:
    """Tell whether a task's key is the wanted one, or the wanted name with the key's hash."""
    return wanted in (key, name_of(key))


def name_of(key: str) -> str:
    """Return the readable part of a task's key."""
    return _HASH.sub("", key)


def _first(event: Event) -> RunSummary:
    created = created_at(event.run_id)
    return RunSummary(event.run_id, event.task, event.state, event.at, created)


def _take_in(known: RunSummary, event: Event) -> None:
    known.task = known.task or event.task
    known.tags = known.tags or event.tags
    known.parent = known.parent or event.parent
    known.version = known.version or event.version
    known.run_name = known.run_name or event.run_name
    # Never simply the latest to arrive: see `summarise`.
    known.attempt = max(known.attempt, event.attempt)
    if event.state in _EXECUTING and (known.started is None or event.at < known.started):
        known.started = event.at
    # It arrived late, or comes from a worker that did not know of the end.
    if known.state in FINAL and event.state not in FINAL:
        return
    if event.at >= known.at or (event.state in FINAL and known.state not in FINAL):
        known.state, known.at = event.state, event.at
        known.detail = event.detail.partition("\n")[0]
        known.worker = event.worker or known.worker
