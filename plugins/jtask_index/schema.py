"""The tables of the index, named so that whoever opens the database understands them.

Instants are seconds since the epoch. What is not known is an empty text, or NULL for a number.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    literal_column,
    text,
)
from sqlalchemy.dialects.postgresql import TEXT

metadata = MetaData()
EMPTY = literal_column("''", Text)
"""What an index leaves out; SQLite uses such an index only where it is said in so many words."""

# By bytes, as SQLite compares: quicker than by a language, and the order is the same everywhere.
_TEXT = Text().with_variant(TEXT(collation="C"), "postgresql")


def _text(name: str, *, is_key: bool = False) -> Column[str]:
    return Column(name, _TEXT, primary_key=is_key, nullable=False)


task_run = Table(
    "task_run",
    metadata,
    # Ids of runs are ordered by the instant of their call: the newest are the last.
    _text("run_id", is_key=True),
    _text("task"),
    _text("task_name"),
    _text("run_name"),
    _text("queue"),
    _text("state"),
    Column("at", Float, nullable=False),
    Column("until", Float),
    Column("created", Float, nullable=False),
    Column("started", Float),
    Column("ended", Float),
    Column("took", Float),
    Column("attempt", Integer, nullable=False),
    _text("worker"),
    _text("parent"),
    _text("version"),
    # A JSON list, to be shown; `task_run_tag` is for looking them up.
    _text("tags"),
    _text("detail"),
    _text("error"),
    _text("arguments"),
    # Rows of this run in `task_run_state`.
    Column("states", Integer, nullable=False),
    # That of its latest attempt, in hexadecimal.
    _text("trace_id"),
    # The primary key is the table: one tree less to write, and pages lie in order of time.
    sqlite_with_rowid=False,
)
"""One row a run: the latest that is known of it, as `jtask.run_summaries.RunSummary`."""

_of_run = task_run.c.run_id
Index("task_run_by_state", task_run.c.state, _of_run)
Index("task_run_by_task", task_run.c.task, _of_run)
Index("task_run_by_task_and_state", task_run.c.task, task_run.c.state, _of_run)
Index("task_run_by_queue", task_run.c.queue, _of_run)
# Many runs wait, and have no worker yet.
Index(
    "task_run_by_worker",
    task_run.c.worker,
    _of_run,
    sqlite_where=text("worker <> ''"),
    postgresql_where=text("worker <> ''"),
)
Index(
    "task_run_by_parent",
    task_run.c.parent,
    _of_run,
    sqlite_where=text("parent <> ''"),
    postgresql_where=text("parent <> ''"),
)
Index(
    "task_run_by_error",
    task_run.c.error,
    _of_run,
    sqlite_where=text("error <> ''"),
    postgresql_where=text("error <> ''"),
)

Index(
    "task_run_by_task_and_error",
    task_run.c.task,
    task_run.c.error,
    _of_run,
    sqlite_where=text("error <> ''"),
    postgresql_where=text("error <> ''"),
)

task_run_state = Table(
    "task_run_state",
    metadata,
    _text("run_id", is_key=True),
    # In order of arrival, from 1.
    Column("number", Integer, primary_key=True, autoincrement=False),
    _text("state"),
    Column("at", Float, nullable=False),
    Column("until", Float),
    Column("attempt", Integer, nullable=False),
    _text("worker"),
    _text("detail"),
    sqlite_with_rowid=False,
)
"""Each state that a run entered, and what was noted with it."""

task_run_tag = Table(
    "task_run_tag",
    metadata,
    _text("run_id", is_key=True),
    _text("tag", is_key=True),
    sqlite_with_rowid=False,
)
Index("task_run_tag_by_tag", task_run_tag.c.tag, task_run_tag.c.run_id)

task_run_argument = Table(
    "task_run_argument",
    metadata,
    _text("run_id", is_key=True),
    _text("path", is_key=True),
    _text("value", is_key=True),
    Column("number", Float),
    sqlite_with_rowid=False,
)
Index(
    "task_run_argument_by_value",
    task_run_argument.c.path,
    task_run_argument.c.value,
    task_run_argument.c.run_id,
)
"""The values inside the arguments of runs, see `jtask.run_arguments.values_of`."""

task_run_count = Table(
    "task_run_count",
    metadata,
    _text("task", is_key=True),
    _text("queue", is_key=True),
    _text("state", is_key=True),
    Column("runs", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""How many rows of `task_run` there are, kept so that nobody has to count millions."""

task_run_minute = Table(
    "task_run_minute",
    metadata,
    # Since the epoch.
    Column("minute", BigInteger, primary_key=True, autoincrement=False),
    _text("task", is_key=True),
    _text("queue", is_key=True),
    _text("state", is_key=True),
    _text("error", is_key=True),
    # See `jtask_index.latency`: how long the runs took, in steps.
    Column("step", Integer, primary_key=True, autoincrement=False),
    Column("runs", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""How many runs ended in a minute, by how long they took."""

# All that is read of failures, in the order of their groups: to sort it takes longer than to read
# that of other minutes, too.
Index(
    "task_run_minute_by_failure",
    task_run_minute.c.task,
    task_run_minute.c.error,
    task_run_minute.c.minute,
    task_run_minute.c.state,
    task_run_minute.c.queue,
    task_run_minute.c.runs,
    sqlite_where=text("error <> ''"),
    postgresql_where=text("error <> ''"),
)

task_run_hour = Table(
    "task_run_hour",
    metadata,
    # The first one of an hour, since the epoch.
    Column("minute", BigInteger, primary_key=True, autoincrement=False),
    _text("state", is_key=True),
    # As in `task_run_minute`.
    Column("step", Integer, primary_key=True, autoincrement=False),
    Column("runs", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)
"""How many runs of all tasks ended in an hour: `task_run_minute` put together."""

tag = Table(
    "tag",
    metadata,
    _text("tag", is_key=True),
    Column("last_seen", Float, nullable=False),
    sqlite_with_rowid=False,
)

worker = Table(
    "worker",
    metadata,
    _text("worker", is_key=True),
    Column("first_seen", Float, nullable=False),
    Column("last_seen", Float, nullable=False),
    # What it said of itself when it last said that it lives, JSON; empty when it never did.
    _text("info"),
    # Whether it lived when the index last asked.
    Column("is_living", Integer, nullable=False),
    sqlite_with_rowid=False,
)

schedule = Table(
    "schedule",
    metadata,
    # The key of its task.
    _text("schedule", is_key=True),
    # Its record on the broker, JSON.
    _text("record"),
    Column("seen", Float, nullable=False),
    sqlite_with_rowid=False,
)

dead_letter = Table(
    "dead_letter",
    metadata,
    _text("run_id", is_key=True),
    _text("queue"),
    _text("reason"),
    Column("at", Float, nullable=False),
    sqlite_with_rowid=False,
)

followed_log = Table(
    "followed_log",
    metadata,
    _text("name", is_key=True),
    # Another one means that the log was made anew, and counts from the beginning.
    _text("identity"),
    # Everything up to here is in the other tables.
    Column("position", BigInteger, nullable=False),
    # How many messages of the log had been dropped by the broker before they were read.
    Column("missed", BigInteger, nullable=False),
    Column("changed", Float, nullable=False),
    sqlite_with_rowid=False,
)
"""How far the event log has been read; changes in one transaction with what was read."""

bulk_operation = Table(
    "bulk_operation",
    metadata,
    _text("operation_id", is_key=True),
    # `cancel runs`, `pause queue`, ...
    _text("kind"),
    _text("who"),
    Column("at", Float, nullable=False),
    # Of runs as the query of a URL.
    _text("filter"),
    Column("runs", BigInteger, nullable=False),
    Column("finished", Float),
    # JSON that takes the place of the run's own; empty for most.
    Column("arguments", _TEXT, nullable=False, server_default=""),
    # When all runs that it is about were noted.
    Column("chosen", Float),
    # Of the process that carries it out, and until when that is believed to live.
    Column("claim", _TEXT, nullable=False, server_default=""),
    Column("claimed_until", Float),
    sqlite_with_rowid=False,
)
"""Who has done what, and when."""

bulk_operation_run = Table(
    "bulk_operation_run",
    metadata,
    _text("operation_id", is_key=True),
    _text("run_id", is_key=True),
    # The run that executes it again: chosen before it is sent, so that it is sent once.
    _text("new_run_id"),
    # Empty until it is done.
    _text("result"),
    sqlite_with_rowid=False,
)
