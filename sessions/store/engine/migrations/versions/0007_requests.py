"""What was asked under an Idempotency-Key, and its answer, so that nothing is done twice."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a table, in place on both backends."""
    op.create_table(
        "requests",
        sa.Column("key", sa.String(64), primary_key=True),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("session", sa.String(64), nullable=True),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("answer", sa.LargeBinary, nullable=True),
    )
    op.create_index("ix_requests_at", "requests", ["at"])


def downgrade() -> None:
    """An older program would do again what was done under a key."""
    raise NotImplementedError(
        "The schema does not go back: restore a backup of the older version instead."
    )
