"""What was destroyed is destroyed on the disk, too: SQLite's write-ahead log keeps a copy of every
page until it is written over.

`PRAGMA secure_delete` (database.py) has what is deleted overwritten with zeros in the file; the
log, which holds the page as it was before,
is emptied here. Of PostgreSQL nothing of the kind can be asked: see docs/security.md.
"""

import asyncio
import contextlib
import sqlite3
from typing import Final

import aiosqlite
import structlog
from sqlalchemy import URL

from sessions.forever import Forever, Kept
from sessions.store.engine import database

ATTEMPT_SECONDS: Final = 2.0
"""Half of what the disk may take for it."""
READERS_SECONDS: Final = 0.2
"""How long it waits for those who read an older state: reads take milliseconds, and a backup, which
takes minutes, is waited for by trying again. While it waits, nobody writes.
"""
RETRY_SECONDS: Final = 5.0
CLOSE_SECONDS: Final = 2.0
"""How long a connection may take to close; with a disk that hangs it is left to its thread."""

log = structlog.get_logger("store")


class Eraser:
    """Empties the log of one database whenever something was destroyed.

    Nothing happens where there is none.
    """

    def __init__(self, url: URL, forever: Forever) -> None:
        self._url = url
        self._forever = forever
        self._one_at_a_time = asyncio.Lock()
        self._retrying: Kept | None = None
        self._erased = True

    async def erase(self) -> None:
        """Empty the log now, or, if somebody still reads an older state, as soon as that has ended.

        It does not fail.
        """
        if not database.is_sqlite(self._url) or await self._attempt():
            return
        log.warning(
            "what was purged stays in wasup.db-wal until those who read have ended; tried again"
            " every few seconds",
            action="purge_waits",
        )
        self._erased = False
        if self._retrying is None or self._retrying.done:
            self._retrying = self._forever.keep(
                "purge",
                self._retry,
                every_seconds=RETRY_SECONDS,
                at_once=False,
                until=lambda: self._erased,
            )

    async def close(self) -> None:
        """Try no more: SQLite itself empties the log when its last connection is closed."""
        if self._retrying is not None:
            await self._retrying.close()

    async def _retry(self) -> None:
        self._erased = await self._attempt()
        if self._erased:
            log.info("what was purged is out of wasup.db-wal", action="purge_done")

    async def _attempt(self) -> bool:
        """Whether the log is empty now.

        False also where the disk does not answer or does not write.
        """
        async with self._one_at_a_time:
            connection = aiosqlite.connect(
                self._url.database or "", timeout=READERS_SECONDS, isolation_level=None
            )
            connection._thread.daemon = True  # a hung disk must not keep the program from ending
            try:
                async with asyncio.timeout(2 * ATTEMPT_SECONDS):
                    await connection
                    cursor = await connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
                    row = await cursor.fetchone()
                    return row is not None and row[0] == 0
            except (sqlite3.Error, OSError, TimeoutError):
                return False
            finally:
                closed = connection.stop()
                if closed is not None:
                    with contextlib.suppress(TimeoutError):
                        async with asyncio.timeout(CLOSE_SECONDS):
                            await closed
