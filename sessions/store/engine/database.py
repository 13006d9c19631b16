"""How the database is opened: addresses, engines, pragmas, pools, migrations.

SQLite or PostgreSQL: nobody else asks which.
"""

import asyncio
import os
import re
import threading
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple
from urllib.parse import quote
from weakref import WeakKeyDictionary

import aiosqlite
from sqlalchemy import (
    URL,
    Column,
    Connection,
    Engine,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    event,
    insert,
    inspect,
    make_url,
    select,
)
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from sessions.store.engine import hosts, lock
from sessions.store.engine.schema import metadata

MIGRATIONS: Final = Path(__file__).parent / "migrations"
_FOLLOWS: Final = re.compile(r"^down_revision = \"?(\w+)\"?$", re.MULTILINE)
_VERSION: Final = Table(
    "alembic_version",
    MetaData(),
    Column("version_num", String(32), nullable=False),
    PrimaryKeyConstraint("version_num", name="alembic_version_pkc"),
)
"""Alembic's own table: which migrations a database has behind it."""
_POSTGRESQL_SCHEMES: Final = {"postgresql", "postgres", "postgresql+asyncpg"}
_SQLITE_SCHEMES: Final = {"sqlite", "sqlite+aiosqlite"}
_POSTGRESQL_QUERY: Final = {"host", "port", "ssl", "sslmode", "target_session_attrs"}

INCREMENTAL: Final = 2
"""What SQLite says of an `auto_vacuum` of that name."""
PRAGMAS: Final = {
    "journal_mode": "WAL",  # readers and the writer do not wait for each other
    # an acknowledged credential survives a power cut; WAL with NORMAL may lose the last commits
    "synchronous": "FULL",
    "cache_size": "10000",  # pages, some 40 MB at most
    "temp_store": "MEMORY",
    "mmap_size": "268435456",  # 256 MB of reads without a copy
    "foreign_keys": "ON",  # SQLite's default is off, for history's sake
    # what is purged is overwritten; SQLite's own default is off, Debian's build has it on
    "secure_delete": "ON",
    # bytes; the log that a long reader (a backup) lets grow is small again afterwards
    "journal_size_limit": "67108864",
    "busy_timeout": "5000",  # ms; a backup may hold the file for a moment
}

PRAGMAS_OF_MAKERS: Final = {
    # first, as only a file takes it that has nothing in it yet: what is free inside can be given
    # back in steps (tidying.py)
    "auto_vacuum": "INCREMENTAL",
    **PRAGMAS,
    # a table that a migration copies and drops would take its children's rows along
    "foreign_keys": "OFF",
}
"""Of whoever may make the file."""

_POOL: Final[dict[str, Any]] = {
    # seconds; a read that found no connection until then is refused, not stuck
    "pool_timeout": 30,
    # seconds; firewalls forget idle connections, servers leak a little in each
    "pool_recycle": 3600,
    # a read must not fail only because the database was restarted since the last one
    "pool_pre_ping": True,
}

CONNECT_SECONDS: Final = 10
COMMAND_SECONDS: Final = 10
"""What one statement may take. Ours take milliseconds; a database that needs longer hangs."""


THREAD_LOOK_SECONDS: Final = 0.005

_threads: Final[WeakKeyDictionary[Engine, list[threading.Thread]]] = WeakKeyDictionary()
"""The threads of an engine's SQLite connections (aiosqlite has one for each)."""


class Pool(NamedTuple):
    """Connections to PostgreSQL for those who read: kept open, and opened beyond that for a rush.

    20: some 20 reads at once is a fleet that starts. 30: so at most 50 of PostgreSQL's customary
    100 connections are ours, and the writer's.
    """

    size: int = 20
    overflow: int = 30


class NewerSchema(Exception):
    """A newer version has written the database; the message is Alembic's."""


def sqlite_url(file: Path) -> URL:
    """The address of an SQLite file. Made from parts: a path is no URL, it may hold %, ? and #."""
    return URL.create("sqlite+aiosqlite", database=str(file))


def parse_url(text: str) -> URL:
    """The address of a database as an operator writes it.

    Raises ValueError, which never quotes it: it may hold a password.
    """
    try:
        url = make_url(hosts.spread(text.strip()))
    except (ArgumentError, ValueError) as error:
        if str(error) == hosts.MEANT:
            raise ValueError(hosts.MEANT) from None
        raise ValueError(
            "not a database URL: write postgresql://user:password@host/name or sqlite:///path"
        ) from None
    if url.drivername in _SQLITE_SCHEMES:
        if not url.database or url.database == ":memory:" or url.host or url.query:
            raise ValueError(
                "an SQLite URL is sqlite:///path (four slashes if the path is absolute)"
            )
        return sqlite_url(Path(url.database))
    if url.drivername not in _POSTGRESQL_SCHEMES:
        raise ValueError(
            f"{url.drivername!r} is no database that is known here: postgresql:// or sqlite:///"
        )
    return _postgresql_url(url)


def _postgresql_url(url: URL) -> URL:
    if not url.database:
        raise ValueError(
            "the PostgreSQL URL names no database: postgresql://user:password@host/name"
        )
    unknown = sorted(set(url.query) - _POSTGRESQL_QUERY)
    if unknown:
        raise ValueError(
            f"the PostgreSQL URL has parameters unknown here: {', '.join(unknown)}; known: host,"
            " port, sslmode, target_session_attrs"
        )
    if url.query.get("target_session_attrs", hosts.WRITABLE[0]) not in hosts.WRITABLE:
        raise ValueError(
            "the PostgreSQL URL asks for a server that may not be written to; target_session_attrs"
            f" accepts {' or '.join(hosts.WRITABLE)}"
        )
    query = {name: value for name, value in url.query.items() if name != "sslmode"}
    if "sslmode" in url.query:
        # libpq's name for it, which operators know, and asyncpg's
        query["ssl"] = url.query["sslmode"]
    if several := hosts.of(url):
        query["host"] = several
        query.setdefault("target_session_attrs", hosts.WRITABLE[0])
    return url.set(drivername="postgresql+asyncpg", query=query)


def name_of(url: URL) -> str:
    """The database's name for messages: no password."""
    return url.database or "" if is_sqlite(url) else url.render_as_string(hide_password=True)


def is_sqlite(url: URL) -> bool:
    """Whether the database is a file of our own."""
    return url.get_backend_name() == "sqlite"


def open_writer(url: URL) -> AsyncEngine:
    """The engine of the one writer.

    SQLite: each transaction takes the write lock at its begin. PostgreSQL: its connection holds the
    lock.
    """
    if is_sqlite(url):
        return _sqlite(url, "BEGIN IMMEDIATE", creates=False, pool_size=1, max_overflow=0)
    engine = _postgresql(
        url, pool_size=1, max_overflow=0
    )  # never recycled: it is never idle for long, and it holds the lock
    lock.hold(engine.sync_engine)
    return engine


def open_reader(url: URL, pool: Pool = Pool()) -> AsyncEngine:  # noqa: B008 (it is a value)
    """The engine of the readers: a snapshot each, never waiting for the writer."""
    if is_sqlite(url):
        return _sqlite(url, "BEGIN", creates=False, pool_size=4, max_overflow=0)
    return _postgresql(
        url,
        isolation_level="AUTOCOMMIT",
        pool_size=pool.size,
        max_overflow=pool.overflow,
        **_POOL,
    )  # each reads with one statement: two round trips saved


def open_tidier(url: URL) -> AsyncEngine:
    """The engine of what may take as long as it has to, outside of any transaction. PostgreSQL."""
    return _postgresql(url, None, isolation_level="AUTOCOMMIT", poolclass=NullPool)


def open_single_file(file: Path) -> AsyncEngine:
    """The engine of a file that nobody else uses (a backup): without the files that WAL keeps
    beside it.
    """
    return _sqlite(
        sqlite_url(file),
        "BEGIN IMMEDIATE",
        pragmas=PRAGMAS_OF_MAKERS | {"journal_mode": "DELETE"},
        poolclass=NullPool,
    )


def open_scratch(url: URL) -> AsyncEngine:
    """The engine of a file that is thrown away: nobody waits for its disk."""
    pragmas = PRAGMAS_OF_MAKERS | {"journal_mode": "MEMORY", "synchronous": "OFF"}
    return _sqlite(url, "BEGIN IMMEDIATE", pragmas=pragmas, poolclass=NullPool)


async def dispose(engine: AsyncEngine) -> None:
    """Close its connections, and wait until their threads are gone.

    A connection whose statement was cancelled is dropped, not closed: its thread ends by itself,
    and tells a loop that must still be there.
    """
    await engine.dispose()
    threads = _threads.pop(engine.sync_engine, [])
    while any(thread.is_alive() for thread in threads):  # noqa: ASYNC110 - a join in another thread could itself hang the exit
        await asyncio.sleep(THREAD_LOOK_SECONDS)


def upsert(connection: AsyncConnection, table: Table) -> Any:
    """An INSERT that replaces the `value` of the row with the same primary key."""
    return _upsert(connection.dialect.name, table)


@cache  # building it takes longer than running it
def _upsert(dialect: str, table: Table) -> Any:
    if dialect == "sqlite":
        insert: Any = sqlite.insert
    else:
        # here alone: most have SQLite, and do without loading it
        from sqlalchemy.dialects.postgresql import insert

    statement = insert(table)
    key = list(table.primary_key.columns)
    return statement.on_conflict_do_update(
        index_elements=key, set_={"value": statement.excluded["value"]}
    )


async def migrate(url: URL, writer: AsyncEngine) -> None:
    """Bring the schema up to date; makes an SQLite file if there is none.

    Raises SQLAlchemyError, NewerSchema.
    """
    if not is_sqlite(url):
        await _upgrade(writer)  # under the writer's lock: two programs never migrate at once
        return
    engine = _sqlite(url, "BEGIN IMMEDIATE", pragmas=PRAGMAS_OF_MAKERS, poolclass=NullPool)
    try:
        await _upgrade(engine)
    finally:
        await dispose(engine)


async def _upgrade(engine: AsyncEngine) -> None:
    async with engine.begin() as connection:
        await connection.run_sync(upgrade)


def upgrade(connection: Connection) -> None:
    """Bring the schema up to date, in the connection's transaction. Raises NewerSchema.

    What is up to date needs no migrations, and neither does what is empty: it is given the tables
    as they are now, and a test compares them with what the migrations make.
    """
    tables = inspect(connection).get_table_names()
    if not tables:
        metadata.create_all(connection, checkfirst=False)
        _VERSION.create(connection, checkfirst=False)
        connection.execute(insert(_VERSION).values(version_num=newest_revision()))
        return
    if _VERSION.name in tables:
        revisions = connection.execute(select(_VERSION.c.version_num)).scalars().all()
        if revisions == [newest_revision()]:
            return
    run_migrations(connection)


@cache
def newest_revision() -> str:
    """The end of the chain: the migration that no other follows.

    Read from the files, as to load Alembic takes longer than most commands take in all.
    """
    files = MIGRATIONS.glob("versions/[0-9]*.py")
    followed = {_FOLLOWS.findall(file.read_text(encoding="utf-8"))[0] for file in files}
    (newest,) = revisions() - followed
    return newest


@cache
def revisions() -> frozenset[str]:
    """The numbers that the migrations' files begin with."""
    files = MIGRATIONS.glob("versions/[0-9]*.py")
    return frozenset(file.name.partition("_")[0] for file in files)


def run_migrations(connection: Connection, revision: str = "head") -> None:
    """Run the migrations on a connection, in its transaction. Raises NewerSchema."""
    # here alone: to load it takes longer than most commands take in all
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, revision)
    except CommandError as error:
        raise NewerSchema(str(error)) from None


def _postgresql(
    url: URL, command_seconds: float | None = COMMAND_SECONDS, **options: Any
) -> AsyncEngine:
    connect_args: dict[str, Any] = {
        "timeout": CONNECT_SECONDS,
        "command_timeout": command_seconds,
        "server_settings": {"application_name": "wasup"},
    }
    if hosts.of(url):
        connect_args["async_creator_fn"] = hosts.Hosts().connect
    engine = create_async_engine(url, hide_parameters=True, connect_args=connect_args, **options)
    hosts.leave_a_standby(engine.sync_engine)
    return engine


def _sqlite(
    url: URL,
    begin: str,
    *,
    creates: bool = True,
    pragmas: dict[str, str] = PRAGMAS,
    **options: Any,
) -> AsyncEngine:
    """`creates`: makes the file if there is none.

    Who only goes on with a store must not: an empty file in place of one that was moved away would
    stand in its way when it is put back.
    """
    threads: list[threading.Thread] = []
    mode = "rwc" if creates else "rw"
    file = f"file:{quote(os.path.abspath(url.database or ''))}?mode={mode}"

    def connect() -> aiosqlite.Connection:
        connection = aiosqlite.connect(file, uri=True)
        connection._thread.daemon = (
            # as SQLAlchemy's own creator has it: a hung disk must not keep the program from ending
            True
        )
        threads[:] = [thread for thread in threads if thread.is_alive()] + [connection._thread]
        return connection

    engine = create_async_engine(url, hide_parameters=True, async_creator=connect, **options)
    _threads[engine.sync_engine] = threads

    @event.listens_for(engine.sync_engine, "connect")
    def set_pragmas(connection: DBAPIConnection, _record: Any) -> None:
        # we say BEGIN ourselves; the driver's own begins too late for reads
        connection.isolation_level = None
        cursor = connection.cursor()
        for name, value in pragmas.items():
            cursor.execute(f"PRAGMA {name}={value}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin_transaction(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine
