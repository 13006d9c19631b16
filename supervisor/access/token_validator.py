"""Short-lived tokens: JWTs, signed with HS256 and one secret; what is valid is remembered for a
while.

The algorithm is ours, never the token's: `none`, and public keys taken for secrets, are refused
with everything else that is not HS256.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from cachetools import TLRUCache

from supervisor.access.key import digest_of
from supervisor.access.refusals import Reason, Refusals
from supervisor.settings import SHORTEST_SIGNING_SECRET_BYTES

ALGORITHM: Final = "HS256"
ISSUER: Final = "wasup"
MOST_REMEMBERED: Final = 10_000
REMEMBERED_SECONDS: Final = 300.0
LONGEST_TOKEN: Final = 8_192
"""Characters; no header can carry more."""
_REQUIRED: Final = ("iss", "aud", "sub", "exp")


class Audience(StrEnum):
    """What a token is for: the calls of the API, or the live feed."""

    API = "wasup:api"
    LIVE = "wasup:live"


@dataclass(frozen=True, slots=True)
class ValidationResult:
    """What came of a token. `payload`: its claims, if it is valid."""

    valid: bool
    reason: Reason | None = None
    payload: Mapping[str, Any] | None = None


class ImprovedTokenValidator:
    """Reads tokens and makes them. `secret`: 32 bytes or more (the setting JWT_SECRET)."""

    def __init__(
        self,
        secret: bytes,
        refusals: Refusals | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        if len(secret) < SHORTEST_SIGNING_SECRET_BYTES:
            raise ValueError(f"a secret has {SHORTEST_SIGNING_SECRET_BYTES} bytes or more")
        self._secret = secret
        self._refusals = refusals or Refusals()
        self._clock = clock
        # by digest: the cache of a dump holds no token that somebody could use
        self._valid: TLRUCache[tuple[bytes, str], ValidationResult] = TLRUCache(
            MOST_REMEMBERED, ttu=_until, timer=clock
        )

    async def validate(
        self, token: str | None, audience: Audience = Audience.API, address: str | None = None
    ) -> ValidationResult:
        """What a token says, or why it is refused; a refusal is logged without the token."""
        if token is None or not token.strip():
            self._refusals.note(token or "", "empty_token", "empty", address)
            return ValidationResult(False, "empty_token")
        if len(token) > LONGEST_TOKEN:
            return self._refused(token, "invalid", "too long", address)
        known = (digest_of(token), audience.value)
        found = self._valid.get(known)
        if found is not None:
            return found
        # here alone: a start does without it, and it brings in all that there is to certificates
        import jwt

        try:
            payload = jwt.decode(
                token,
                self._secret,
                algorithms=[ALGORITHM],
                audience=audience.value,
                issuer=ISSUER,
                # whose clock is fast makes tokens "of the future"; when they end is what counts
                options={"require": list(_REQUIRED), "verify_iat": False},
            )
        except jwt.ExpiredSignatureError:
            return self._refused(token, "expired", "expired", address)
        except (jwt.InvalidTokenError, ValueError, RecursionError) as error:
            # its words may quote the token: the type has to do
            return self._refused(token, "invalid", type(error).__name__, address)
        result = ValidationResult(True, payload=payload)
        self._valid[known] = result
        return result

    def make(self, claims: Mapping[str, Any], expires_at: float) -> str:
        """A token with these claims; issuer and times are added."""
        import jwt

        times = {"iat": int(self._clock()), "exp": int(expires_at)}
        return jwt.encode({**claims, "iss": ISSUER, **times}, self._secret, ALGORITHM)

    def _refused(
        self, token: str, reason: Reason, why: str, address: str | None
    ) -> ValidationResult:
        self._refusals.note(token, reason, why, address)
        return ValidationResult(False, reason)


def _until(_key: object, result: ValidationResult, now: float) -> float:
    """Until when it is remembered: never longer than the token lives."""
    assert result.payload is not None
    return min(now + REMEMBERED_SECONDS, float(result.payload["exp"]))
