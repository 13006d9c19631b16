"""A session may have a proxy."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a column, in place on both backends: no table is copied."""
    op.add_column("sessions", sa.Column("proxy", sa.LargeBinary, nullable=True))


def downgrade() -> None:
    """An older program would log the session in without its proxy, from the host's own address."""
    raise NotImplementedError(
        "The schema does not go back: restore a backup of the older version instead."
    )
