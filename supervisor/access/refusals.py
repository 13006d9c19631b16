"""Credentials that were refused: counted by reason, and logged so that nobody can use them.

Of a credential its length and the first 8 digits of its SHA-256 are logged: enough to find out
which of several programs sends it (`printf %s "$TOKEN" | sha256sum`), and nothing of it.
"""

import time
from collections import Counter
from collections.abc import Callable
from typing import Final, Literal

import structlog

from sessions.model import WasupError
from supervisor.access.key import digest_of
from supervisor.gate.bucket import TokenBucket

Reason = Literal["empty_token", "expired", "invalid"]

LINES_AT_ONCE: Final = 30
LINES_PER_SECOND: Final = 0.5
"""Whoever guesses must not fill the log: what is not logged is counted in the next line."""
_WORDS: Final[dict[Reason, str]] = {
    "empty_token": "a call came with an empty token",
    "expired": "a token has expired",
    "invalid": "a token is not valid",
}
_MESSAGES: Final[dict[Reason, str]] = {
    "empty_token": "No token was sent, or an empty one.",
    "expired": "The token has expired.",
    "invalid": "The token is not valid.",
}
_HINTS: Final[dict[Reason, str]] = {
    "empty_token": "Send the header `Authorization: Bearer <token>`: WHATSAPP_API_TOKEN, a key, or"
    " a token made from one (docs/access.md).",
    "expired": "Get a fresh one: POST /tokens with the key, or `wasup keys create`.",
    "invalid": "It is none of this supervisor's, was revoked, or is meant for something else; the"
    " log has a line `token_refused` that says why (docs/access.md).",
}

log = structlog.get_logger("access")


class AccessDenied(WasupError):
    """Nobody is let in with that."""

    code = "unauthorized"

    def __init__(self, reason: Reason, message: str | None = None, hint: str | None = None) -> None:
        super().__init__(message or _MESSAGES[reason], hint or _HINTS[reason])
        self.reason: Reason = reason


class Refusals:
    """What has been refused since the start."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.counts = Counter[Reason]()
        self._clock = clock
        self._lines = TokenBucket.full(LINES_PER_SECOND, LINES_AT_ONCE, clock())
        self._unlogged = 0

    def note(self, credential: str, reason: Reason, why: str, address: str | None = None) -> None:
        """Count and log one. `why`: words of this program alone."""
        self.counts[reason] += 1
        now = self._clock()
        if self._lines.available(now) < 1:
            self._unlogged += 1
            return
        self._lines.take(now)
        log.warning(
            _WORDS[reason],
            action="token_refused",
            reason=reason,
            why=why,
            length=len(credential),
            sha256=digest_of(credential).hex()[:8],
            address=address,
            unlogged=self._unlogged,
        )
        self._unlogged = 0
