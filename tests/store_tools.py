"""What tests of the store share: short words for entries, and a look past the store into its
database.
"""

import sqlite3
from collections.abc import Sequence
from typing import Any

import asyncpg
import msgspec
from sqlalchemy import URL

from sessions.model import SessionId
from sessions.records.changes import Changes
from sessions.records.incidents import Move, Presence
from sessions.workers.wire import KeyEntry
from tests.fakes import CREDS as CREDS

SHOP = SessionId("shop")
OTHER = SessionId("other")


def entry(name: str, value: bytes, kind: str = "session") -> KeyEntry:
    return KeyEntry(kind, name, msgspec.Raw(value))


CREDS_ENTRY = entry("creds", CREDS, "creds")


def creds(value: bytes) -> KeyEntry:
    return entry("creds", value, "creds")


def memory_of(session: SessionId, memory: bytes) -> Changes:
    """Nothing but what is remembered of the session has changed."""
    return Changes(session=session, memory=lambda: memory)


def moved(session: SessionId, presence: Presence, at: float) -> Changes:
    """The session is open, down or off since then, and nothing else has changed."""
    return Changes(session=session, move=Move(presence, at))


async def connect(url: URL) -> Any:
    """A PostgreSQL connection that is nobody's."""
    return await asyncpg.connect(user=url.username, database=url.database, host=url.query["host"])


async def sql(url: URL, statement: str, *parameters: object) -> Sequence[Sequence[Any]]:
    """Run a statement behind the store's back. Parameters are ?, for both."""
    if url.get_backend_name() == "sqlite":
        connection = sqlite3.connect(str(url.database))
        try:
            rows = connection.execute(statement, parameters).fetchall()
            connection.commit()
            return rows
        finally:
            connection.close()
    for number in range(1, len(parameters) + 1):
        statement = statement.replace("?", f"${number}", 1)
    other = await connect(url)
    try:
        return [tuple(row) for row in await other.fetch(statement, *parameters)]
    finally:
        await other.close()
