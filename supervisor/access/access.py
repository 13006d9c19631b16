"""Who is let in: the operator's token, a key, or a short-lived token, read into a principal.

One entrance for calls, event streams and the live feed. Nothing here asks the store: the keys are
in memory (keys.py), so one that is revoked ends with that, and a store that fails locks nobody out.
"""

import hmac
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, Final, Literal, Never, Protocol

import msgspec

from supervisor.access import principal as principals
from supervisor.access.key import PREFIX, AccessKey, digest_of, id_of
from supervisor.access.principal import Principal
from supervisor.access.refusals import AccessDenied, Reason, Refusals
from supervisor.access.scopes import Scope, narrower
from supervisor.access.token_validator import Audience, ImprovedTokenValidator

ALL_SESSIONS: Final = "*"
LONGEST_NAME: Final = 64
READABLE: Final = r"^[^\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]+$"
"""A name without what makes a line of a log look like another one: control and direction
characters.
"""
READABLE_OR_EMPTY: Final = f"{READABLE.removesuffix('+$')}*$"
"""The same, of what need not be said."""


class Claims(msgspec.Struct, frozen=True):
    """What a token says of its bearer, beside issuer, audience and times.

    `sessions`: said in every token, so that none is for all of them by an oversight. `key`: the id
    of the key that it was made from; it ends with that.
    """

    sub: Annotated[str, msgspec.Meta(min_length=1, max_length=LONGEST_NAME, pattern=READABLE)]
    exp: float
    scope: Scope
    sessions: Literal["*"] | list[str]
    key: str | None = None


class KnownKeys(Protocol):
    """The keys, as they are asked here."""

    def find(self, key_id: str) -> AccessKey | None:
        """The key of that id."""

    def used(self, key_id: str) -> None:
        """Somebody has come in with it."""


class Access:
    """The entrance. `token`: WHATSAPP_API_TOKEN, if it is set."""

    def __init__(
        self,
        token: str | None,
        keys: KnownKeys,
        validator: ImprovedTokenValidator,
        refusals: Refusals,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.validator = validator
        self.refusals = refusals
        self._token = None if token is None else digest_of(token)
        self._keys = keys
        self._clock = clock

    async def authenticate(
        self,
        credential: str | None,
        audience: Audience = Audience.API,
        address: str | None = None,
        may_guess: bool = True,
    ) -> Principal:
        """Whose credential it is. Raises AccessDenied.

        `address`: for the log alone. `may_guess` False: the operator's token is not tried, as it is
        the one that somebody may have chosen; nobody can guess 256 bits.
        """
        if credential is None or not (credential := credential.strip()):
            self.refusals.note(credential or "", "empty_token", "empty", address)
            raise AccessDenied("empty_token")
        # digests: what is compared has the same length whatever was sent
        is_operators = self._token is not None and hmac.compare_digest(
            digest_of(credential), self._token
        )
        if is_operators and may_guess:
            return principals.BY_TOKEN
        if credential.startswith(PREFIX):
            return self._of_key(credential, address)
        result = await self.validator.validate(credential, audience, address)
        if result.payload is None:
            raise AccessDenied(result.reason or "invalid")
        return self._of_token(credential, result.payload, address)

    def holds(self, principal: Principal) -> bool:
        """Whether whoever was let in may stay: for what goes on long after that (streams)."""
        if principal.expires_at is not None and principal.expires_at <= self._clock():
            return False
        return not self.is_revoked(principal)

    def is_revoked(self, principal: Principal) -> bool:
        """Whether its key is none any more."""
        return principal.key is not None and self._keys.find(principal.key) is None

    def _of_key(self, credential: str, address: str | None) -> Principal:
        key_id = id_of(credential)
        if key_id is None:
            self._refuse(credential, "invalid", "misspelt key", address)
        key = self._keys.find(key_id)
        if key is None or not hmac.compare_digest(digest_of(credential), key.digest):
            self._refuse(credential, "invalid", "unknown or revoked key", address)
        if key.has_ended(self._clock()):
            self._refuse(credential, "expired", f"key {key.id} has expired", address)
        self._keys.used(key.id)
        return of_key(key)

    def _of_token(self, credential: str, payload: Any, address: str | None) -> Principal:
        try:
            claims = msgspec.convert(payload, Claims)
        except msgspec.ValidationError as error:
            # its words name a field and types, never what it held
            self._refuse(credential, "invalid", f"claims: {error}", address)
        sessions = None if claims.sessions == ALL_SESSIONS else frozenset(claims.sessions)
        if claims.key is None:
            return Principal(
                id=f"token:{claims.sub}",
                name=claims.sub,
                scope=claims.scope,
                sessions=sessions,
                expires_at=claims.exp,
            )
        key = self._keys.find(claims.key)
        if key is None:
            self._refuse(credential, "invalid", f"its key {claims.key[:16]!r} is revoked", address)
        if key.has_ended(self._clock()):
            self._refuse(credential, "expired", f"its key {key.id} has expired", address)
        self._keys.used(key.id)
        whole = of_key(key, claims.scope, sessions, claims.exp)
        return replace(whole, name=claims.sub)

    def _refuse(self, credential: str, reason: Reason, why: str, address: str | None) -> Never:
        self.refusals.note(credential, reason, why, address)
        raise AccessDenied(reason)


def of_key(
    key: AccessKey,
    scope: Scope = Scope.ADMIN,
    sessions: frozenset[str] | None = None,
    expires_at: float | None = None,
) -> Principal:
    """The bearer of a key, or of a token made from it that is no wider than these."""
    if key.sessions is not None:
        sessions = key.sessions if sessions is None else key.sessions & sessions
    ends = [end for end in (key.expires_at, expires_at) if end is not None]
    return Principal(
        id=f"key:{key.id}",
        name=key.name,
        scope=narrower(key.scope, scope),
        sessions=sessions,
        expires_at=min(ends, default=None),
        key=key.id,
    )
