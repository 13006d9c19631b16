"""The pages of the history (supervisor/history): what is in them is their owner's affair.

Nobody waits for a write of them. Read by subject, dropped by age, and gone with the session that
they are about.
"""

import asyncio
from collections.abc import Sequence
from typing import Final, NamedTuple

from sqlalchemy import delete, select, tuple_
from sqlalchemy.ext.asyncio import AsyncConnection

from sessions.store.engine import database, schema
from sessions.store.tables.rows import Read
from sessions.store.writing.writer import Writer

DROPPED_AT_ONCE: Final = 500
"""Pages in one transaction: nobody's write waits long for it."""
SESSION: Final = "session"
"""Whose pages go with their session."""

_pages = schema.history_pages
_c = _pages.c
_NAME: Final = tuple_(_c.whose, _c.subject, _c.tier, _c.start)


class PageName(NamedTuple):
    """Whose page it is, of which tier, and when it begins, in seconds since 1970."""

    whose: str
    subject: str
    tier: int
    start: int


class HistoryPages:
    """The table."""

    def __init__(self, writer: Writer, read: Read) -> None:
        self._writer = writer
        self._read = read

    async def some(
        self, tier: int, start: int, whose: str, subjects: Sequence[str]
    ) -> dict[str, bytes]:
        """The pages of these subjects, which begin at that time, by subject. Raises
        StoreUnavailable.
        """
        mine = (_c.whose == whose) & _c.subject.in_(subjects) & (_c.tier == tier)
        rows = await self._read(select(_c.subject, _c.value).where(mine, _c.start == start))
        return {row.subject: row.value for row in rows}

    async def between(
        self, whose: str, subject: str, tier: int, first: int, before: int
    ) -> list[tuple[int, bytes]]:
        """The pages of a subject that begin from then on, and before that: when each begins, and
        what it holds; oldest first. Raises StoreUnavailable.
        """
        mine = (_c.whose == whose) & (_c.subject == subject) & (_c.tier == tier)
        rows = await self._read(
            select(_c.start, _c.value)
            .where(mine, _c.start >= first, _c.start < before)
            .order_by(_c.start)
        )
        return [(row.start, row.value) for row in rows]

    def save(self, pages: Sequence[tuple[PageName, bytes]]) -> asyncio.Future[None]:
        """Write pages, in place of what was there under their names. Patient."""
        rows = [name._asdict() | {"value": value} for name, value in pages]

        async def operation(connection: AsyncConnection) -> None:
            await connection.execute(database.upsert(connection, _pages), rows)

        return self._writer.submit(operation, patient=True)

    def forget(self, whose: str, subject: str) -> asyncio.Future[None]:
        """Drop all pages of a subject. Patient."""

        async def operation(connection: AsyncConnection) -> None:
            mine = (_c.whose == whose) & (_c.subject == subject)
            await connection.execute(delete(_pages).where(mine))

        return self._writer.submit(operation, patient=True)

    async def drop_before(self, tier: int, start: int) -> int:
        """Drop the pages of a tier that begin before that; how many. Raises StoreUnavailable."""
        old = select(_c.whose, _c.subject, _c.tier, _c.start).where(
            _c.tier == tier, _c.start < start
        )
        some = delete(_pages).where(_NAME.in_(old.limit(DROPPED_AT_ONCE)))

        async def operation(connection: AsyncConnection) -> int:
            return (await connection.execute(some)).rowcount

        dropped = 0
        while count := await self._writer.submit(operation):
            dropped += count
        return dropped


async def forget_session(connection: AsyncConnection, session: str) -> None:
    """Its figures go with it, in the transaction that deletes it."""
    mine = (_c.whose == SESSION) & (_c.subject == session)
    await connection.execute(delete(_pages).where(mine))
