"""What the database costs: statements by kind and how long they took, connections, size, locks.

Times are those of whoever waits: with the way to the connection's thread or to the server. Slow
statements go to the log, without their values.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from time import monotonic, perf_counter
from typing import Any, Final

import structlog
from sqlalchemy import URL, Executable, Row, event
from sqlalchemy import text as sql
from sqlalchemy.engine.interfaces import ExceptionContext
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import QueuePool

from sessions.model import StoreUnavailable
from sessions.records.distribution import Distribution

SLOW_SECONDS: Final = 0.2
"""A statement that takes longer is a line of the log."""
LINES_PER_MINUTE: Final = 10
"""Slow statements that are told of; a disk that hangs makes all slow."""
SHOWN: Final = 300
"""Characters of a statement in the log."""
READ_SECONDS: Final = 2.0
"""For what PostgreSQL is asked; when it takes longer, the figures are left out."""
KINDS: Final = frozenset({"select", "insert", "update", "delete", "begin"})
"""Of statements, by their first word; all others are `other`, and a transaction's end is `commit`.
"""
_POSTGRESQL: Final = sql(
    "SELECT d.blks_hit AS hit, d.blks_read AS read, pg_database_size(d.datid) AS size_bytes,"
    " (SELECT count(*) FROM pg_locks l WHERE l.database = d.datid) AS locks,"
    " (SELECT count(*) FROM pg_locks l JOIN pg_stat_activity a USING (pid)"
    "  WHERE NOT l.granted AND a.datid = d.datid) AS waiting,"
    " has_function_privilege('pg_ls_waldir()', 'execute') AS wal"
    " FROM pg_stat_database d WHERE d.datname = current_database()"
)
_POSTGRESQL_WAL: Final = sql("SELECT sum(size) AS size_bytes FROM pg_ls_waldir()")

log = structlog.get_logger("store")
Read = Callable[[Executable], Awaitable[Sequence[Row[Any]]]]


@dataclass(slots=True)
class StatementFigures:
    """Statements of one kind since the program started."""

    count: int = 0
    errors: int = 0
    slow: int = 0
    seconds: float = 0.0
    took_ms: Distribution = field(default_factory=Distribution)


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseFigures:
    """The database now; None: that is not known.

    `pool_in_use`, `pool_limit`, `pool_waiting`: connections, and those who wait for one. `wal`: its
    write-ahead log. `cache_hits`: of the pages that were read since the last look, the fraction
    that the database had in memory. `locks_waiting`: those who wait for somebody else's lock.
    """

    pool_in_use: int
    pool_limit: int
    pool_waiting: int
    writes_waiting: int
    size_bytes: int | None = None
    wal_bytes: int | None = None
    cache_hits: float | None = None
    locks: int | None = None
    locks_waiting: int | None = None


class Statistics:
    """Listens to engines, and looks at their database."""

    def __init__(self, url: URL, engines: Sequence[AsyncEngine]) -> None:
        self.statements: dict[str, StatementFigures] = {}
        """By kind."""
        self._file = Path(url.database or "") if url.get_backend_name() == "sqlite" else None
        self._pools = [engine.sync_engine.pool for engine in engines]
        self._waiting = 0
        self._cache: tuple[int, int] | None = None
        self._minute, self._told, self._untold = 0.0, 0, 0
        for engine in engines:
            event.listen(engine.sync_engine, "before_cursor_execute", self._before)
            event.listen(engine.sync_engine, "after_cursor_execute", self._after)
            event.listen(engine.sync_engine, "handle_error", self._failed)

    # --- statements -------------------------------------------------------------------------------

    def took(self, kind: str, seconds: float, statement: str = "") -> None:
        """A statement of that kind, or a commit, took so long."""
        figures = self._of(kind)
        figures.count += 1
        figures.seconds += seconds
        figures.took_ms.add(1000 * seconds)
        if seconds > SLOW_SECONDS:
            figures.slow += 1
            self._tell(kind, seconds, statement)

    def _of(self, kind: str) -> StatementFigures:
        found = self.statements.get(kind)
        if found is None:
            found = self.statements[kind] = StatementFigures()
        return found

    def _before(
        self, _on: Any, _cursor: Any, _statement: str, _values: Any, context: Any, _many: bool
    ) -> None:
        context.wasup_begun = perf_counter()

    def _after(
        self, _on: Any, _cursor: Any, statement: str, _values: Any, context: Any, _many: bool
    ) -> None:
        self.took(kind_of(statement), perf_counter() - context.wasup_begun, statement)

    def _failed(self, context: ExceptionContext) -> None:
        self._of(kind_of(context.statement or "")).errors += 1

    def _tell(self, kind: str, seconds: float, statement: str) -> None:
        if monotonic() - self._minute >= 60:
            self._minute, self._told = monotonic(), 0
        if self._told >= LINES_PER_MINUTE:
            self._untold += 1
            return
        self._told += 1
        log.warning(
            f"a statement took {seconds:.2f} s: the disk or the database is slow",
            action="slow_statement",
            kind=kind,
            milliseconds=round(1000 * seconds),
            statement=statement[:SHOWN],
            untold=self._untold,
        )
        self._untold = 0

    # --- the database -----------------------------------------------------------------------------

    @contextmanager
    def waiting_for_connection(self) -> Iterator[None]:
        """Somebody waits for a connection of the pool, while the block runs."""
        self._waiting += 1
        try:
            yield
        finally:
            self._waiting -= 1

    async def look(self, read: Read, writes_waiting: int) -> DatabaseFigures:
        """The figures now. What cannot be told now is None, whatever is in the way."""
        found: Mapping[str, Any] = {}
        if self._file is not None:
            found = {"size_bytes": _size(self._file), "wal_bytes": _size(_wal_of(self._file))}
        else:
            try:
                async with asyncio.timeout(READ_SECONDS):
                    found = await self._postgresql(read)
            except (StoreUnavailable, TimeoutError):
                self._cache = None
        pools = [pool for pool in self._pools if isinstance(pool, QueuePool)]
        return DatabaseFigures(
            pool_in_use=sum(pool.checkedout() for pool in pools),
            pool_limit=sum(pool.size() + max(0, pool._max_overflow) for pool in pools),
            pool_waiting=self._waiting,
            writes_waiting=writes_waiting,
            **found,
        )

    async def _postgresql(self, read: Read) -> Mapping[str, Any]:
        (row,) = await read(_POSTGRESQL)
        wal = (await read(_POSTGRESQL_WAL))[0].size_bytes if row.wal else None
        before, self._cache = self._cache, (row.hit, row.read)
        hits = None
        if before is not None:
            hit, missed = row.hit - before[0], row.read - before[1]
            hits = hit / (hit + missed) if hit >= 0 and missed >= 0 and hit + missed else None
        return {
            "size_bytes": row.size_bytes,
            "wal_bytes": None if wal is None else int(wal),
            "cache_hits": hits,
            "locks": row.locks,
            "locks_waiting": row.waiting,
        }


@lru_cache(512)
def kind_of(statement: str) -> str:
    """What a statement does."""
    words = statement.split(None, 1)
    word = words[0].lower() if words else ""
    return word if word in KINDS else "other"


def _wal_of(file: Path) -> Path:
    return file.with_name(f"{file.name}-wal")


def _size(file: Path) -> int | None:
    """Its size; None: it is not there, or cannot be asked."""
    try:
        return file.stat().st_size
    except OSError:
        return None
