"""A backup of the whole store in one SQLite file, and the way back; also the way from SQLite to
PostgreSQL and from PostgreSQL to SQLite.

A backup is read in one snapshot of the database, while it is in use. Sealed values stay sealed: a
backup needs the same keys. Workers are left out, as none of them lives where a backup is restored.

A restored store gives the old one's workers no chance: every epoch is far above any that the old
one will reach. And it logs nobody in: its sessions wait until an operator starts them, as the old
installation may still run.
"""

import asyncio
import os
import re
import shutil
import sqlite3
import tempfile
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import msgspec
from sqlalchemy import URL, Table, case, delete, func, insert, select, text, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from sessions.credentials import staging
from sessions.model import StoreError, StoreUnavailable
from sessions.store import verification
from sessions.store.backups import inspection, origin
from sessions.store.engine import database, schema
from sessions.store.sealing.cipher import Cipher
from sessions.store.store import Store
from sessions.store.tables import keys, session_rows, webhooks
from sessions.store.verification import VerifyReport
from sessions.store.writing import faults, receipts

EPOCHS_AHEAD: Final = 1_000_000
"""By how much a restore raises each epoch.

An epoch grows with each worker: the old store would have to start a million of them.
"""
EVENTS_AHEAD: Final = 1_000_000
"""The same for the numbers of events: what the old store published after the backup must not come
again under the same number.
"""
RESTORE_PREFIX: Final = ".wasup-restore-"
_RESTORE_DIRECTORY: Final = re.compile(re.escape(RESTORE_PREFIX) + r"[a-z0-9_]{8}")
"""What tempfile makes of the prefix."""
_ROWS: Final = 500
SYNCED_BYTES: Final = 8 * 2**20
_TABLES: Final = tuple(
    table
    for table in schema.metadata.sorted_tables
    if table not in {schema.workers, schema.history_pages}
)
"""Without what belongs to a host: its processes, and what was measured there, which would be most
of a backup.
"""
_NUMBERED: Final = {
    schema.events.c.n: EVENTS_AHEAD,
    schema.archives.c.id: 0,
    schema.incidents.c.id: EVENTS_AHEAD,
    schema.spans.c.id: 0,
    schema.deliveries.c.id: 0,
}


class BackupReport(msgspec.Struct, frozen=True, rename="camel"):
    """What was copied."""

    sessions: int
    keys: int
    archives: int
    events: int
    paused: int = 0
    """Of a restore: sessions that ran, and wait until an operator starts them."""


async def backup(store: Store, file: Path, made_in: Path | None = None) -> BackupReport:
    """Copy the store into a new file, for nobody else to read.

    Raises StoreError, OSError; the file is there whole or not at all.

    `made_in`: the data directory, so that the backup says where it was made (origin.py); None: it
    does not.
    """
    if file.exists():
        raise StoreError(
            f"{file} exists already.", "A backup never overwrites: choose another name."
        )
    try:
        with staging.beside(file) as directory:
            copy = directory / "copy.db"
            _new_private_file(copy)
            report = await _write(store, copy, store.origin_here(made_in) if made_in else None)
            await asyncio.to_thread(_check, copy)
            await asyncio.to_thread(_sync, copy)
            copy.rename(file)
    except (SQLAlchemyError, sqlite3.Error) as error:
        raise StoreUnavailable(f"The backup could not be made: {_told(error)}") from None
    await asyncio.to_thread(_sync, file.parent)
    return report


async def restore(file: Path, url: URL, workspace: Path, *, for_good: bool = True) -> BackupReport:
    """Fill an empty store from a backup, which stays as it is.

    Raises StoreError, OSError; the store is filled whole or not at all.

    `workspace`: the data directory, where a copy lies meanwhile. Not `for_good`: the store is a
    scratch one, whose disk need not be waited for.
    """
    with tempfile.TemporaryDirectory(prefix=RESTORE_PREFIX, dir=workspace) as directory:
        copy = Path(directory) / "copy.db"
        with _no_backup_is_told(file):
            await _ready(file, copy)
            return await _fill(copy, url, for_good)


async def verify(file: Path, workspace: Path, cipher: Cipher | None) -> VerifyReport:
    """Whether a backup could be restored, and everything in it be read with the keys at hand.

    Raises StoreError, OSError. `workspace`: where a copy lies meanwhile.
    """
    with tempfile.TemporaryDirectory(prefix=RESTORE_PREFIX, dir=workspace) as directory:
        copy = Path(directory) / "copy.db"
        with _no_backup_is_told(file):
            await _ready(file, copy)
            engine = database.open_single_file(copy)
            try:
                async with engine.connect() as connection:
                    return await verification.verify(connection, cipher)
            finally:
                await database.dispose(engine)


@contextmanager
def _no_backup_is_told(file: Path) -> Iterator[None]:
    """What goes wrong with a file that is no backup, in words."""
    try:
        yield
    except sqlite3.Error as error:
        raise StoreError(
            f"{file} is no backup: {error}.",
            "A backup is a file that `wasup store backup` wrote.",
        ) from None
    except database.NewerSchema as error:
        raise StoreError(
            f"{file} cannot be restored: {error}.", "Was it written by a newer version?"
        ) from None
    except (
        TypeError,
        ValueError,
        OverflowError,
    ) as error:  # what no look has found: a value that a driver does not take
        raise StoreError(
            f"{file} cannot be restored: {type(error).__name__}.", inspection.HINT
        ) from None
    except SQLAlchemyError as error:
        raise StoreUnavailable(
            f"The backup could not be restored: {faults.describe(error)}"
        ) from None


async def _ready(file: Path, copy: Path) -> None:
    """A copy that was looked at, with this version's schema."""
    await asyncio.to_thread(_copy_and_check, file, copy)
    await _upgrade(copy)
    await asyncio.to_thread(inspection.check_rows, copy)


def clear_away(workspace: Path) -> None:
    """Remove the copies of restores that were killed: they hold the keys of all numbers.

    For whoever holds the data directory's lock.
    """
    for left in workspace.glob(f"{RESTORE_PREFIX}*"):
        if _RESTORE_DIRECTORY.fullmatch(left.name) and left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)


# --- making one -----------------------------------------------------------------------------------


async def _write(store: Store, file: Path, made_at: origin.Origin | None) -> BackupReport:
    engine = database.open_single_file(file)
    try:
        async with engine.begin() as target:
            await target.run_sync(database.upgrade)
            async with store.snapshot_of_all() as source:
                counts = {
                    table.name: await _copy_table(source, target, table, _Gently(file))
                    for table in _TABLES
                }
            if made_at is not None:
                await origin.note(target, made_at)
        return _report(counts)
    finally:
        await database.dispose(engine)


class _Gently:
    """Has a file written to its disk bit by bit: a gigabyte at once would keep everybody waiting
    who has a write of his own made durable meanwhile.
    """

    def __init__(self, file: Path) -> None:
        self._file = file
        self._waiting_bytes = 0

    async def after(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """These were written."""
        self._waiting_bytes += sum(
            len(value) for row in rows for value in row.values() if isinstance(value, bytes)
        )
        if self._waiting_bytes >= SYNCED_BYTES:
            await asyncio.to_thread(_sync, self._file)
            self._waiting_bytes = 0


async def _copy_table(
    source: AsyncConnection,
    target: AsyncConnection,
    table: Table,
    gently: _Gently | None = None,
    **ahead: int,
) -> int:
    copied = 0
    async for rows in _chunks(source, table):
        for row in rows:
            row.update({name: row[name] + more for name, more in ahead.items()})
        await target.execute(insert(table), rows)
        copied += len(rows)
        if gently is not None:
            await gently.after(rows)
    return copied


async def _chunks(source: AsyncConnection, table: Table) -> AsyncIterator[list[dict[str, Any]]]:
    statement = select(table).order_by(*table.primary_key.columns)
    if table is schema.meta:
        # the receipt belongs to its own database
        statement = statement.where(table.c.name != receipts.NAME)
    async with source.stream(statement, execution_options={"yield_per": _ROWS}) as result:
        async for partition in result.mappings().partitions():
            yield [dict(row) for row in partition]


def _report(counts: dict[str, int]) -> BackupReport:
    return BackupReport(counts["sessions"], counts["auth"], counts["archives"], counts["events"])


# --- using one ------------------------------------------------------------------------------------


def _copy_and_check(file: Path, copy: Path) -> None:
    """A copy, so that bringing an old schema up to date does not change the backup; with what
    SQLite may keep beside the file.
    """
    inspection.check_file(file)
    for suffix in ("", "-wal"):
        if Path(f"{file}{suffix}").exists():
            _new_private_file(Path(f"{copy}{suffix}"))
            _copy(Path(f"{file}{suffix}"), Path(f"{copy}{suffix}"))
    inspection.check_structure(copy)
    _check(copy)
    connection = sqlite3.connect(copy)
    try:
        connection.execute("SELECT version_num FROM alembic_version")
    finally:
        connection.close()


async def _upgrade(file: Path) -> None:
    engine = database.open_single_file(file)
    try:
        async with engine.begin() as connection:
            await connection.run_sync(database.upgrade)
    finally:
        await database.dispose(engine)


async def _fill(copy: Path, url: URL, for_good: bool) -> BackupReport:
    source_engine = database.open_single_file(copy)
    gently = None if for_good else _Gently(Path(url.database or ""))
    writer = database.open_writer(url) if for_good else database.open_scratch(url)
    try:
        await database.migrate(url, writer)
        async with writer.begin() as target, source_engine.begin() as source:
            await _must_be_empty(target, url)
            counts = {
                table.name: await _copy_table(source, target, table, gently, **_ahead(table))
                for table in _TABLES
            }
            await _continue_numbers(target)
            paused = await _pause_all(target)
            await session_rows.begin_at(
                target, await session_rows.first_epoch(target) + EPOCHS_AHEAD
            )
        return msgspec.structs.replace(_report(counts), paused=paused)
    finally:
        await database.dispose(source_engine)
        await database.dispose(writer)


def _ahead(table: Table) -> dict[str, int]:
    return {"epoch": EPOCHS_AHEAD} if table is schema.sessions else {}


async def _must_be_empty(target: AsyncConnection, url: URL) -> None:
    for table in _TABLES:
        if table is not schema.meta and await target.scalar(
            select(func.count()).select_from(table)
        ):
            raise StoreError(
                f"{database.name_of(url)} is not empty.",
                "A backup is restored into a new store only. Move the old one away first; it may"
                " hold newer credentials.",
            )
    await target.execute(schema.meta.delete().where(schema.meta.c.name != receipts.NAME))


async def _pause_all(target: AsyncConnection) -> int:
    """Nobody logs in by itself, and nothing is delivered: the installation that the backup is of
    may still run. Two logins of one device throw each other out, and who hears of an event from
    both does twice what he does.
    """
    sessions = schema.sessions
    values = {"restored": case((sessions.c.wanted != 0, 1), else_=sessions.c.restored), "wanted": 0}
    await target.execute(update(sessions).values(values))
    await target.execute(update(schema.webhooks).values(paused_because=webhooks.RESTORED))
    # two installations must not believe each other's tokens
    await target.execute(delete(schema.meta).where(schema.meta.c.name == keys.TOKEN_SECRET))
    return (
        await target.scalar(
            select(func.count()).select_from(sessions).where(sessions.c.restored != 0)
        )
        or 0
    )


async def _continue_numbers(target: AsyncConnection) -> None:
    """The next event and archive get numbers that none has had."""
    await target.execute(update(schema.sessions).values(event_seq=0))
    for column, ahead in _NUMBERED.items():
        last = (await target.scalar(select(func.max(column))) or 0) + ahead
        table, name = column.table.name, column.name
        if target.dialect.name == "postgresql":
            if last:
                sequence = func.pg_get_serial_sequence(table, name)
                await target.execute(select(func.setval(sequence, last)))
        elif column in {schema.events.c.n, schema.incidents.c.id, schema.deliveries.c.id}:
            # the tables whose numbers SQLite remembers
            await target.execute(
                text("DELETE FROM sqlite_sequence WHERE name = :name"), {"name": table}
            )
            await target.execute(
                text("INSERT INTO sqlite_sequence (name, seq) VALUES (:name, :seq)"),
                {"name": table, "seq": last},
            )


def _check(file: Path) -> None:
    """Read the whole file and its references. Raises sqlite3.Error."""
    connection = sqlite3.connect(file)
    try:
        found = (
            connection.execute("PRAGMA integrity_check").fetchall()
            + connection.execute("PRAGMA foreign_key_check").fetchall()
        )
    finally:
        connection.close()
    if found != [("ok",)]:
        raise sqlite3.DatabaseError("the file is damaged")


def _copy(source: Path, target: Path) -> None:
    """Bit by bit, as _Gently has it."""
    with source.open("rb") as read, target.open("r+b") as written:
        while piece := read.read(SYNCED_BYTES):
            written.write(piece)
            written.flush()
            os.fdatasync(written.fileno())


def _new_private_file(path: Path) -> None:
    """Nobody else can read it, from its first byte on."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _told(error: SQLAlchemyError | sqlite3.Error) -> str:
    return str(error) if isinstance(error, sqlite3.Error) else faults.describe(error)
