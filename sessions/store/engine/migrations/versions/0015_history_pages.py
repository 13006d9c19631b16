"""The history of what is measured."""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a table; nothing that is there is touched."""
    op.create_table(
        "history_pages",
        sa.Column("whose", sa.String(16), nullable=False),
        sa.Column("subject", sa.String(255), nullable=False),
        sa.Column("tier", sa.Integer, nullable=False),
        sa.Column("start", sa.BigInteger, nullable=False),
        sa.Column("value", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("whose", "subject", "tier", "start", name="pk_history_pages"),
    )
    op.create_index("ix_history_pages_age", "history_pages", ["tier", "start"])


def downgrade() -> None:
    """An older program would let it grow old."""
    raise NotImplementedError(
        "The schema does not go back: restore a backup of the older version instead."
    )
