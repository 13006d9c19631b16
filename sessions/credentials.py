"""What credentials have to hold to be any: the one place that looks into them. Pure."""

from typing import Any, Final

import msgspec

from sessions.wire import UNREADABLE, KeyEntry

KIND: Final = "creds"
"""Kind and name of the credentials among a session's keys."""
HOLD: Final = frozenset({"noiseKey", "signedIdentityKey", "signedPreKey", "registrationId", "advSecretKey"})
"""What all of Baileys' credentials hold; without one of these it cannot even begin a handshake."""
PAIRED_HOLD: Final = HOLD | {"me", "account"}
"""What they hold once a phone has accepted them."""


def complete(creds: bytes) -> bool:
    """Whether these are credentials, paired or not."""
    return _fields(creds) >= HOLD


def paired(entries: list[KeyEntry]) -> bool:
    """Whether a session's keys contain the credentials of a completed pairing."""
    creds = [bytes(entry.value) for entry in entries if (entry.kind, entry.name) == (KIND, KIND)]
    return len(creds) == 1 and _fields(creds[0]) >= PAIRED_HOLD


def _fields(creds: bytes) -> set[str]:
    try:
        decoded: Any = msgspec.json.decode(creds)
    except UNREADABLE:
        return set()
    return {name for name, value in decoded.items() if value is not None} if isinstance(decoded, dict) else set()
