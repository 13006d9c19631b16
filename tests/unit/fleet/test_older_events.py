"""What a supervisor of 0.1.0 has left in the log is told under the names of today."""

from typing import Any

import msgspec
import pytest

from sessions.store import StoredEvent
from supervisor.fleet.older_events import of_today

MESSAGE = {
    "type": "message",
    "session": "shop",
    "seq": 7,
    "id": "3EB0",
    "from": "5511999990000@s.whatsapp.net",
    "participant": None,
    "text": "hello",
    "timestamp_seconds": 1_700_000_000,
    "kind": "conversation",
    "from_me": False,
}
ALERT = {
    "name": "store",
    "severity": "critical",
    "state": "began",
    "message": "The disk is full.",
    "value": None,
    "limit": None,
    "beganAt": "2026-01-01T00:00:00.000Z",
    "endedAt": None,
    "about": None,
    "storeState": "failing",
}


def shown(kind: str, data: Any) -> tuple[str, Any]:
    stored = StoredEvent(3, 1_700_000_000_123, "shop", kind, msgspec.Raw(msgspec.json.encode(data)))
    event = of_today(stored)
    assert (event.n, event.time_ms, event.session, event.id) == (
        stored.n,
        stored.time_ms,
        stored.session,
        stored.id,
    )
    return event.type, msgspec.json.decode(event.data)


def test_a_message_has_its_parties_and_an_instant_and_nothing_of_the_line() -> None:
    kind, data = shown("message", MESSAGE)
    assert kind == "message.received"
    friend = {"jid": "5511999990000@s.whatsapp.net", "phone": "5511999990000", "lid": None}
    assert data == {
        "id": "3EB0",
        "chat": friend,
        "sender": friend,
        "fromMe": False,
        "pushName": None,
        "at": "2023-11-14T22:13:20.000Z",
        "kind": "text",
        "text": "hello",
    }
    assert shown("message", MESSAGE | {"from_me": True})[0] == "message.sent"
    assert shown("message", MESSAGE | {"from_me": True})[1]["sender"] is None


def test_a_receipt_is_a_status() -> None:
    receipt = {"type": "receipt", "session": "shop", "seq": 8, "id": "3EB0", "from": "7@lid"}
    kind, data = shown("receipt", receipt | {"status": "read"})
    assert (kind, data["status"], data["by"]["lid"]) == ("message.status", "read", "7@lid")


def test_an_alert_is_raised_or_ended_and_what_was_beside_it_are_its_details() -> None:
    kind, data = shown("alert", ALERT)
    assert (kind, data["details"]) == ("alert.raised", {"storeState": "failing"})
    assert data["beganAt"] == ALERT["beganAt"]
    assert shown("alert", ALERT | {"state": "ended"})[0] == "alert.ended"


@pytest.mark.parametrize(
    ("before", "data", "now"),
    [
        ("created", {"started": True}, ("session.created", {"started": True})),
        ("deleted", {"purged": False}, ("session.deleted", {"purged": False})),
        (
            "state",
            {"state": "open", "from": "connecting", "nextAttempt": None},
            (
                "session.state",
                {"state": "open", "previousState": "connecting", "nextAttemptAt": None},
            ),
        ),
        ("proxy", {"proxy": None}, ("session.proxy_changed", {"proxy": None})),
        ("paired", {}, ("session.paired", {})),
        ("outage_begins", {"scope": "fleet"}, ("outage.began", {"scope": "fleet"})),
        ("outage_ends", {"scope": "fleet"}, ("outage.ended", {"scope": "fleet"})),
        (
            "rolled",
            {"done": 1, "failed": 0, "total": 2},
            ("worker.replaced", {"replaced": 1, "failed": 0, "total": 2}),
        ),
        (
            "policy",
            {"file": None, "changed": []},
            ("policy.changed", {"file": None, "changed": []}),
        ),
    ],
)
def test_the_others_have_another_name(before: str, data: Any, now: tuple[str, Any]) -> None:
    assert shown(before, data) == now


def test_an_event_of_today_and_one_that_nobody_knows_stay_as_they_are() -> None:
    assert shown("message.received", {"id": "1"}) == ("message.received", {"id": "1"})
    assert shown("unheard_of", {"a": 1}) == ("unheard_of", {"a": 1})


def test_one_that_is_not_what_it_says_ends_nobodys_page() -> None:
    assert shown("message", {"id": "1"}) == ("message", {"id": "1"})
