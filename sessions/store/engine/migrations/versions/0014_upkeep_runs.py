"""What came of each run of a job of upkeep.

Numbers only have to grow: there need be none between this one and the one below it.
"""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a table."""
    op.create_table(
        "upkeep_runs",
        sa.Column("job", sa.String(64), primary_key=True),
        sa.Column("began_at", sa.Float, primary_key=True),
        sa.Column("due_at", sa.Float, nullable=True),
        sa.Column("ended_at", sa.Float, nullable=True),
        sa.Column("outcome", sa.String(16), nullable=True),
        sa.Column("result", sa.Text, nullable=False),
    )


def downgrade() -> None:
    """An older program would not know what was done when."""
    raise NotImplementedError(
        "The schema does not go back: restore a backup of the older version instead."
    )
