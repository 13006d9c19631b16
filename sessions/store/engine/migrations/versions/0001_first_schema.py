"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_ROW = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def upgrade() -> None:
    """Create every table."""
    op.create_table(
        "sessions",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("wanted", sa.Integer, nullable=False),
        sa.Column("epoch", sa.BigInteger, nullable=False),
        sa.Column("memory", sa.LargeBinary, nullable=True),
        sa.Column("jid", sa.String(128), nullable=True),
        sa.Column("name", sa.Text, nullable=True),
        sa.Column("created_at", sa.Float, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_sessions"),
    )
    op.create_table(
        "auth",
        sa.Column("session", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("name", sa.String(256), nullable=False),
        sa.Column("value", sa.LargeBinary, nullable=False),
        sa.ForeignKeyConstraint(
            ["session"], ["sessions.id"], name="fk_auth_session", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("session", "kind", "name", name="pk_auth"),
    )
    op.create_table(
        "archives",
        sa.Column("id", _ROW, autoincrement=True, nullable=False),
        sa.Column("session", sa.String(64), nullable=False),
        sa.Column("archived_at", sa.Float, nullable=False),
        sa.Column("reason", sa.String(64), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_archives"),
    )
    op.create_index("ix_archives_session", "archives", ["session"])
    op.create_table(
        "archived_auth",
        sa.Column("archive", _ROW, nullable=False),
        sa.Column("kind", sa.String(64), nullable=False),
        sa.Column("name", sa.String(256), nullable=False),
        sa.Column("value", sa.LargeBinary, nullable=False),
        sa.ForeignKeyConstraint(
            ["archive"], ["archives.id"], name="fk_archived_auth_archive", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("archive", "kind", "name", name="pk_archived_auth"),
    )
    op.create_table(
        "workers",
        sa.Column("id", sa.String(64), nullable=False),
        sa.Column("session", sa.String(64), nullable=True),
        sa.Column("pid", sa.Integer, nullable=False),
        sa.Column("started_at_ticks", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_workers"),
    )
    op.create_table(
        "events",
        sa.Column("n", _ROW, autoincrement=True, nullable=False),
        sa.Column("time_ms", sa.BigInteger, nullable=False),
        sa.Column("session", sa.String(64), nullable=True),
        sa.Column("type", sa.String(32), nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.PrimaryKeyConstraint("n", name="pk_events"),
        sqlite_autoincrement=True,
    )


def downgrade() -> None:
    """There is nothing before the first schema."""
    raise NotImplementedError("There is no schema before the first one.")
