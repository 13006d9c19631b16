"""The store: sessions, their credentials behind epochs, workers and events.

Every write goes through the one Writer (group commit); a write of credentials carries its epoch and is refused, in the same
transaction, when the session has been given to a newer worker since. Reads see what is committed.
"""

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
from alembic.util import CommandError
from sqlalchemy import ColumnElement, Executable, Insert, Row, and_, delete, func, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from sessions.model import SessionExists, SessionId, SessionNotFound, StaleEpoch, StoreUnavailable
from sessions.store import database, schema
from sessions.store.writer import Writer
from sessions.wire import KeyEntry

CREDS: Final = "creds"
"""Kind and name of the credentials among the auth rows."""
_MAX_NAMES_PER_QUERY: Final = 500
"""SQLite takes at most 32,766 variables in a statement; PostgreSQL plans long lists slowly."""
_EVENTS_PER_READ: Final = 200
_TRIM_EVERY: Final = 256
"""Events are trimmed once in so many appends: a delete for each would double the writes."""


class SessionRow(msgspec.Struct, frozen=True):
    """A session as stored."""

    id: SessionId
    wanted: bool
    epoch: int
    memory: bytes | None
    jid: str | None
    name: str | None
    created_at: float


class WorkerRow(msgspec.Struct, frozen=True):
    """A worker process as stored."""

    id: str
    session: str | None
    pid: int
    started_at_ticks: int


class StoredEvent(msgspec.Struct, frozen=True):
    """An event with its number."""

    n: int
    time_ms: int
    session: str | None
    type: str
    data: msgspec.Raw


class Store:
    """The database, opened. Use `await Store.open(file)` and `await store.close()`."""

    def __init__(self, file: Path, event_limit: int) -> None:
        self._reader = database.open_reader(file)
        self._writer_engine = database.open_writer(file)
        self._writer = Writer(self._writer_engine)
        self._event_limit = event_limit

    @classmethod
    async def open(cls, file: Path, event_limit: int = 10_000) -> "Store":
        """Migrate if needed and open. Raises StoreUnavailable."""
        try:
            await asyncio.to_thread(database.migrate, file)
        except (SQLAlchemyError, CommandError) as error:  # CommandError: it was written by a newer version
            raise StoreUnavailable(f"{file} cannot be opened: {error.__cause__ or error}") from error
        return cls(file, event_limit)

    async def close(self) -> None:
        """Write what is queued and close."""
        await self._writer.close()
        await self._writer_engine.dispose()
        await self._reader.dispose()

    # --- sessions -----------------------------------------------------------------------------------------------------

    async def sessions(self) -> list[SessionRow]:
        """All sessions, oldest first."""
        table = schema.sessions
        rows = await self._read(select(table).order_by(table.c.created_at, table.c.id))
        return [
            SessionRow(SessionId(r.id), bool(r.wanted), r.epoch, r.memory, r.jid, r.name, r.created_at) for r in rows
        ]

    async def create_session(self, session: SessionId, wanted: bool) -> SessionRow:
        """Add a session. Raises SessionExists."""
        row = SessionRow(session, wanted, 0, None, None, None, time.time())

        async def operation(connection: AsyncConnection) -> SessionRow:
            if await _epoch(connection, session) is not None:
                raise SessionExists(f"There is a session {session!r} already.")
            values = msgspec.structs.asdict(row) | {"wanted": int(wanted)}
            await connection.execute(insert(schema.sessions).values(values))
            return row

        return await self._writer.submit(operation)

    async def delete_session(self, session: SessionId, purge: bool) -> None:
        """Remove a session: its credentials are archived, or, with `purge`, destroyed together with its archives."""

        async def operation(connection: AsyncConnection) -> None:
            if purge:
                for table in (schema.archives, schema.events):  # events: they hold texts, and the QR codes' secrets
                    await connection.execute(delete(table).where(table.c.session == session))
            else:
                await _archive(connection, session, "deleted")
            await connection.execute(delete(schema.sessions).where(schema.sessions.c.id == session))

        await self._writer.submit(operation)

    def set_wanted(self, session: SessionId, wanted: bool) -> asyncio.Future[None]:
        """Remember whether the session shall run."""
        return self._update_session(session, wanted=int(wanted))

    def save_memory(self, session: SessionId, memory: bytes) -> asyncio.Future[None]:
        """Remember what policy and breaker remember."""
        return self._update_session(session, memory=memory)

    def save_identity(self, session: SessionId, jid: str, name: str | None) -> asyncio.Future[None]:
        """Remember which WhatsApp account this is."""
        return self._update_session(session, jid=jid, name=name)

    # --- credentials ----------------------------------------------------------------------------------------------------

    async def raise_epoch(self, session: SessionId) -> int:
        """Give the session to a new worker: every write of an older epoch is refused from now on. Raises SessionNotFound."""

        async def operation(connection: AsyncConnection) -> int:
            epoch = await _epoch(connection, session)
            if epoch is None:
                raise SessionNotFound(f"There is no session {session!r}.")
            await connection.execute(
                update(schema.sessions).where(schema.sessions.c.id == session).values(epoch=epoch + 1)
            )
            return epoch + 1

        return await self._writer.submit(operation)

    async def creds(self, session: SessionId) -> bytes | None:
        """The session's credentials as the JSON that the worker gave, or None if it was never paired."""
        return (await self.read_keys(session, CREDS, [CREDS])).get(CREDS)

    async def read_keys(self, session: str, kind: str, names: Sequence[str]) -> dict[str, bytes]:
        """Values by name; missing ones are left out."""
        table = schema.auth
        found: dict[str, bytes] = {}
        for start in range(0, len(names), _MAX_NAMES_PER_QUERY):
            some = names[start : start + _MAX_NAMES_PER_QUERY]
            where = and_(table.c.session == session, table.c.kind == kind, table.c.name.in_(some))
            found.update({r.name: r.value for r in await self._read(select(table.c.name, table.c.value).where(where))})
        return found

    def write_keys(self, session: str, epoch: int, entries: Sequence[KeyEntry]) -> asyncio.Future[None]:
        """Write keys in one transaction. The future is done when it is durable; StaleEpoch if the epoch is an older one."""

        async def operation(connection: AsyncConnection) -> None:
            current = await _epoch(connection, session)
            if current != epoch:
                raise StaleEpoch(f"Session {session!r} is at epoch {current}; this write is of epoch {epoch}.")
            await _write_entries(connection, session, entries)

        return self._writer.submit(operation)

    async def archive_credentials(self, session: SessionId, reason: str) -> None:
        """Put the session's credentials aside whole; it has none afterwards. Its epoch is raised, so that nobody writes into the gap."""

        async def operation(connection: AsyncConnection) -> None:
            await _archive(connection, session, reason)
            epoch = schema.sessions.c.epoch
            await connection.execute(
                update(schema.sessions)
                .where(schema.sessions.c.id == session)
                .values(epoch=epoch + 1, jid=None, name=None)
            )

        await self._writer.submit(operation)

    async def archived(self, session: str) -> list[tuple[int, str]]:
        """The session's archives: number and reason, oldest first."""
        table = schema.archives
        rows = await self._read(select(table).where(table.c.session == session).order_by(table.c.id))
        return [(r.id, r.reason) for r in rows]

    # --- workers --------------------------------------------------------------------------------------------------------

    async def add_worker(self, worker: WorkerRow) -> None:
        """Remember a worker process."""
        await self._execute(insert(schema.workers).values(msgspec.structs.asdict(worker)))

    async def remove_worker(self, worker_id: str) -> None:
        """Forget a worker process that has ended."""
        await self._execute(delete(schema.workers).where(schema.workers.c.id == worker_id))

    async def workers(self) -> list[WorkerRow]:
        """The worker processes that were not seen to end."""
        rows = await self._read(select(schema.workers))
        return [WorkerRow(r.id, r.session, r.pid, r.started_at_ticks) for r in rows]

    # --- events ---------------------------------------------------------------------------------------------------------

    def append_event(self, session: str | None, kind: str, data: bytes) -> asyncio.Future[StoredEvent]:
        """Add an event; it has its number when it is durable. Events are numbered in the order of the calls."""
        time_ms = time.time_ns() // 1_000_000

        async def operation(connection: AsyncConnection) -> StoredEvent:
            values = {"time_ms": time_ms, "session": session, "type": kind, "data": data}
            n = await _insert(connection, insert(schema.events).values(values))
            if n % _TRIM_EVERY == 0:
                await connection.execute(delete(schema.events).where(schema.events.c.n <= n - self._event_limit))
            return StoredEvent(n, time_ms, session, kind, msgspec.Raw(data))

        return self._writer.submit(operation)

    async def last_events(self, most_bytes: int) -> list[StoredEvent]:
        """The newest events that the log keeps, oldest first, as many as fit into so many bytes of data."""
        table, found, size = schema.events, list[StoredEvent](), 0
        newest_first = select(table).order_by(table.c.n.desc())
        while len(found) < self._event_limit and size < most_bytes:
            older = newest_first.where(table.c.n < found[-1].n) if found else newest_first
            rows = await self._read(older.limit(_EVENTS_PER_READ))
            found += [StoredEvent(r.n, r.time_ms, r.session, r.type, msgspec.Raw(r.data)) for r in rows]
            size += sum(len(r.data) for r in rows)
            if len(rows) < _EVENTS_PER_READ:
                break
        return found[: self._event_limit][::-1]

    # --- inside ---------------------------------------------------------------------------------------------------------

    async def _read(self, statement: Executable) -> Sequence[Row[tuple[object, ...]]]:
        try:
            async with self._reader.connect() as connection:
                return (await connection.execute(statement)).all()
        except (SQLAlchemyError, OSError) as error:
            raise StoreUnavailable(f"The store could not read: {error.__cause__ or error}") from error

    def _execute(self, statement: Executable) -> asyncio.Future[None]:
        async def operation(connection: AsyncConnection) -> None:
            await connection.execute(statement)

        return self._writer.submit(operation)

    def _update_session(self, session: SessionId, **values: object) -> asyncio.Future[None]:
        return self._execute(update(schema.sessions).where(schema.sessions.c.id == session).values(values))


async def _epoch(connection: AsyncConnection, session: str) -> int | None:
    return await connection.scalar(select(schema.sessions.c.epoch).where(schema.sessions.c.id == session))


async def _insert(connection: AsyncConnection, statement: Insert) -> int:
    """Insert one row and return the number that it was given."""
    key = (await connection.execute(statement)).inserted_primary_key
    assert key is not None, "a one-row insert returns its key"
    return int(key[0])


async def _write_entries(connection: AsyncConnection, session: str, entries: Sequence[KeyEntry]) -> None:
    table = schema.auth
    kept = [e for e in entries if not e.deleted]
    if kept:
        statement = upsert(table)
        statement = statement.on_conflict_do_update(
            index_elements=[table.c.session, table.c.kind, table.c.name], set_={"value": statement.excluded.value}
        )
        rows = [{"session": session, "kind": e.kind, "name": e.name, "value": bytes(e.value)} for e in kept]
        await connection.execute(statement, rows)
    for entry in entries:
        if entry.deleted:
            await connection.execute(delete(table).where(_key(session, entry.kind, entry.name)))


def _key(session: str, kind: str, name: str) -> ColumnElement[bool]:
    table = schema.auth
    return and_(table.c.session == session, table.c.kind == kind, table.c.name == name)


async def _archive(connection: AsyncConnection, session: str, reason: str) -> None:
    auth = schema.auth
    mine = auth.c.session == session
    if not await connection.scalar(select(func.count()).select_from(auth).where(mine)):
        return
    values = {"session": session, "archived_at": time.time(), "reason": reason}
    archive = await _insert(connection, insert(schema.archives).values(values))
    rows = (await connection.execute(select(auth.c.kind, auth.c.name, auth.c.value).where(mine))).all()
    kept = [{"archive": archive, "kind": r.kind, "name": r.name, "value": r.value} for r in rows]
    await connection.execute(insert(schema.archived_auth), kept)
    await connection.execute(delete(auth).where(mine))
