"""How the database is opened: engines, pragmas, migrations."""

from pathlib import Path
from typing import Any, Final

from alembic import command
from alembic.config import Config
from sqlalchemy import URL, Connection, create_engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

_MIGRATIONS: Final = Path(__file__).parent / "migrations"

PRAGMAS: Final = {
    "journal_mode": "WAL",  # seed 003: readers and the writer do not wait for each other
    "synchronous": "FULL",  # an acknowledged credential survives a power cut; WAL with NORMAL may lose the last commits
    "cache_size": "10000",  # seed 003: pages, some 40 MB at most
    "temp_store": "MEMORY",  # seed 003
    "mmap_size": "268435456",  # seed 003: 256 MB of reads without a copy
    "foreign_keys": "ON",  # SQLite's default is off, for history's sake
    "busy_timeout": "5000",  # ms; a backup may hold the file for a moment
}


def migrate(file: Path) -> None:
    """Bring the schema up to date. Blocking; creates the file if there is none."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    engine = create_engine(URL.create("sqlite", database=str(file)), hide_parameters=True)
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    finally:
        engine.dispose()


def open_writer(file: Path) -> AsyncEngine:
    """The engine of the one writer: each transaction takes the write lock at its begin."""
    return _open(file, "BEGIN IMMEDIATE", pool_size=1)


def open_reader(file: Path) -> AsyncEngine:
    """The engine of the readers: a snapshot each, never waiting for the writer."""
    return _open(file, "BEGIN", pool_size=4)


def _open(file: Path, begin: str, pool_size: int) -> AsyncEngine:
    url = URL.create("sqlite+aiosqlite", database=str(file))  # a path is no URL: it may hold %, ? and #
    engine = create_async_engine(url, pool_size=pool_size, max_overflow=0, hide_parameters=True)

    @event.listens_for(engine.sync_engine, "connect")
    def set_pragmas(connection: DBAPIConnection, _record: Any) -> None:
        connection.isolation_level = None  # we say BEGIN ourselves; the driver's own begins too late for reads
        cursor = connection.cursor()
        for name, value in PRAGMAS.items():
            cursor.execute(f"PRAGMA {name}={value}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin_transaction(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine
