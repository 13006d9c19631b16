"""A session that came back with a backup of the whole store rests until an operator starts it."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a column, in place on both backends."""
    op.add_column("sessions", sa.Column("restored", sa.Integer, nullable=False, server_default="0"))


def downgrade() -> None:
    """An older program would log restored sessions in beside the installation that they come
    from.
    """
    raise NotImplementedError(
        "The schema does not go back: restore a backup of the older version instead."
    )
