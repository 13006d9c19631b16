"""The one envelope of events, in `/events`, the live feed and webhooks."""

import msgspec

from api.responses import json
from sessions.store import StoredEvent
from sessions.views.events import EventHead, EventView
from supervisor.delivery.endpoint import outgoing

EVENT = StoredEvent(
    4711,
    1_700_000_000_007,
    "loja-1",
    "message.received",
    msgspec.Raw(b'{"id":"3EB0","text":"\xc3\xa9"}'),
)
HEAD = (
    b'{"n":4711,"id":"evt_18bcfe5680700001267","type":"message.received",'
    b'"time":"2023-11-14T22:13:20.007Z","session":"loja-1"'
)
WHOLE = HEAD + b',"data":{"id":"3EB0","text":"\xc3\xa9"}}'


def test_it_is_the_same_to_the_byte_wherever_an_event_is_told() -> None:
    assert msgspec.json.encode(EventView.of(EVENT)) == WHOLE
    assert json([EventView.of(EVENT)]).body == b"[" + WHOLE + b"]\n"
    assert outgoing.body(EVENT, "full") == WHOLE


def test_its_head_is_all_but_the_data() -> None:
    assert msgspec.json.encode(EventHead.of(EVENT)) == HEAD + b"}"
    assert outgoing.body(EVENT, "thin") == HEAD + b"}"


def test_what_belongs_to_the_fleet_has_no_session() -> None:
    fleet = msgspec.structs.replace(EVENT, session=None)
    assert msgspec.json.decode(msgspec.json.encode(EventView.of(fleet)))["session"] is None
