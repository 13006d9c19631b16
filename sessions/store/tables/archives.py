"""Operations on what was put aside: whole archives, snapshots of the credentials, and the way back.

A *whole* archive holds every key of a session (it was logged out or deleted, or something else was
restored over it) and is kept for ever. A *snapshot* holds the credentials alone, because restored
ratchets of yesterday would break every conversation that went on since, while the credentials of
yesterday still log in. Of the snapshots a session keeps the newest few; none is taken of what is no
credentials, as a few days of those would drive the last good ones out.
"""

import time
from collections.abc import Sequence
from typing import Any, Final

import structlog
from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    and_,
    delete,
    exists,
    func,
    insert,
    literal,
    select,
    true,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from sessions.credentials import credentials
from sessions.model import NoArchive, SessionId, StoreError, UnreadableValue
from sessions.store.engine import schema
from sessions.store.sealing.cipher import Cipher
from sessions.store.tables import auth, devices, session_rows
from sessions.store.tables.rows import ArchiveRow, Restored

SNAPSHOTS_KEPT: Final = 5
BEFORE_RESTORE: Final = "before_restore"
SCHEDULED: Final = "scheduled"
PIECE: Final = 200
"""Of the sessions whose snapshot is due so many are looked at in one transaction: other writes do
not wait for the rest.
"""

_auth = schema.auth
_archives = schema.archives
_archived = schema.archived_auth
_sessions = schema.sessions
_ENTRY: Final = ["archive", "kind", "name", "value"]

log = structlog.get_logger("store")


def listed(session: str) -> Select[Any]:
    """A session's archives with the number of their entries, oldest first."""
    entries = select(func.count()).where(_archived.c.archive == _archives.c.id).scalar_subquery()
    return (
        select(_archives, entries.label("entries"))
        .where(_archives.c.session == session)
        .order_by(_archives.c.id)
    )


def row_of(row: Row[Any]) -> ArchiveRow:
    """A row of `listed` as a value."""
    return ArchiveRow(
        row.id, row.session, row.archived_at, row.reason, bool(row.whole), row.entries
    )


async def put_aside(connection: AsyncConnection, session: str, reason: str) -> None:
    """Archive all that the session has; it has nothing afterwards.

    Without anything, nothing happens.
    """
    if await _copy_whole(connection, session, reason):
        await connection.execute(delete(_auth).where(_auth.c.session == session))


async def put_aside_and_fence(connection: AsyncConnection, session: str, reason: str) -> None:
    """Archive, forget whose account it was, and raise the epoch, so that nobody writes into the
    gap.
    """
    await put_aside(connection, session, reason)
    await session_rows.fence(connection, session)


async def snapshot(
    connection: AsyncConnection, keys: Cipher | None, session: str, reason: str
) -> bool:
    """Copy the session's credentials; False if it has none, or none that can be read."""
    rows = (await connection.execute(_creds_of().where(_auth.c.session == session))).all()
    sound = _sound(keys, rows)
    await _take(connection, sound, reason, time.time())
    return bool(sound)


async def snapshot_due(
    connection: AsyncConnection, keys: Cipher | None, older_than_seconds: float, after: str
) -> tuple[int, str | None]:
    """Take the snapshots that are due, of the next few sessions after that one (by name).

    How many, and after whom to go on.
    """
    now = time.time()
    newest = (
        select(func.max(_archives.c.id)).where(_archives.c.whole == 0).group_by(_archives.c.session)
    )
    fresh = select(_archives.c.session).where(
        _archives.c.id.in_(newest),
        _archives.c.archived_at > now - older_than_seconds,
        # dated in the future: the clock was set back, and its age means nothing
        _archives.c.archived_at <= now,
    )
    due = (
        _creds_of()
        .where(_auth.c.session > after, _auth.c.session.not_in(fresh))
        .order_by(_auth.c.session)
    )
    rows = (await connection.execute(due.limit(PIECE))).all()
    sound = _sound(keys, rows)
    await _take(connection, sound, SCHEDULED, now)
    return len(sound), rows[-1].session if len(rows) == PIECE else None


async def restore(
    connection: AsyncConnection,
    keys: Cipher | None,
    session: SessionId,
    archive: int | None,
    wanted: bool,
) -> Restored:
    """Put an archive back.

    Raises NoArchive, UnreadableValue and SameDevice, all before anything has changed.
    """
    chosen = await _choose(connection, keys, session, archive)
    entries = (
        await connection.execute(select(_archived).where(_archived.c.archive == chosen.id))
    ).all()
    device = _check(keys, chosen, entries)
    await devices.check(connection, session, device)
    await _make_room(connection, session, chosen.whole)
    live = exists().where(
        _auth.c.session == session,
        _auth.c.kind == _archived.c.kind,
        _auth.c.name == _archived.c.name,
    )
    back = select(literal(session), _archived.c.kind, _archived.c.name, _archived.c.value)
    # of a kept message what is live counts
    back = back.where(_archived.c.archive == chosen.id, ~live)
    await connection.execute(insert(_auth).from_select(["session", "kind", "name", "value"], back))
    await _forget_kept_messages(connection, chosen.id)
    await _drop_unreadable(connection, keys, session)
    # What was remembered (parked, failures, an open breaker) was of the credentials that have gone.
    values = {"memory": None, "wanted": int(wanted)}
    await connection.execute(update(_sessions).where(_sessions.c.id == session).values(values))
    await devices.claim(connection, session, device)
    row = (await connection.execute(select(_sessions).where(_sessions.c.id == session))).one()
    return Restored(chosen, session_rows.session_of(keys, row))


def _creds_of() -> Select[tuple[str, bytes]]:
    """Sessions with their credentials as stored."""
    return select(_auth.c.session, _auth.c.value).where(auth.is_creds())


def _sound(keys: Cipher | None, rows: Sequence[Row[tuple[str, bytes]]]) -> list[str]:
    """The sessions whose credentials are some; the others are logged."""
    flaws = {row.session: _flaw(keys, row.session, row.value) for row in rows}
    unsound = {session: flaw for session, flaw in flaws.items() if flaw is not None}
    if unsound:
        session, flaw = next(iter(unsound.items()))
        log.error(
            f"no snapshots of {len(unsound)} sessions: their credentials cannot be read",
            action="snapshot_unreadable",
            count=len(unsound),
            session=session,
            error=flaw,
        )
    return [session for session, flaw in flaws.items() if flaw is None]


def _flaw(keys: Cipher | None, session: str, stored: bytes) -> str | None:
    """What is wrong with stored credentials; None: nothing."""
    try:
        return credentials.flaw(auth.value_of(keys, session, auth.CREDS, auth.CREDS, stored))
    except UnreadableValue as error:
        return str(error)


async def _choose(
    connection: AsyncConnection, keys: Cipher | None, session: str, number: int | None
) -> ArchiveRow:
    """The archive to restore: the one asked for; else the newest with credentials that can be read.

    That is a snapshot if the session has credentials (of whatever kind), else a whole one. Raises
    NoArchive, UnreadableValue.
    """
    rows = [row_of(row) for row in await connection.execute(listed(session))]
    if number is not None:
        candidates = [row for row in rows if row.id == number]
        what = f"archive {number}"
    else:
        mine = (_auth.c.session == session) & auth.is_creds()
        paired = await connection.scalar(select(_auth.c.session).where(mine)) is not None
        candidates = [row for row in rows if row.whole is not paired]
        what = "snapshot" if paired else "whole archive"
    if not candidates:
        raise NoArchive(f"Session {session!r} has no {what}.")
    if number is not None:
        return candidates[-1]
    refusals = list[StoreError]()
    for candidate in reversed(candidates):
        refusal = await _refusal(connection, keys, candidate)
        if refusal is None:
            return candidate
        refusals.append(refusal)
    raise next((error for error in refusals if isinstance(error, UnreadableValue)), refusals[0])


async def _refusal(
    connection: AsyncConnection, keys: Cipher | None, archive: ArchiveRow
) -> StoreError | None:
    """Why an archive does not help anybody who asks for none by its number."""
    its_creds = and_(
        _archived.c.archive == archive.id,
        _archived.c.kind == auth.CREDS,
        _archived.c.name == auth.CREDS,
    )
    stored = await connection.scalar(select(_archived.c.value).where(its_creds))
    if stored is None:
        return _without_credentials(archive)
    flaw = _flaw(keys, archive.session, stored)
    if flaw is None:
        return None
    return UnreadableValue(
        f"The credentials of archive {archive.id} of session {archive.session!r} are none. {flaw}"
    )


def _without_credentials(archive: ArchiveRow) -> NoArchive:
    return NoArchive(f"Archive {archive.id} of session {archive.session!r} holds no credentials.")


def _check(keys: Cipher | None, archive: ArchiveRow, entries: Sequence[Row[Any]]) -> str | None:
    """Read it all; the linked device that its credentials are.

    Raises NoArchive, UnreadableValue.
    """
    creds = None
    for entry in entries:
        value = auth.value_of(keys, archive.session, entry.kind, entry.name, entry.value)
        if entry.kind == auth.CREDS == entry.name:
            creds = value
    if creds is None:
        raise _without_credentials(archive)
    return credentials.device(creds)


async def _make_room(connection: AsyncConnection, session: SessionId, whole: bool) -> None:
    """Archive what is there, take away what will be replaced, fence off the present worker; a
    deleted session is made anew.

    Messages that were kept until they are shown (docs/wire.md) stay where they are, and are shown
    from there.
    """
    if await connection.scalar(select(_sessions.c.id).where(_sessions.c.id == session)) is None:
        await session_rows.create(connection, session, wanted=False)
    keys = _auth.c.kind != auth.INBOUND
    await _copy_whole(connection, session, BEFORE_RESTORE, keys)
    await connection.execute(
        delete(_auth).where(_auth.c.session == session, keys if whole else auth.is_creds())
    )
    await session_rows.fence(connection, session)


async def _forget_kept_messages(connection: AsyncConnection, archive: int) -> None:
    """The archive's kept messages are live now: from the archive they must not come a second
    time.
    """
    kept = (_archived.c.archive == archive) & (_archived.c.kind == auth.INBOUND)
    await connection.execute(delete(_archived).where(kept))


async def _drop_unreadable(
    connection: AsyncConnection, keys: Cipher | None, session: SessionId
) -> None:
    """A key that cannot be read would quarantine the session again at once.

    It is archived; Baileys agrees on new ones with the others.
    """
    for row in (await connection.execute(auth.all_of(session))).all():
        try:
            auth.value_of(keys, session, row.kind, row.name, row.value)
        except UnreadableValue:
            mine = (
                (_auth.c.session == session)
                & (_auth.c.kind == row.kind)
                & (_auth.c.name == row.name)
            )
            await connection.execute(delete(_auth).where(mine))


async def _copy_whole(
    connection: AsyncConnection, session: str, reason: str, which: ColumnElement[bool] | None = None
) -> bool:
    """Whether there was anything to archive. The values as they are: a sealed one stays sealed."""
    mine = and_(_auth.c.session == session, true() if which is None else which)
    if await connection.scalar(select(_auth.c.session).where(mine).limit(1)) is None:
        return False
    values = {"session": session, "archived_at": time.time(), "reason": reason, "whole": 1}
    archive = await connection.scalar(insert(_archives).values(values).returning(_archives.c.id))
    rows = select(literal(archive), _auth.c.kind, _auth.c.name, _auth.c.value).where(mine)
    await connection.execute(insert(_archived).from_select(_ENTRY, rows))
    return True


async def _take(
    connection: AsyncConnection, sessions: Sequence[str], reason: str, now: float
) -> None:
    """Snapshots of these sessions, all with a handful of statements."""
    if not sessions:
        return
    before = await connection.scalar(select(func.coalesce(func.max(_archives.c.id), 0)))
    rows = [
        {"session": session, "archived_at": now, "reason": reason, "whole": 0}
        for session in sessions
    ]
    await connection.execute(insert(_archives), rows)
    new = and_(
        _archives.c.id > before, _archives.c.whole == 0, _auth.c.session == _archives.c.session
    )
    creds = select(_archives.c.id, _auth.c.kind, _auth.c.name, _auth.c.value).where(
        new, auth.is_creds()
    )
    await connection.execute(insert(_archived).from_select(_ENTRY, creds))
    await _prune(connection, sessions)


async def _prune(connection: AsyncConnection, sessions: Sequence[str]) -> None:
    """Of each of their snapshots keep the newest. By number, not by date: clocks are set back."""
    age = (
        func.row_number()
        .over(partition_by=_archives.c.session, order_by=_archives.c.id.desc())
        .label("age")
    )
    snapshots = and_(_archives.c.whole == 0, _archives.c.session.in_(sessions))
    ranked = select(_archives.c.id, age).where(snapshots).subquery()
    old = select(ranked.c.id).where(ranked.c.age > SNAPSHOTS_KEPT)
    await connection.execute(delete(_archives).where(_archives.c.id.in_(old)))
