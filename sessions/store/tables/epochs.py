"""Where a new session's epoch begins: above that of every session that was deleted, so that no
worker of one can write into its namesake.

One number for all names, in one row: it only grows.
"""

from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from sessions.store.engine import database, schema

NAME: Final = "first_epoch"
_meta = schema.meta


async def first(connection: AsyncConnection) -> int:
    """The epoch with which a new session begins."""
    value = await connection.scalar(select(_meta.c.value).where(_meta.c.name == NAME))
    return int(value) if value is not None else 0


async def pass_by(connection: AsyncConnection, epoch: int) -> None:
    """A session of this epoch is deleted: those to come begin above it."""
    await begin_at(connection, max(epoch + 1, await first(connection)))


async def begin_at(connection: AsyncConnection, epoch: int) -> None:
    """Sessions to come begin with this epoch."""
    await connection.execute(
        database.upsert(connection, _meta), {"name": NAME, "value": b"%d" % epoch}
    )
