"""Everything under the first key: a store is encrypted, or its key changed, while it is in use.

Batches of rows that are not sealed with the first key are read, sealed and written back, each only
if it is still what was read: a newer write is never overwritten. What is done is told by the values
themselves, so a rewrite that was interrupted is simply begun again.
"""

from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any, Final, NamedTuple

import msgspec
import structlog
from sqlalchemy import Column, Row, Table, func, select, tuple_, update
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from sessions.model import StoreError, StoreUnavailable, UnreadableValue
from sessions.store.engine import schema
from sessions.store.sealing import keyring
from sessions.store.sealing.cipher import PREFIX_BYTES, Cipher, Place, is_sealed
from sessions.store.tables import auth, events, proxies, requests, webhooks
from sessions.store.writing import faults
from sessions.store.writing.writer import Writer

_BATCH: Final = 200
_MAX_PASSES: Final = 5
"""A value may move behind the reader's back (a session is archived meanwhile): then another pass
finds it.
"""

log = structlog.get_logger("store")


class RewriteReport(msgspec.Struct, frozen=True, rename="camel"):
    """What a rewrite did.

    With `unreadable` rows the old keys must be kept; `complete` says that they can be dropped.
    """

    rewritten: int
    unreadable: int
    complete: bool


class Secrets(NamedTuple):
    """A column of secrets: where it is, and what each value is sealed for."""

    table: Table
    value: Column[bytes]

    @property
    def key(self) -> list[Column[Any]]:
        """What names a row."""
        return list(self.table.primary_key.columns)


COLUMNS: Final = (
    Secrets(schema.auth, schema.auth.c.value),
    Secrets(schema.archived_auth, schema.archived_auth.c.value),
    Secrets(schema.events, schema.events.c.data),
    Secrets(schema.sessions, schema.sessions.c.proxy),
    Secrets(schema.requests, schema.requests.c.answer),
    Secrets(schema.webhooks, schema.webhooks.c.settings),
)
"""Everything that is sealed."""


async def rewrite(reader: AsyncEngine, writer: Writer, cipher: Cipher | None) -> RewriteReport:
    """Seal everything with the first key.

    Raises StoreError without a key, StoreUnavailable when the store fails (then begin again).
    """
    if cipher is None:
        raise StoreError(
            "There is no key to encrypt with.",
            "Set WHATSAPP_STORE_KEY: `openssl rand -hex 32` makes a key.",
        )
    rewritten = 0
    for _ in range(_MAX_PASSES):
        changed, unreadable = 0, 0
        for secrets in COLUMNS:
            some_changed, some_unreadable = await _pass(reader, writer, cipher, secrets)
            changed, unreadable = changed + some_changed, unreadable + some_unreadable
        rewritten += changed
        if changed == 0:
            break
    complete = await writer.submit(partial(_finish, cipher))
    return RewriteReport(rewritten, unreadable, complete)


async def _pass(
    reader: AsyncEngine, writer: Writer, cipher: Cipher, secrets: Secrets
) -> tuple[int, int]:
    """Go once through a table; how many values were rewritten, and how many cannot be read."""
    changed, unreadable, last = 0, 0, None
    while rows := await _next_rows(reader, cipher, secrets, last):
        last = tuple(rows[-1])[: len(secrets.key)]
        sealed = []
        for row in rows:
            try:
                sealed.append((row, _resealed(cipher, secrets, row)))
            except UnreadableValue as error:
                unreadable += 1
                log.error(
                    "a value cannot be rewritten", action="rewrite_unreadable", error=str(error)
                )
        changed += await writer.submit(partial(_write_back, secrets, sealed))
    return changed, unreadable


async def _next_rows(
    reader: AsyncEngine, cipher: Cipher, secrets: Secrets, last: tuple[Any, ...] | None
) -> Sequence[Any]:
    statement = select(*secrets.key, secrets.value.label("stored"), *session_and_kind(secrets))
    if secrets.table is schema.archived_auth:
        statement = statement.join(schema.archives, schema.archives.c.id == secrets.table.c.archive)
    statement = statement.where(_not_under(cipher, secrets)).order_by(*secrets.key).limit(_BATCH)
    if last is not None:
        statement = statement.where(tuple_(*secrets.key) > tuple_(*last))
    try:
        async with reader.connect() as connection:
            return (await connection.execute(statement)).all()
    except (SQLAlchemyError, OSError) as error:
        raise StoreUnavailable(f"The store could not read: {faults.describe(error)}") from None


def session_and_kind(secrets: Secrets) -> Iterable[Column[Any]]:
    """What is read beside a row's key, to know what its value is sealed for."""
    if secrets.table is schema.events:
        return [schema.events.c.session, schema.events.c.type]
    return [schema.archives.c.session] if secrets.table is schema.archived_auth else []


def _resealed(cipher: Cipher, secrets: Secrets, row: Row[Any]) -> bytes:
    place = place_of(secrets, row)
    value = cipher.open(row.stored, place) if is_sealed(row.stored) else row.stored
    return cipher.seal(value, place)


def place_of(secrets: Secrets, row: Row[Any]) -> Place:
    """What a row's value is sealed for."""
    if secrets.table is schema.events:
        return events.place(row.session, row.type)
    if secrets.table is schema.sessions:
        return proxies.place(row.id)
    if secrets.table is schema.requests:
        return requests.place(row.key)
    if secrets.table is schema.webhooks:
        return webhooks.place(row.id)
    return auth.place(row.session, row.kind, row.name)


async def _write_back(
    secrets: Secrets, sealed: list[tuple[Row[Any], bytes]], connection: AsyncConnection
) -> int:
    changed = 0
    for row, value in sealed:
        same = [column == row[index] for index, column in enumerate(secrets.key)]
        statement = (
            update(secrets.table)
            .where(*same, secrets.value == row.stored)
            .values({secrets.value: value})
        )
        changed += (await connection.execute(statement)).rowcount
    return changed


async def _finish(cipher: Cipher, connection: AsyncConnection) -> bool:
    """In one transaction with the last look: nothing moves any more."""
    for secrets in COLUMNS:
        left = select(func.count()).select_from(secrets.table).where(_not_under(cipher, secrets))
        if await connection.scalar(left):
            return False
    await keyring.forget_all_but_first(connection, cipher)
    return True


def _not_under(cipher: Cipher, secrets: Secrets) -> Any:
    return func.substr(secrets.value, 1, PREFIX_BYTES) != cipher.prefix
