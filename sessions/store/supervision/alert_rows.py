"""What is remembered of alerts: who was told of what, what is silenced, who has acknowledged what.

Written patiently: whoever has them keeps them in memory, and nobody waits for a store that fails,
which is what an alert may be about.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final, Literal

import msgspec
from sqlalchemy import bindparam, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from sessions.store.engine import schema
from sessions.store.tables.rows import Read
from sessions.store.writing.writer import Writer

Kind = Literal["told", "silence", "acknowledgement"]

_records = schema.alert_records
_GONE: Final = delete(_records).where(
    _records.c.kind == bindparam("its_kind"),
    _records.c.owner == bindparam("its_owner"),
    _records.c.id == bindparam("its_id"),
)


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
        self._changes: dict[tuple[Kind, str], tuple[set[str], asyncio.Future[None]]] = {}
        """The last of each kind and owner."""

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

    def change(
        self,
        kind: Kind,
        owner: str,
        ids: Iterable[str],
        records: Callable[[Collection[str]], Sequence[AlertRecord]],
    ) -> None:
        """Write these of a kind and an owner anew, as they are when they are written, and no
        others. `records`: those of them that are there still. Patient, as `replace`.
        """
        changed = set(ids)
        last, written = self._changes.get((kind, owner), (changed, None))
        if written is not None and not _is_made(written):
            changed |= last  # the new one may take its place

        async def operation(connection: AsyncConnection) -> None:
            await connection.execute(_GONE, [_name(kind, owner, one) for one in changed])
            if values := [msgspec.structs.asdict(record) for record in records(changed)]:
                await connection.execute(insert(_records), values)

        if changed:
            name = "alert_records changed", kind, owner
            written = self._writer.submit(operation, patient=True, newest_of=name)
            self._changes[kind, owner] = changed, written


def _name(kind: Kind, owner: str, one: str) -> dict[str, str]:
    return {"its_kind": kind, "its_owner": owner, "its_id": one}


def _is_made(written: asyncio.Future[None]) -> bool:
    return written.done() and not written.cancelled() and written.exception() is None
