"""Runs by the hour, for charts of days, and indexes of what fails."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the table and the indexes, and count what is there."""
    op.create_table(
        "task_run_hour",
        sa.Column("minute", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("step", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("runs", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("minute", "state", "step"),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO task_run_hour (minute, state, step, runs) "
        "SELECT minute - minute % 60, state, step, sum(runs) FROM task_run_minute "
        "GROUP BY minute - minute % 60, state, step"
    )
    op.create_index(
        "task_run_by_task_and_error",
        "task_run",
        ["task", "error", "run_id"],
        unique=False,
        sqlite_where=sa.text("error <> ''"),
        postgresql_where=sa.text("error <> ''"),
    )
    op.drop_index("task_run_by_worker", "task_run")
    op.create_index(
        "task_run_by_worker",
        "task_run",
        ["worker", "run_id"],
        unique=False,
        sqlite_where=sa.text("worker <> ''"),
        postgresql_where=sa.text("worker <> ''"),
    )
    op.create_index(
        "task_run_minute_by_failure",
        "task_run_minute",
        ["task", "error", "minute", "state", "queue", "runs"],
        unique=False,
        sqlite_where=sa.text("error <> ''"),
        postgresql_where=sa.text("error <> ''"),
    )
