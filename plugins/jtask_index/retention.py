"""Delete the oldest runs from the index, a few at a time."""

import time
from collections import Counter
from typing import Any

from sqlalchemy import Connection, Engine, func, select

from jtask.states import FINAL
from jtask_index.charts import MINUTE
from jtask_index.engines import translated
from jtask_index.folding import CountKey
from jtask_index.queries import first_id
from jtask_index.reader import LOG
from jtask_index.schema import (
    followed_log,
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
from jtask_index.writer import IndexWriter, add_to_counts

CHUNK = 1000
"""Runs that go in one transaction: others wait to write for some 10 ms."""

_FINAL = sorted(map(str, FINAL))


def trim(writer: IndexWriter, *, ttl: float, most: int, at_most: int = 50 * CHUNK) -> int:
    """Delete runs that are over: those that are too old, and the oldest of too many.

    What is counted by the minute, tags and workers go by age alone.

    Args:
        writer: Of the index.
        ttl: Seconds after their call that runs are kept.
        most: How many are kept.
        at_most: How many to delete before returning.

    Returns:
        int: How many were deleted.
    """
    oldest = time.time() - ttl
    deleted = 0
    with translated(writer.engine):
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
    return deleted


def _trim_once(engine: Engine, oldest: float, most: int) -> int:
    with engine.begin() as connection:
        _lock(connection)
        total = connection.scalar(select(func.sum(task_run_count.c.runs))) or 0
        excess = max(0, int(total) - most)
        victims = _victims(connection, None, min(CHUNK, excess)) if excess else []
        if len(victims) < CHUNK:
            victims = _victims(connection, oldest, CHUNK) or victims
        _delete(connection, victims)
    return len(victims)


def _lock(connection: Connection) -> None:
    """Let nobody apply events meanwhile: SQLite has one writer, PostgreSQL locks this row."""
    row = select(followed_log.c.position).where(followed_log.c.name == LOG)
    connection.execute(row.with_for_update())


def _victims(connection: Connection, oldest: float | None, count: int) -> list[Any]:
    columns = task_run.c
    query = select(columns.run_id, columns.task, columns.queue, columns.state)
    query = query.where(columns.state.in_(_FINAL))
    if oldest is not None:
        query = query.where(columns.run_id < first_id(oldest), columns.created < oldest)
    return list(connection.execute(query.order_by(columns.run_id).limit(count)).all())


def _delete(connection: Connection, victims: list[Any]) -> None:
    if not victims:
        return
    ids = [row.run_id for row in victims]
    for table in (task_run, task_run_state, task_run_tag, task_run_argument):
        connection.execute(table.delete().where(table.c.run_id.in_(ids)))
    counts: Counter[CountKey] = Counter()
    counts.subtract(CountKey(row.task, row.queue, row.state) for row in victims)
    add_to_counts(connection, counts)
