"""The trace that a run belongs to."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add the column; the runs that are there have no trace that is known."""
    # With a default, so that neither database writes the rows anew.
    op.add_column("task_run", sa.Column("trace_id", TEXT, nullable=False, server_default=""))
