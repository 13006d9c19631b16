"""One supervisor owns a PostgreSQL database: the writer's connection holds an advisory lock for as
long as it lives.

SQLite needs none: the data directory's lock covers its file. The lock keeps two supervisors apart
that were started with different data directories; what keeps a *stale* writer out is the epoch in
every write, not this lock (a frozen holder still holds it).
"""

import asyncio
import hashlib
from typing import Any, Final

import structlog
from sqlalchemy import Engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection

from sessions.model import StoreUnavailable

KEY: Final = int.from_bytes(
    hashlib.sha256(b"wasup: the one writer of this database").digest()[:8], "big", signed=True
)
"""Every wasup asks for the same lock, and nobody else does.

PostgreSQL keeps advisory locks of each database apart.
"""
WAIT_SECONDS: Final = 3.0
"""A connection that has just ended lets go within milliseconds; whoever holds the lock longer is
alive.
"""
_PAUSE_SECONDS: Final = 0.1

_HOLDER: Final = """
    SELECT a.pid, a.backend_start, a.application_name,
           coalesce(host(a.client_addr), 'this machine') AS client
    FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1
      AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
      AND (l.classid::bigint << 32) | l.objid::bigint = $1
"""
_KEEP_COMMITS_DURABLE: Final = """
    SELECT set_config('synchronous_commit', 'on', false)
    WHERE current_setting('synchronous_commit') = 'off'
"""
"""An acknowledged credential survives a crash, however the server is tuned; stricter settings than
`on` are left alone.
"""

_HINT: Final = (
    "One database belongs to one supervisor. Stop the other one, or give this one a database of its"
    " own."
)

log = structlog.get_logger("store")


async def owner(connection: Any) -> str | None:
    """Who holds the lock of an asyncpg connection's database, in words; None: nobody."""
    holder = await connection.fetchrow(_HOLDER, KEY)
    return None if holder is None else _in_words(holder)


def hold(engine: Engine) -> None:
    """Let each connection that this engine makes take the lock, or fail with StoreUnavailable."""
    lock = _Lock()

    @event.listens_for(engine, "connect")
    def take(connection: DBAPIConnection, _record: Any) -> None:
        connection.run_async(lock.take)


class _Lock:
    """Remembers which backend was ours, so that a connection which the network ate does not lock us
    out.
    """

    def __init__(self) -> None:
        self._ours: tuple[int, Any] | None = None

    async def take(self, connection: Any) -> None:
        """Take the lock on an asyncpg connection; closes it if that cannot be.

        Raises StoreUnavailable.
        """
        try:
            await self._take(connection)
        except BaseException:
            connection.terminate()  # the pool does not know it yet: nobody else would close it
            raise

    async def _take(self, connection: Any) -> None:
        deadline = asyncio.get_running_loop().time() + WAIT_SECONDS
        while not await connection.fetchval("SELECT pg_try_advisory_lock($1)", KEY):
            holder = await connection.fetchrow(_HOLDER, KEY)
            if holder is not None and (holder["pid"], holder["backend_start"]) == self._ours:
                log.warning(
                    "the old connection still holds the database's lock and is ended",
                    action="store_lock",
                )
                await connection.execute("SELECT pg_terminate_backend($1)", holder["pid"])
            if asyncio.get_running_loop().time() > deadline:
                raise self._refusal(holder)
            await asyncio.sleep(_PAUSE_SECONDS)
        mine = "SELECT pid, backend_start FROM pg_stat_activity WHERE pid = pg_backend_pid()"
        self._ours = tuple(await connection.fetchrow(mine))
        await connection.execute(_KEEP_COMMITS_DURABLE)

    def _refusal(self, holder: Any) -> StoreUnavailable:
        if holder is None:
            return StoreUnavailable("Another supervisor owns this database.", _HINT)
        who = _in_words(holder)
        if (holder["pid"], holder["backend_start"]) == self._ours:
            return StoreUnavailable(
                "The connection that was lost still holds the database's lock and does not end"
                f" ({who})."
            )
        return StoreUnavailable(f"Another supervisor owns this database ({who}).", _HINT)


def _in_words(holder: Any) -> str:
    return f"PostgreSQL's backend {holder['pid']}, connected from {holder['client']}"
