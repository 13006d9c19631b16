"""The API's keys as they are stored, never the keys themselves; and the secret with which
short-lived tokens are signed where the operator has given none.
"""

import asyncio
import secrets
from typing import Final

import msgspec
import structlog
from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from sessions.model import UnreadableValue
from sessions.store.engine import database, schema
from sessions.store.sealing import cipher
from sessions.store.sealing.cipher import Cipher, Place
from sessions.store.tables.rows import Read
from sessions.store.writing.writer import Writer

TOKEN_SECRET: Final = "token_secret"
"""The row of `meta`."""
SECRET_BYTES: Final = 32

_keys = schema.api_keys
_meta = schema.meta

log = structlog.get_logger("store")


class KeyRow(msgspec.Struct, frozen=True):
    """A key as stored. `sessions`: JSON; None: all. Times are seconds of wall clock."""

    id: str
    name: str
    scope: str
    sessions: bytes | None
    created_at: float
    expires_at: float | None
    digest: bytes
    last_used_at: float | None = None


class KeyRows:
    """Reads and writes of the table."""

    def __init__(self, writer: Writer, read: Read, keys: Cipher | None) -> None:
        self._writer = writer
        self._read = read
        self._cipher = keys

    async def all(self) -> list[KeyRow]:
        """All keys, oldest first. Raises StoreUnavailable."""
        rows = await self._read(select(_keys).order_by(_keys.c.created_at, _keys.c.id))
        return [KeyRow(**dict(row._mapping)) for row in rows]

    async def add(self, row: KeyRow) -> None:
        """Add a key."""
        await self._writer.execute(insert(_keys).values(msgspec.structs.asdict(row)))

    def remove(self, key: str) -> asyncio.Future[None]:
        """Forget a key. Patient: it is refused by now, and must not come back with a restart."""
        return self._writer.execute(delete(_keys).where(_keys.c.id == key), patient=True)

    def save_used(self, key: str, at: float) -> None:
        """Remember when it was last used. Patient; of several that wait only the newest counts."""
        values = update(_keys).where(_keys.c.id == key).values(last_used_at=at)
        self._writer.execute(values, patient=True, newest_of=("last_used", key))

    async def token_secret(self) -> bytes:
        """The secret for signing, made if there is none that can be read: all that ends with it are
        tokens of some minutes. It is sealed anew when the store's key has changed.
        """

        async def operation(connection: AsyncConnection) -> bytes:
            stored = await connection.scalar(
                select(_meta.c.value).where(_meta.c.name == TOKEN_SECRET)
            )
            secret = None if stored is None else self._opened(stored)
            if secret is None:
                secret = secrets.token_bytes(SECRET_BYTES)
            elif self._is_sealed_well(stored):
                return secret
            value = cipher.seal(self._cipher, msgspec.json.encode(secret.hex()), _place())
            await connection.execute(
                database.upsert(connection, _meta), {"name": TOKEN_SECRET, "value": value}
            )
            return secret

        return await self._writer.submit(operation)

    # --- inside -----------------------------------------------------------------------------------

    def _opened(self, stored: bytes) -> bytes | None:
        try:
            value = cipher.unseal(self._cipher, stored, _place())
            return bytes.fromhex(msgspec.json.decode(value, type=str))
        except (UnreadableValue, msgspec.ValidationError, ValueError) as error:
            log.warning(
                "the secret of short-lived tokens cannot be read, and is made anew",
                action="token_secret_lost",
                error=type(error).__name__,
            )
            return None

    def _is_sealed_well(self, stored: bytes | None) -> bool:
        if self._cipher is None or stored is None:
            return True
        return stored.startswith(self._cipher.prefix)


def _place() -> Place:
    return Place("meta", "", TOKEN_SECRET, "")
