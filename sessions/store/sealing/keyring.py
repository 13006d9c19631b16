"""Which encryption keys the database needs: noticed at the start, before 500 sessions are
quarantined one by one.

For each key that has sealed anything there is a row in `meta`, sealed with that key. A store is
opened only if all of them can be opened.
"""

from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncConnection

from sessions.model import StoreUnavailable, UnreadableValue
from sessions.store.engine import database, schema
from sessions.store.sealing.cipher import Cipher, Place

_PREFIX: Final = "key:"
_PROOF: Final = b'"wasup"'
_meta = schema.meta

_HINT: Final = (
    "Set WHATSAPP_STORE_KEY to the key with which this store was encrypted; after a change of keys,"
    " to the new one and the old ones, separated by commas, until all values have been rewritten."
)


async def check(connection: AsyncConnection, keys: Cipher | None) -> None:
    """Make sure that everything sealed can be opened, and note the key that seals from now on.

    Raises StoreUnavailable.
    """
    known = await must_open(connection, keys)
    if keys is None:
        return
    name = _PREFIX + keys.first_key_id
    if name not in known:
        proof = {"name": name, "value": keys.seal(_PROOF, _place(name))}
        await connection.execute(database.upsert(connection, _meta), proof)


async def must_open(connection: AsyncConnection, keys: Cipher | None) -> set[str]:
    """Make sure that everything sealed can be opened; which keys have sealed. Nothing is written.

    Raises StoreUnavailable.
    """
    rows = (await connection.execute(select(_meta).where(_meta.c.name.startswith(_PREFIX)))).all()
    if rows and keys is None:
        raise StoreUnavailable("This store is encrypted and WHATSAPP_STORE_KEY is not set.", _HINT)
    if keys is None:
        return set()
    for row in rows:
        try:
            keys.open(row.value, _place(row.name))
        except UnreadableValue:
            raise StoreUnavailable(
                "This store is encrypted with a key that WHATSAPP_STORE_KEY does not have.", _HINT
            ) from None
    return {row.name for row in rows}


async def forget_all_but_first(connection: AsyncConnection, keys: Cipher) -> None:
    """Nothing is sealed with the other keys any more."""
    others = _meta.c.name.startswith(_PREFIX) & (_meta.c.name != _PREFIX + keys.first_key_id)
    await connection.execute(delete(_meta).where(others))


def _place(name: str) -> Place:
    return Place("meta", "", "", name)
