"""Operations on credentials and keys, each within a transaction that the caller has."""

from collections.abc import Iterable, Sequence
from typing import Final

import structlog
from sqlalchemy import ColumnElement, Select, and_, bindparam, delete, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from sessions.model import SessionNotFound, StaleEpoch, UnreadableValue, UnstorableValue
from sessions.store.engine import database, schema
from sessions.store.sealing import cipher
from sessions.store.sealing.cipher import Cipher, Place
from sessions.store.tables import text
from sessions.workers.wire import KeyEntry

CREDS: Final = "creds"
"""Kind and name of the credentials among the auth rows."""
MAX_NAMES_PER_QUERY: Final = 500
"""SQLite takes at most 32,766 variables in a statement; PostgreSQL plans long lists slowly."""
INBOUND: Final = "inbound"
"""Kind of what a message was decrypted to, until the message is in the event log.

No key: of no use to anybody else.
"""

_auth = schema.auth
_sessions = schema.sessions
_EPOCH_HELD: Final = (
    select(_sessions.c.epoch)
    .where(_sessions.c.id == bindparam("session"))
    .with_for_update(read=True)
)

log = structlog.get_logger("store")


def place(session: str, kind: str, name: str) -> Place:
    """What an auth value is sealed for, wherever it is kept."""
    return Place("auth", session, kind, name)


def value_of(keys: Cipher | None, session: str, kind: str, name: str, stored: bytes) -> bytes:
    """A stored auth value as JSON. Raises UnreadableValue."""
    value = cipher.unseal(keys, stored, place(session, kind, name))
    if kind == CREDS and not value.lstrip().startswith(b"{"):
        raise UnreadableValue(f"{place(session, kind, name)} is no JSON object.")
    return value


def is_creds() -> ColumnElement[bool]:
    """The rows of credentials."""
    return and_(_auth.c.kind == CREDS, _auth.c.name == CREDS)


async def raise_epoch(connection: AsyncConnection, session: str) -> int:
    """Give the session to a new worker.

    One statement: it waits for the writes that hold the row, and those after it see it.
    """
    values = {"epoch": _sessions.c.epoch + 1, "event_seq": 0}
    statement = (
        update(_sessions)
        .where(_sessions.c.id == session)
        .values(values)
        .returning(_sessions.c.epoch)
    )
    epoch = await connection.scalar(statement)
    if epoch is None:
        raise SessionNotFound(f"There is no session {session!r}.")
    return int(epoch)


async def check_epoch(connection: AsyncConnection, session: str, epoch: int) -> None:
    """Refuse a stale writer, and hold the epoch as it is until this transaction has ended.

    Raises StaleEpoch.

    FOR SHARE and nothing weaker: a plain SELECT sees the epoch as it was, and a raise that commits
    in between is overtaken by the write (1,247 stale writes of 23,000 without the lock, 0 with it:
    docs/evidence.md#the-fence-in-postgresql). SQLite's writer has the whole file locked.
    """
    current = await connection.scalar(_EPOCH_HELD, {"session": session})
    if current != epoch:
        raise StaleEpoch(
            f"Session {session!r} is at epoch {current}; this write is of epoch {epoch}."
        )


def storable(session: str, entries: Iterable[KeyEntry]) -> list[KeyEntry]:
    """The entries that the store can take.

    Raises UnstorableValue for a key that it never will: it would be missed.

    Of kind `inbound` they are copies, named by whoever sent the message: such a one is left out, as
    nobody may hold up a session with a name.
    """
    taken = []
    for entry in entries:
        if text.fits(entry.kind, _auth.c.kind) and text.fits(entry.name, _auth.c.name):
            taken.append(entry)
            continue
        kind, name = entry.kind[:80], entry.name[:300]
        tell = log.warning if kind == INBOUND else log.error
        tell(
            "a key can never be stored",
            action="key_unstorable",
            session=session,
            kind=kind,
            name=name,
        )
        if kind != INBOUND:
            raise UnstorableValue(
                f"The store can never take the key {kind!r} {name!r} of session {session!r}."
            )
    return taken


def askable(names: Iterable[str]) -> list[str]:
    """The names that a stored key may have: a database refuses even to look for the others."""
    return [name for name in names if text.fits(name, _auth.c.name)]


_ROWS_AT_ONCE: Final = 1000
"""An import has tens of thousands; between two parts of it the loop turns."""


async def write(
    connection: AsyncConnection, keys: Cipher | None, session: str, entries: Sequence[KeyEntry]
) -> None:
    """Write and delete keys, all of them `storable`."""
    # PostgreSQL takes no row twice in one INSERT
    last = {(entry.kind, entry.name): entry for entry in entries}
    written = [entry for entry in last.values() if not entry.deleted]
    for first in range(0, len(written), _ROWS_AT_ONCE):
        rows = [
            {
                "session": session,
                "kind": e.kind,
                "name": e.name,
                "value": cipher.seal(keys, bytes(e.value), place(session, e.kind, e.name)),
            }
            for e in written[first : first + _ROWS_AT_ONCE]
        ]
        await connection.execute(database.upsert(connection, _auth), rows)
    for entry in last.values():
        if entry.deleted:
            await connection.execute(delete(_auth).where(_key(session, entry.kind, entry.name)))


async def forget_inbound(connection: AsyncConnection, session: str, names: Sequence[str]) -> None:
    """Delete what a message was decrypted to, as the message itself is being stored."""
    stored, table = askable(names), schema.auth
    for start in range(0, len(stored), MAX_NAMES_PER_QUERY):
        some = stored[start : start + MAX_NAMES_PER_QUERY]
        mine = (table.c.session == session) & (table.c.kind == INBOUND) & table.c.name.in_(some)
        await connection.execute(delete(table).where(mine))


def all_of(session: str) -> Select[tuple[str, str, bytes]]:
    """Everything that the session has."""
    return select(_auth.c.kind, _auth.c.name, _auth.c.value).where(_auth.c.session == session)


def some_of(session: str, kind: str, names: Sequence[str]) -> Select[tuple[str, bytes]]:
    """Values by name."""
    where = and_(_auth.c.session == session, _auth.c.kind == kind, _auth.c.name.in_(names))
    return select(_auth.c.name, _auth.c.value).where(where)


def _key(session: str, kind: str, name: str) -> ColumnElement[bool]:
    return and_(_auth.c.session == session, _auth.c.kind == kind, _auth.c.name == name)
