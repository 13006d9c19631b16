"""What came of each run of a job of upkeep, and since when each job is known: written without
anybody waiting for it, read once, at the start.

A run is known by its job and its begin. Bounded: the newest of each job are kept.
"""

import asyncio
from collections.abc import Mapping
from typing import Final, Literal

import msgspec
from sqlalchemy import Executable, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from sessions.store.engine import database, schema
from sessions.store.tables.rows import Read
from sessions.store.writing.writer import Writer

Outcome = Literal["ok", "failed", "interrupted"]

KEPT_OF_ONE: Final = 50
"""Runs of a job."""
MOST_CHARACTERS: Final = 2000
"""Of a result in words."""

KNOWN: Final = "upkeep_jobs"
"""The row of `meta` that says since when each job is known."""

_runs = schema.upkeep_runs
_meta = schema.meta


class Run(msgspec.Struct, frozen=True):
    """A run. `due_at` None: somebody had asked for it; `outcome` None: it has not ended.

    Times are seconds of wall clock.
    """

    job: str
    began_at: float
    due_at: float | None = None
    ended_at: float | None = None
    outcome: Outcome | None = None
    result: str = ""


class Known(msgspec.Struct, frozen=True):
    """Since when a job has been known by that schedule; seconds of wall clock."""

    schedule: str
    since: float


class UpkeepRuns:
    """The table, and beside it the jobs that are known."""

    def __init__(self, writer: Writer, read: Read) -> None:
        self._writer = writer
        self._read = read

    def save(self, run: Run) -> asyncio.Future[None]:
        """Write a run as it stands now, and drop what is too old of its job. Patient."""

        async def operation(connection: AsyncConnection) -> None:
            mine = (_runs.c.job == run.job) & (_runs.c.began_at == run.began_at)
            values = msgspec.structs.asdict(run) | {"result": run.result[:MOST_CHARACTERS]}
            changed = await connection.execute(update(_runs).where(mine).values(values))
            if not changed.rowcount:
                await connection.execute(insert(_runs).values(values))
                await connection.execute(_older(run.job))

        return self._writer.submit(
            operation, patient=True, newest_of=("upkeep", run.job, run.began_at)
        )

    async def all(self) -> list[Run]:
        """Every run that is kept, the oldest first. Raises StoreUnavailable."""
        rows = await self._read(select(_runs).order_by(_runs.c.began_at))
        return [
            Run(row.job, row.began_at, row.due_at, row.ended_at, row.outcome, row.result)
            for row in rows
        ]

    def remember(self, jobs: Mapping[str, Known]) -> asyncio.Future[None]:
        """Write since when these jobs are known; others are forgotten. Patient."""
        row = {"name": KNOWN, "value": msgspec.json.encode(jobs)}

        async def operation(connection: AsyncConnection) -> None:
            await connection.execute(database.upsert(connection, _meta), row)

        return self._writer.submit(operation, patient=True, newest_of=("upkeep", KNOWN))

    async def known(self) -> dict[str, Known]:
        """The jobs that are known. Raises StoreUnavailable."""
        rows = await self._read(select(_meta.c.value).where(_meta.c.name == KNOWN))
        try:
            return msgspec.json.decode(rows[0].value, type=dict[str, Known]) if rows else {}
        except msgspec.MsgspecError:  # another version's, say: they are known from now on
            return {}


def _older(job: str) -> Executable:
    newest = select(_runs.c.began_at).where(_runs.c.job == job).order_by(_runs.c.began_at.desc())
    last_kept = newest.limit(1).offset(KEPT_OF_ONE - 1).scalar_subquery()
    return delete(_runs).where(_runs.c.job == job, _runs.c.began_at < last_kept)
