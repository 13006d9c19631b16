"""A session is one linked device, and no two sessions are the same one."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add a column, in place on both backends.

    What it holds is read from the credentials when the store is opened (devices.py).
    """
    op.add_column("sessions", sa.Column("device", sa.String(128), nullable=True))
    op.create_index("ix_sessions_device", "sessions", ["device"], unique=True)


def downgrade() -> None:
    """An older program would let two sessions be one device."""
    raise NotImplementedError(
        "The schema does not go back: restore a backup of the older version instead."
    )
