"""Which message an event is about, so that what has become of a message can be found.

There is no migration 0010: numbers only have to grow.
"""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a column, in place on both backends, and its index, which is empty at first."""
    op.add_column("events", sa.Column("message", sa.BigInteger, nullable=True))
    there = sa.text("message IS NOT NULL")
    op.create_index(
        "ix_events_message", "events", ["message"], sqlite_where=there, postgresql_where=there
    )


def downgrade() -> None:
    """An older program would leave the column empty."""
    raise NotImplementedError(
        "The schema does not go back: restore a backup of the older version instead."
    )
