"""Incidents of sessions and of the fleet, and the spans in which sessions were open, down or
off.
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_ROW = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Add two tables; nothing that is there is touched."""
    op.create_table(
        "incidents",
        sa.Column("id", _ROW, autoincrement=True, nullable=False),
        sa.Column("session", sa.String(64), nullable=True),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("began_at", sa.Float, nullable=False),
        sa.Column("ended_at", sa.Float, nullable=True),
        sa.Column("ending", sa.String(32), nullable=True),
        sa.Column("reason", sa.String(64), nullable=False),
        sa.Column("code", sa.Integer, nullable=True),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("rule", sa.Text, nullable=False),
        sa.Column("closes", sa.LargeBinary, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("down_seconds", sa.Float, nullable=True),
        sa.Column("human", sa.Text, nullable=False),
        sa.Column("hold", sa.Text, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_incidents"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_incidents_session", "incidents", ["session", "began_at"])
    op.create_table(
        "spans",
        sa.Column("id", _ROW, autoincrement=True, nullable=False),
        sa.Column("session", sa.String(64), nullable=False),
        sa.Column("began_at", sa.Float, nullable=False),
        sa.Column("ended_at", sa.Float, nullable=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_spans"),
    )
    op.create_index("ix_spans_session", "spans", ["session", "ended_at"])


def downgrade() -> None:
    """An older program would leave open incidents open for ever."""
    raise NotImplementedError(
        "The schema does not go back: restore a backup of the older version instead."
    )
