"""What was asked under an `Idempotency-Key`: noted before it is done, answered from here when it is
asked again.

The key itself is not stored, only its digest; answers are sealed as events are. Bounded by age and
by count.
"""

import asyncio
import time
from typing import Final, NamedTuple

import msgspec
from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from sessions.store.engine import schema
from sessions.store.sealing import cipher
from sessions.store.sealing.cipher import Cipher, Place
from sessions.store.writing.writer import Writer

KEPT_SECONDS: Final = 24 * 3600.0
"""A client that asks again later than that has forgotten why."""
KEPT_MOST: Final = 10_000
KEPT_OF_ONE: Final = 1_000
"""Of one caller's: who asks a great deal forgets his own first, and not what others have asked."""
CALLER_DIGITS: Final = 16
"""So many digits of a key are its caller's. (The operator's have none in common: only the bound for
all holds for them.)
"""

_requests = schema.requests


class Answer(msgspec.Struct, frozen=True):
    """What was answered. `body`: JSON; `location`: the header of that name, if there was one."""

    status: int
    body: msgspec.Raw
    location: str | None = None


class Known(NamedTuple):
    """A request that was noted before. `answer` None: it was begun, and nobody knows its end."""

    fingerprint: str
    answer: Answer | None


class Requests:
    """The table."""

    def __init__(self, writer: Writer, keys: Cipher | None) -> None:
        self._writer = writer
        self._keys = keys

    async def begin(self, key: str, fingerprint: str, session: str | None) -> Known | None:
        """Note a request before it is done; or, if the key is known, what is known of it.

        `key`: the digest of the client's key, its first CALLER_DIGITS the caller's;
        `fingerprint`: that of all that was asked.

        Raises StoreUnavailable, UnreadableValue.
        """

        async def operation(connection: AsyncConnection) -> Known | None:
            now = time.time()
            await _trim(connection, now, key[:CALLER_DIGITS])
            row = (
                await connection.execute(select(_requests).where(_requests.c.key == key))
            ).first()
            if row is not None:
                return Known(row.fingerprint, self._read(key, row.answer))
            noted = {"key": key, "fingerprint": fingerprint, "session": session, "at": now}
            await connection.execute(insert(_requests), noted)
            return None

        return await self._writer.submit(operation)

    def finish(self, key: str, answer: Answer) -> asyncio.Future[None]:
        """Keep the answer. Patient."""
        sealed = cipher.seal(self._keys, msgspec.json.encode(answer), place(key))

        async def operation(connection: AsyncConnection) -> None:
            await connection.execute(
                update(_requests).where(_requests.c.key == key).values(answer=sealed)
            )

        return self._writer.submit(operation, patient=True)

    def forget(self, key: str) -> asyncio.Future[None]:
        """Nothing was done: the key may be used again. Patient."""

        async def operation(connection: AsyncConnection) -> None:
            await connection.execute(delete(_requests).where(_requests.c.key == key))

        return self._writer.submit(operation, patient=True)

    def _read(self, key: str, stored: bytes | None) -> Answer | None:
        if stored is None:
            return None
        return msgspec.json.decode(cipher.unseal(self._keys, stored, place(key)), type=Answer)


async def _trim(connection: AsyncConnection, now: float, caller: str) -> None:
    newest = select(_requests.c.at).order_by(_requests.c.at.desc()).limit(1)
    # after every hexadecimal digit comes "g": a range, which the primary key's index answers
    of_one = (_requests.c.key >= caller, _requests.c.key < f"{caller}g")
    beyond = newest.offset(KEPT_MOST - 1).scalar_subquery()
    beyond_its_own = newest.where(*of_one).offset(KEPT_OF_ONE - 1).scalar_subquery()
    await connection.execute(delete(_requests).where(_requests.c.at < now - KEPT_SECONDS))
    await connection.execute(delete(_requests).where(*of_one, _requests.c.at < beyond_its_own))
    await connection.execute(delete(_requests).where(_requests.c.at < beyond))


def place(key: str) -> Place:
    """What an answer is sealed for."""
    return Place("requests", "", "answer", key)
