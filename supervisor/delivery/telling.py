"""What is told of a webhook: alerts for people, and, by them, events for programs.

Each is told once, when it begins, and when it is over: an endpoint that refuses everything is also
sent the events that say so, and each of these must not make another.
"""

from collections.abc import Callable
from typing import ClassVar, Final

from sessions.model import EventData, SessionId
from supervisor.alerts.alerts import Alerts
from supervisor.delivery.webhook_settings import PauseReason, shown_url

FAILING: Final = "delivery_failing"
PAUSED: Final = "delivery_paused"
GAP: Final = "delivery_gap"
DEAD: Final = "delivery_dead"


Publish = Callable[[SessionId | None, EventData], None]


class _Delivery(EventData, frozen=True, kw_only=True):
    """A webhook's. `target`: its URL without path and query; `behind`: events that are not settled,
    wanted or not.
    """

    webhook: str
    target: str
    behind: int


class DeliveryFailing(_Delivery, frozen=True, kw_only=True):
    """A webhook's endpoint has not accepted anything, or nothing of one session, for half a minute.
    What happens is kept for it. `error`: the last one.
    """

    type: ClassVar[str] = "delivery.failing"
    since_at: str
    error: str | None


class DeliveryRecovered(_Delivery, frozen=True, kw_only=True):
    """It accepts events again."""

    type: ClassVar[str] = "delivery.recovered"


class Telling:
    """Tells of one webhook."""

    def __init__(self, alerts: Alerts, publish: Publish, webhook: str, url: str) -> None:
        self._alerts = alerts
        self._publish = publish
        self._webhook = webhook
        self._has_told = False
        """That it fails, by an event."""
        self.url = url

    def has_failed_before(self) -> None:
        """The supervisor before has told that it fails, and it does still."""
        self._has_told = True

    def fails(self, since: str, error: str | None, behind: int) -> None:
        """Nothing, or nothing of one session, is accepted: an event, once."""
        if not self._has_told:
            self._has_told = True
            self._publish(
                None,
                DeliveryFailing(
                    webhook=self._webhook,
                    target=shown_url(self.url),
                    behind=behind,
                    since_at=since,
                    error=error,
                ),
            )

    def alert(self, since: str, error: str | None, behind: int) -> None:
        """It has been so for long."""
        words = (
            f"The webhook {self._named} has not accepted what it was sent since {since}"
            f" ({error or 'no answer'}); {behind} events wait. They are kept, and sent when it"
            " does."
        )
        self._alerts.begin(None, FAILING, words, about=self._webhook)

    def works(self, behind: int) -> None:
        """It accepts what it is sent."""
        if self._has_told:
            self._has_told = False
            target = shown_url(self.url)
            self._publish(
                None, DeliveryRecovered(webhook=self._webhook, target=target, behind=behind)
            )
        words = f"The webhook {self._named} accepts events again."
        self._alerts.end(None, FAILING, words, about=self._webhook)
        if not behind:
            words = f"The webhook {self._named} has been sent all that the event log has kept."
            self._alerts.end(None, GAP, words, about=self._webhook)

    def rests(self) -> None:
        """It is paused."""
        words = f"The webhook {self._named} is paused."
        self._alerts.end(None, FAILING, words, about=self._webhook)

    def paused(self, because: PauseReason) -> None:
        """It is paused, and nobody has asked for that."""
        if because == "key_ended":
            words = (
                f"The key by which the webhook {self._named} was made, or was given its URL, was"
                " revoked or has expired: it is paused, and what happens is kept for it. Delete"
                " it; or, if it is to go on, resume it, and it is the webhook of whoever does."
            )
        else:
            words = (
                f"The webhook {self._named} has answered 410 Gone: it is paused, and what happens"
                " is kept for it. Delete it, or give it another URL and resume it."
            )
        self._alerts.begin(None, PAUSED, words, "critical", about=self._webhook)

    def resumed(self) -> None:
        """It is not paused any more."""
        words = f"The webhook {self._named} is not paused any more."
        self._alerts.end(None, PAUSED, words, about=self._webhook)

    def gap(self, first: int, last: int) -> None:
        """The log has dropped events before they were sent."""
        words = (
            f"The event log had no room for events that the webhook {self._named} had not been sent"
            f" yet (between {first} and {last}): they are lost to it. See WHATSAPP_EVENT_LOG_DAYS,"
            " WHATSAPP_EVENT_LOG_MAX_MIB and WHATSAPP_EVENT_LOG_SIZE."
        )
        self._alerts.begin(None, GAP, words, "critical", about=self._webhook)

    def dead(self, first: int, last: int, error: str | None) -> None:
        """Its retries are used up."""
        which = f"event {first} was" if first == last else f"events {first} to {last} were"
        words = (
            f"Of the webhook {self._named} {which} not accepted in time"
            f" ({error or 'no answer'}), and perhaps others: GET"
            f" /webhooks/{self._webhook}/deliveries lists them, POST .../redrive sends them again."
        )
        self._alerts.begin(None, DEAD, words, about=self._webhook)

    def redriven(self) -> None:
        """None is dead any more."""
        words = f"The webhook {self._named} has no dead events any more."
        self._alerts.end(None, DEAD, words, about=self._webhook)

    def forget(self) -> None:
        """It is deleted."""
        words = f"The webhook {self._named} was deleted."
        for name in (FAILING, PAUSED, GAP, DEAD):
            self._alerts.end(None, name, words, about=self._webhook)

    @property
    def _named(self) -> str:
        return f"{self._webhook} ({shown_url(self.url)})"
