"""How a database is, seen from beside it, whether somebody uses it or not; nothing is changed.

What is found is told as facts; what they mean is a doctor's to say (supervisor/watch/diagnostics/).
"""

import os
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import msgspec
from sqlalchemy import URL, Row, text

from sessions.store.engine import database, lock

LOCK_SECONDS: Final = 3.0
"""Whoever writes is done within milliseconds; whoever holds the file for so long, holds it."""
CHECK_SECONDS: Final = 5.0
"""For SQLite's own check; `wasup store verify` takes the time that it needs."""
STEPS: Final = 10_000
"""Of SQLite's machine, between two looks at the clock."""
MOST_DAMAGE: Final = 3
ROUND_TRIPS: Final = 3
LOCKS: Final = Path("/proc/locks")
SETTINGS: Final = (
    "fsync",
    "full_page_writes",
    "synchronous_commit",
    "max_connections",
    "superuser_reserved_connections",
    "autovacuum",
)
MEMORY_SETTINGS: Final = ("shared_buffers", "work_mem", "maintenance_work_mem")
MOST_BACKENDS: Final = 5
"""Of those that wait, and of those that keep others waiting."""
IDLE_SECONDS: Final = 300.0
"""A transaction that does nothing for so long keeps what is deleted from being tidied away."""
_BLOCKED: Final = """
    SELECT a.pid, a.application_name,
           extract(epoch FROM clock_timestamp() - a.state_change) AS seconds,
           b.pid AS holder, b.application_name AS holder_name
    FROM pg_stat_activity a
    CROSS JOIN LATERAL unnest(pg_blocking_pids(a.pid)) AS holding(pid)
    JOIN pg_stat_activity b ON b.pid = holding.pid
    WHERE a.datname = current_database()
    ORDER BY seconds DESC LIMIT :most
"""
_IDLE: Final = """
    SELECT pid, application_name, extract(epoch FROM clock_timestamp() - state_change) AS seconds
    FROM pg_stat_activity
    WHERE datname = current_database() AND state LIKE 'idle in transaction%'
      AND state_change < clock_timestamp() - make_interval(secs => :seconds)
    ORDER BY seconds DESC LIMIT :most
"""
_READS: Final = """
    SELECT blks_hit, blks_read, pg_database_size(datid) FROM pg_stat_database
    WHERE datname = current_database()
"""
_LOCK: Final = re.compile(
    r"^\d+: (?:POSIX|OFDLCK) +ADVISORY +WRITE +(?P<pid>-?\d+) [0-9a-f]+:[0-9a-f]+:(?P<inode>\d+) "
)


class FileFacts(msgspec.Struct, frozen=True):
    """An SQLite file.

    `locked_by`: pids of those that hold it, if somebody does for seconds; `problem`: why it cannot
    be written, in SQLite's words. `damage`: what SQLite's own check has found, the first few;
    `checked`: whether that came to its end.
    """

    size_bytes: int
    wal_bytes: int
    revision: str | None
    locked: bool = False
    locked_by: tuple[int, ...] = ()
    problem: str | None = None
    damage: tuple[str, ...] = ()
    checked: bool = True


class Backend(msgspec.Struct, frozen=True):
    """A connection of somebody, and for how long it has been so."""

    pid: int
    name: str
    seconds: float


class Blocked(msgspec.Struct, frozen=True):
    """Who waits for a lock, and for whom."""

    waits: Backend
    holder: int
    holder_name: str


class ServerFacts(msgspec.Struct, frozen=True):
    """A PostgreSQL server and the database there.

    `connections`: of everybody, `ours` among them. `memory_bytes`: settings that are sizes.
    `blocked`: who waits for a lock in this database; `idle`: whose transaction does nothing.
    `blocks_cached`, `blocks_read`: blocks of this database that were found in memory, and that were
    not, since the server's figures began.

    `owner`: who holds the database's lock, in words; None: nobody. `server_seconds`: its clock, of
    wall clock; `at_seconds`: ours at that moment.
    """

    version: str
    latency_ms: float
    settings: dict[str, str]
    connections: int
    revision: str | None
    owner: str | None
    server_seconds: float
    at_seconds: float
    memory_bytes: dict[str, int] = {}
    ours: int = 0
    blocked: tuple[Blocked, ...] = ()
    idle: tuple[Backend, ...] = ()
    blocks_cached: int = 0
    blocks_read: int = 0
    size_bytes: int = 0


def examine_file(file: Path) -> FileFacts:
    """Blocking, for some seconds at the most. Raises OSError, sqlite3.Error."""
    wal = Path(f"{file}-wal")
    size, wal_size = file.stat().st_size, wal.stat().st_size if wal.exists() else 0
    facts = FileFacts(size, wal_size, None)
    address = f"file:{quote(os.path.abspath(file))}?mode=rw"
    with closing(
        sqlite3.connect(address, uri=True, isolation_level=None, timeout=LOCK_SECONDS)
    ) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
            holders = tuple(sorted(_holders(file))) if busy else ()
            return msgspec.structs.replace(
                facts, locked=busy, locked_by=holders, problem=str(error)
            )
        damage, checked = _damage(connection)
        return msgspec.structs.replace(
            facts, revision=_file_revision(connection), damage=damage, checked=checked
        )


async def examine_server(url: URL) -> ServerFacts:
    """Raises SQLAlchemyError, OSError."""
    engine = database.open_reader(url)
    try:
        async with engine.connect() as connection:
            laps = []
            for _ in range(ROUND_TRIPS):
                began = time.monotonic()
                await connection.execute(text("SELECT 1"))
                laps.append(time.monotonic() - began)
            server = await connection.scalar(text("SELECT extract(epoch FROM clock_timestamp())"))
            at = time.time()
            version = await connection.scalar(text("SHOW server_version"))
            settings = {
                name: str(await connection.scalar(text(f"SHOW {name}"))) for name in SETTINGS
            }
            memory = {
                name: int(
                    await connection.scalar(
                        text("SELECT pg_size_bytes(current_setting(:name))"), {"name": name}
                    )
                    or 0
                )
                for name in MEMORY_SETTINGS
            }
            count = await connection.scalar(text("SELECT count(*) FROM pg_stat_activity"))
            ours = await connection.scalar(
                text("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'wasup'")
            )
            blocked = await connection.execute(text(_BLOCKED), {"most": MOST_BACKENDS})
            idle = await connection.execute(
                text(_IDLE), {"most": MOST_BACKENDS, "seconds": IDLE_SECONDS}
            )
            reads = (await connection.execute(text(_READS))).one()
            there = await connection.scalar(text("SELECT to_regclass('alembic_version')::text"))
            revision = (
                await connection.scalar(text("SELECT version_num FROM alembic_version"))
                if there
                else None
            )
            raw = await connection.get_raw_connection()
            owner = await lock.owner(raw.driver_connection)
        return ServerFacts(
            version=str(version),
            latency_ms=round(1000 * min(laps), 2),
            settings=settings,
            connections=int(count or 0),
            revision=revision,
            owner=owner,
            server_seconds=float(server or 0),
            at_seconds=at,
            memory_bytes=memory,
            ours=int(ours or 0),
            blocked=tuple(
                Blocked(_backend(row), row.holder, row.holder_name or "?") for row in blocked
            ),
            idle=tuple(_backend(row) for row in idle),
            blocks_cached=int(reads[0]),
            blocks_read=int(reads[1]),
            size_bytes=int(reads[2]),
        )
    finally:
        await database.dispose(engine)


def _backend(row: Row[Any]) -> Backend:
    return Backend(row.pid, row.application_name or "?", float(row.seconds or 0))


def _damage(connection: sqlite3.Connection) -> tuple[tuple[str, ...], bool]:
    until = time.monotonic() + CHECK_SECONDS
    connection.set_progress_handler(lambda: int(time.monotonic() > until), STEPS)
    try:
        rows = connection.execute(f"PRAGMA quick_check({MOST_DAMAGE})").fetchall()
    except sqlite3.OperationalError as error:
        if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
            raise
        return (), False
    finally:
        connection.set_progress_handler(None, 0)
    found = tuple(str(row[0]) for row in rows)
    return (() if found == ("ok",) else found), True


def _file_revision(connection: sqlite3.Connection) -> str | None:
    try:
        row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.OperationalError:  # it is new, and empty
        return None
    return str(row[0]) if row else None


def _holders(file: Path) -> Iterator[int]:
    """Whose process holds a lock on the file or on the index of its log, as the kernel says."""
    inodes = {str(path.stat().st_ino) for path in (file, Path(f"{file}-shm")) if path.exists()}
    for line in LOCKS.read_text(encoding="ascii", errors="replace").splitlines():
        found = _LOCK.match(line)
        if found and found["inode"] in inodes and int(found["pid"]) > 0:
            yield int(found["pid"])
