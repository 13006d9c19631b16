"""Encryption at rest: values sealed with AES-256-GCM under keys that only the environment knows.

A sealed value is `0x01 | key id (4) | nonce (12) | ciphertext and tag`. JSON never begins with
0x01, so a plain value is known as such and stays readable: a store can be sealed while it runs
(rewrite.py). The key id (from the key's SHA-256) says which of several keys fits.

What a value is for (`Place`) is authenticated with it, so that whoever can write into the database
cannot swap rows. Archives move values as they are, so an archived value is sealed for the place
that it came from and goes back to.
"""

import base64
import binascii
import hashlib
import re
import secrets
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from sessions.model import UnreadableValue
from sessions.workers.wire import UNREADABLE

KEY_BYTES: Final = 32
_ENVELOPE: Final = b"\x01"
_ID_BYTES: Final = 4
_NONCE_BYTES: Final = 12
PREFIX_BYTES: Final = len(_ENVELOPE) + _ID_BYTES
_HEX: Final = re.compile(r"[0-9a-fA-F]{64}")


class Place(NamedTuple):
    """Where a value belongs. `session` is empty for what belongs to none."""

    table: str
    session: str
    kind: str
    name: str

    def __str__(self) -> str:
        return (
            f"{self.kind} {self.name!r} of session {self.session!r}"
            if self.session
            else f"{self.kind} {self.name!r}"
        )


class Cipher:
    """Seals with the first key, opens with all."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise ValueError(f"a cipher needs at least one key, each of {KEY_BYTES} bytes")
        self._keys = {_key_id(key): AESGCM(key) for key in keys}
        self._first = _key_id(keys[0])

    def __repr__(self) -> str:
        return f"Cipher({', '.join(self.key_ids)})"

    @property
    def key_ids(self) -> list[str]:
        """Short names of the keys, in hex: no secrets."""
        return [key_id.hex() for key_id in self._keys]

    @property
    def first_key_id(self) -> str:
        """The name of the key that seals."""
        return self._first.hex()

    @property
    def prefix(self) -> bytes:
        """How values sealed with the first key begin."""
        return _ENVELOPE + self._first

    def seal(self, value: bytes, place: Place) -> bytes:
        """Seal a value for a place."""
        nonce = secrets.token_bytes(
            _NONCE_BYTES
        )  # random: 2^32 values under one key before a repeat is worth a thought
        return (
            self.prefix + nonce + self._keys[self._first].encrypt(nonce, value, _associated(place))
        )

    def open(self, sealed: bytes, place: Place) -> bytes:
        """Open a sealed value. Raises UnreadableValue."""
        key = self._keys.get(sealed[len(_ENVELOPE) : PREFIX_BYTES])
        if key is None:
            raise UnreadableValue(
                f"{place} is encrypted with a key that WHATSAPP_STORE_KEY does not have."
            )
        nonce, rest = (
            sealed[PREFIX_BYTES : PREFIX_BYTES + _NONCE_BYTES],
            sealed[PREFIX_BYTES + _NONCE_BYTES :],
        )
        try:
            return key.decrypt(nonce, rest, _associated(place))
        except (InvalidTag, ValueError):
            raise UnreadableValue(
                f"{place} does not decrypt: it was damaged or comes from another row."
            ) from None


def is_sealed(stored: bytes) -> bool:
    """Whether a stored value is sealed."""
    return stored.startswith(_ENVELOPE)


def seal(cipher: Cipher | None, value: bytes, place: Place) -> bytes:
    """What to store for a value."""
    return value if cipher is None else cipher.seal(value, place)


def unseal(cipher: Cipher | None, stored: bytes, place: Place) -> bytes:
    """The JSON that was stored. Raises UnreadableValue, also for what is no JSON."""
    if is_sealed(stored):
        if cipher is None:
            raise UnreadableValue(f"{place} is encrypted and WHATSAPP_STORE_KEY is not set.")
        stored = cipher.open(stored, place)
    try:
        msgspec.json.decode(stored)
    except UNREADABLE:
        raise UnreadableValue(f"{place} is not JSON.") from None
    return stored


def parse_keys(text: str) -> list[bytes]:
    """Keys as operators write them: comma-separated, each 64 hex digits or base64 of 32 bytes.

    Raises ValueError, which never quotes them.
    """
    keys = [_parse_key(part.strip(), number) for number, part in enumerate(text.split(","), 1)]
    if len(set(keys)) != len(keys):
        raise ValueError("the same key is given twice")
    return keys


def _parse_key(text: str, number: int) -> bytes:
    if _HEX.fullmatch(text):
        return bytes.fromhex(text)
    try:
        key = base64.b64decode(text.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if len(key) != KEY_BYTES:
        raise ValueError(
            f"key {number} is neither 64 hex digits nor base64 of 32 bytes: `openssl rand -hex 32`"
            " makes one"
        ) from None
    return key


def _key_id(key: bytes) -> bytes:
    return hashlib.sha256(b"wasup store key" + key).digest()[:_ID_BYTES]


def _associated(place: Place) -> bytes:
    return msgspec.json.encode(place)  # a list of strings: no two places have the same
