"""Operations on what was put aside: whole archives, snapshots of the credentials, and the way back.

A *whole* archive holds every key of a session (it was logged out or deleted, or something else was restored over it) and is kept for ever.
A *snapshot* holds the credentials alone, because restored ratchets of yesterday would break every conversation that went on since, while
the credentials of yesterday still log in. Of the snapshots a session keeps the newest few.
"""

import time
from collections.abc import Sequence
from typing import Any, Final

from sqlalchemy import Row, Select, delete, func, insert, literal, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from sessions.model import NoArchive, SessionExists, SessionId, UnreadableValue
from sessions.store import auth, epochs, proxies, schema
from sessions.store.cipher import Cipher
from sessions.store.rows import ArchiveRow, Restored, SessionRow

SNAPSHOTS_KEPT: Final = 5
BEFORE_RESTORE: Final = "before_restore"
SCHEDULED: Final = "scheduled"

_auth = schema.auth
_archives = schema.archives
_archived = schema.archived_auth
_sessions = schema.sessions


def listed(session: str) -> Select[Any]:
    """A session's archives with the number of their entries, oldest first."""
    entries = select(func.count()).where(_archived.c.archive == _archives.c.id).scalar_subquery()
    return select(_archives, entries.label("entries")).where(_archives.c.session == session).order_by(_archives.c.id)


def row_of(row: Row[Any]) -> ArchiveRow:
    """A row of `listed` as a value."""
    return ArchiveRow(row.id, row.session, row.archived_at, row.reason, bool(row.whole), row.entries)


def session_of(keys: Cipher | None, row: Row[Any]) -> SessionRow:
    """A session's row as a value."""
    proxy = proxies.shown(keys, row.id, row.proxy)
    return SessionRow(
        SessionId(row.id), bool(row.wanted), row.epoch, row.memory, row.jid, row.name, row.created_at, proxy
    )


async def put_aside(connection: AsyncConnection, session: str, reason: str) -> None:
    """Archive all that the session has; it has nothing afterwards. Without anything, nothing happens."""
    if await _copy_whole(connection, session, reason) is not None:
        await connection.execute(delete(_auth).where(_auth.c.session == session))


async def put_aside_and_fence(connection: AsyncConnection, session: str, reason: str) -> None:
    """Archive, forget whose account it was, and raise the epoch, so that nobody writes into the gap."""
    await put_aside(connection, session, reason)
    await _fence(connection, session)


async def snapshot(connection: AsyncConnection, session: str, reason: str) -> bool:
    """Copy the session's credentials; False if it has none."""
    mine = (_auth.c.session == session) & auth.is_creds()
    if await connection.scalar(select(_auth.c.session).where(mine)) is None:
        return False
    archive = await _new_archive(connection, session, reason, whole=False)
    await _copy(connection, archive, mine)
    await _prune(connection)
    return True


async def snapshot_due(connection: AsyncConnection, older_than_seconds: float) -> int:
    """Take the snapshots that are due, all with a handful of statements; how many."""
    now = time.time()
    newest = select(func.max(_archives.c.id)).where(_archives.c.whole == 0).group_by(_archives.c.session)
    fresh = select(_archives.c.session).where(
        _archives.c.id.in_(newest),
        _archives.c.archived_at > now - older_than_seconds,
        _archives.c.archived_at <= now,  # dated in the future: the clock was set back, and its age means nothing
    )
    due = select(_auth.c.session).where(auth.is_creds(), _auth.c.session.not_in(fresh))
    before = await connection.scalar(select(func.coalesce(func.max(_archives.c.id), 0)))
    columns = ["session", "archived_at", "reason", "whole"]
    rows = due.add_columns(literal(now), literal(SCHEDULED), literal(0))
    taken = (await connection.execute(insert(_archives).from_select(columns, rows))).rowcount
    if taken:
        new = _archives.c.id > before
        creds = select(_archives.c.id, _auth.c.kind, _auth.c.name, _auth.c.value).where(
            new, _auth.c.session == _archives.c.session, auth.is_creds()
        )
        await connection.execute(insert(_archived).from_select(["archive", "kind", "name", "value"], creds))
        await _prune(connection)
    return taken


async def restore(
    connection: AsyncConnection, keys: Cipher | None, session: SessionId, archive: int | None
) -> Restored:
    """Put an archive back. Raises NoArchive and UnreadableValue, both before anything has changed."""
    chosen = await _choose(connection, session, archive)
    entries = (await connection.execute(select(_archived).where(_archived.c.archive == chosen.id))).all()
    _check(keys, chosen, entries)
    await _make_room(connection, session, chosen.whole)
    back = select(literal(session), _archived.c.kind, _archived.c.name, _archived.c.value)
    back = back.where(_archived.c.archive == chosen.id)
    await connection.execute(insert(_auth).from_select(["session", "kind", "name", "value"], back))
    await _forget_kept_messages(connection, chosen.id)
    await _drop_unreadable(connection, keys, session)
    # What was remembered (parked, failures, an open breaker) was of the credentials that have gone.
    await connection.execute(update(_sessions).where(_sessions.c.id == session).values(memory=None))
    row = (await connection.execute(select(_sessions).where(_sessions.c.id == session))).one()
    return Restored(chosen, session_of(keys, row))


async def create_session(connection: AsyncConnection, session: SessionId, wanted: bool) -> SessionRow:
    """Add a session's row, its epoch above any of those that were deleted. Raises SessionExists."""
    if await connection.scalar(select(_sessions.c.id).where(_sessions.c.id == session)) is not None:
        raise SessionExists(f"There is a session {session!r} already.")
    row = SessionRow(session, wanted, await epochs.first(connection), None, None, None, time.time())
    values = {"id": session, "wanted": int(wanted), "epoch": row.epoch, "event_seq": 0, "created_at": row.created_at}
    await connection.execute(insert(_sessions).values(values))
    return row


async def delete_session(connection: AsyncConnection, session: SessionId) -> None:
    """Remove a session's row and all that it has. A later session of its name begins above its epoch."""
    epoch = await connection.scalar(select(_sessions.c.epoch).where(_sessions.c.id == session))
    if epoch is not None:
        await epochs.pass_by(connection, epoch)
    await connection.execute(delete(_sessions).where(_sessions.c.id == session))


async def _choose(connection: AsyncConnection, session: str, number: int | None) -> ArchiveRow:
    """The archive to restore: the one asked for; else the newest snapshot if the session has credentials, else the newest whole one."""
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
    return candidates[-1]


def _check(keys: Cipher | None, archive: ArchiveRow, entries: Sequence[Row[Any]]) -> None:
    for entry in entries:
        auth.value_of(keys, archive.session, entry.kind, entry.name, entry.value)
    if not any(entry.kind == auth.CREDS == entry.name for entry in entries):
        raise NoArchive(f"Archive {archive.id} of session {archive.session!r} holds no credentials.")


async def _make_room(connection: AsyncConnection, session: SessionId, whole: bool) -> None:
    """Archive what is there, take away what will be replaced, fence off the present worker; a deleted session is made anew."""
    if await connection.scalar(select(_sessions.c.id).where(_sessions.c.id == session)) is None:
        await create_session(connection, session, wanted=False)
    aside = await _copy_whole(connection, session, BEFORE_RESTORE)
    if aside is not None and not whole:
        await _forget_kept_messages(connection, aside)  # they stay where they are, and are shown from there
    replaced = _auth.c.session == session
    await connection.execute(delete(_auth).where(replaced if whole else replaced & auth.is_creds()))
    await _fence(connection, session)


async def _forget_kept_messages(connection: AsyncConnection, archive: int) -> None:
    """Messages that were kept until they are shown (docs/wire.md) are live: from the archive they must not come a second time."""
    kept = (_archived.c.archive == archive) & (_archived.c.kind == auth.INBOUND)
    await connection.execute(delete(_archived).where(kept))


async def _drop_unreadable(connection: AsyncConnection, keys: Cipher | None, session: SessionId) -> None:
    """A key that cannot be read would quarantine the session again at once. It is archived; Baileys agrees on new ones with the others."""
    for row in (await connection.execute(auth.all_of(session))).all():
        try:
            auth.value_of(keys, session, row.kind, row.name, row.value)
        except UnreadableValue:
            mine = (_auth.c.session == session) & (_auth.c.kind == row.kind) & (_auth.c.name == row.name)
            await connection.execute(delete(_auth).where(mine))


async def _fence(connection: AsyncConnection, session: str) -> None:
    values = {"epoch": _sessions.c.epoch + 1, "event_seq": 0, "jid": None, "name": None}
    await connection.execute(update(_sessions).where(_sessions.c.id == session).values(values))


async def _copy_whole(connection: AsyncConnection, session: str, reason: str) -> int | None:
    """The archive's number; None when there is nothing to archive."""
    mine = _auth.c.session == session
    if await connection.scalar(select(_auth.c.session).where(mine).limit(1)) is None:
        return None
    archive = await _new_archive(connection, session, reason, whole=True)
    await _copy(connection, archive, mine)
    return archive


async def _new_archive(connection: AsyncConnection, session: str, reason: str, whole: bool) -> int:
    values = {"session": session, "archived_at": time.time(), "reason": reason, "whole": int(whole)}
    archive = await connection.scalar(insert(_archives).values(values).returning(_archives.c.id))
    assert archive is not None, "an insert returns its number"
    return int(archive)


async def _copy(connection: AsyncConnection, archive: int, which: Any) -> None:
    """The values as they are: a sealed one stays sealed."""
    rows = select(literal(archive), _auth.c.kind, _auth.c.name, _auth.c.value).where(which)
    await connection.execute(insert(_archived).from_select(["archive", "kind", "name", "value"], rows))


async def _prune(connection: AsyncConnection) -> None:
    """Of each session's snapshots keep the newest. By number, not by date: clocks are set back."""
    age = func.row_number().over(partition_by=_archives.c.session, order_by=_archives.c.id.desc()).label("age")
    ranked = select(_archives.c.id, age).where(_archives.c.whole == 0).subquery()
    old = select(ranked.c.id).where(ranked.c.age > SNAPSHOTS_KEPT)
    await connection.execute(delete(_archives).where(_archives.c.id.in_(old)))
