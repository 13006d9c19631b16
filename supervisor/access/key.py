"""A key: how it is written, and what is known of it.

`wasup_<id>_<secret><checksum>`: the id finds it, the secret has 256 random bits, and the checksum
lets whoever scans texts for secrets (and we, before we look anywhere) tell a key from what only
looks like one.
"""

import hashlib
import re
import secrets
import zlib
from dataclasses import dataclass
from typing import Final

from supervisor.access.scopes import Scope

PREFIX: Final = "wasup_"
SECRET_BYTES: Final = 32
_ID_BYTES: Final = 5
_DIGITS: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_SECRET_DIGITS: Final = 43
"""256 bits to the base of 62."""
_CHECKSUM_DIGITS: Final = 6
KEY: Final = re.compile(
    rf"(?P<whole>{PREFIX}(?P<id>[0-9a-f]{{{2 * _ID_BYTES}}})_[0-9A-Za-z]{{{_SECRET_DIGITS}}})"
    rf"(?P<checksum>[0-9A-Za-z]{{{_CHECKSUM_DIGITS}}})"
)
"""What a key looks like; for those who scan texts, too."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AccessKey:
    """What is known of a key; not the key itself, only its SHA-256.

    `sessions`: None = all. Times are seconds of wall clock; `last_used_at`: to the minute.
    """

    id: str
    name: str
    scope: Scope
    sessions: frozenset[str] | None
    created_at: float
    expires_at: float | None
    digest: bytes
    last_used_at: float | None = None

    def has_ended(self, now: float) -> bool:
        """Whether it has expired."""
        return self.expires_at is not None and self.expires_at <= now


def new_id() -> str:
    """The id of a new key."""
    return secrets.token_hex(_ID_BYTES)


def new_key(key_id: str) -> str:
    """The text of a new key."""
    number = int.from_bytes(secrets.token_bytes(SECRET_BYTES))
    whole = f"{PREFIX}{key_id}_{_in_base_62(number, _SECRET_DIGITS)}"
    return whole + _checksum(whole)


def digest_of(credential: str) -> bytes:
    """The SHA-256 of a key, or of whatever was sent as one: what is kept, compared and logged of
    it.
    """
    return hashlib.sha256(credential.encode(errors="surrogatepass")).digest()


def id_of(text: str) -> str | None:
    """The id in a key's text; None: that is no key."""
    found = KEY.fullmatch(text)
    return found["id"] if found and _checksum(found["whole"]) == found["checksum"] else None


def _checksum(text: str) -> str:
    return _in_base_62(zlib.crc32(text.encode()), _CHECKSUM_DIGITS)


def _in_base_62(number: int, digits: int) -> str:
    found = ""
    for _ in range(digits):
        number, digit = divmod(number, len(_DIGITS))
        found = _DIGITS[digit] + found
    return found
