"""Operations on the event log: numbered, bounded, a worker's events exactly once."""

import hashlib
import time
from collections.abc import Collection, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import structlog
from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    bindparam,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from sessions.model import StaleEpoch, UnreadableValue
from sessions.store.engine import database, schema
from sessions.store.sealing import cipher
from sessions.store.sealing.cipher import Cipher, Place
from sessions.store.tables.rows import StoredEvent

_TRIM_EVERY: Final = 256
"""Events are trimmed once in so many appends: a delete for each would double the writes."""
_TRIM_MOST: Final = 16 * _TRIM_EVERY
"""No more are dropped at once: nobody's write waits for a week of events to go."""
DROPPED: Final = "events_dropped"
"""The row of `meta` with the number of the newest event that the log had no room for."""

_events = schema.events
_sessions = schema.sessions
_before = select(_events.c.bytes_to_here).order_by(_events.c.n.desc()).limit(1).scalar_subquery()
_APPEND: Final = (
    insert(_events)
    .values(bytes_to_here=func.coalesce(_before, 0) + bindparam("weight"))
    .returning(_events.c.n)
)
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
    message: str | None = None
    """The id of the message that it is about."""

    @classmethod
    def now(
        cls, session: str | None, kind: str, data: bytes, message: str | None = None
    ) -> "NewEvent":
        """An event of this moment."""
        return cls(time.time_ns() // 1_000_000, session, kind, data, message)


class LogBounds(NamedTuple):
    """What the event log keeps: events within all of these bounds; None: no such bound."""

    most: int | None = None
    age_seconds: float | None = None
    size_bytes: int | None = None


class Wanted(NamedTuple):
    """Which events are read. `sessions` None: of all, and those of none; `names`, `groups`: of
    types, whole, or up to their dot; None: of all types.

    A type without a dot is of 0.1.0, has another name now, and is always read.
    """

    sessions: Collection[str] | None = None
    names: Collection[str] | None = None
    groups: Collection[str] = ()

    def clauses(self) -> list[ColumnElement[bool]]:
        """The same for the database."""
        found: list[ColumnElement[bool]] = []
        if self.sessions is not None:
            found.append(_events.c.session.in_(sorted(self.sessions)))
        if self.names is not None:
            kind = _events.c.type
            among = [kind.startswith(f"{group}.", autoescape=True) for group in self.groups]
            found.append(or_(kind.in_(sorted(self.names)), ~kind.contains("."), *among))
        return found


EVERY_EVENT: Final = Wanted()


async def append(
    connection: AsyncConnection, keys: Cipher | None, bounds: LogBounds, event: NewEvent
) -> StoredEvent:
    """Add an event; now and then drop those that the log has no room for."""
    sealed = cipher.seal(keys, event.data, place(event.session, event.kind))
    values = {
        "time_ms": event.time_ms,
        "session": event.session,
        "type": event.kind,
        "data": sealed,
        "weight": len(sealed),
        "message": None if event.message is None else message_key(event.message),
    }
    n = await connection.scalar(_APPEND, values)
    assert n is not None, "an insert returns its number"
    if n % _TRIM_EVERY == 0:
        await trim(connection, bounds, event.time_ms)
    return StoredEvent(n, event.time_ms, event.session, event.kind, msgspec.Raw(event.data))


async def trim(connection: AsyncConnection, bounds: LogBounds, now_ms: int) -> bool:
    """Drop the oldest events that are beyond a bound, some thousands at the most, and remember up
    to which number: whoever follows the log and comes from before it has missed some.

    The newest one stays, however old it is: the log ends with it. Whether there were any.
    """
    n, oldest_kept = _events.c.n, 0
    if bounds.most is not None:
        # by count: the numbers have gaps
        counted = select(n).order_by(n.desc()).offset(bounds.most - 1).limit(1)
        oldest_kept = max(oldest_kept, await connection.scalar(counted) or 0)
    if bounds.age_seconds is not None:
        young = _events.c.time_ms >= now_ms - int(1000 * bounds.age_seconds)
        kept = await connection.scalar(select(n).where(young).order_by(n).limit(1))
        if kept is None:
            kept = await connection.scalar(select(func.max(n)))
        oldest_kept = max(oldest_kept, kept or 0)
    if bounds.size_bytes is not None:
        within = _events.c.bytes_to_here > _before - bounds.size_bytes
        kept = await connection.scalar(select(n).where(within).order_by(n).limit(1))
        oldest_kept = max(oldest_kept, kept or 0)
    beyond = select(n).where(n < oldest_kept).order_by(n).limit(_TRIM_MOST).subquery()
    last = await connection.scalar(select(func.max(beyond.c.n)))
    if last is None:
        return False
    await connection.execute(delete(_events).where(n <= last))
    await connection.execute(
        database.upsert(connection, schema.meta), {"name": DROPPED, "value": str(last).encode()}
    )
    return True


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


def message_key(message: str) -> int:
    """By what the events of a message are found: 48 bits of its id's digest. Two ids may share
    them: whoever reads the events compares the ids.
    """
    digest = hashlib.sha256(message.encode(errors="surrogatepass")).digest()
    return int.from_bytes(digest[:6], "big")


def of_message(
    message: str, sessions: Collection[str] | None, after: int, limit: int
) -> Select[Any]:
    """The events of a message, of these sessions (None: of all), oldest first."""
    found = _events.c.message == message_key(message)
    statement = select(_events).where(found, _events.c.n > after)
    statement = statement.where(*Wanted(sessions).clauses())
    return statement.order_by(_events.c.n).limit(limit)


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
