"""What is remembered of alerts."""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a table; nothing that is there is touched."""
    op.create_table(
        "alert_records",
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("owner", sa.String(160), nullable=False),
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("at", sa.Float, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("kind", "owner", "id", name="pk_alert_records"),
    )


def downgrade() -> None:
    """An older program would tell everybody of everything again."""
    raise NotImplementedError(
        "The schema does not go back: restore a backup of the older version instead."
    )
