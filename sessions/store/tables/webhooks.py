"""Webhooks as they are stored, and what they have not been able to deliver.

What is accepted leaves no row: how far a webhook has come is one value, written now and then.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final, Literal

import msgspec
import structlog
from sqlalchemy import (
    Delete,
    Row,
    Select,
    Update,
    delete,
    func,
    insert,
    or_,
    select,
    update,
)
from sqlalchemy.ext.asyncio import AsyncConnection

from sessions.model import UnreadableValue
from sessions.store.engine import schema
from sessions.store.sealing import cipher
from sessions.store.sealing.cipher import Cipher, Place
from sessions.store.tables.rows import Read
from sessions.store.writing.writer import Writer

DeliveryState = Literal["retrying", "dead", "gap"]
"""gap: the log dropped it before it was sent, so it can never be."""

RESTORED: Final = "restored"
"""Why a webhook is paused that came back with a backup of the whole store."""

_webhooks = schema.webhooks
_deliveries = schema.deliveries
_HOW_MANY: Final = func.count().label("how_many")

log = structlog.get_logger("store")


class WebhookRow(msgspec.Struct, frozen=True):
    """A webhook as stored.

    `settings`, `progress`: JSON, whose meaning is its owner's. Times are seconds of wall clock.
    """

    id: str
    created_at: float
    settings: bytes
    paused_because: str | None
    progress: bytes
    failing_since: float | None = None


class DeliveryRow(msgspec.Struct, frozen=True):
    """An event, or those from `n` to `last_n`, that a webhook's endpoint has not accepted.

    `next_n`: where sending goes on; `id` 0: it has no row yet. Times are seconds of wall clock.
    """

    webhook: str
    n: int
    last_n: int
    next_n: int
    session: str | None
    type: str | None
    state: DeliveryState
    attempts: int
    first_failed_at: float
    next_at: float | None
    last_status: int | None
    last_error: str | None
    id: int = 0


def place(webhook: str) -> Place:
    """What a webhook's settings are sealed for."""
    return Place("webhooks", "", "webhook", webhook)


class WebhookRows:
    """Reads and writes of both tables."""

    def __init__(self, writer: Writer, read: Read, keys: Cipher | None) -> None:
        self._writer = writer
        self._read = read
        self._keys = keys

    # --- webhooks ---------------------------------------------------------------------------------

    async def all(self) -> list[WebhookRow]:
        """All webhooks, oldest first; one that cannot be read is left out and logged."""
        found = []
        statement = select(_webhooks).order_by(_webhooks.c.created_at, _webhooks.c.id)
        for row in await self._read(statement):
            try:
                settings = cipher.unseal(self._keys, row.settings, place(row.id))
            except UnreadableValue as error:
                log.error(
                    "a webhook cannot be read, and delivers nothing",
                    action="webhook_unreadable",
                    webhook=row.id,
                    error=str(error),
                )
                continue
            found.append(WebhookRow(**dict(row._mapping) | {"settings": settings}))
        return found

    async def add(self, row: WebhookRow) -> None:
        """Add a webhook."""
        values = msgspec.structs.asdict(row) | {"settings": self._sealed(row.id, row.settings)}
        await self._writer.execute(insert(_webhooks).values(values))

    async def change(
        self, webhook: str, settings: bytes, paused_because: str | None
    ) -> dict[str, int]:
        """Write a webhook's settings anew; how many rows it has, by state."""
        values = {"settings": self._sealed(webhook, settings), "paused_because": paused_because}
        changed = update(_webhooks).where(_webhooks.c.id == webhook).values(values)
        return (await self._counting(webhook, changed))[1]

    async def remove(self, webhook: str) -> None:
        """Remove a webhook, and with it what it has not delivered."""
        await self._writer.execute(delete(_webhooks).where(_webhooks.c.id == webhook))

    def save_progress(self, webhook: str, progress: bytes) -> None:
        """Remember how far it has come.

        Patient; of several that wait only the newest is written, behind all rows that were added
        before.
        """
        values = update(_webhooks).where(_webhooks.c.id == webhook).values(progress=progress)
        self._writer.execute(values, patient=True, newest_of=("progress", webhook))

    def save_failing_since(self, webhook: str, since: float | None) -> None:
        """Remember since when its endpoint is away; None: it is not. Patient."""
        values = update(_webhooks).where(_webhooks.c.id == webhook).values(failing_since=since)
        self._writer.execute(values, patient=True, newest_of=("failing_since", webhook))

    def pause(self, webhook: str, because: str) -> None:
        """Remember that it is paused. Patient."""
        values = update(_webhooks).where(_webhooks.c.id == webhook).values(paused_because=because)
        self._writer.execute(values, patient=True)

    # --- deliveries -------------------------------------------------------------------------------

    def set_aside(self, row: DeliveryRow) -> None:
        """Add a row, or bring up to date the one that begins with the same event. Patient."""
        values = msgspec.structs.asdict(row)
        del values["id"]
        same = (_deliveries.c.webhook == row.webhook) & (_deliveries.c.n == row.n)
        is_there = select(_webhooks.c.id).where(_webhooks.c.id == row.webhook)

        async def operation(connection: AsyncConnection) -> None:
            if (
                await connection.execute(update(_deliveries).where(same).values(values))
            ).rowcount == 0 and await connection.scalar(is_there) is not None:
                await connection.execute(insert(_deliveries).values(values))

        self._writer.submit(operation, patient=True)

    def set_range_aside(self, row: DeliveryRow) -> None:
        """Add a row of many events, or make the one longer that ends where it begins. Patient."""
        before = (
            (_deliveries.c.webhook == row.webhook)
            & (_deliveries.c.state == row.state)
            & (_deliveries.c.last_n == row.n - 1)
            & _deliveries.c.session.is_(None)
            & _deliveries.c.type.is_(None)
        )
        longer = update(_deliveries).where(before).values(last_n=row.last_n)
        is_there = select(_webhooks.c.id).where(_webhooks.c.id == row.webhook)
        values = msgspec.structs.asdict(row)
        del values["id"]

        async def operation(connection: AsyncConnection) -> None:
            if (await connection.execute(longer)).rowcount:
                return
            mine = (_deliveries.c.webhook == row.webhook) & (_deliveries.c.n == row.n)
            await connection.execute(delete(_deliveries).where(mine))
            if await connection.scalar(is_there) is not None:
                await connection.execute(insert(_deliveries).values(values))

        self._writer.submit(operation, patient=True)

    def update(self, row: DeliveryRow) -> asyncio.Future[None]:
        """Write a row anew. Patient."""
        values = msgspec.structs.asdict(row)
        del values["id"]
        statement = update(_deliveries).where(_deliveries.c.id == row.id).values(values)
        return self._writer.execute(statement, patient=True)

    def accepted(self, row: DeliveryRow) -> asyncio.Future[None]:
        """The endpoint has accepted it: forget it. Patient."""
        return self._writer.execute(
            delete(_deliveries).where(_deliveries.c.id == row.id), patient=True
        )

    async def due(self, webhook: str, now: float, limit: int) -> list[DeliveryRow]:
        """What is to be tried again now, oldest event first."""
        c = _deliveries.c
        waits = (c.webhook == webhook) & (c.state == "retrying") & (c.next_at <= now)
        rows = await self._read(select(_deliveries).where(waits).order_by(c.n).limit(limit))
        return [_delivery(row) for row in rows]

    async def next_due(self, webhook: str) -> float | None:
        """When the next one is to be tried; None: there is none."""
        c = _deliveries.c
        mine = (c.webhook == webhook) & (c.state == "retrying")
        (row,) = await self._read(select(func.min(c.next_at).label("due")).where(mine))
        due: float | None = row.due
        return due

    async def set_aside_after(self, webhook: str, n: int) -> set[int]:
        """The single events after a number that have rows of their own."""
        c = _deliveries.c
        mine = (c.webhook == webhook) & (c.n > n) & (c.n == c.last_n)
        return {row.n for row in await self._read(select(c.n).where(mine))}

    async def counts(self) -> dict[str, dict[str, int]]:
        """How many rows there are, by webhook and state; without those that have none."""
        c, found = _deliveries.c, dict[str, dict[str, int]]()
        counted = select(c.webhook, c.state, _HOW_MANY).group_by(c.webhook, c.state)
        for row in await self._read(counted):
            found.setdefault(row.webhook, {})[row.state] = row.how_many
        return found

    async def count(self, webhook: str) -> dict[str, int]:
        """How many rows there are, by state."""
        return {row.state: row.how_many for row in await self._read(_counted(webhook))}

    async def page(
        self, webhook: str, after: int, limit: int, state: str | None = None
    ) -> list[DeliveryRow]:
        """Rows after that one, oldest first."""
        c = _deliveries.c
        statement = select(_deliveries).where(c.webhook == webhook, c.id > after)
        if state is not None:
            statement = statement.where(c.state == state)
        return [_delivery(row) for row in await self._read(statement.order_by(c.id).limit(limit))]

    async def covering(self, webhook: str, n: int) -> DeliveryRow | None:
        """The row that an event is in: its own, or else one of many events."""
        c = _deliveries.c
        mine = (c.webhook == webhook) & (c.n <= n) & (c.last_n >= n)
        found = select(_deliveries).where(mine).order_by(c.n.desc()).limit(1)
        rows = await self._read(found)
        return _delivery(rows[0]) if rows else None

    async def redrive(
        self, webhook: str, now: float, after: int | None, ids: Sequence[int] | None
    ) -> tuple[int, dict[str, int]]:
        """Try again now what is set aside: events after a number, or these rows, or all; how many
        rows, and how many there are, by state.
        """
        c = _deliveries.c
        which = (c.webhook == webhook) & c.state.in_(("retrying", "dead"))
        if after is not None:
            which &= c.last_n > after
        if ids is not None:
            which &= c.id.in_(ids)
        # it has a new life of as long as the first
        values = {"state": "retrying", "next_at": now, "attempts": 0, "first_failed_at": now}
        return await self._counting(webhook, update(_deliveries).where(which).values(values))

    async def hasten(self, webhook: str, now: float) -> None:
        """The endpoint is back: try again now whatever waits."""
        c = _deliveries.c
        waits = (c.webhook == webhook) & (c.state == "retrying") & (c.next_at > now)
        await self._writer.execute(update(_deliveries).where(waits).values(next_at=now))

    async def replay(
        self, webhook: str, n: int, settings: bytes, progress: bytes
    ) -> dict[str, int]:
        """Go back to where the progress says, and forget what is set aside of the events after a
        number, as all of them are sent again; how many rows are left, by state.
        """
        c = _deliveries.c
        values = {"settings": self._sealed(webhook, settings), "progress": progress}
        back = update(_webhooks).where(_webhooks.c.id == webhook).values(values)
        them = delete(_deliveries).where((c.webhook == webhook) & (c.n > n) & (c.state != "gap"))
        return (await self._counting(webhook, back, them))[1]

    async def forget_before(self, n: int, at: float) -> int:
        """Forget, of all webhooks, the dead ones whose events the log does not keep any more, and
        gaps that are older than that; how many.
        """
        c = _deliveries.c
        dead = (c.state == "dead") & (c.last_n < n)
        old = or_(dead, (c.state == "gap") & (c.first_failed_at < at))

        async def operation(connection: AsyncConnection) -> int:
            return (await connection.execute(delete(_deliveries).where(old))).rowcount

        return await self._writer.submit(operation)

    # --- inside -----------------------------------------------------------------------------------

    def _sealed(self, webhook: str, settings: bytes) -> bytes:
        return cipher.seal(self._keys, settings, place(webhook))

    def _counting(
        self, webhook: str, *changes: Update | Delete
    ) -> asyncio.Future[tuple[int, dict[str, int]]]:
        """Make changes; how many rows they have changed, and how many a webhook has then, by state.

        In one transaction: whoever has changed something must not have to ask a store that may be
        away meanwhile.
        """

        async def operation(connection: AsyncConnection) -> tuple[int, dict[str, int]]:
            changed = sum([(await connection.execute(one)).rowcount for one in changes])
            rows = await connection.execute(_counted(webhook))
            return changed, {row.state: row.how_many for row in rows}

        return self._writer.submit(operation)


def _counted(webhook: str) -> Select[Any]:
    c = _deliveries.c
    return select(c.state, _HOW_MANY).where(c.webhook == webhook).group_by(c.state)


def _delivery(row: Row[Any]) -> DeliveryRow:
    return DeliveryRow(**dict(row._mapping))
