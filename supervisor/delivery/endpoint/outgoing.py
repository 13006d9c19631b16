"""What goes out for an event: its body, the same envelope as in /events, and the headers by which
the receiver knows that it is ours (the Standard Webhooks' specification). Pure.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

import msgspec

from sessions.store import StoredEvent
from sessions.views.events import EventHead, EventView
from supervisor.delivery.webhook_settings import Payload, key_of

ID: Final = "webhook-id"
"""The event's id, the same in each attempt: the receiver's key against repeats."""
TIMESTAMP: Final = "webhook-timestamp"
"""When this attempt was made, seconds since the epoch: receivers refuse what is old (replays)."""
SIGNATURE: Final = "webhook-signature"
LATE: Final = "wasup-late"
"""`true`: this event was set aside; later ones of its session have been sent before it."""
TEST: Final = "webhook.test"
"""The type of what POST /webhooks/{id}/test sends. It is in no log, and has the number 0."""


def body(event: StoredEvent, payload: Payload) -> bytes:
    """The body of a request; thin: without `data`, which GET /events gives to who asks for them."""
    shown = EventView.of(event) if payload == "full" else EventHead.of(event)
    return msgspec.json.encode(shown)


def test_event(webhook: str, time_ms: int) -> StoredEvent:
    """What a test sends."""
    data = msgspec.json.encode({"webhook": webhook})
    return StoredEvent(0, time_ms, None, TEST, msgspec.Raw(data))


def signature(secret: str, event_id: str, timestamp: int, body: bytes) -> str:
    """A signature by HMAC-SHA256, with the name of its scheme."""
    content = f"{event_id}.{timestamp}.".encode() + body
    return "v1," + base64.b64encode(hmac.digest(key_of(secret), content, hashlib.sha256)).decode()


def headers(
    secrets: Sequence[str], event_id: str, timestamp: int, body: bytes, late: bool
) -> dict[str, str]:
    """The headers of an attempt; one signature for each secret."""
    signatures = [signature(secret, event_id, timestamp, body) for secret in secrets]
    found = {ID: event_id, TIMESTAMP: str(timestamp), SIGNATURE: " ".join(signatures)}
    return found | {LATE: "true"} if late else found
