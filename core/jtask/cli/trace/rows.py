"""The lines of a waterfall and what each says, whatever they are drawn with: decisions only."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jtask.cli.trace.timeline import Phase, PhaseKind, Timeline
from jtask.cli.trace.tree import Collapsed, Selection, TracedRun
from jtask.run_summaries import name_of
from jtask.states import SUCCESSFUL, StateName

_MOST_PHASES = 12  # of one run; of more, the first and the last are shown
_DEEPEST = 40  # characters of indentation; deeper levels are drawn as one
_NOTICEABLE = 0.01  # of the whole time: a shorter wait for a worker has no line of its own


@dataclass(frozen=True, slots=True)
class Row:
    """A line with a bar.

    Attributes:
        stem: What leads to it from the lines above.
        below: What leads on from it, for lines that continue it.
        label: What it is about.
        state: How it ended, or where it stands.
        waited: Seconds without execution; None where that says nothing.
        took: Seconds of execution; None where that says nothing.
        worker: Who executed it.
        phases: What is drawn.
        remark: Why; empty when nobody said.
    """

    stem: str
    below: str
    label: str
    state: str
    waited: float | None
    took: float | None
    worker: str
    phases: Sequence[Phase]
    remark: str = ""


def rows_of(root: TracedRun, selection: Selection) -> Iterator[Row]:
    """Yield the lines for the chosen runs of a tree, each run's own in the order of time."""
    whole = max(run.timeline.end for run in root.with_descendants()) - root.timeline.begin
    pending: list[tuple[_Item, str, str]] = [(root, "", "")]
    # Not recursive: a tree may be very deep.
    while pending:
        item, stem, below = pending.pop()
        inside: list[_Item] = []
        if isinstance(item, TracedRun):
            inside = _inside(item, selection, whole * _NOTICEABLE)
        yield _row(item, stem, below + ("│ " if inside else ""), inside)
        for number, one in enumerate(reversed(inside)):
            branch, onward = ("└ ", "  ") if number == 0 else ("├ ", "│ ")
            is_deepest = len(below) >= _DEEPEST
            pending.append((one, below + branch, below if is_deepest else below + onward))


_Item = TracedRun | Collapsed | Phase | str


def _inside(run: TracedRun, selection: Selection, noticeable: float) -> "list[_Item]":
    phases = _shortened(_phases_with_lines(run.timeline, noticeable))
    children = selection.children.get(run.run_id, [])
    at: list[tuple[float, _Item]] = [(child.timeline.begin, child) for child in children]
    at += phases
    found = [item for _, item in sorted(at, key=lambda pair: pair[0])]
    collapsed = selection.collapsed.get(run.run_id)
    return found if collapsed is None else [*found, collapsed]


def _phases_with_lines(timeline: Timeline, noticeable: float) -> list[Phase]:
    """Return the phases of a run that are more than its own bar says."""
    attempts = timeline.attempts
    plain = {PhaseKind.QUEUED, PhaseKind.PENDING, PhaseKind.EXECUTING}
    has_notes = any(phase.notes for phase in attempts)
    if len(attempts) <= 1 and not has_notes and all(p.kind in plain for p in timeline.phases):
        return []
    return [
        phase
        for phase in timeline.phases
        if phase.kind not in (PhaseKind.QUEUED, PhaseKind.PENDING) or phase.seconds > noticeable
    ]


def _shortened(phases: list[Phase]) -> "list[tuple[float, _Item]]":
    if len(phases) <= _MOST_PHASES:
        return [(phase.begin, phase) for phase in phases]
    half = _MOST_PHASES // 2
    first, left_out, last = phases[:half], phases[half:-half], phases[-half:]
    gap = f"... {len(left_out)} more"
    return [
        *((phase.begin, phase) for phase in first),
        (left_out[0].begin, gap),
        *((phase.begin, phase) for phase in last),
    ]


def _row(item: _Item, stem: str, below: str, inside: "Sequence[_Item]") -> Row:
    if isinstance(item, str):
        return Row(stem, below, item, "", None, None, "", ())
    if isinstance(item, Phase):
        return _row_of_phase(item, stem, below)
    if isinstance(item, Collapsed):
        return _row_of_many(item, stem, below)
    phases = item.timeline.phases
    is_told = bool(phases) and phases[-1].executes and phases[-1] in inside
    return _row_of_run(item.timeline, stem, below, is_told=is_told)


def _row_of_run(timeline: Timeline, stem: str, below: str, *, is_told: bool) -> Row:
    """Return the line of a run.

    Args:
        timeline: The run.
        stem: What leads to it.
        below: What leads on.
        is_told: Whether the line of its last attempt says why it ended.
    """
    summary = timeline.summary
    state = str(summary.state)
    calls_for_a_look = summary.ended is not None and state not in SUCCESSFUL
    why = summary.detail if summary.ended is not None and not is_told else ""
    # The id is what `jtask runs show` wants.
    remark = f"{summary.run_id}  {why}".rstrip() if calls_for_a_look else why
    return Row(
        stem,
        below,
        name_of(summary.task) or "?",
        state,
        timeline.waited,
        timeline.executed,
        summary.worker,
        timeline.phases,
        remark,
    )


def _row_of_phase(phase: Phase, stem: str, below: str) -> Row:
    remark = "; ".join(text for text in (*phase.notes, phase.reason) if text).replace("\n", " ")
    if not phase.executes:
        label = str(phase.kind)
        return Row(stem, below, label, "", phase.seconds, None, phase.worker, (phase,), remark)
    state = phase.end_state or str(StateName.RUNNING)
    label = f"{phase.kind} {phase.attempt}"
    return Row(stem, below, label, state, None, phase.seconds, phase.worker, (phase,), remark)


def _row_of_many(many: Collapsed, stem: str, below: str) -> Row:
    states = ", ".join(f"{count} {state}" for state, count in many.states.most_common())
    label = f"+ {many.count} more run{'s' if many.count > 1 else ''}"
    drawn = Phase(PhaseKind.EXECUTING, many.begin, many.end, end_state="many")
    return Row(stem, below, label, "", None, None, "", (drawn,), states)
