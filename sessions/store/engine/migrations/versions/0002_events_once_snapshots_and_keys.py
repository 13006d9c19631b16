"""Worker events exactly once, snapshots beside whole archives, tokens of workers, facts about the
database itself.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add columns (in place on both backends: no table is copied) and the table `meta`."""
    op.add_column(
        "sessions", sa.Column("event_seq", sa.BigInteger, nullable=False, server_default="0")
    )
    op.add_column("archives", sa.Column("whole", sa.Integer, nullable=False, server_default="1"))
    op.add_column("workers", sa.Column("token_digest", sa.LargeBinary, nullable=True))
    op.create_table(
        "meta",
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("value", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_meta"),
    )


def downgrade() -> None:
    """An older program knows nothing of sealed values and would hand them to workers as keys."""
    raise NotImplementedError(
        "The schema does not go back: restore a backup of the older version instead."
    )
