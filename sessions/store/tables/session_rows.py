"""Operations on the rows of sessions: made, fenced, removed; and where a new one's epoch begins.

That is above the epoch of every session that was deleted, so that no worker of one can write into
its namesake: one number for all names, in a row of `meta`, and it only grows.
"""

import time
from typing import Any, Final

from sqlalchemy import Row, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from sessions.model import SessionExists, SessionId
from sessions.store.engine import database, schema
from sessions.store.sealing.cipher import Cipher
from sessions.store.tables import proxies
from sessions.store.tables.rows import SessionRow

NAME: Final = "first_epoch"
_meta = schema.meta
_sessions = schema.sessions


def session_of(keys: Cipher | None, row: Row[Any]) -> SessionRow:
    """A session's row as a value."""
    proxy = proxies.shown(keys, row.id, row.proxy)
    return SessionRow(
        SessionId(row.id),
        bool(row.wanted),
        row.epoch,
        row.memory,
        row.jid,
        row.name,
        row.created_at,
        proxy,
        bool(row.restored),
    )


async def create(connection: AsyncConnection, session: SessionId, wanted: bool) -> SessionRow:
    """Add a session's row, its epoch above any of those that were deleted. Raises SessionExists."""
    if await connection.scalar(select(_sessions.c.id).where(_sessions.c.id == session)) is not None:
        raise SessionExists(f"There is a session {session!r} already.")
    row = SessionRow(session, wanted, await first_epoch(connection), None, None, None, time.time())
    values = {
        "id": session,
        "wanted": int(wanted),
        "epoch": row.epoch,
        "event_seq": 0,
        "created_at": row.created_at,
    }
    await connection.execute(insert(_sessions).values(values))
    return row


async def fence(connection: AsyncConnection, session: str) -> None:
    """Raise the epoch, so that no worker writes any more, and forget whose account it was."""
    values = {
        "epoch": _sessions.c.epoch + 1,
        "event_seq": 0,
        "jid": None,
        "name": None,
        "device": None,
        "restored": 0,
    }
    await connection.execute(update(_sessions).where(_sessions.c.id == session).values(values))


async def remove(connection: AsyncConnection, session: SessionId) -> None:
    """Remove a session's row and all that it has.

    A later session of its name begins above its epoch.
    """
    epoch = await connection.scalar(select(_sessions.c.epoch).where(_sessions.c.id == session))
    if epoch is not None:
        await _pass_by(connection, epoch)
    await connection.execute(delete(_sessions).where(_sessions.c.id == session))


async def first_epoch(connection: AsyncConnection) -> int:
    """The epoch with which a new session begins."""
    value = await connection.scalar(select(_meta.c.value).where(_meta.c.name == NAME))
    return int(value) if value is not None else 0


async def _pass_by(connection: AsyncConnection, epoch: int) -> None:
    """A session of this epoch is deleted: those to come begin above it."""
    await begin_at(connection, max(epoch + 1, await first_epoch(connection)))


async def begin_at(connection: AsyncConnection, epoch: int) -> None:
    """Sessions to come begin with this epoch."""
    await connection.execute(
        database.upsert(connection, _meta), {"name": NAME, "value": b"%d" % epoch}
    )
