"""Was it committed? The answer when the connection is lost in the middle of a COMMIT.

Every transaction of the writer leaves a receipt of its own, a random number in one row. When a
commit's outcome is unknown, the next transaction first looks whether that receipt is there. So
nothing is written twice and nobody is told a lie, whatever the operation does.

The row's lock makes the look final: as long as the old transaction could still commit, the new one
waits for it.
"""

import secrets
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from sessions.store.engine import database, schema

NAME: Final = "receipt"
_table = schema.meta


def new_receipt() -> bytes:
    """A number that no other transaction has."""
    return secrets.token_bytes(16)


async def leave(connection: AsyncConnection, receipt: bytes) -> None:
    """Leave it in this transaction."""
    await connection.execute(database.upsert(connection, _table), {"name": NAME, "value": receipt})


async def is_there(connection: AsyncConnection, receipt: bytes) -> bool:
    """Whether the last committed transaction is the one with that receipt.

    Waits for a transaction that is being committed.
    """
    statement = select(_table.c.value).where(_table.c.name == NAME).with_for_update()
    return await connection.scalar(statement) == receipt
