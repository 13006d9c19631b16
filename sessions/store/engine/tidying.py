"""Keeping the database quick and small while it is in use: statistics for its planner, and free
room inside it given back, in steps that no write has to wait for.

SQLite: nothing here locks the database for longer than a write does. A VACUUM, which writes the
whole file anew while nobody may write, is never made; what is free inside the file is used again
anyway, and a file made since then (`auto_vacuum`) gives it back page by page.

PostgreSQL: VACUUM (ANALYZE) of our own tables, which locks out neither readers nor writers.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec
from sqlalchemy import URL, Executable, Row, func, select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from sessions.model import StoreUnavailable
from sessions.store.engine import database, schema
from sessions.store.writing import faults
from sessions.store.writing.writer import Writer

Read = Callable[[Executable], Awaitable[Sequence[Row[Any]]]]

ANALYSED_ROWS: Final = 1000
"""Of each index, at the most: some milliseconds, however large the table is."""
STEP_PAGES: Final = 128
"""Half a MiB: as a transaction it takes as long as a write or two."""
PAUSE_SECONDS: Final = 0.1
"""Between two steps, the writer is left to others."""
KEPT_FRACTION: Final = 0.05
KEPT_PAGES: Final = 4096
"""What is free inside, up to so many pages or that part of the file, stays: it is used again."""
MOST_STEPS: Final = 4000
"""In one go; the rest is for the next."""
_VACUUM: Final = "VACUUM (ANALYZE, SKIP_LOCKED) {}"


class Tidied(msgspec.Struct, frozen=True):
    """What was done. `given_back_bytes`: to the file system; of a server nobody knows.

    `free_bytes`: what is free inside the file still; `gives_back` False: it was made before that
    could be given back.
    """

    given_back_bytes: int = 0
    free_bytes: int = 0
    gives_back: bool = True


class Tidying:
    """Of one database, beside its writer."""

    def __init__(self, url: URL, writer: Writer, read: Read) -> None:
        self._url = url
        self._writer = writer
        self._read = read

    async def size_bytes(self) -> int:
        """What the database takes on its disk. Raises StoreUnavailable, OSError."""
        if database.is_sqlite(self._url):
            file = Path(self._url.database or "")
            return sum(path.stat().st_size for path in (file, Path(f"{file}-wal")) if path.exists())
        (row,) = await self._read(select(func.pg_database_size(func.current_database())))
        return int(row[0])

    async def tidy(self) -> Tidied:
        """Bring the planner's statistics up to date, and give room back.

        Raises StoreUnavailable.
        """
        if database.is_sqlite(self._url):
            return await self._tidy_file()
        try:
            await self._tidy_server()
        except (SQLAlchemyError, OSError) as error:
            raise StoreUnavailable(
                f"The tables were not tidied: {faults.describe(error)}"
            ) from None
        return Tidied()

    async def _tidy_file(self) -> Tidied:
        await self._writer.submit(_analyse)
        before = pages = await self._writer.submit(_pages)
        for _ in range(MOST_STEPS if pages.gives_back else 0):
            if pages.free <= max(KEPT_PAGES, KEPT_FRACTION * pages.all):
                break
            await asyncio.sleep(PAUSE_SECONDS)
            pages = await self._writer.submit(_give_back)
        return Tidied(
            (before.all - pages.all) * pages.size, pages.free * pages.size, pages.gives_back
        )

    async def _tidy_server(self) -> None:
        engine = database.open_tidier(self._url)
        try:
            async with engine.connect() as connection:
                # as gently as the server's own
                await connection.exec_driver_sql("SET vacuum_cost_delay = 2")
                for table in schema.metadata.sorted_tables:
                    await connection.exec_driver_sql(_VACUUM.format(f'"{table.name}"'))
        finally:
            await database.dispose(engine)


class _Pages(msgspec.Struct, frozen=True):
    """The file's pages: all, those that are free, what one takes, and whether those go back."""

    all: int
    free: int
    size: int
    gives_back: bool


async def _analyse(connection: AsyncConnection) -> None:
    await connection.exec_driver_sql(f"PRAGMA analysis_limit={ANALYSED_ROWS}")
    await connection.exec_driver_sql("ANALYZE")


async def _pages(connection: AsyncConnection) -> _Pages:
    found = [
        (await connection.exec_driver_sql(f"PRAGMA {name}")).scalar_one()
        for name in ("page_count", "freelist_count", "page_size", "auto_vacuum")
    ]
    return _Pages(found[0], found[1], found[2], found[3] == database.INCREMENTAL)


async def _give_back(connection: AsyncConnection) -> _Pages:
    raw: Any = (await connection.get_raw_connection()).driver_connection
    # a page goes back with each row that is fetched, and as these rows have no columns, SQLAlchemy
    # fetches none
    await raw.execute_fetchall(f"PRAGMA incremental_vacuum({STEP_PAGES})")
    return await _pages(connection)
