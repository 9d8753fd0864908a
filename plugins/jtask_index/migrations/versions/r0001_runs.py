"""Runs, their states, tags and arguments, and what is counted of them."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "bulk_operation",
        sa.Column("operation_id", TEXT, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("who", TEXT, nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("filter", TEXT, nullable=False),
        sa.Column("runs", sa.BigInteger(), nullable=False),
        sa.Column("finished", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("operation_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "bulk_operation_run",
        sa.Column("operation_id", TEXT, nullable=False),
        sa.Column("run_id", TEXT, nullable=False),
        sa.Column("new_run_id", TEXT, nullable=False),
        sa.Column("result", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("operation_id", "run_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "dead_letter",
        sa.Column("run_id", TEXT, nullable=False),
        sa.Column("queue", TEXT, nullable=False),
        sa.Column("reason", TEXT, nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("run_id"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "followed_log",
        sa.Column("name", TEXT, nullable=False),
        sa.Column("identity", TEXT, nullable=False),
        sa.Column("position", sa.BigInteger(), nullable=False),
        sa.Column("missed", sa.BigInteger(), nullable=False),
        sa.Column("changed", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "schedule",
        sa.Column("schedule", TEXT, nullable=False),
        sa.Column("record", TEXT, nullable=False),
        sa.Column("seen", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("schedule"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "tag",
        sa.Column("tag", TEXT, nullable=False),
        sa.Column("last_seen", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("tag"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "task_run",
        sa.Column("run_id", TEXT, nullable=False),
        sa.Column("task", TEXT, nullable=False),
        sa.Column("task_name", TEXT, nullable=False),
        sa.Column("run_name", TEXT, nullable=False),
        sa.Column("queue", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("until", sa.Float(), nullable=True),
        sa.Column("created", sa.Float(), nullable=False),
        sa.Column("started", sa.Float(), nullable=True),
        sa.Column("ended", sa.Float(), nullable=True),
        sa.Column("took", sa.Float(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("worker", TEXT, nullable=False),
        sa.Column("parent", TEXT, nullable=False),
        sa.Column("version", TEXT, nullable=False),
        sa.Column("tags", TEXT, nullable=False),
        sa.Column("detail", TEXT, nullable=False),
        sa.Column("error", TEXT, nullable=False),
        sa.Column("arguments", TEXT, nullable=False),
        sa.Column("states", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("run_id"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "task_run_by_error",
        "task_run",
        ["error", "run_id"],
        unique=False,
        sqlite_where=sa.text("error <> ''"),
        postgresql_where=sa.text("error <> ''"),
    )
    op.create_index(
        "task_run_by_parent",
        "task_run",
        ["parent", "run_id"],
        unique=False,
        sqlite_where=sa.text("parent <> ''"),
        postgresql_where=sa.text("parent <> ''"),
    )
    op.create_index("task_run_by_queue", "task_run", ["queue", "run_id"], unique=False)
    op.create_index("task_run_by_state", "task_run", ["state", "run_id"], unique=False)
    op.create_index("task_run_by_task", "task_run", ["task", "run_id"], unique=False)
    op.create_index(
        "task_run_by_task_and_state", "task_run", ["task", "state", "run_id"], unique=False
    )
    op.create_index("task_run_by_worker", "task_run", ["worker", "run_id"], unique=False)
    op.create_table(
        "task_run_argument",
        sa.Column("run_id", TEXT, nullable=False),
        sa.Column("path", TEXT, nullable=False),
        sa.Column("value", TEXT, nullable=False),
        sa.Column("number", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("run_id", "path", "value"),
        sqlite_with_rowid=False,
    )
    op.create_index(
        "task_run_argument_by_value", "task_run_argument", ["path", "value", "run_id"], unique=False
    )
    op.create_table(
        "task_run_count",
        sa.Column("task", TEXT, nullable=False),
        sa.Column("queue", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("runs", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("task", "queue", "state"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "task_run_minute",
        sa.Column("minute", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("task", TEXT, nullable=False),
        sa.Column("queue", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("error", TEXT, nullable=False),
        sa.Column("step", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("runs", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("minute", "task", "queue", "state", "error", "step"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "task_run_state",
        sa.Column("run_id", TEXT, nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("until", sa.Float(), nullable=True),
        sa.Column("attempt", sa.Integer(), nullable=False),
        sa.Column("worker", TEXT, nullable=False),
        sa.Column("detail", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "number"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "task_run_tag",
        sa.Column("run_id", TEXT, nullable=False),
        sa.Column("tag", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("run_id", "tag"),
        sqlite_with_rowid=False,
    )
    op.create_index("task_run_tag_by_tag", "task_run_tag", ["tag", "run_id"], unique=False)
    op.create_table(
        "worker",
        sa.Column("worker", TEXT, nullable=False),
        sa.Column("first_seen", sa.Float(), nullable=False),
        sa.Column("last_seen", sa.Float(), nullable=False),
        sa.Column("info", TEXT, nullable=False),
        sa.Column("is_living", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("worker"),
        sqlite_with_rowid=False,
    )
