"""Which linked device a session is: no two sessions are the same one, as two logins of one device
throw each other out.

A device is a number and the device's own number (`5511999990000:7@s.whatsapp.net`), as its
credentials say it: one number may have several linked devices, each in a session of its own. It is
kept in plain, like the session's jid, so that it can be looked up in an encrypted store.
"""

from typing import Final

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from sessions.credentials import credentials
from sessions.model import SameDevice, UnreadableValue
from sessions.store.engine import database, schema
from sessions.store.sealing.cipher import Cipher
from sessions.store.tables import auth

LEARNED: Final = "devices"
"""The row of `meta` that says that every session's device is known: those of a store from before
were read once.
"""
_auth = schema.auth
_meta = schema.meta
_sessions = schema.sessions


async def claim(connection: AsyncConnection, session: str, device: str | None) -> None:
    """Note that the session is this device (None: nothing to claim).

    Raises SameDevice, before anything is written.
    """
    if device is None:
        return
    await check(connection, session, device)
    mine = (_sessions.c.id == session) & _sessions.c.device.is_distinct_from(device)
    await connection.execute(update(_sessions).where(mine).values(device=device))


async def check(connection: AsyncConnection, session: str, device: str | None) -> None:
    """Raises SameDevice if another session is this device."""
    if device is None:
        return
    owner = await connection.scalar(
        select(_sessions.c.id).where(_sessions.c.device == device, _sessions.c.id != session)
    )
    if owner is not None:
        raise SameDevice(session, owner, device)


async def learn(connection: AsyncConnection, keys: Cipher | None) -> None:
    """Note the devices of a store from before they were noted, the oldest session first; of two
    that are the same one the first has it.
    """
    if await connection.scalar(select(_meta.c.name).where(_meta.c.name == LEARNED)) is not None:
        return
    creds = (
        select(_sessions.c.id, _auth.c.value)
        .join(_auth, _auth.c.session == _sessions.c.id)
        .where(auth.is_creds())
    )
    unknown = creds.where(_sessions.c.device.is_(None)).order_by(
        _sessions.c.created_at, _sessions.c.id
    )
    taken = set(
        await connection.scalars(select(_sessions.c.device).where(_sessions.c.device.is_not(None)))
    )
    found = []
    for row in (await connection.execute(unknown)).all():
        device = _device(keys, row.id, row.value)
        if device is not None and device not in taken:
            taken.add(device)
            found.append((row.id, device))
    for session, device in found:
        await connection.execute(
            update(_sessions).where(_sessions.c.id == session).values(device=device)
        )
    await connection.execute(database.upsert(connection, _meta), {"name": LEARNED, "value": b"1"})


def _device(keys: Cipher | None, session: str, stored: bytes) -> str | None:
    try:
        return credentials.device(auth.value_of(keys, session, auth.CREDS, auth.CREDS, stored))
    except UnreadableValue:  # such a session is quarantined when it starts
        return None
