"""Operations that any process may go on with: who carries one out, and with which arguments."""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

TEXT = sa.Text().with_variant(postgresql.TEXT(collation="C"), "postgresql")

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the columns."""
    for name in ("arguments", "claim"):
        column = sa.Column(name, TEXT, nullable=False, server_default="")
        op.add_column("bulk_operation", column)
    for name in ("chosen", "claimed_until"):
        op.add_column("bulk_operation", sa.Column(name, sa.Float(), nullable=True))
