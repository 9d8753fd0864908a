"""Write what events change, in one transaction with how far the log was read.

Any number of processes may follow one log into one database. Each says from where to where it has
read; the first whose transaction changes the position has applied those events, and to the others
nothing happens but that they read the position again.
"""

import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, Table, bindparam, select, update
from sqlalchemy.dialects import postgresql, sqlite

from jtask.contract import Event
from jtask_index.engines import prepare_folder, translated
from jtask_index.folding import Changes, KnownRun, fold
from jtask_index.migrating import migrate
from jtask_index.reader import LOG
from jtask_index.rows import name, row_of_run, run_of_row
from jtask_index.schema import (
    followed_log,
    tag,
    task_run,
    task_run_argument,
    task_run_count,
    task_run_minute,
    task_run_state,
    task_run_tag,
    worker,
)

_AT_ONCE = 1000  # values in one statement
_LATEST = (
    "state",
    "at",
    "until",
    "started",
    "ended",
    "took",
    "attempt",
    "worker",
    "detail",
    "error",
    "states",
)
"""The columns of `task_run` that a state changes; to write others changes their indexes too."""

_TOLD = tuple(column.name for column in task_run.c if column.name != "run_id")


class Followed(NamedTuple):
    """How far a log was read.

    Attributes:
        identity: Of the log; empty before it was read for the first time.
        position: Up to where.
    """

    identity: str
    position: int


class IndexWriter:
    """Write the index; each call blocks.

    Args:
        engine: Where it is.
    """

    def __init__(self, engine: Engine) -> None:
        self._plain = engine
        self._engine = engine.execution_options(jtask_writes=True)

    @property
    def engine(self) -> Engine:
        """Where the index is, for transactions that write."""
        return self._engine

    def prepare(self) -> Followed:
        """Make the tables if they are not there, and return how far the log was read.

        Raises:
            ConfigurationError: They are of a later version of jtask.
            IndexUnavailable: The database cannot be reached.
        """
        with translated(self._plain):
            prepare_folder(self._plain)
            migrate(self._plain)
            with self._engine.begin() as connection:
                row = {"name": LOG, "identity": "", "position": 0, "missed": 0, "changed": 0.0}
                connection.execute(_insert(connection, followed_log).on_conflict_do_nothing(), row)
        return self.followed()

    def followed(self) -> Followed:
        """Return how far the log was read."""
        columns = followed_log.c
        query = select(columns.identity, columns.position).where(columns.name == LOG)
        with translated(self._plain), self._plain.connect() as connection:
            identity, position = connection.execute(query).one()
        return Followed(identity, position)

    def apply(
        self,
        events: Sequence[Event],
        before: Followed,
        after: Followed,
        *,
        missed: int = 0,
        oldest: float = 0.0,
    ) -> bool:
        """Apply events, once whoever else does it too.

        Args:
            events: What lies between two positions.
            before: Up to where the log was read before.
            after: Up to where it is read then.
            missed: How many messages between them the broker had dropped.
            oldest: See `folding.fold`.

        Returns:
            bool: Whether it was done here; else another process has gone on from `before`.

        Raises:
            IndexUnavailable: The database cannot be reached; nothing was done.
        """
        with translated(self._plain), self._engine.begin() as connection:
            # First: from here on nobody else can change what is read below.
            if not _move(connection, before, after, missed):
                return False
            ids = list(dict.fromkeys(event.run_id for event in events))
            _write(connection, fold(_known(connection, ids), events, oldest))
        return True

    def clear(self) -> None:
        """Delete everything that comes from the log, and begin to read it anew."""
        with translated(self._plain), self._engine.begin() as connection:
            values = {"identity": "", "position": 0, "missed": 0, "changed": time.time()}
            connection.execute(update(followed_log).where(followed_log.c.name == LOG), values)
            for table in _OF_LOG:
                connection.execute(table.delete())


_OF_LOG = (
    task_run,
    task_run_state,
    task_run_tag,
    task_run_argument,
    task_run_count,
    task_run_minute,
    tag,
    worker,
)


def add_counts(connection: Connection, table: Table, rows: Iterable[dict[str, Any]]) -> None:
    """Add to the `runs` of rows that are there, and make the others.

    Args:
        connection: In a transaction.
        table: `task_run_count` or `task_run_minute`.
        rows: What to add, in an order that is everybody's.
    """
    insert = _insert(connection, table)
    keys = [column.name for column in table.primary_key]
    added = insert.on_conflict_do_update(
        index_elements=keys, set_={"runs": table.c.runs + insert.excluded.runs}
    )
    _execute(connection, added, list(rows))


def _move(connection: Connection, before: Followed, after: Followed, missed: int) -> bool:
    columns = followed_log.c
    moved = (
        update(followed_log)
        .where(
            columns.name == LOG,
            columns.identity == before.identity,
            columns.position == before.position,
        )
        .values(
            identity=after.identity,
            position=after.position,
            missed=columns.missed + missed,
            changed=time.time(),
        )
    )
    return connection.execute(moved).rowcount == 1


def _known(connection: Connection, ids: Sequence[str]) -> dict[str, KnownRun]:
    known: dict[str, KnownRun] = {}
    for start in range(0, len(ids), _AT_ONCE):
        query = select(task_run).where(task_run.c.run_id.in_(ids[start : start + _AT_ONCE]))
        for row in connection.execute(query).mappings():
            known[row["run_id"]] = KnownRun(run_of_row(dict(row)), row["states"])
    return known


def _write(connection: Connection, changes: Changes) -> None:
    _execute(connection, task_run.insert(), [_row(run) for run in changes.new])
    _execute(connection, _update(_LATEST), [_update_row(run, _LATEST) for run in changes.moved])
    _execute(connection, _update(_TOLD), [_update_row(run, _TOLD) for run in changes.retold])
    _execute(connection, task_run_state.insert(), changes.states)
    tags = [
        {"run_id": run.run_id, "tag": name(one)}
        for run in changes.tagged
        for one in dict.fromkeys(run.tags)
    ]
    _execute(connection, _insert(connection, task_run_tag).on_conflict_do_nothing(), tags)
    values: list[dict[str, Any]] = [
        {
            "run_id": run_id,
            "path": name(value.path),
            "value": name(value.value),
            "number": value.number,
        }
        for run_id, found in changes.arguments.items()
        for value in found
    ]
    _execute(connection, _insert(connection, task_run_argument).on_conflict_do_nothing(), values)
    counts = [key._asdict() | {"runs": n} for key, n in sorted(changes.counts.items()) if n]
    add_counts(connection, task_run_count, counts)
    minutes = [key._asdict() | {"runs": n} for key, n in sorted(changes.minutes.items()) if n]
    add_counts(connection, task_run_minute, minutes)
    _write_seen(connection, changes)


def _write_seen(connection: Connection, changes: Changes) -> None:
    insert = _insert(connection, tag)
    seen = insert.on_conflict_do_update(
        index_elements=["tag"],
        set_={"last_seen": insert.excluded.last_seen},
        where=tag.c.last_seen < insert.excluded.last_seen,
    )
    tags = [{"tag": one, "last_seen": at} for one, at in sorted(changes.tags.items())]
    _execute(connection, seen, tags)
    insert = _insert(connection, worker)
    seen = insert.on_conflict_do_update(
        index_elements=["worker"],
        set_={"last_seen": insert.excluded.last_seen},
        where=worker.c.last_seen < insert.excluded.last_seen,
    )
    workers = [
        {"worker": one, "first_seen": first, "last_seen": last, "info": "", "is_living": 0}
        for one, (first, last) in sorted(changes.workers.items())
    ]
    _execute(connection, seen, workers)


def _row(run: KnownRun) -> dict[str, Any]:
    return row_of_run(run.summary, run.states)


def _update(columns: Sequence[str]) -> Any:
    values: dict[str, Any] = {column: bindparam(f"new_{column}") for column in columns}
    return update(task_run).where(task_run.c.run_id == bindparam("of_run")).values(values)


def _update_row(run: KnownRun, columns: Sequence[str]) -> dict[str, Any]:
    row = _row(run)
    return {"of_run": run.summary.run_id} | {f"new_{column}": row[column] for column in columns}


def _execute(connection: Connection, statement: Any, rows: list[dict[str, Any]]) -> None:
    if rows:
        connection.execute(statement, rows)


def _insert(connection: Connection, table: Table) -> Any:
    # The two dialects have `ON CONFLICT` each on an insert of their own.
    is_sqlite = connection.dialect.name == "sqlite"
    return sqlite.insert(table) if is_sqlite else postgresql.insert(table)
