"""Ask the index: runs by filters, what is counted of them, and how far it has come."""

import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple, Self

from sqlalchemy import Connection, Engine, Select, desc, func, select

from jtask.errors import ConfigurationError
from jtask.ids import created_at
from jtask.run_filters import RunFilter
from jtask.run_index import IndexPosition, RunPage
from jtask.run_summaries import RunSummary, is_of_task
from jtask_index.charts import Bucket, FailureGroup, failures, timeline
from jtask_index.engines import default_url, open_engine, sqlite_file, translated
from jtask_index.migrating import is_current
from jtask_index.queries import RunQuery
from jtask_index.rows import RUN_FIELDS, RunState, name, run_of_row
from jtask_index.schema import (
    dead_letter,
    followed_log,
    schedule,
    tag,
    task_run,
    task_run_count,
    task_run_state,
    worker,
)
from jtask_index.searching import count, find

_RUN = tuple(task_run.c[field] for field in RUN_FIELDS)
LOG = "events"
"""The name of the event log in `followed_log`."""


class Count(NamedTuple):
    """How many runs there are.

    Attributes:
        runs: The number, or that up to which was counted.
        is_exact: Whether there are no more.
    """

    runs: int
    is_exact: bool


class WorkerRow(NamedTuple):
    """A worker that has been heard of.

    Attributes:
        worker: Its name.
        first_seen: When it was first heard of, seconds since the epoch; likewise the next.
        last_seen: When it was last heard of.
        info: What it last said of itself, JSON; empty where that was not read.
        is_living: 1 if it lived when the index last asked; else 0.
    """

    worker: str
    first_seen: float
    last_seen: float
    info: str
    is_living: int


class DeadLetterRow(NamedTuple):
    """A dead letter that was there when the index last asked.

    Attributes:
        run_id: The run.
        queue: Where it came from.
        reason: Why it is dead.
        at: Since when, seconds since the epoch.
    """

    run_id: str
    queue: str
    reason: str
    at: float


class ScheduleRow(NamedTuple):
    """A schedule that was there when the index last asked.

    Attributes:
        schedule: The key of its task.
        record: What the broker keeps of it, JSON; see docs/wire-format.md.
        seen: When the index last asked, seconds since the epoch.
    """

    schedule: str
    record: str
    seen: float


class IndexReader:
    """Read the index; each call blocks, and may be made from any thread.

    Args:
        engine: Where it is; closed with the reader.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    @classmethod
    def open(cls, url: str | None = None) -> Self:
        """Open the index.

        Args:
            url: Of the database; None is the setting `index_url`, or where that says nothing the
                file in the folder of the setting `home`.

        Raises:
            ConfigurationError: There is no index there, or of another version of jtask.
        """
        engine = open_engine(url or index_url())
        try:
            if exists(engine):
                return cls(engine)
            where = engine.url.render_as_string()
            raise ConfigurationError(f"there is no index at {where}: start one by `jtask index`")
        except BaseException:
            engine.dispose()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    @property
    def engine(self) -> Engine:
        """Where the index is, for questions of your own: `jtask_index.schema` has the tables."""
        return self._engine

    @property
    def url(self) -> str:
        """Where the index is, without credentials."""
        return self._engine.url.render_as_string()

    def position(self) -> IndexPosition | None:
        """Return how far the index has come; None before it has read anything."""
        query = select(
            followed_log.c.position,
            followed_log.c.identity,
            followed_log.c.missed,
            followed_log.c.changed,
        ).where(followed_log.c.name == LOG)
        rows = self.fetch(query)
        return IndexPosition(*rows[0]) if rows else None

    # --- runs -----------------------------------------------------------------------------

    def runs(self, wanted: RunFilter, *, after: str | None = None, limit: int = 50) -> RunPage:
        """Return a page of the runs that are meant, newest first.

        Args:
            wanted: Which.
            after: The `after` of the page before; None for the first one.
            limit: How many at most, see `RunPage.reached`.
        """
        with self._reading() as connection:
            found = find(connection, self._query(wanted), _RUN, after=after, limit=limit)
        runs = [run_of_row(row) for row in found.rows]
        if found.after is None or len(runs) == limit:
            return RunPage(runs, found.after)
        return RunPage(runs, found.after, created_at(found.after))

    def run(self, run_id: str) -> RunSummary | None:
        """Return what is known of a run; None where nothing is."""
        rows = self.fetch(select(*_RUN).where(task_run.c.run_id == run_id))
        return run_of_row(rows[0]) if rows else None

    def states(self, run_id: str) -> list[RunState]:
        """Return the states that a run has entered, in order of their instants."""
        columns = [task_run_state.c[field] for field in RunState._fields]
        query = select(*columns).where(task_run_state.c.run_id == run_id)
        states = [RunState(*row) for row in self.fetch(query)]
        return sorted(states, key=lambda state: (state.at, state.number))

    def children(self, run_id: str, *, after: str | None = None, limit: int = 200) -> RunPage:
        """Return the runs that a run has called or enqueued, newest first; see `runs`."""
        return self.runs(RunFilter(parent=(run_id,)), after=after, limit=limit)

    def count(self, wanted: RunFilter, *, at_most: int = 10_000) -> Count:
        """Count the runs that are meant.

        Args:
            wanted: Which.
            at_most: Where to stop counting, which keeps it quick; it stops before where what is
                asked for is looked for among too many. What needs no counting is exact however
                many they are: all runs, those of tasks, of queues, in states.
        """
        counts = self.counts(wanted, at_most=at_most)
        return Count(sum(counts.values()), counts.is_exact)

    def counts(self, wanted: RunFilter, *, at_most: int = 10_000) -> "StateCounts":
        """Count the runs that are meant, by state; the arguments are those of `count`."""
        if is_counted(wanted):
            return StateCounts(self._kept_counts(wanted), is_exact=True)
        with self._reading() as connection:
            counts, is_exact = count(
                connection, self._query(wanted), task_run.c.state, at_most=at_most
            )
        return StateCounts(counts, is_exact=is_exact)

    def _kept_counts(self, wanted: RunFilter) -> dict[str, int]:
        columns = task_run_count.c
        query = select(columns.state, func.sum(columns.runs)).group_by(columns.state)
        if wanted.task:
            query = query.where(columns.task.in_(self.task_keys(wanted.task)))
        if wanted.queue:
            query = query.where(columns.queue.in_(list(map(name, wanted.queue))))
        if wanted.state:
            query = query.where(columns.state.in_(wanted.state))
        return {state: int(runs) for state, runs in self.fetch(query) if runs}

    # --- over time ------------------------------------------------------------------------

    def timeline(
        self, wanted: RunFilter, *, since: float, until: float, buckets: int = 60
    ) -> list[Bucket]:
        """Return how many runs ended when, and how long they took.

        Args:
            wanted: Which; its `task`, `queue` and `state` count, the rest does not.
            since: The beginning, seconds since the epoch, rounded down to a minute; where it is of
                all tasks and queues, and of more than six hours, to an hour.
            until: The end.
            buckets: How many at most; each is a whole number of minutes or hours long.
        """
        with self._reading() as connection:
            return timeline(connection, self._query(wanted), since, until, buckets)

    def failures(
        self, wanted: RunFilter, *, since: float, until: float, limit: int = 50
    ) -> list[FailureGroup]:
        """Return what failed and how often: grouped by task and type of error, the most first.

        Args:
            wanted: Which; its `task`, `queue` and `state` count, the rest does not.
            since: Runs that ended at this instant or later, seconds since the epoch, rounded down
                to a minute.
            until: Runs that ended before.
            limit: How many groups.
        """
        with self._reading() as connection:
            return failures(connection, self._query(wanted), since, until, limit)

    # --- what there is ----------------------------------------------------------------------

    def tasks(self) -> list[str]:
        """Return the keys of all tasks of which there are runs."""
        return self._distinct(task_run_count.c.task)

    def queues(self) -> list[str]:
        """Return all queues of which there are runs."""
        return [queue for queue in self._distinct(task_run_count.c.queue) if queue]

    def tags(self, prefix: str = "", limit: int = 100) -> list[str]:
        """Return tags that runs have, those that were seen last first.

        Args:
            prefix: What they begin with.
            limit: How many.
        """
        query = select(tag.c.tag).order_by(desc(tag.c.last_seen)).limit(limit)
        if prefix:
            query = query.where(tag.c.tag >= prefix, tag.c.tag < f"{prefix}\U0010ffff")
        return [row.tag for row in self.fetch(query)]

    def workers(self, *, is_living: bool | None = None, limit: int = 1000) -> list[WorkerRow]:
        """Return workers that have been heard of, the last one first.

        Args:
            is_living: Only those that lived when the index last asked, or only the others.
            limit: How many.
        """
        columns = [worker.c[field] for field in WorkerRow._fields]
        query = select(*columns).order_by(desc(worker.c.last_seen)).limit(limit)
        if is_living is not None:
            query = query.where(worker.c.is_living == int(is_living))
        return [WorkerRow._make(row) for row in self.fetch(query)]

    def schedules(self) -> list[ScheduleRow]:
        """Return the schedules that were there when the index last asked."""
        query = select(schedule.c.schedule, schedule.c.record, schedule.c.seen)
        return [ScheduleRow(*row) for row in self.fetch(query.order_by(schedule.c.schedule))]

    def dead_letters(self, *, limit: int = 1000) -> list[DeadLetterRow]:
        """Return the dead letters that were there when the index last asked, newest first."""
        columns = [dead_letter.c[field] for field in DeadLetterRow._fields]
        query = select(*columns).order_by(desc(dead_letter.c.at)).limit(limit)
        return [DeadLetterRow(*row) for row in self.fetch(query)]

    def task_keys(self, wanted: Sequence[str]) -> list[str]:
        """Return the keys of the tasks with these keys or names."""
        return [key for key in self.tasks() if any(is_of_task(key, one) for one in wanted)]

    def _distinct(self, column: Any) -> list[str]:
        rows = self.fetch(select(column).where(task_run_count.c.runs > 0).distinct())
        return sorted(row[0] for row in rows)

    # --- asking ---------------------------------------------------------------------------

    def fetch(self, query: Select[*tuple[Any, ...]]) -> list[Any]:
        """Return the rows that a query finds."""
        with self._reading() as connection:
            return list(connection.execute(query).all())

    @contextmanager
    def _reading(self) -> Generator[Connection]:
        with translated(self._engine), self._engine.connect() as connection:
            yield connection

    def _query(self, wanted: RunFilter) -> RunQuery:
        tasks = self.task_keys(wanted.task) if wanted.task else None
        return RunQuery(wanted, tasks, time.time(), self._engine.dialect.name)


class StateCounts(dict[str, int]):
    """How many runs there are in each state.

    Args:
        counts: The numbers.
        is_exact: Whether there are no more of them, see `IndexReader.count`.
    """

    def __init__(self, counts: Mapping[str, int], *, is_exact: bool) -> None:
        super().__init__(counts)
        self.is_exact = is_exact


def is_counted(wanted: RunFilter) -> bool:
    """Tell whether the index keeps the number of the runs that are meant."""
    return wanted == RunFilter(state=wanted.state, task=wanted.task, queue=wanted.queue)


def index_url() -> str:
    """Return where the index is, by the settings."""
    from jtask.settings import get_settings, settings_of
    from jtask_index.settings import IndexSettings

    settings = get_settings()
    return settings_of(IndexSettings).index_url or default_url(settings.namespace, settings.home)


def find_index() -> IndexReader | None:
    """Open the index that the settings say, if there is one.

    Raises:
        ConfigurationError: A database is set that holds none, or cannot be reached.
    """
    url = index_url()
    engine = open_engine(url)
    file = sqlite_file(engine)
    return None if file is not None and not file.exists() else IndexReader.open(url)


def exists(engine: Engine) -> bool:
    """Tell whether there is an index, of the version of this code; makes nothing."""
    file = sqlite_file(engine)
    # To look into a file that is not there would make it.
    with translated(engine):
        return (file is None or file.exists()) and is_current(engine)
