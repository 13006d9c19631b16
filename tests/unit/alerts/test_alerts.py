"""The alerts: one event and one line in the log when one begins, gets worse and ends; what is on is
known without the store.
"""

from typing import Any

import msgspec
import pytest
import structlog
from structlog.testing import capture_logs

from sessions.model import AlertChange, EventData, SessionId
from sessions.views.events import SessionDeleted
from supervisor.alerts.alerts import KEPT_ENDED, Alerts

SHOP = SessionId("shop")


@pytest.fixture(autouse=True)
def _logging() -> None:
    """The unit tests' log is switched off; here it is what is tested."""
    structlog.reset_defaults()


class Told:
    """Alerts with a clock that stands, and what they publish."""

    def __init__(self) -> None:
        self.now = 0.0
        self.events: list[tuple[SessionId | None, str, dict[str, Any]]] = []
        self.alerts = Alerts(self._publish, lambda: self.now)

    def _publish(self, session: SessionId | None, told: EventData) -> None:
        self.events.append((session, told.type, msgspec.to_builtins(told)))

    @property
    def states(self) -> list[tuple[str, str]]:
        return [(data["name"], data["state"]) for _, _, data in self.events]


def test_an_alert_has_fields_for_everything_and_is_told_at_its_edges_only() -> None:
    told = Told()
    with capture_logs() as logged:
        for value in (0.95, 0.97, 0.99):
            told.alerts.begin(None, "cpu", f"cpu is {value}", "warning", value, 0.9)
        told.now = 90.0
        told.alerts.end(None, "cpu", "cpu is 10%, not above 90%", 0.1)
        told.alerts.end(None, "cpu", "cpu is 10%, not above 90%", 0.1)
    began, ended = told.events
    assert began == (
        None,
        "alert.raised",
        {
            "name": "cpu",
            "severity": "warning",
            "state": "began",
            "message": "cpu is 0.95",
            "value": 0.95,
            "limit": 0.9,
            "beganAt": "1970-01-01T00:00:00.000Z",
            "endedAt": None,
            "about": None,
            "details": {},
            "cause": None,
            "id": began[2]["id"],
        },
    )
    assert ended[2] | {"message": "", "value": 0} == began[2] | {
        "state": "ended",
        "message": "",
        "value": 0,
        "endedAt": "1970-01-01T00:01:30.000Z",
    }
    assert [
        (line["action"], line["alert"], line["state"], line["severity"]) for line in logged
    ] == [
        ("alert", "cpu", "began", "warning"),
        ("alert", "cpu", "ended", "warning"),
    ]


def test_what_is_on_shows_the_last_value_though_it_is_told_once() -> None:
    told = Told()
    told.alerts.begin(None, "cpu", "cpu is 95%", "warning", 0.95, 0.9)
    told.now = 30.0
    told.alerts.begin(None, "cpu", "cpu is 99%", "warning", 0.99, 0.9)
    (alert,) = told.alerts.active()
    assert (alert.message, alert.value, alert.began_at) == (
        "cpu is 99%",
        0.99,
        "1970-01-01T00:00:00.000Z",
    )
    assert len(told.events) == 1


def test_an_alert_that_becomes_critical_is_told_again_and_the_critical_ones_come_first() -> None:
    told = Told()
    told.alerts.begin(None, "cpu", "cpu", "warning")
    told.alerts.begin(None, "disk_space", "86%", "warning")
    told.alerts.begin(None, "disk_space", "96%", "critical")
    told.alerts.begin(None, "disk_space", "94%", "warning")
    told.alerts.begin(None, "disk_space", "96%", "critical")
    assert [data["message"] for _, _, data in told.events] == ["cpu", "86%", "96%", "96%"]
    assert [alert.name for alert in told.alerts.active()] == ["disk_space", "cpu"]


def test_what_a_session_says_of_its_alerts_is_kept_and_becomes_an_event() -> None:
    told = Told()
    told.alerts.on_change(SHOP, AlertChange(name="worker_killed", message="It weighed 900 MiB."))
    parked = AlertChange(name="parked", message="Pair it.", severity="critical", state="began")
    told.alerts.on_change(SHOP, parked)
    told.alerts.on_change(SHOP, parked)
    assert [(data["name"], data["state"]) for _, _, data in told.events] == [
        ("worker_killed", "happened"),
        ("parked", "began"),
    ]
    assert [alert.name for alert in told.alerts.active()] == ["parked"]
    assert [alert.name for alert in told.alerts.ended()] == ["worker_killed"]


def test_what_an_earlier_supervisor_told_is_on_and_in_the_log_but_no_event() -> None:
    told = Told()
    with capture_logs() as logged:
        told.alerts.on_change(
            SHOP, AlertChange(name="parked", message="Pair it.", state="began", goes_on=True)
        )
    assert told.events == []
    assert [line["alert"] for line in logged] == ["parked"]
    told.alerts.on_change(SHOP, AlertChange(name="parked", message="It is open.", state="ended"))
    assert told.states == [("parked", "ended")]


def test_the_alerts_of_a_session_end_with_it() -> None:
    told = Told()
    told.alerts.begin(SHOP, "parked", "Pair it.")
    told.alerts.begin(None, "cpu", "cpu")
    told.alerts.on_deleted(SHOP, SessionDeleted(purged=False))
    assert [alert.name for alert in told.alerts.active()] == ["cpu"]
    assert told.events[-1][2]["message"] == "The session was deleted."


def test_the_alerts_that_have_ended_are_bounded() -> None:
    told = Told()
    for number in range(KEPT_ENDED + 5):
        told.alerts.on_change(SHOP, AlertChange(name=f"n{number}", message=""))
    assert [alert.name for alert in told.alerts.ended()][:1] == [f"n{KEPT_ENDED + 4}"]
    assert len(told.alerts.ended()) == KEPT_ENDED


@pytest.mark.parametrize("trouble", [RuntimeError, OSError])
def test_an_alert_is_on_and_in_the_log_though_its_event_cannot_be_published(
    trouble: type[Exception],
) -> None:
    def broken(*_: object) -> None:
        raise trouble("the store is away")

    alerts = Alerts(broken)
    with capture_logs() as logged, pytest.raises(trouble):
        alerts.begin(None, "store", "The store cannot write.", "critical")
    assert [alert.name for alert in alerts.active()] == ["store"]
    assert [line["alert"] for line in logged] == ["store"]
