"""What credentials have to hold to be any: the one place that looks into them. Pure.

No stricter than Baileys 7.0.0-rc14 (`AuthenticationCreds` in lib/Types/Auth.d.ts, and what is done
with them on the way to a login): checked is only that without which no login could ever succeed,
and only its shape. Whatever else they hold is their own affair.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from sessions.workers.wire import UNREADABLE

KIND: Final = "creds"
"""Kind and name of the credentials among a session's keys."""
_KEY_BYTES: Final = frozenset({32})
_TYPED_KEY_BYTES: Final = frozenset({32, 33})
"""With or without the byte in front that tells Signal the kind of a public key; Baileys takes
both.
"""
_SIGNATURE_BYTES: Final = frozenset({64})
_BUFFERS: Final = {
    "noiseKey.public": _KEY_BYTES,
    "noiseKey.private": _KEY_BYTES,
    "signedIdentityKey.public": _TYPED_KEY_BYTES,
    "signedIdentityKey.private": _KEY_BYTES,
    "signedPreKey.keyPair.public": _TYPED_KEY_BYTES,
    "signedPreKey.keyPair.private": _KEY_BYTES,
    "signedPreKey.signature": _SIGNATURE_BYTES,
}
_NUMBERS: Final = ("registrationId", "signedPreKey.keyId")
_NUMBERS_THAT_MAY_LACK: Final = ("nextPreKeyId", "firstUnuploadedPreKeyId")
_MAX_NUMBER: Final = 2**32 - 1
_ACCOUNT_ID: Final = re.compile(r"[0-9]+(_[0-9]+)?(:[0-9]+)?@.+")
"""`5511999990000:7@s.whatsapp.net`: the number becomes the login's name."""
_DEVICE: Final = re.compile(
    r"(?P<user>[0-9]{1,20})(_[0-9]+)?:(?P<device>[0-9]{1,5})@(s\.whatsapp\.net|c\.us)", re.ASCII
)
"""Device 0 is the phone itself and never linked; a jid without a device is a person's."""
_NO_BASE64: Final = re.compile(r"[^A-Za-z0-9+/_-]")


def flaw(creds: bytes) -> str | None:
    """What is wrong with stored credentials, paired or not, in words that name the field and quote
    nothing; None: nothing.
    """
    try:
        return flaw_in(msgspec.json.decode(creds))
    except UNREADABLE:
        return "They are not JSON."


def flaw_in(creds: Any) -> str | None:
    """The same for decoded ones."""
    if not isinstance(creds, dict):
        return "They are no JSON object."
    return next(_flaws(creds), None)


def paired(creds: Mapping[str, Any]) -> bool:
    """Whether decoded credentials without a flaw are those of a completed pairing."""
    return bool(creds.get("me") and creds.get("account"))


def device(creds: bytes) -> str | None:
    """Which linked device stored credentials are, in one form; None: none, or none that can be
    read.
    """
    try:
        decoded = msgspec.json.decode(creds)
    except UNREADABLE:
        return None
    me = decoded.get("me") if isinstance(decoded, dict) and decoded.get("account") else None
    identifier = me.get("id") if isinstance(me, dict) else None
    return device_of(identifier) if isinstance(identifier, str) else None


def device_of(jid: str) -> str | None:
    """The linked device that a jid names, in one form: `5511999990000:7@s.whatsapp.net`.

    None: it names none.
    """
    found = _DEVICE.fullmatch(jid)
    return f"{found['user']}:{int(found['device'])}@s.whatsapp.net" if found else None


def _flaws(creds: dict[str, Any]) -> Iterator[str]:
    for path, lengths in _BUFFERS.items():
        if _buffer_bytes(_at(creds, path)) not in lengths:
            yield f"Their {path} is no Buffer of {' or '.join(map(str, sorted(lengths)))} bytes."
    for path in _NUMBERS:
        if not _is_number(_at(creds, path)):
            yield f"Their {path} is no number."
    for path in _NUMBERS_THAT_MAY_LACK:
        if path in creds and not _is_number(creds[path]):
            yield f"Their {path} is no number."
    if not (isinstance(creds.get("advSecretKey"), str) and creds["advSecretKey"]):
        yield "Their advSecretKey is no text."
    if creds.get("routingInfo") is not None and _buffer_bytes(creds["routingInfo"]) is None:
        yield "Their routingInfo is no Buffer."
    yield from _flaws_of_account(creds.get("me"), creds.get("account"))


def _flaws_of_account(me: Any, account: Any) -> Iterator[str]:
    """Both are absent until a phone accepts them; `me` alone is what an abandoned pairing code
    leaves, and the worker drops it.
    """
    if me is not None and not isinstance(me, dict):
        yield "Their me is no object."
    if account is not None and not isinstance(account, dict):
        yield "Their account is no object."
    if account is not None and not _is_account_id(me):
        yield "Their me.id is no WhatsApp id of a device."


def _is_account_id(me: Any) -> bool:
    identifier = me.get("id") if isinstance(me, dict) else None
    return isinstance(identifier, str) and _ACCOUNT_ID.fullmatch(identifier) is not None


def _at(creds: Any, path: str) -> Any:
    for name in path.split("."):
        creds = creds.get(name) if isinstance(creds, dict) else None
    return creds


def _is_number(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_NUMBER


def _buffer_bytes(value: Any) -> int | None:
    """How many bytes Baileys' BufferJSON makes of it; None if it makes no Buffer."""
    if not isinstance(value, dict):
        return None
    data = value.get("data")
    if value.get("type") == "Buffer" and isinstance(data, str):
        return len(_NO_BASE64.sub("", data.partition("=")[0])) * 6 // 8
    if value and all(name.isdecimal() and type(byte) is int for name, byte in value.items()):
        return len(value)  # a Uint8Array as JSON.stringify writes it by itself
    return None
