"""Whether everything in a store can be read: looked at before it is needed, and without changing
anything.

Each value is opened with the keys at hand, as a worker or an operator would have it; credentials
must be whole.
"""

from collections.abc import AsyncIterator
from typing import Any, Final

import msgspec
from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from sessions.credentials.credentials import flaw
from sessions.model import UnreadableValue
from sessions.store.engine import schema
from sessions.store.rewrite import COLUMNS, Secrets, place_of, session_and_kind
from sessions.store.sealing.cipher import Cipher, unseal
from sessions.store.tables.auth import CREDS

_ROWS: Final = 500


class VerifyReport(msgspec.Struct, frozen=True, rename="camel"):
    """What was looked at, and what is wrong, a sentence each; nothing of a value is quoted."""

    sessions: int
    values: int
    wrong: list[str]


async def verify(connection: AsyncConnection, cipher: Cipher | None) -> VerifyReport:
    """Read everything. Raises SQLAlchemyError."""
    wrong = await _damage(connection)
    values = 0
    for secrets in COLUMNS:
        async for row in _rows(connection, secrets):
            values += 1
            try:
                value = unseal(cipher, row.stored, place_of(secrets, row))
            except UnreadableValue as error:
                wrong.append(str(error))
                continue
            if (
                secrets.table in {schema.auth, schema.archived_auth}
                and row.kind == CREDS
                and (why := flaw(value)) is not None
            ):
                wrong.append(f"{place_of(secrets, row)}: {why}")
    sessions = await connection.scalar(select(func.count()).select_from(schema.sessions)) or 0
    return VerifyReport(sessions, values, wrong)


async def _damage(connection: AsyncConnection) -> list[str]:
    """What the database itself finds; a server has its own means."""
    if connection.dialect.name != "sqlite":
        return []
    found = [row[0] for row in await connection.execute(text("PRAGMA integrity_check"))]
    return [] if found == ["ok"] else [f"The database is damaged: {line}." for line in found]


async def _rows(connection: AsyncConnection, secrets: Secrets) -> AsyncIterator[Any]:
    statement = select(
        *secrets.key, secrets.value.label("stored"), *session_and_kind(secrets)
    ).where(secrets.value.is_not(None))
    if secrets.table is schema.archived_auth:
        statement = statement.join(schema.archives, schema.archives.c.id == secrets.table.c.archive)
    async with connection.stream(statement, execution_options={"yield_per": _ROWS}) as result:
        async for row in result:
            yield row
