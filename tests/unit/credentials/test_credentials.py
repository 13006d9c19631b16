"""What credentials have to hold: as much as Baileys needs for a login, and no more."""

from typing import Any

import msgspec
import pytest

from sessions.credentials import credentials
from tests.fakes import CREDS, buffer

FRESH: dict[str, Any] = msgspec.json.decode(CREDS)
PAIRED = FRESH | {"me": {"id": "5511999990000:7@s.whatsapp.net"}, "account": {"details": "AQI="}}
ABSENT = object()


def but(path: str, value: object) -> dict[str, Any]:
    """The credentials of a paired session, but for one field."""
    creds = msgspec.json.decode(msgspec.json.encode(PAIRED))
    *above, last = path.split(".")
    place = creds
    for name in above:
        place = place[name]
    if value is ABSENT:
        del place[last]
    else:
        place[last] = value
    return dict(creds)


@pytest.mark.parametrize(
    "creds",
    [
        FRESH,
        PAIRED,
        PAIRED | {"pairingEphemeralKeyPair": None, "routingInfo": None, "somethingNew": {"a": [1]}},
        PAIRED
        | {
            "routingInfo": buffer(3),
            "nextPreKeyId": 813,
            "firstUnuploadedPreKeyId": 813,
            "registered": False,
        },
        FRESH
        | {"me": {"id": "5511999990000@s.whatsapp.net", "name": "~"}, "pairingCode": "ABCD1234"},
        FRESH | {"me": None, "account": None},
        but("registrationId", 0),  # one in 256 of Baileys' own
        but("me.id", "123456789_1:7@lid"),
        but("signedIdentityKey.public", buffer(33)),
        but("noiseKey.public", {str(n): n for n in range(32)}),  # a Uint8Array
        but("noiseKey.public.data", buffer(32)["data"].rstrip("=")),
    ],
)
def test_what_baileys_can_log_in_with_has_no_flaw(creds: dict[str, Any]) -> None:
    assert credentials.flaw(msgspec.json.encode(creds)) is None
    assert credentials.paired(creds) is bool(creds.get("account"))


@pytest.mark.parametrize(
    ("creds", "field"),
    [
        (but("noiseKey", "secret"), "noiseKey.public"),
        (but("noiseKey.private", buffer(31)), "noiseKey.private"),
        (but("noiseKey.private", {"type": "Buffer", "data": [1] * 32}), "noiseKey.private"),
        (but("noiseKey.public", buffer(33)), "noiseKey.public"),
        (but("signedIdentityKey", ABSENT), "signedIdentityKey.public"),
        (but("signedIdentityKey.private", buffer(0)), "signedIdentityKey.private"),
        (but("signedPreKey.keyPair", []), "signedPreKey.keyPair.public"),
        (but("signedPreKey.signature", buffer(65)), "signedPreKey.signature"),
        (but("signedPreKey.keyId", "secret"), "signedPreKey.keyId"),
        (but("registrationId", True), "registrationId"),
        (but("registrationId", -1), "registrationId"),
        (but("registrationId", 2**32), "registrationId"),
        (but("nextPreKeyId", "secret"), "nextPreKeyId"),
        (but("firstUnuploadedPreKeyId", None), "firstUnuploadedPreKeyId"),
        (but("advSecretKey", ABSENT), "advSecretKey"),
        (but("routingInfo", "secret"), "routingInfo"),
        (but("me", "secret"), "me"),
        (but("me", {}), "me.id"),
        (but("me", ABSENT), "me.id"),
        (but("me.id", "secret"), "me.id"),
        (but("me.id", 5511), "me.id"),
        (but("account", "secret"), "account"),
    ],
)
def test_a_wrong_shape_is_told_by_the_fields_name_and_nothing_is_quoted(
    creds: dict[str, Any], field: str
) -> None:
    flaw = credentials.flaw(msgspec.json.encode(creds))
    assert flaw is not None
    assert f"Their {field} is no" in flaw
    assert "secret" not in flaw


@pytest.mark.parametrize(
    "creds", [b"", b"{", b'{"noiseKey":"\xff"}', b"[]", b"null", b"[" * 100_000]
)
def test_what_is_no_object_are_no_credentials(creds: bytes) -> None:
    assert credentials.flaw(creds) in {"They are not JSON.", "They are no JSON object."}
