"""Credentials of a device that was never paired."""

import base64
from typing import Any

import msgspec

JID = "15550000001:1@s.whatsapp.net"


def buffer(length: int) -> dict[str, str]:
    """So many bytes, as Baileys writes them to JSON."""
    return {"type": "Buffer", "data": base64.b64encode(bytes(length)).decode()}


def key_pair() -> dict[str, Any]:
    """A key pair, as it stands in credentials."""
    return {"public": buffer(32), "private": buffer(32)}


CREDS = msgspec.json.encode(
    {
        "noiseKey": key_pair(),
        "signedIdentityKey": key_pair(),
        "signedPreKey": {"keyPair": key_pair(), "signature": buffer(64), "keyId": 1},
        "registrationId": 42,
        "advSecretKey": "x",
    }
)
"""Of a device that was never paired."""
