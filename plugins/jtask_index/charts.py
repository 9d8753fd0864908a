"""What is counted by the minute, put together: throughput, how long runs take, what fails."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import ColumnElement, Connection, bindparam, desc, func, select

from jtask_index.latency import percentile
from jtask_index.minutes import HOUR
from jtask_index.queries import RunQuery
from jtask_index.rows import name
from jtask_index.schema import EMPTY, task_run, task_run_hour, task_run_minute

MINUTE = 60  # seconds
_LONGEST_BY_MINUTES = 6 * 3600.0  # seconds
_NEWEST = (
    select(task_run.c.run_id, task_run.c.detail)
    .where(
        task_run.c.task == bindparam("of_task"),
        task_run.c.error == bindparam("of_error"),
        task_run.c.error != EMPTY,
    )
    .order_by(desc(task_run.c.run_id))
    .limit(1)
)


@dataclass(slots=True)
class Bucket:
    """What ended in some minutes.

    Attributes:
        start: When they begin, seconds since the epoch.
        seconds: How long they are.
        runs: How many runs ended in each state.
        steps: How many of them took how long, see `jtask_index.latency`.
    """

    start: float
    seconds: float
    runs: dict[str, int] = field(default_factory=dict[str, int])
    steps: dict[int, int] = field(default_factory=dict[int, int])

    @property
    def total(self) -> int:
        """How many runs ended."""
        return sum(self.runs.values())

    def percentile(self, share: float) -> float | None:
        """Return how long a share (0.95) of them took at most, in seconds; None for none."""
        return percentile(self.steps, share)


@dataclass(frozen=True, slots=True)
class FailureGroup:
    """Runs of a task that failed in the same way.

    Attributes:
        task: The task's key.
        error: The type of what they raised, or the state of those that raised nothing.
        runs: How many.
        first: When the first of them ended, to the minute, seconds since the epoch.
        last: When the last of them ended, likewise.
        run_id: The newest of them.
        detail: What was said with its state.
    """

    task: str
    error: str
    runs: int
    first: float
    last: float
    run_id: str
    detail: str


def timeline(
    connection: Connection, query: RunQuery, since: float, until: float, buckets: int
) -> list[Bucket]:
    """Return what `IndexReader.timeline` does."""
    start = int(since // MINUTE)
    minutes = max(1, math.ceil((until / MINUTE - start) / buckets))
    columns = task_run_minute.c
    is_of_all = not query.wanted.task and not query.wanted.queue
    if is_of_all and until - since > _LONGEST_BY_MINUTES:
        # A busy day has hundreds of thousands of rows of minutes.
        columns = task_run_hour.c
        start -= start % HOUR
        minutes = math.ceil(minutes / HOUR) * HOUR
    count = max(1, math.ceil((until / MINUTE - start) / minutes))
    found = [Bucket((start + n * minutes) * MINUTE, minutes * MINUTE) for n in range(count)]
    number = (columns.minute - start) // minutes
    rows = connection.execute(
        select(number, columns.state, columns.step, func.sum(columns.runs))
        .where(columns.minute >= start, columns.minute < math.ceil(until / MINUTE))
        .where(*_meant(columns, query))
        .group_by(number, columns.state, columns.step)
    )
    for place, state, step, runs in rows:
        bucket = found[int(place)]
        bucket.runs[state] = bucket.runs.get(state, 0) + int(runs)
        bucket.steps[step] = bucket.steps.get(step, 0) + int(runs)
    return found


def failures(
    connection: Connection, query: RunQuery, since: float, until: float, limit: int
) -> list[FailureGroup]:
    """Return what `IndexReader.failures` does."""
    columns = task_run_minute.c
    # No index is by this, so it leaves the choice of one to the groups: by its minutes SQLite
    # reads all that ended in them, and sorts what failed.
    minute = columns.minute + 0
    runs = func.sum(columns.runs)
    rows = connection.execute(
        select(
            columns.task, columns.error, runs, func.min(columns.minute), func.max(columns.minute)
        )
        .where(minute >= int(since // MINUTE), minute < math.ceil(until / MINUTE))
        .where(columns.error != EMPTY, *_meant(columns, query))
        .group_by(columns.task, columns.error)
        .having(runs > 0)
        .order_by(desc(runs), columns.task, columns.error)
        .limit(limit)
    ).all()
    return [_group(connection, row) for row in rows]


def _group(connection: Connection, row: Sequence[Any]) -> FailureGroup:
    task, error, runs, first, last = row
    newest = connection.execute(_NEWEST, {"of_task": task, "of_error": error}).first()
    # They may be gone already, while what was counted of them is still kept.
    run_id, detail = ("", "") if newest is None else newest
    return FailureGroup(task, error, int(runs), first * MINUTE, last * MINUTE, run_id, detail)


def _meant(columns: Any, query: RunQuery) -> list[ColumnElement[bool]]:
    wanted = query.wanted
    clauses: list[ColumnElement[bool]] = []
    if query.tasks is not None:
        clauses.append(columns.task.in_(query.tasks))
    if wanted.queue:
        clauses.append(columns.queue.in_(list(map(name, wanted.queue))))
    if wanted.state:
        clauses.append(columns.state.in_(wanted.state))
    return clauses
