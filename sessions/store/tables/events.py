"""Operations on the event log: numbered, bounded, a worker's events exactly once."""

import time
from collections.abc import Sequence
from typing import Any, Final

import msgspec
import structlog
from sqlalchemy import Row, Select, bindparam, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from sessions.model import StaleEpoch, UnreadableValue
from sessions.store.engine import schema
from sessions.store.sealing import cipher
from sessions.store.sealing.cipher import Cipher, Place
from sessions.store.tables.rows import StoredEvent

_TRIM_EVERY: Final = 256
"""Events are trimmed once in so many appends: a delete for each would double the writes."""

_events = schema.events
_sessions = schema.sessions
_APPEND: Final = insert(_events).returning(_events.c.n)
_MOVE_MARK: Final = (
    update(_sessions)
    .where(_sessions.c.id == bindparam("of"), _sessions.c.epoch == bindparam("at"))
    .where(_sessions.c.event_seq < bindparam("to"))
    .values(event_seq=bindparam("to"))
)

log = structlog.get_logger("store")


class NewEvent(msgspec.Struct, frozen=True):
    """An event that has no number yet."""

    time_ms: int
    session: str | None
    kind: str
    data: bytes

    @classmethod
    def now(cls, session: str | None, kind: str, data: bytes) -> "NewEvent":
        """An event of this moment."""
        return cls(time.time_ns() // 1_000_000, session, kind, data)


async def append(
    connection: AsyncConnection, keys: Cipher | None, limit: int, event: NewEvent
) -> StoredEvent:
    """Add an event; now and then drop those that the log has no room for."""
    sealed = cipher.seal(keys, event.data, place(event.session, event.kind))
    values = {
        "time_ms": event.time_ms,
        "session": event.session,
        "type": event.kind,
        "data": sealed,
    }
    n = await connection.scalar(_APPEND, values)
    assert n is not None, "an insert returns its number"
    if n % _TRIM_EVERY == 0:
        oldest_kept = (
            select(_events.c.n)
            .order_by(_events.c.n.desc())
            .offset(limit - 1)
            .limit(1)
            .scalar_subquery()
        )
        # by count: the numbers have gaps
        await connection.execute(delete(_events).where(_events.c.n < oldest_kept))
    return StoredEvent(n, event.time_ms, event.session, event.kind, msgspec.Raw(event.data))


async def is_news(connection: AsyncConnection, session: str, epoch: int, seq: int) -> bool:
    """Move the session's mark to this event; False if it was passed already (a repeated event).

    Raises StaleEpoch.

    The UPDATE holds the row, so that the epoch cannot be raised before the transaction has ended.
    """
    if (await connection.execute(_MOVE_MARK, {"of": session, "at": epoch, "to": seq})).rowcount:
        return True
    current = await connection.scalar(select(_sessions.c.epoch).where(_sessions.c.id == session))
    if current != epoch:
        raise StaleEpoch(
            f"Session {session!r} is at epoch {current}; this event is of epoch {epoch}."
        )
    return False


def newest(before: int | None, count: int) -> Select[Any]:
    """The newest events before a number, newest first."""
    statement = select(_events).order_by(_events.c.n.desc()).limit(count)
    return statement if before is None else statement.where(_events.c.n < before)


def readable(keys: Cipher | None, rows: Sequence[Row[Any]]) -> list[StoredEvent]:
    """The rows as events.

    One that cannot be read is left out and logged: it is history, nothing depends on it.
    """
    found = []
    for row in rows:
        try:
            data = cipher.unseal(keys, row.data, place(row.session, row.type))
        except UnreadableValue as error:
            log.warning(
                "an old event cannot be read",
                action="event_unreadable",
                number=row.n,
                error=str(error),
            )
            continue
        found.append(StoredEvent(row.n, row.time_ms, row.session, row.type, msgspec.Raw(data)))
    return found


def place(session: str | None, kind: str) -> Place:
    """What an event's data are sealed for. Its number is given only after that."""
    return Place("events", session or "", kind, "")
