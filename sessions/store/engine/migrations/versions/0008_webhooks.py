"""Webhooks, what they have not been able to deliver, and the event log's size."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_ROW = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Add a column, in place on both backends, and two tables; nothing that is there is touched."""
    op.add_column(
        "events", sa.Column("bytes_to_here", sa.BigInteger, nullable=False, server_default="0")
    )
    op.create_table(
        "webhooks",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.Column("settings", sa.LargeBinary, nullable=False),
        sa.Column("paused_because", sa.String(32), nullable=True),
        sa.Column("progress", sa.LargeBinary, nullable=False),
        sa.Column("failing_since", sa.Float, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_webhooks"),
    )
    op.create_table(
        "deliveries",
        sa.Column("id", _ROW, autoincrement=True, nullable=False),
        sa.Column("webhook", sa.String(64), nullable=False),
        sa.Column("n", sa.BigInteger, nullable=False),
        sa.Column("last_n", sa.BigInteger, nullable=False),
        sa.Column("next_n", sa.BigInteger, nullable=False),
        sa.Column("session", sa.String(64), nullable=True),
        sa.Column("type", sa.String(64), nullable=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("first_failed_at", sa.Float, nullable=False),
        sa.Column("next_at", sa.Float, nullable=True),
        sa.Column("last_status", sa.Integer, nullable=True),
        sa.Column("last_error", sa.Text, nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_deliveries"),
        sa.ForeignKeyConstraint(
            ["webhook"], ["webhooks.id"], name="fk_deliveries_webhook", ondelete="CASCADE"
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_deliveries_webhook", "deliveries", ["webhook", "n"], unique=True)
    op.create_index("ix_deliveries_due", "deliveries", ["webhook", "state", "next_at"])


def downgrade() -> None:
    """An older program would leave what was not delivered undelivered."""
    raise NotImplementedError(
        "The schema does not go back: restore a backup of the older version instead."
    )
