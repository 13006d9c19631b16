"""What is told of a webhook, to people and to programs: once when it begins, once when it is over."""

from sessions.model import EventData, SessionId
from supervisor.alerts.alerts import AlertEnded, AlertRaised, Alerts
from supervisor.delivery.telling import DeliveryFailing, DeliveryRecovered, Telling

URL = "https://n8n.example/webhook/s3cret"
SINCE = "2026-01-31T12:00:00.000Z"


class Told:
    """Whoever is told."""

    def __init__(self) -> None:
        self.events: list[EventData] = []
        self.telling = Telling(Alerts(self.publish), self.publish, "wh_1", URL)

    def publish(self, session: SessionId | None, event: EventData) -> None:
        assert session is None
        assert "s3cret" not in repr(event)
        self.events.append(event)

    def kinds(self) -> list[str]:
        return [event.type for event in self.events]


def test_a_failure_is_one_event_one_alert_and_the_end_of_both() -> None:
    told = Told()
    told.telling.works(0)
    for _ in range(3):
        told.telling.fails(SINCE, "the connection is refused", 7)
    assert told.events == [
        DeliveryFailing(
            webhook="wh_1",
            target="https://n8n.example",
            behind=7,
            since_at=SINCE,
            error="the connection is refused",
        )
    ]
    for _ in range(3):
        told.telling.alert(SINCE, "the connection is refused", 9)
    told.telling.works(5)
    told.telling.works(0)
    assert told.kinds() == [
        DeliveryFailing.type,
        AlertRaised.type,
        DeliveryRecovered.type,
        AlertEnded.type,
    ]
    assert told.events[2] == DeliveryRecovered(
        webhook="wh_1", target="https://n8n.example", behind=5
    )


def test_a_supervisor_that_takes_over_tells_no_second_time_and_of_the_end() -> None:
    told = Told()
    told.telling.has_failed_before()
    told.telling.fails(SINCE, None, 1)
    assert told.events == []
    told.telling.works(0)
    assert told.kinds() == [DeliveryRecovered.type]
