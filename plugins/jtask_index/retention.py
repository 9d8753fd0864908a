"""Delete the oldest runs from the index, a few at a time."""

import sys
import time
from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from sqlalchemy import Connection, Engine, func, select

from jtask.states import FINAL
from jtask_index.charts import MINUTE
from jtask_index.engines import translated
from jtask_index.folding import CountKey
from jtask_index.queries import first_id
from jtask_index.schema import (
    tag,
    task_run,
    task_run_argument,
    task_run_count,
    task_run_hour,
    task_run_minute,
    task_run_state,
    task_run_tag,
    worker,
)
from jtask_index.sizes import used_bytes
from jtask_index.writer import IndexWriter, add_to_counts, lock_log

CHUNK = 250
"""Runs that go in one transaction: others wait to write for some 20 ms."""

_FINAL = sorted(map(str, FINAL))


class Limits(NamedTuple):
    """How much the index keeps.

    Attributes:
        ttl: Seconds after their call that runs are kept.
        runs: How many.
        size: Bytes that the index takes.
    """

    ttl: float
    runs: int = sys.maxsize
    size: int = sys.maxsize


class Trimmed(NamedTuple):
    """What was deleted.

    Attributes:
        runs: How many.
        is_all: Whether nothing is left to be deleted.
    """

    runs: int
    is_all: bool


def trim(writer: IndexWriter, limits: Limits, *, at_most: int = 200 * CHUNK) -> Trimmed:
    """Delete runs that are over: those that are too old, and the oldest of too many.

    What is counted by the minute, tags and workers go by age alone.

    Args:
        writer: Of the index.
        limits: What is kept.
        at_most: How many to delete before returning.
    """
    oldest = time.time() - limits.ttl
    deleted = 0
    with translated(writer.engine):
        with writer.engine.begin() as connection:
            most = _most_runs(connection, limits)
        while deleted < at_most:
            count = _trim_once(writer.engine, oldest, most)
            deleted += count
            if count < CHUNK:
                break
        with writer.engine.begin() as connection:
            for table in (task_run_minute, task_run_hour):
                is_old = table.c.minute < int(oldest // MINUTE)
                connection.execute(table.delete().where(is_old))
            connection.execute(tag.delete().where(tag.c.last_seen < oldest))
            is_gone = worker.c.is_living == 0
            connection.execute(worker.delete().where(worker.c.last_seen < oldest, is_gone))
    return Trimmed(deleted, deleted < at_most)


def delete_runs(connection: Connection, runs: Mapping[str, CountKey]) -> None:
    """Delete runs, and count them no more.

    Args:
        connection: In a transaction that nobody else's may come into, see `lock_log`.
        runs: Their ids, and where they are counted.
    """
    if not runs:
        return
    ids = list(runs)
    for table in (task_run, task_run_state, task_run_tag, task_run_argument):
        connection.execute(table.delete().where(table.c.run_id.in_(ids)))
    counts: Counter[CountKey] = Counter()
    counts.subtract(runs.values())
    add_to_counts(connection, counts)


def most_runs(limits: Limits, runs: int, used: int) -> int:
    """Return how many runs are kept.

    Args:
        limits: What is kept.
        runs: How many there are.
        used: Bytes that they take.
    """
    if used <= limits.size:
        return limits.runs
    return min(limits.runs, runs * limits.size // used)


def _most_runs(connection: Connection, limits: Limits) -> int:
    runs = _count(connection)
    return most_runs(limits, runs, used_bytes(connection, runs))


def _count(connection: Connection) -> int:
    return int(connection.scalar(select(func.sum(task_run_count.c.runs))) or 0)


def _trim_once(engine: Engine, oldest: float, most: int) -> int:
    with engine.begin() as connection:
        lock_log(connection)
        excess = max(0, _count(connection) - most)
        victims = _victims(connection, None, min(CHUNK, excess)) if excess else {}
        if len(victims) < CHUNK:
            victims = _victims(connection, oldest, CHUNK) or victims
        delete_runs(connection, victims)
    return len(victims)


def _victims(connection: Connection, oldest: float | None, count: int) -> dict[str, CountKey]:
    columns = task_run.c
    query = select(columns.run_id, columns.task, columns.queue, columns.state)
    query = query.where(columns.state.in_(_FINAL))
    if oldest is not None:
        query = query.where(columns.run_id < first_id(oldest), columns.created < oldest)
    rows = connection.execute(query.order_by(columns.run_id).limit(count))
    return {run_id: CountKey(*key) for run_id, *key in rows}
