"""What is remembered of alerts: who was told of what, what is silenced, who has acknowledged what.

Written patiently: whoever has them keeps them in memory, and nobody waits for a store that fails,
which is what an alert may be about.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal

import msgspec
from sqlalchemy import Executable, Row, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from sessions.store.engine import schema
from sessions.store.writing.writer import Writer

Read = Callable[[Executable], Awaitable[Sequence[Row[Any]]]]
Kind = Literal["told", "silence", "acknowledgement"]

_records = schema.alert_records


class AlertRecord(msgspec.Struct, frozen=True):
    """One thing that is remembered. `owner`: which channel was told; else empty. `at`: seconds of
    wall clock.
    """

    kind: Kind
    owner: str
    id: str
    at: float
    data: bytes


class AlertRows:
    """Reads and writes of the table."""

    def __init__(self, writer: Writer, read: Read) -> None:
        self._writer = writer
        self._read = read

    async def all(self) -> list[AlertRecord]:
        """All of it. Raises StoreUnavailable."""
        rows = await self._read(select(_records).order_by(_records.c.at))
        return [AlertRecord(**dict(row._mapping)) for row in rows]

    def replace(self, kind: Kind, owner: str, records: Callable[[], Sequence[AlertRecord]]) -> None:
        """Write all of a kind and an owner anew, as they are when they are written. Patient; of
        several that wait for the store only the newest is.
        """

        async def operation(connection: AsyncConnection) -> None:
            mine = (_records.c.kind == kind) & (_records.c.owner == owner)
            await connection.execute(delete(_records).where(mine))
            if values := [msgspec.structs.asdict(record) for record in records()]:
                await connection.execute(insert(_records), values)

        self._writer.submit(operation, patient=True, newest_of=("alert_records", kind, owner))
