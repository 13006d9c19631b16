"""Each close is counted once, however often its incident is written."""

import time

import msgspec

from sessions.model import CloseReason, SessionId
from sessions.records.changes import Changes
from sessions.records.incidents import Incident, RecordedClose
from sessions.views.events import SessionDeleted
from supervisor.history.sources import Closes

SHOP = SessionId("shop")


def test_a_close_is_counted_once_by_its_reason() -> None:
    closes, now = Closes(), time.time()
    lost = RecordedClose(at=now + 1, reason=CloseReason.CONNECTION_LOST)
    again = RecordedClose(at=now + 2, reason=CloseReason.CONNECTION_LOST)
    out = RecordedClose(at=now + 3, reason=CloseReason.LOGGED_OUT)
    before = RecordedClose(at=now - 60, reason=CloseReason.LOGGED_OUT)
    incident = Incident(session=SHOP, began_at=now, reason=lost.reason)

    def written(*told: RecordedClose) -> None:
        closes.on_changes(
            SHOP, Changes(session=SHOP, incident=msgspec.structs.replace(incident, closes=told))
        )

    written(before)  # of an earlier supervisor
    assert closes.figures() == {}
    written(before, lost)
    written(before, lost)
    written(before, lost, again)
    written(before, lost, again, out)
    closes.on_changes(SHOP, Changes(session=SHOP))
    assert closes.figures() == {
        ("reason.closes", "connection_lost"): 2,
        ("reason.closes", "logged_out"): 1,
    }
    closes.on_deleted(SHOP, SessionDeleted(purged=False))
    written(out)
    assert closes.figures()["reason.closes", "logged_out"] == 2
