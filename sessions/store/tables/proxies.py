"""The sessions' proxies as they are stored: the URL as JSON, sealed as credentials are, since there
may be a password in it.
"""

from typing import Final

import msgspec
from sqlalchemy import Select, select

from sessions.credentials.proxy import Proxy, parse_proxy
from sessions.model import InvalidProxy, UnreadableValue
from sessions.store.engine import schema
from sessions.store.sealing import cipher
from sessions.store.sealing.cipher import Cipher, Place

UNREADABLE: Final = "unreadable"
"""Shown in place of a proxy that cannot be read.

Its session is quarantined when it starts, and never goes out without its proxy.
"""


def place(session: str) -> Place:
    """What a proxy is sealed for."""
    return Place("sessions", session, "proxy", "proxy")


def stored(keys: Cipher | None, session: str, proxy: Proxy | None) -> bytes | None:
    """What to store for a proxy; None for none."""
    return (
        None if proxy is None else cipher.seal(keys, msgspec.json.encode(proxy.url), place(session))
    )


def of(session: str) -> Select[tuple[bytes]]:
    """The session's proxy as it is stored."""
    return select(schema.sessions.c.proxy).where(schema.sessions.c.id == session)


def read(keys: Cipher | None, session: str, value: bytes | None) -> Proxy | None:
    """A stored proxy. Raises UnreadableValue."""
    if value is None:
        return None
    try:
        return parse_proxy(
            msgspec.json.decode(cipher.unseal(keys, value, place(session)), type=str)
        )
    except (msgspec.MsgspecError, InvalidProxy):
        raise UnreadableValue(f"{place(session)} is not a proxy's URL.") from None


def shown(keys: Cipher | None, session: str, value: bytes | None) -> str | None:
    """A stored proxy's name, which holds no secret; UNREADABLE if it cannot be read."""
    try:
        proxy = read(keys, session, value)
    except UnreadableValue:
        return UNREADABLE
    return None if proxy is None else proxy.name
