"""What one run did when: phases, one after the other, told from its events; decisions only."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from jtask.cli.history import summarise
from jtask.contract import Event
from jtask.run_summaries import RunSummary
from jtask.states import EXECUTING, FINAL, StateName


class PhaseKind(StrEnum):
    """What a run does between two of its events."""

    QUEUED = "queued"
    """It could start, and no worker has it."""
    DELAYED = "delayed"
    """Its time has not come."""
    PARKED = "parked"
    """A plugin does not admit it yet; the reason says what it waits for."""
    PENDING = "waits for a slot"
    """A worker has it, and is busy with other runs."""
    EXECUTING = "attempt"
    PAUSED = "waits to retry"


@dataclass(frozen=True, slots=True)
class Phase:
    """A length of time in which a run did one thing; instants in seconds since the epoch.

    Attributes:
        kind: What.
        begin: From when.
        end: Until when; the moment of looking, if it lasts.
        attempt: Which one executes; of a wait, the one that it follows.
        worker: Who executes it or holds it.
        end_state: Of an attempt: what it led to (`Completed`, `Failed`, `lost`, `handed back`);
            empty while it lasts.
        reason: Why it waits, or why the attempt ended as it did.
        notes: What was said while it lasted, oldest first.
    """

    kind: PhaseKind
    begin: float
    end: float
    attempt: int = 1
    worker: str = ""
    end_state: str = ""
    reason: str = ""
    notes: tuple[str, ...] = ()

    @property
    def seconds(self) -> float:
        """How long it lasted."""
        return max(0.0, self.end - self.begin)

    @property
    def executes(self) -> bool:
        """Whether it is an attempt, and no wait."""
        return self.kind is PhaseKind.EXECUTING


@dataclass(frozen=True, slots=True)
class Timeline:
    """One run over time.

    Attributes:
        summary: Where it stands.
        begin: When it was enqueued or called, seconds since the epoch; likewise the next one.
        end: When it was over; the moment of looking, if it is not.
        queue: Where it was put; empty when that is not known.
        is_enqueued: Whether it went over a queue; a direct call does not.
        phases: In order, without gaps.
    """

    summary: RunSummary
    begin: float
    end: float
    queue: str
    is_enqueued: bool
    phases: tuple[Phase, ...]

    @property
    def attempts(self) -> list[Phase]:
        """The phases in which it executed."""
        return [phase for phase in self.phases if phase.executes]

    @property
    def executed(self) -> float:
        """Seconds in which it executed."""
        return sum(phase.seconds for phase in self.phases if phase.executes)

    @property
    def waited(self) -> float:
        """Seconds in which it did not."""
        return sum(phase.seconds for phase in self.phases if not phase.executes)


def timeline_of(events: Sequence[Event], now: float) -> Timeline:
    """Put the events of one run in order and say what it did between them.

    Args:
        events: At least one, in any order; some may be missing.
        now: Until when a phase lasts that has no end, seconds since the epoch.
    """
    (summary,) = summarise(events).values()
    ordered = _in_order(events)
    over = next((event for event in ordered if event.state in FINAL), None)
    begin = min(event.at for event in ordered)
    end = max(begin, now if over is None else over.at)
    return Timeline(
        summary=summary,
        begin=begin,
        end=end,
        queue=next((event.queue for event in ordered if event.queue), ""),
        is_enqueued=any(event.queue or _is_enqueueing(event) for event in ordered),
        phases=tuple(_phases(ordered, end)),
    )


def _in_order(events: Iterable[Event]) -> list[Event]:
    """Sort by time what comes from several clocks: first it is enqueued, and the end is last."""

    def place(event: Event) -> tuple[int, float]:
        if event.state in FINAL:
            return 2, event.at
        return int(not _is_enqueueing(event)), event.at

    ordered = sorted(events, key=place)
    ends = [event for event in ordered if event.state in FINAL]
    if not ends:
        return ordered
    # From a worker that did not know of the end, and executes what counts for nothing.
    return [e for e in ordered if e.state not in FINAL and e.at <= ends[0].at] + ends


def _is_enqueueing(event: Event) -> bool:
    return event.state == StateName.SCHEDULED and not event.worker


def _phases(ordered: Sequence[Event], end: float) -> list[Phase]:
    phases: list[Phase] = []
    before: Event | None = None
    for event, following in zip(ordered, [*ordered[1:], None], strict=True):
        if event.state in FINAL:
            break
        until = end if following is None else min(max(following.at, event.at), end)
        if before is not None and phases and _is_note(before, event):
            phases[-1] = _continued(phases[-1], event, following, until)
        else:
            for phase in _phases_after(event, following, until):
                _add(phases, phase)
        before = event
    return phases


def _add(phases: list[Phase], phase: Phase) -> None:
    """Add a phase; a run that looks whether it may start, and may not, has waited all the time."""
    looked = 1 if phases and phases[-1].kind is PhaseKind.PENDING else 0
    if phase.kind is PhaseKind.PARKED and len(phases) > looked:
        earlier = phases[-1 - looked]
        if (earlier.kind, earlier.reason) == (phase.kind, phase.reason):
            del phases[-1 - looked :]
            phase = replace(phase, begin=earlier.begin)
    phases.append(phase)


def _is_note(before: Event, event: Event) -> bool:
    """Tell whether an event says something of the attempt that the one before began."""
    return event.state in EXECUTING and before[4:6] == event[4:6] and before.state == event.state


def _continued(phase: Phase, event: Event, following: Event | None, until: float) -> Phase:
    end_state, reason = _end_of(event, following)
    notes = (*phase.notes, event.detail) if event.detail else phase.notes
    return replace(phase, end=until, end_state=end_state, reason=reason, notes=notes)


def _phases_after(event: Event, following: Event | None, until: float) -> list[Phase]:
    begin, attempt, worker = event.at, event.attempt, event.worker
    if event.state in EXECUTING:
        end_state, reason = _end_of(event, following)
        notes = (event.detail,) if event.detail else ()
        kind = PhaseKind.EXECUTING
        return [Phase(kind, begin, until, attempt, worker, end_state, reason, notes)]
    if event.state == StateName.PENDING:
        return [Phase(PhaseKind.PENDING, begin, until, attempt, worker)]
    reason = _first_line(event.detail)
    if event.state == StateName.SCHEDULED and event.until is not None and reason:
        # Until somebody wakes it: its instant is only the latest.
        return [Phase(PhaseKind.PARKED, begin, until, attempt, "", "", reason)]
    is_pause = event.state == StateName.AWAITING_RETRY
    kind = PhaseKind.PAUSED if is_pause else PhaseKind.DELAYED
    due = begin if event.until is None else min(max(event.until, begin), until)
    waits = [Phase(kind, begin, due, attempt, "", "", "" if is_pause else reason)]
    queued = Phase(PhaseKind.QUEUED, due, until, attempt, "", "", "" if is_pause else reason)
    return [phase for phase in (*(waits if due > begin else ()), queued) if phase.end > phase.begin]


def _end_of(event: Event, following: Event | None) -> tuple[str, str]:
    """Return how an attempt ended, and why, from what came next."""
    if following is None or _is_note(event, following):
        return "", ""
    reason = _first_line(following.detail)
    if following.state in FINAL:
        return str(following.state), reason
    if following.state == StateName.AWAITING_RETRY:
        return str(StateName.FAILED), reason
    if following.state == StateName.SCHEDULED:
        return "handed back", reason
    # The event between two attempts may be missing.
    return (str(StateName.FAILED), "") if following.attempt > event.attempt else ("lost", "")


def _first_line(text: str) -> str:
    return text.partition("\n")[0]
