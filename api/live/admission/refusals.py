"""Why a client of the live feed is not let in, as errors, and as the payload that it is told."""

import math
from typing import Any, Final

from sessions.model import WasupError

EMPTY: Final = "empty_token"
EXPIRED: Final = "expired"
INVALID: Final = "invalid"
RESOURCES: Final = "insufficient resources"
TIMEOUT: Final = "timeout"


class InvalidTokenError(WasupError):
    """The token is empty, has expired or is none of this installation."""

    code = "invalid_token"
    HINTS: Final = {
        EMPTY: "Send one in the handshake: io(url, {auth: {token}}) (docs/live-feed.md).",
        EXPIRED: "Get a fresh token, and connect again with it.",
        INVALID: "Look whether it is whole, and of this installation; a revoked key is none.",
    }
    WORDS: Final = {
        EMPTY: "The token is empty.",
        EXPIRED: "The token has expired.",
        INVALID: "The token is not valid.",
    }

    def __init__(
        self, reason: str = INVALID, message: str | None = None, hint: str | None = None
    ) -> None:
        self.reason = reason if reason in self.WORDS else INVALID
        super().__init__(message or self.WORDS[self.reason], hint or self.HINTS[self.reason])


class InsufficientResourcesError(WasupError):
    """There is no room for another client: insufficient resources."""

    code = "insufficient_resources"
    hint = (
        "Try again when retryAfterSeconds have passed, and read GET /events meanwhile. The limits"
        " are MAX_WEBSOCKET_CONNECTIONS, MEMORY_THRESHOLD_MB and CPU_THRESHOLD."
    )
    reason = RESOURCES

    def __init__(self, message: str | None = None, retry_after_seconds: float = 5.0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class ConnectionTimeoutError(WasupError):
    """The handshake took too long: timeout."""

    code = "connection_timeout"
    hint = "Send the token as soon as the connection is open; connect again."
    reason = TIMEOUT


def payload(error: WasupError) -> dict[str, Any]:
    """What a refused client is told, in `connect_error` (as `error.data`) and in answers.

    Socket.IO's clients show `message`: the words for each reason stand in it, too.
    """
    told: dict[str, Any] = {
        "code": error.code,
        "reason": getattr(error, "reason", error.code),
        "message": str(error),
        "hint": error.hint,
        "retryAfterSeconds": None,
    }
    wait_seconds = getattr(error, "retry_after_seconds", None)
    if wait_seconds is not None:
        told["retryAfterSeconds"] = math.ceil(wait_seconds)
    return told
