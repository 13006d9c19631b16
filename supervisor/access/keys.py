"""The keys: made, listed, revoked; all of them in memory, so that nobody who calls waits for the
store, and one that is revoked is refused with that very moment.

When a key was last used is noted here and written by `write_uses`, which the program runs each
minute.
"""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

import msgspec

from sessions.model import StoreUnavailable, WasupError
from sessions.store import Store
from sessions.store.tables.keys import KeyRow
from supervisor.access.key import AccessKey, digest_of, new_id, new_key
from supervisor.access.scopes import Scope

MOST_KEYS: Final = 1_000
USED_SECONDS: Final = 60.0
"""So often at the most is written when a key was last used."""
REVOKED_SECONDS: Final = 5.0
"""How long a revocation waits until it is durable before its caller is told that it is not yet."""


class KeyNotFound(WasupError):
    """There is no such key."""

    code = "key_not_found"
    hint = "GET /keys and `wasup keys list` show those that there are; a revoked one is gone."


class TooManyKeys(WasupError):
    """There are as many keys as there may be."""

    code = "too_many_keys"
    hint = "Revoke those that nobody uses: `wasup keys list` shows when each was last used."


class Keys:
    """All keys. Use `await Keys.open(store)`."""

    def __init__(
        self, store: Store, keys: Iterable[AccessKey], clock: Callable[[], float] = time.time
    ) -> None:
        self._store = store
        self._clock = clock
        self._keys = {key.id: key for key in keys}
        self._unwritten = set[str]()
        """Keys whose last use is newer than what the store knows."""

    @classmethod
    async def open(cls, store: Store) -> "Keys":
        """Read them. Raises StoreUnavailable."""
        return cls(store, [_key(row) for row in await store.keys.all()])

    def find(self, key_id: str) -> AccessKey | None:
        """The key of that id."""
        return self._keys.get(key_id)

    def holds(self, key_id: str) -> bool:
        """Whether there is such a key, and it has not expired."""
        key = self._keys.get(key_id)
        return key is not None and not key.has_ended(self._clock())

    def all(self) -> list[AccessKey]:
        """All keys, oldest first."""
        return list(self._keys.values())

    def used(self, key_id: str) -> None:
        """Somebody has come in with it."""
        key, now = self._keys[key_id], self._clock()
        if key.last_used_at is None or now - key.last_used_at >= USED_SECONDS:
            self._keys[key_id] = replace(key, last_used_at=now)
            self._unwritten.add(key_id)

    def write_uses(self) -> None:
        """Write when those that were used were last used."""
        for key_id in self._unwritten & self._keys.keys():
            at = self._keys[key_id].last_used_at
            assert at is not None, "it was used"
            self._store.keys.save_used(key_id, at)
        self._unwritten.clear()

    async def create(
        self, name: str, scope: Scope, sessions: frozenset[str] | None, expires_at: float | None
    ) -> tuple[AccessKey, str]:
        """A new key, and its text, which nobody can be told again.

        Raises TooManyKeys, StoreUnavailable.
        """
        if len(self._keys) >= MOST_KEYS:
            raise TooManyKeys(f"There are {MOST_KEYS} keys already.")
        key_id = new_id()
        text = new_key(key_id)
        key = AccessKey(
            id=key_id,
            name=name,
            scope=scope,
            sessions=sessions,
            created_at=self._clock(),
            expires_at=expires_at,
            digest=digest_of(text),
        )
        await self._store.keys.add(_row(key))
        self._keys[key_id] = key
        return key, text

    async def revoke(self, key_id: str) -> AccessKey:
        """Let nobody in with it any more, from now on, whatever the store does.

        Raises KeyNotFound, StoreUnavailable.
        """
        key = self._keys.pop(key_id, None)
        if key is None:
            raise KeyNotFound(f"There is no key {key_id[:40]!r}.")
        written = self._store.keys.remove(key_id)
        try:
            async with asyncio.timeout(REVOKED_SECONDS):
                await asyncio.shield(written)
        except TimeoutError:
            raise StoreUnavailable(
                f"The key {key_id} is refused from now on, but that is not stored yet.",
                "It is stored as soon as the store works; until then a restart would let it in"
                " again (GET /readyz).",
            ) from None
        return key


def _key(row: KeyRow) -> AccessKey:
    values = msgspec.structs.asdict(row) | {
        "scope": Scope(row.scope),
        "sessions": None
        if row.sessions is None
        else msgspec.json.decode(row.sessions, type=frozenset[str]),
    }
    return AccessKey(**values)


def _row(key: AccessKey) -> KeyRow:
    return KeyRow(
        id=key.id,
        name=key.name,
        scope=key.scope.value,
        sessions=None if key.sessions is None else msgspec.json.encode(sorted(key.sessions)),
        created_at=key.created_at,
        expires_at=key.expires_at,
        digest=key.digest,
        last_used_at=key.last_used_at,
    )
