"""Write what events change, in one transaction with how far the log was read.

Any number of processes may follow one log into one database. Each says from where to where it has
read; the first whose transaction changes the position has applied those events, and to the others
nothing happens but that they read the position again.
"""

import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Engine, Select, Table, select, update
from sqlalchemy.dialects import postgresql, sqlite

from jtask.contract import Event
from jtask_index.engines import prepare_folder, translated
from jtask_index.folding import Changes, CountKey, KnownRun, fold
from jtask_index.migrating import migrate
from jtask_index.minutes import add_to_minutes
from jtask_index.reader import LOG
from jtask_index.rows import (
    LATEST_COLUMNS,
    RUN_FIELDS,
    TOLD_COLUMNS,
    latest_values,
    run_of_row,
    told_values,
)
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
from jtask_index.statements import RowsByKey, adding, inserting, inserting_missing, seeing, updating

_RUNS = RowsByKey(task_run.c.run_id, [task_run.c[field] for field in (*RUN_FIELDS, "states")])
_ADD_RUNS = inserting(task_run, ("run_id", *LATEST_COLUMNS, *TOLD_COLUMNS))
_MOVE_RUNS = updating(task_run, "run_id", LATEST_COLUMNS)
_RETELL_RUNS = updating(task_run, "run_id", (*LATEST_COLUMNS, *TOLD_COLUMNS))
_ADD_STATES = inserting(task_run_state)
_ADD_TAGS = inserting_missing(task_run_tag)
_ADD_ARGUMENTS = inserting_missing(task_run_argument)
_ADD_TO_COUNTS = adding(task_run_count)
_SEE_TAGS = seeing(tag)
_SEE_WORKERS = seeing(worker)


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

    def close(self) -> None:
        """Close the connections; the next call opens one again."""
        self._plain.dispose()

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
        return Followed(*self.fetch(query)[0])

    def fetch(self, query: Select[*tuple[Any, ...]]) -> list[Any]:
        """Return the rows that a query finds.

        Raises:
            IndexUnavailable: The database cannot be reached.
        """
        with translated(self._plain), self._plain.connect() as connection:
            return list(connection.execute(query).all())

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
            write_changes(connection, fold(known_runs(connection, ids), events, oldest))
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
    task_run_hour,
    tag,
    worker,
)


def add_to_counts(connection: Connection, counts: Counter[CountKey]) -> None:
    """Add to the numbers of runs.

    Args:
        connection: In a transaction.
        counts: What to add.
    """
    # In an order that is everybody's: PostgreSQL locks row by row.
    _ADD_TO_COUNTS.execute(connection, [(*key, n) for key, n in sorted(counts.items()) if n])


def lock_log(connection: Connection) -> None:
    """Let nobody apply events meanwhile: SQLite has one writer, PostgreSQL locks this row."""
    row = select(followed_log.c.position).where(followed_log.c.name == LOG)
    connection.execute(row.with_for_update())


def known_runs(connection: Connection, ids: Sequence[str]) -> dict[str, KnownRun]:
    """Return what the index has of runs, by their ids."""
    return {row[0]: KnownRun(run_of_row(row), row[-1]) for row in _RUNS.fetch(connection, ids)}


def write_changes(connection: Connection, changes: Changes) -> None:
    """Write what events change; in a transaction that nobody else's may come into."""
    _ADD_RUNS.execute(
        connection,
        [
            (run.summary.run_id, *latest_values(run.summary, run.states), *told_values(run.summary))
            for run in changes.new
        ],
    )
    _MOVE_RUNS.execute(
        connection,
        [(*latest_values(run.summary, run.states), run.summary.run_id) for run in changes.moved],
    )
    _RETELL_RUNS.execute(
        connection,
        [
            (*latest_values(run.summary, run.states), *told_values(run.summary), run.summary.run_id)
            for run in changes.retold
        ],
    )
    _ADD_STATES.execute(connection, changes.states)
    _ADD_TAGS.execute(connection, [(run.run_id, one) for run in changes.tagged for one in run.tags])
    _ADD_ARGUMENTS.execute(
        connection,
        [(run_id, *value) for run_id, values in changes.arguments.items() for value in values],
    )
    add_to_counts(connection, changes.counts)
    add_to_minutes(connection, changes.minutes)
    _SEE_TAGS.execute(connection, sorted(changes.tags.items()))
    workers = [(one, *seen, "", 0) for one, seen in sorted(changes.workers.items())]
    _SEE_WORKERS.execute(connection, workers)


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


def _insert(connection: Connection, table: Table) -> Any:
    # The two dialects have `ON CONFLICT` each on an insert of their own.
    is_sqlite = connection.dialect.name == "sqlite"
    return sqlite.insert(table) if is_sqlite else postgresql.insert(table)
