"""What a batch of events changes in the index: decisions only, no I/O."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from jtask.contract import Event
from jtask.ids import created_at
from jtask.run_arguments import ArgumentValue, values_of
from jtask.run_summaries import RunSummary, summary_of
from jtask.states import FINAL
from jtask_index.latency import step_of
from jtask_index.rows import state_values, storable


class CountKey(NamedTuple):
    """A row of `task_run_count`."""

    task: str
    queue: str
    state: str


class MinuteKey(NamedTuple):
    """A row of `task_run_minute`."""

    minute: int
    task: str
    queue: str
    state: str
    error: str
    step: int


@dataclass(slots=True)
class KnownRun:
    """A run as the index has it, or will have it.

    Attributes:
        summary: What is known.
        states: How many rows of `task_run_state` it has.
    """

    summary: RunSummary
    states: int


@dataclass(slots=True)
class Changes:
    """What is to be written.

    Attributes:
        new: Runs that the index does not have.
        moved: Runs that it has, of which only what their latest state says may be another.
        retold: Runs that it has, of which anything may be another.
        states: The values of rows of `task_run_state`.
        tagged: The runs whose tags are to be written.
        arguments: The values of the arguments of runs, by their ids.
        counts: What to add to `task_run_count`.
        minutes: What to add to `task_run_minute`.
        tags: When each tag was last seen.
        workers: When each worker was first and last seen.
    """

    new: list[KnownRun] = field(default_factory=list[KnownRun])
    moved: list[KnownRun] = field(default_factory=list[KnownRun])
    retold: list[KnownRun] = field(default_factory=list[KnownRun])
    states: list[tuple[Any, ...]] = field(default_factory=list[tuple[Any, ...]])
    tagged: list[RunSummary] = field(default_factory=list[RunSummary])
    arguments: dict[str, list[ArgumentValue]] = field(
        default_factory=dict[str, list[ArgumentValue]]
    )
    counts: Counter[CountKey] = field(default_factory=Counter[CountKey])
    minutes: Counter[MinuteKey] = field(default_factory=Counter[MinuteKey])
    tags: dict[str, float] = field(default_factory=dict[str, float])
    workers: dict[str, tuple[float, float]] = field(default_factory=dict[str, tuple[float, float]])


class _Told(NamedTuple):
    """What is said once of a run."""

    task: str
    tags: tuple[str, ...]
    parent: str
    version: str
    run_name: str
    queue: str
    arguments: str


def fold(known: Mapping[str, KnownRun], events: Iterable[Event], oldest: float = 0.0) -> Changes:
    """Return what events change.

    Args:
        known: What the index has of their runs; the summaries are changed.
        events: In order of arrival.
        oldest: Runs that were created before this instant and are over may have been deleted, and
            come not back by what is heard of them later.
    """
    changes = Changes()
    before = {run_id: _contribution(run.summary) for run_id, run in known.items()}
    told = {run_id: _told(run.summary) for run_id, run in known.items()}
    runs = dict(known)
    for event in storable(events):
        run = runs.get(event.run_id)
        if run is None:
            if event.state in FINAL and created_at(event.run_id) < oldest:
                continue
            runs[event.run_id] = run = KnownRun(summary_of(event), 0)
        else:
            run.summary.take_in(event)
        run.states += 1
        changes.states.append(state_values(event, run.states))
        if event.worker:
            _see(changes.workers, event.worker, event.at)
    for run_id, run in runs.items():
        _add(changes, run, told.get(run_id), before.get(run_id))
    return changes


def _add(
    changes: Changes,
    run: KnownRun,
    told: _Told | None,
    before: "tuple[CountKey, MinuteKey | None] | None",
) -> None:
    summary = run.summary
    now_told = _told(summary)
    if told is None:
        changes.new.append(run)
    else:
        (changes.moved if told == now_told else changes.retold).append(run)
    if now_told.tags and (told is None or told.tags != now_told.tags):
        changes.tagged.append(summary)
        for tag in summary.tags:
            changes.tags[tag] = max(changes.tags.get(tag, 0.0), summary.created)
    if now_told.arguments and (told is None or told.arguments != now_told.arguments):
        changes.arguments[summary.run_id] = values_of(summary.arguments)
    after = _contribution(summary)
    if before != after:
        _count(changes, before, -1)
        _count(changes, after, 1)


def _count(
    changes: Changes, contribution: "tuple[CountKey, MinuteKey | None] | None", by: int
) -> None:
    if contribution is None:
        return
    count, minute = contribution
    changes.counts[count] += by
    if minute is not None:
        changes.minutes[minute] += by


def count_key(run: RunSummary) -> CountKey:
    """Return where a run is counted."""
    return CountKey(run.task, run.queue, run.state)


def _contribution(run: RunSummary) -> tuple[CountKey, MinuteKey | None]:
    count = count_key(run)
    if run.ended is None:
        return count, None
    minute = int(run.ended // 60)
    return count, MinuteKey(minute, *count, run.error, step_of(run.took))


def _told(run: RunSummary) -> _Told:
    return _Told(
        run.task, run.tags, run.parent, run.version, run.run_name, run.queue, run.arguments
    )


def _see(seen: dict[str, tuple[float, float]], worker: str, at: float) -> None:
    first, last = seen.get(worker, (at, at))
    seen[worker] = (min(first, at), max(last, at))
