"""The store: sessions, their credentials behind epochs, workers and events.

Every write goes through the one Writer (group commit, patience); a write of credentials carries its
epoch and is refused, in the same transaction, when the session has been given to a newer worker
since. Reads see what is committed.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Collection, Hashable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import msgspec
import structlog
from sqlalchemy import URL, Executable, Row, delete, func, insert, select, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from sessions.credentials import credentials
from sessions.credentials.proxy import Proxy
from sessions.forever import Forever
from sessions.model import SessionId, StoreUnavailable, UnreadableValue
from sessions.records.changes import Changes
from sessions.store import rewrite, verification
from sessions.store.backups import origin
from sessions.store.engine import database, schema
from sessions.store.engine.database import Pool
from sessions.store.engine.erasing import Eraser
from sessions.store.engine.file_watch import DatabaseFile
from sessions.store.engine.statistics import DatabaseFigures, Statistics
from sessions.store.engine.tidying import Tidying
from sessions.store.rewrite import RewriteReport
from sessions.store.sealing import keyring
from sessions.store.sealing.cipher import Cipher
from sessions.store.supervision import history_pages
from sessions.store.supervision.alert_rows import AlertRows
from sessions.store.supervision.history_pages import HistoryPages
from sessions.store.supervision.presence import Presence
from sessions.store.supervision.upkeep_runs import UpkeepRuns
from sessions.store.tables import (
    archives,
    auth,
    devices,
    events,
    incidents,
    proxies,
    session_rows,
    text,
)
from sessions.store.tables.auth import CREDS
from sessions.store.tables.events import EVERY_EVENT, LogBounds, NewEvent, Wanted
from sessions.store.tables.incidents import Records
from sessions.store.tables.keys import KeyRows
from sessions.store.tables.requests import Requests
from sessions.store.tables.rows import ArchiveRow, Restored, SessionRow, StoredEvent, WorkerRow
from sessions.store.tables.webhooks import WebhookRows
from sessions.store.verification import VerifyReport
from sessions.store.writing import faults
from sessions.store.writing.health import StoreHealth
from sessions.store.writing.writer import Writer
from sessions.workers.wire import KeyEntry

_EVENTS_PER_READ: Final = 200
_LAST_EVENTS: Final = 10_000
IDENTITY: Final = "store"
"""The row of `meta` with the store's number."""
_EVENTS_PER_FIRST_READ: Final = 8
"""Doubled before each read of a page: where the texts are long, not much more is read than the page
takes.
"""
DISPOSE_SECONDS: Final = 3.0
_EVENTS_LOOKED_THROUGH: Final = 50_000
"""Of a call that chooses: some 50 ms; who asks goes on where it has ended."""
READ_SECONDS: Final = 10.0
"""Whoever reads is told after so long that the database does not answer."""

log = structlog.get_logger("store")


class Store:
    """The database, opened. Use `await Store.open(url)` and `await store.close()`."""

    def __init__(
        self,
        url: URL,
        writer: AsyncEngine,
        bounds: LogBounds,
        cipher: Cipher | None,
        forever: Forever,
        notify: Callable[[StoreHealth], None] | None = None,
        pool: Pool = Pool(),  # noqa: B008 (it is a value)
    ) -> None:
        self._url = url
        self._cipher = cipher
        self._bounds = bounds
        self._reader = database.open_reader(url, pool)
        self._writer_engine = writer
        self._file = DatabaseFile.of(url)
        self.statistics = Statistics(url, (writer, self._reader))
        self._writer = Writer(writer, forever, notify, self.statistics.took)
        self._eraser = Eraser(url, forever)
        self.records = Records(self._writer, self._read)
        self.requests = Requests(self._writer, cipher)
        self.webhooks = WebhookRows(self._writer, self._read, cipher)
        self.keys = KeyRows(self._writer, self._read, cipher)
        self.alerts = AlertRows(self._writer, self._read)
        self.history_pages = HistoryPages(self._writer, self._read)
        self.upkeep_runs = UpkeepRuns(self._writer, self._read)
        self.presence = Presence(self._read)
        self.tidying = Tidying(url, self._writer, self._read)

    @classmethod
    async def open(
        cls,
        url: URL,
        event_log: LogBounds = LogBounds(),  # noqa: B008 (it is a value)
        cipher: Cipher | None = None,
        forever: Forever | None = None,
        notify: Callable[[StoreHealth], None] | None = None,
        pool: Pool = Pool(),  # noqa: B008 (it is a value)
    ) -> "Store":
        """Migrate if needed and open. `notify` is told of each change of its health.

        Raises StoreUnavailable: also if another supervisor owns it, or a key is missing.
        """
        writer = database.open_writer(url)
        try:
            await database.migrate(url, writer)
            async with writer.begin() as connection:
                await keyring.check(connection, cipher)
                await devices.learn(connection, cipher)
            return cls(url, writer, event_log, cipher, forever or Forever(), notify, pool)
        except (SQLAlchemyError, database.NewerSchema, OSError, StoreUnavailable) as error:
            await database.dispose(writer)
            told = str(error) if isinstance(error, database.NewerSchema) else faults.describe(error)
            hint = error.hint if isinstance(error, StoreUnavailable) else None
            raise StoreUnavailable(
                f"{database.name_of(url)} cannot be opened: {told}", hint
            ) from None

    @classmethod
    def beside(cls, url: URL, cipher: Cipher | None = None) -> "Store":
        """A store to read from while a supervisor owns it: nothing is migrated, no lock is taken,
        nothing may be written.
        """
        return cls(url, database.open_writer(url), LogBounds(), cipher, Forever())

    async def close(self) -> None:
        """Write what is queued, for a few seconds at the most, and close."""
        await self._writer.close()
        await self._eraser.close()
        for engine in (self._writer_engine, self._reader):
            try:
                async with asyncio.timeout(DISPOSE_SECONDS):
                    await database.dispose(engine)
            except TimeoutError:  # nothing is lost with it: what was written is written
                log.warning(
                    "the database's connections do not close and are left",
                    action="store_close_hangs",
                )

    # --- how it is --------------------------------------------------------------------------------

    @property
    def health(self) -> StoreHealth:
        """How the store is now."""
        return self._writer.watch.health

    async def figures(self) -> DatabaseFigures:
        """What its database costs now, but for statements (`statistics.statements`)."""
        return await self.statistics.look(self._read, self.health.waiting_operations)

    def must_work(self) -> None:
        """Refuse what would wait for a write in vain.

        Raises StoreUnavailable while the store is known to fail.
        """
        health = self.health
        if health.state == "failing":
            raise StoreUnavailable(health.words)

    async def must_write(self) -> None:
        """See that a write is durable, of nothing but its receipt.

        Raises StoreUnavailable, within seconds.
        """
        await self._writer.submit(_nothing)

    # --- sessions ---------------------------------------------------------------------------------

    async def sessions(self) -> list[SessionRow]:
        """All sessions, oldest first."""
        table = schema.sessions
        rows = await self._read(select(table).order_by(table.c.created_at, table.c.id))
        return [session_rows.session_of(self._cipher, row) for row in rows]

    async def create_session(
        self, session: SessionId, wanted: bool, proxy: Proxy | None = None
    ) -> SessionRow:
        """Add a session. Raises SessionExists."""

        async def operation(connection: AsyncConnection) -> SessionRow:
            row = await session_rows.create(connection, session, wanted)
            await connection.execute(self._with_proxy(session, proxy))
            return msgspec.structs.replace(row, proxy=proxy.name if proxy else None)

        return await self._writer.submit(operation)

    async def delete_session(self, session: SessionId, purge: bool) -> None:
        """Remove a session: its credentials are archived, or, with `purge`, destroyed together with
        its archives, on the disk, too.
        """

        async def operation(connection: AsyncConnection) -> None:
            if purge:
                for table in (schema.archives, schema.events, schema.requests, schema.deliveries):
                    # events: they hold texts, and the QR codes' secrets; requests: pairing codes
                    await connection.execute(delete(table).where(table.c.session == session))
            else:
                await archives.put_aside(connection, session, "deleted")
            await incidents.forget(connection, session, purge)
            await history_pages.forget_session(connection, session)
            await session_rows.remove(connection, session)

        await self._writer.submit(operation)
        if purge:
            await self._eraser.erase()

    def set_wanted(self, session: SessionId, wanted: bool) -> asyncio.Future[None]:
        """Remember whether the session shall run; once an operator has said so, it no longer waits
        for that.
        """
        return self._writer.execute(_update_session(session, wanted=int(wanted), restored=0))

    def commit(self, changes: Changes) -> asyncio.Future[StoredEvent | None]:
        """Write what has changed of a session, in one transaction; its event, with its number.

        Patient. Of several that are nothing but a memory, and wait, only the newest is written.
        Where too many events wait, this one is lost, and the rest is written all the same, though
        not as one.
        """
        durable = self._commit(changes)
        if durable.done() and changes.event is not None:  # refused
            self._commit_in_pieces(changes)
        return durable

    def _commit_in_pieces(self, changes: Changes) -> None:
        """All but the event, where the number of those that wait bounds nothing any more: of each
        incident, of what is remembered and of each presence the newest alone waits.

        Of a session that comes and goes meanwhile the record has the last time of each.

        In the order in which they are written as one: whoever finds the incident without the memory
        judges the close once more.
        """
        session, move = changes.session, changes.move
        alone = Changes(session=session)
        if changes.incident is not None:
            self.records.save_incident(changes.incident)
        if move is not None:
            self._commit(replace(alone, move=move), newest_of=("move", session, move.presence))
        if changes.memory is not None:
            self._commit(replace(alone, memory=changes.memory))

    def _commit(
        self, changes: Changes, newest_of: Hashable = None
    ) -> asyncio.Future[StoredEvent | None]:
        session, told = changes.session, changes.event
        event = (
            None if told is None else NewEvent.now(session, told.type, msgspec.json.encode(told))
        )

        async def operation(connection: AsyncConnection) -> StoredEvent | None:
            if changes.incident is not None:
                await incidents.save(connection, changes.incident)
            if changes.move is not None:
                await incidents.move(connection, session, changes.move)
            if changes.memory is not None:
                await connection.execute(_update_session(session, memory=changes.memory()))
            if event is None:
                return None
            return await events.append(connection, self._cipher, self._bounds, event)

        is_memory = event is None and changes.incident is None and changes.move is None
        return self._writer.submit(
            operation,
            patient=True,
            newest_of=("memory", session) if is_memory else newest_of,
            is_event=event is not None,
            source=session,
        )

    async def set_proxy(self, session: SessionId, proxy: Proxy | None) -> None:
        """Let the session's next worker use this proxy, or none.

        The one before, with its password, is destroyed.
        """
        await self._writer.execute(self._with_proxy(session, proxy))
        await self._eraser.erase()

    async def proxy(self, session: SessionId) -> Proxy | None:
        """The session's proxy.

        Raises UnreadableValue: whoever cannot read it must not do without.
        """
        rows = await self._read(proxies.of(session))
        return proxies.read(self._cipher, session, rows[0].proxy) if rows else None

    def save_identity(self, session: SessionId, jid: str, name: str | None) -> asyncio.Future[None]:
        """Remember which WhatsApp account this is.

        Patient. Its owner chose the name: what no database takes is replaced.

        SameDevice if another session is this device; the rest is remembered all the same.
        """
        table = schema.sessions.c
        named = None if name is None else text.cleaned(name, table.name)
        identity = _update_session(session, jid=text.cleaned(jid, table.jid), name=named)

        async def operation(connection: AsyncConnection) -> None:
            await connection.execute(identity)
            await devices.claim(connection, session, credentials.device_of(jid))

        return self._writer.submit(operation, patient=True)

    async def claim_device(self, session: SessionId, device: str | None) -> None:
        """Before credentials are used: no other session may be this device. Raises SameDevice."""

        async def operation(connection: AsyncConnection) -> None:
            await devices.claim(connection, session, device)

        await self._writer.submit(operation)

    # --- the store itself -------------------------------------------------------------------------

    async def identity(self) -> str | None:
        """The number by which a data directory knows its store; None: it was given none yet."""
        rows = await self._read(select(schema.meta.c.value).where(schema.meta.c.name == IDENTITY))
        return rows[0].value.decode(errors="replace") if rows else None

    async def check_keys(self) -> None:
        """See that everything sealed can be opened with the keys at hand; nothing is written.

        Raises StoreUnavailable.
        """
        try:
            async with asyncio.timeout(READ_SECONDS), self._connected() as connection:
                await keyring.must_open(connection, self._cipher)
        except (SQLAlchemyError, OSError) as error:
            raise StoreUnavailable(f"The store could not read: {faults.describe(error)}") from None

    async def identify(self, identity: str) -> None:
        """Give the store its number."""

        async def operation(connection: AsyncConnection) -> None:
            row = {"name": IDENTITY, "value": identity.encode()}
            await connection.execute(database.upsert(connection, schema.meta), row)

        await self._writer.submit(operation)

    async def origin_still_runs(
        self, directory: Path, is_held: Callable[[Path], str | None]
    ) -> str | None:
        """Who runs where the backup was made that this store was filled from; None: nobody, as far
        as can be known (origin.py).
        """
        here = origin.Origin.here(directory, self._url)
        try:
            async with asyncio.timeout(READ_SECONDS), self._connected() as connection:
                return await origin.still_runs(
                    connection, await origin.read(connection), here, is_held
                )
        except (SQLAlchemyError, OSError) as error:
            raise StoreUnavailable(f"The store could not read: {faults.describe(error)}") from None

    def origin_here(self, directory: Path) -> origin.Origin:
        """What a backup of this store says of where it was made."""
        return origin.Origin.here(directory, self._url)

    def look_at_file(self) -> None:
        """Notice that an SQLite file was removed or replaced while it is in use: nothing is written
        into what nobody will find again.
        """
        if self._file is None:
            return
        self._writer.lost = self._file.lost()
        if self._writer.lost is not None and self.health.state != "failing":
            self._writer.submit(_nothing)  # so that it is noticed also while nobody writes

    # --- credentials ------------------------------------------------------------------------------

    async def raise_epoch(self, session: SessionId) -> int:
        """Give the session to a new worker: every write of an older epoch is refused from now on.

        Raises SessionNotFound.
        """

        async def operation(connection: AsyncConnection) -> int:
            return await auth.raise_epoch(connection, session)

        return await self._writer.submit(operation)

    async def creds(self, session: SessionId) -> bytes | None:
        """The session's credentials as the JSON that the worker gave, or None if it was never
        paired. Raises UnreadableValue.
        """
        return (await self.read_keys(session, CREDS, [CREDS])).get(CREDS)

    async def read_keys(self, session: str, kind: str, names: Sequence[str]) -> dict[str, bytes]:
        """Values by name; missing ones are left out.

        Raises UnreadableValue if one does not decrypt or is not JSON.
        """
        found: dict[str, bytes] = {}
        stored = auth.askable(names)
        for start in range(0, len(stored), auth.MAX_NAMES_PER_QUERY):
            rows = await self._read(
                auth.some_of(session, kind, stored[start : start + auth.MAX_NAMES_PER_QUERY])
            )
            found |= {
                r.name: auth.value_of(self._cipher, session, kind, r.name, r.value) for r in rows
            }
        return found

    async def inbound(self, session: str, most_bytes: int) -> dict[str, bytes]:
        """What messages were decrypted to that are in no event: by name, as many as fit, but one at
        least.

        One that cannot be read is left out and logged: it is one text, and no reason to touch the
        session.
        """
        found, size = dict[str, bytes](), 0
        for row in await self._read(auth.all_of(session).where(schema.auth.c.kind == auth.INBOUND)):
            try:
                value = auth.value_of(self._cipher, session, row.kind, row.name, row.value)
            except UnreadableValue as error:
                log.error(
                    "a kept message cannot be read",
                    action="inbound_unreadable",
                    session=session,
                    error=str(error),
                )
                continue
            size += len(value)
            if found and size > most_bytes:
                log.warning(
                    "more messages were left than are handed on at once",
                    action="inbound_left",
                    session=session,
                )
                break
            found[row.name] = value
        return found

    def write_keys(
        self, session: str, epoch: int, entries: Sequence[KeyEntry]
    ) -> asyncio.Future[None]:
        """Write keys in one transaction.

        Patient. Done when it is durable; StaleEpoch if the epoch is an older one, UnstorableValue.
        """

        async def operation(connection: AsyncConnection) -> None:
            await auth.check_epoch(connection, session, epoch)
            await auth.write(connection, self._cipher, session, auth.storable(session, entries))

        return self._writer.submit(operation, patient=True)

    async def import_session(
        self,
        session: SessionId,
        entries: Sequence[KeyEntry],
        wanted: bool,
        proxy: Proxy | None = None,
    ) -> SessionRow:
        """Add a session together with its credentials and keys.

        Raises SessionExists, SameDevice, UnstorableValue.
        """
        creds = next(
            (bytes(entry.value) for entry in entries if entry.kind == CREDS == entry.name), b""
        )
        device = credentials.device(creds)

        async def operation(connection: AsyncConnection) -> SessionRow:
            taken = auth.storable(session, entries)
            await devices.check(connection, session, device)
            row = await session_rows.create(connection, session, wanted)
            await devices.claim(connection, session, device)
            await connection.execute(self._with_proxy(session, proxy))
            await auth.write(connection, self._cipher, session, taken)
            return msgspec.structs.replace(row, proxy=proxy.name if proxy else None)

        return await self._writer.submit(operation)

    async def export_session(self, session: str) -> list[KeyEntry]:
        """All credentials and keys of a session, decrypted. Raises UnreadableValue."""
        rows = await self._read(auth.all_of(session))
        return [
            KeyEntry(
                r.kind,
                r.name,
                msgspec.Raw(auth.value_of(self._cipher, session, r.kind, r.name, r.value)),
            )
            for r in rows
            if r.kind != auth.INBOUND
        ]

    # --- archives ---------------------------------------------------------------------------------

    def archive_credentials(
        self, session: SessionId, reason: str, *, memory: bytes, wanted: bool
    ) -> asyncio.Future[None]:
        """Put the session's credentials aside whole; it has none afterwards.

        Its epoch is raised, so that nobody writes into the gap.

        What is remembered of it, and whether it shall run, changes with it or not at all: without
        credentials and without that memory a restart would pair it anew. Patient.
        """

        async def operation(connection: AsyncConnection) -> None:
            await archives.put_aside_and_fence(connection, session, reason)
            await connection.execute(_update_session(session, memory=memory, wanted=int(wanted)))

        return self._writer.submit(operation, patient=True)

    def snapshot(self, session: SessionId, reason: str) -> asyncio.Future[bool]:
        """Copy the session's credentials (the creds row alone); False if it has none that can be
        read. The newest five are kept.
        """

        async def operation(connection: AsyncConnection) -> bool:
            return await archives.snapshot(connection, self._cipher, session, reason)

        return self._writer.submit(operation)

    async def snapshot_due(self, older_than_seconds: float) -> int:
        """Take a snapshot of every session with credentials that can be read whose newest one is
        older; how many were taken.
        """
        total, after = 0, ""
        while True:

            async def operation(
                connection: AsyncConnection, after: str = after
            ) -> tuple[int, str | None]:
                return await archives.snapshot_due(
                    connection, self._cipher, older_than_seconds, after
                )

            taken, last = await self._writer.submit(operation)
            total += taken
            if last is None:
                return total
            after = last

    async def restore(
        self, session: SessionId, archive: int | None, *, wanted: bool = False
    ) -> ArchiveRow:
        """`restore_session`, for whoever needs only what was restored."""
        return (await self.restore_session(session, archive, wanted=wanted)).archive

    async def restore_session(
        self, session: SessionId, archive: int | None, *, wanted: bool
    ) -> Restored:
        """Put an archive back (None: the newest that helps), what is there now being archived
        first; the epoch is raised.

        With it changes whether the session shall run, and nothing is remembered of it any more. One
        that was deleted is made anew. Raises NoArchive, UnreadableValue, SameDevice; then nothing
        has changed.
        """

        async def operation(connection: AsyncConnection) -> Restored:
            return await archives.restore(connection, self._cipher, session, archive, wanted)

        return await self._writer.submit(operation)

    async def archives(self, session: str) -> list[ArchiveRow]:
        """The session's archives and snapshots, oldest first; a deleted session's too."""
        return [archives.row_of(row) for row in await self._read(archives.listed(session))]

    async def archived(self, session: str) -> list[tuple[int, str]]:
        """The session's archives: number and reason, oldest first."""
        return [(row.id, row.reason) for row in await self.archives(session)]

    # --- workers ----------------------------------------------------------------------------------

    async def add_worker(self, worker: WorkerRow) -> None:
        """Remember a worker process."""
        await self._writer.execute(insert(schema.workers).values(msgspec.structs.asdict(worker)))

    async def give_worker(self, worker_id: str, session: str | None) -> None:
        """Remember which session a worker process holds now."""
        table = schema.workers
        await self._writer.execute(
            update(table).where(table.c.id == worker_id).values(session=session)
        )

    async def remove_worker(self, worker_id: str) -> None:
        """Forget a worker process that has ended. Patient."""
        await self.remove_workers([worker_id])

    async def remove_workers(self, worker_ids: Sequence[str]) -> None:
        """Forget many at once: after a reboot a row for each is left, and a commit for each would
        take minutes. Patient.
        """
        column = schema.workers.c.id

        async def operation(connection: AsyncConnection) -> None:
            for start in range(0, len(worker_ids), auth.MAX_NAMES_PER_QUERY):
                some = worker_ids[start : start + auth.MAX_NAMES_PER_QUERY]
                await connection.execute(delete(schema.workers).where(column.in_(some)))

        await self._writer.submit(operation, patient=True)

    async def workers(self) -> list[WorkerRow]:
        """The worker processes that were not seen to end."""
        rows = await self._read(select(schema.workers))
        return [WorkerRow(r.id, r.session, r.pid, r.started_at_ticks, r.token_digest) for r in rows]

    # --- events -----------------------------------------------------------------------------------

    def append_event(
        self, session: str | None, kind: str, data: bytes, message: str | None = None
    ) -> asyncio.Future[StoredEvent]:
        """Add an event of our own; it has its number when it is durable.

        Patient. Numbered in the order of the calls. `message`: the id of the one that it is about.
        """
        event = NewEvent.now(session, kind, data, message)

        async def operation(connection: AsyncConnection) -> StoredEvent:
            return await events.append(connection, self._cipher, self._bounds, event)

        return self._writer.submit(operation, patient=True, is_event=True, source=session)

    def append_worker_event(
        self,
        session: str,
        epoch: int,
        seq: int,
        kind: str,
        data: bytes,
        kept: Sequence[str] = (),
        message: str | None = None,
    ) -> asyncio.Future[StoredEvent | None]:
        """Add a worker's event exactly once: None if `seq` was passed already.

        Patient. StaleEpoch if the epoch is an older one.

        `kept`: names of the entries of kind `inbound` that it was made of, and that are not needed
        any more (docs/wire.md). `message`: the id of the message that it is about.
        """
        event = NewEvent.now(session, kind, data, message)

        async def operation(connection: AsyncConnection) -> StoredEvent | None:
            if not await events.is_news(connection, session, epoch, seq):
                return None
            await auth.forget_inbound(connection, session, kept)
            return await events.append(connection, self._cipher, self._bounds, event)

        return self._writer.submit(operation, patient=True)

    async def trim_events(self) -> None:
        """Drop what the log has no room for, also while nothing is added. Some thousands at a time,
        so that nobody's write waits for it. Raises StoreUnavailable.
        """

        async def operation(connection: AsyncConnection) -> bool:
            return await events.trim(connection, self._bounds, time.time_ns() // 1_000_000)

        while await self._writer.submit(operation):
            pass

    async def oldest_event(self) -> int | None:
        """The number of the oldest event that the log still keeps, if it keeps any."""
        (row,) = await self._read(select(func.min(schema.events.c.n)))
        oldest: int | None = row[0]
        return oldest

    async def last_dropped_event(self) -> int:
        """The number of the newest event that the log had no room for; 0: none yet."""
        rows = await self._read(
            select(schema.meta.c.value).where(schema.meta.c.name == events.DROPPED)
        )
        return int(rows[0].value) if rows else 0

    async def last_event_before(self, time_ms: int) -> int:
        """The number of the newest event that is older; 0: none that is kept."""
        older = schema.events.c.time_ms < time_ms
        (row,) = await self._read(select(func.max(schema.events.c.n)).where(older))
        return row[0] or 0

    async def events_between(
        self, after: int, last: int, limit: int, most_bytes: int, wanted: Wanted = EVERY_EVENT
    ) -> tuple[list[StoredEvent], int]:
        """The events after a number, up to `last`, that are wanted, oldest first: at most so many,
        and about so many bytes, of a part of the log that is bounded. And up to which number that
        are all.
        """
        found, size, n, most = list[StoredEvent](), 0, schema.events.c.n, _EVENTS_PER_FIRST_READ
        clauses = wanted.clauses()
        if clauses:  # what is not wanted has to be looked at all the same
            last = min(last, after + _EVENTS_LOOKED_THROUGH)
        while len(found) <= limit and (size < most_bytes or not found):
            most = min(2 * most, _EVENTS_PER_READ)
            newer = select(schema.events).where(n > after, n <= last, *clauses)
            rows = await self._read(newer.order_by(n).limit(most))
            found += events.readable(self._cipher, rows)
            size += sum(len(r.data) for r in rows)
            if len(rows) < most:
                if len(found) <= limit:
                    return found, last
                break
            after = rows[-1].n
        return found[:limit], found[limit - 1].n if len(found) >= limit else after

    async def events_of_message(
        self, message: str, sessions: Collection[str] | None, after: int, limit: int
    ) -> list[StoredEvent]:
        """The events about a message, of these sessions (None: of all), after a number, oldest
        first; found by an index.
        """
        rows = await self._read(events.of_message(message, sessions, after, limit))
        return events.readable(self._cipher, rows)

    async def last_events(self, most_bytes: int) -> list[StoredEvent]:
        """The newest events that the log keeps, oldest first, as many as fit into so many bytes of
        data.
        """
        found, size, before = list[StoredEvent](), 0, None
        limit = min(self._bounds.most or _LAST_EVENTS, _LAST_EVENTS)
        while len(found) < limit and size < most_bytes:
            rows = await self._read(events.newest(before, _EVENTS_PER_READ))
            found += events.readable(self._cipher, rows)
            size += sum(len(r.data) for r in rows)
            if len(rows) < _EVENTS_PER_READ:
                break
            before = rows[-1].n
        return found[:limit][::-1]

    # --- encryption -------------------------------------------------------------------------------

    async def rewrite_secrets(self) -> RewriteReport:
        """Seal everything with the first key, while the store is in use; then the others can be
        dropped. Raises StoreError without a key.
        """
        report = await rewrite.rewrite(self._reader, self._writer, self._cipher)
        await self._eraser.erase()  # what lay there in the clear, or under the old key
        return report

    # --- the whole --------------------------------------------------------------------------------

    async def verify(self) -> VerifyReport:
        """Whether everything can be read with the keys at hand. Raises StoreUnavailable."""
        try:
            async with self.snapshot_of_all() as connection:
                return await verification.verify(connection, self._cipher)
        except (SQLAlchemyError, OSError) as error:
            raise StoreUnavailable(f"The store could not read: {faults.describe(error)}") from None

    @asynccontextmanager
    async def snapshot_of_all(self) -> AsyncIterator[AsyncConnection]:
        """A connection that sees one moment of the whole database, however long it reads
        (backup.py).
        """
        async with self._reader.connect() as connection:
            if not database.is_sqlite(self._url):
                await connection.execution_options(
                    isolation_level="REPEATABLE READ", postgresql_readonly=True
                )
            async with connection.begin():
                yield connection

    # --- inside -----------------------------------------------------------------------------------

    async def _read(self, statement: Executable) -> Sequence[Row[Any]]:
        try:
            async with asyncio.timeout(READ_SECONDS), self._connected() as connection:
                return (await connection.execute(statement)).all()
        except (SQLAlchemyError, OSError) as error:
            raise StoreUnavailable(f"The store could not read: {faults.describe(error)}") from None

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[AsyncConnection]:
        async with AsyncExitStack() as stack:
            with self.statistics.waiting_for_connection():
                connection = await stack.enter_async_context(self._reader.connect())
            yield connection

    def _with_proxy(self, session: SessionId, proxy: Proxy | None) -> Executable:
        return _update_session(session, proxy=proxies.stored(self._cipher, session, proxy))


async def _nothing(_connection: AsyncConnection) -> None:
    """A write of nothing but its receipt."""


def _update_session(session: SessionId, **values: object) -> Executable:
    return update(schema.sessions).where(schema.sessions.c.id == session).values(values)
