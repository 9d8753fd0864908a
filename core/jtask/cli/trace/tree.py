"""A run with all runs below it, and which of very many are worth a line: decisions only."""

from collections import Counter, deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from jtask.cli.trace.timeline import Timeline, timeline_of
from jtask.contract import Event
from jtask.states import SUCCESSFUL


@dataclass(slots=True)
class TracedRun:
    """A run and what it called or enqueued.

    Attributes:
        timeline: The run over time.
        children: The runs of which it is the parent, oldest first.
    """

    timeline: Timeline
    children: "list[TracedRun]" = field(default_factory=list["TracedRun"])

    @property
    def run_id(self) -> str:
        """Its id."""
        return self.timeline.summary.run_id

    def with_descendants(self) -> "Iterator[TracedRun]":
        """Yield it and all below it, a level at a time."""
        level: deque[TracedRun] = deque([self])
        while level:
            run = level.popleft()
            yield run
            level.extend(run.children)


@dataclass(frozen=True, slots=True)
class Collapsed:
    """Runs that get one line together.

    Attributes:
        begin: When the first began, seconds since the epoch.
        end: When the last was over, or the moment of looking.
        states: How many are in each state.
    """

    begin: float
    end: float
    states: Counter[str]

    @property
    def count(self) -> int:
        """How many they are."""
        return self.states.total()


@dataclass(frozen=True, slots=True)
class Selection:
    """What is shown of a tree.

    Attributes:
        children: The children of each run that is shown which get lines of their own, by its id.
        collapsed: All others below it, by its id.
    """

    children: dict[str, list[TracedRun]]
    collapsed: dict[str, Collapsed]


def build_tree(root: str, events: Iterable[Event], now: float) -> TracedRun:
    """Put runs below those that called or enqueued them.

    Args:
        root: The run above all others; an event of it is among `events`.
        events: Of the root and of runs below it, in any order.
        now: The moment of looking, seconds since the epoch.
    """
    by_run: dict[str, list[Event]] = {}
    for event in events:
        by_run.setdefault(event.run_id, []).append(event)
    runs = {run_id: TracedRun(timeline_of(found, now)) for run_id, found in by_run.items()}
    for run_id, run in runs.items():
        above = runs.get(run.timeline.summary.parent)
        # Each has one parent and the root none: whatever events say, the root is in no circle.
        if run_id != root and above is not None:
            above.children.append(run)
    for run in runs.values():
        run.children.sort(key=lambda child: (child.timeline.begin, child.run_id))
    return runs[root]


def select(root: TracedRun, limit: int, per_run: int) -> Selection:
    """Choose the runs that get a line: upper levels first, and those that failed or still execute.

    Args:
        root: The run above all others, which is shown always.
        limit: How many runs are shown besides it at most.
        per_run: How many children of one run.
    """
    selection = Selection({}, {})
    level = deque([root])
    room = limit
    while level:
        run = level.popleft()
        chosen = _worth_a_line(run.children, min(per_run, room))
        room -= len(chosen)
        level.extend(chosen)
        selection.children[run.run_id] = chosen
        shown = {child.run_id for child in chosen}
        if hidden := [child for child in run.children if child.run_id not in shown]:
            selection.collapsed[run.run_id] = _collapse(hidden)
    return selection


def _worth_a_line(children: list[TracedRun], room: int) -> list[TracedRun]:
    if len(children) <= room:
        return children
    calm = [child.timeline.summary.state in SUCCESSFUL for child in children]
    order = sorted(range(len(children)), key=lambda n: (calm[n], n))
    return [children[n] for n in sorted(order[:room])]


def _collapse(hidden: list[TracedRun]) -> Collapsed:
    runs = [run.timeline for child in hidden for run in child.with_descendants()]
    return Collapsed(
        begin=min(run.begin for run in runs),
        end=max(run.end for run in runs),
        states=Counter(str(run.summary.state) for run in runs),
    )
