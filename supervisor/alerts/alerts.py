"""The alerts: which are on, and which were lately.

Everybody who raises one does so here, so each is in the log at once, begin and end.

It depends on nothing that an alert may be about: what is on is kept in memory (`GET /alerts`), and
the log line is written first. The event follows when the store has it.
"""

import hashlib
import itertools
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import Any, ClassVar, Final, Literal

import msgspec
import structlog

from sessions.model import AlertChange, EventData, SessionId
from sessions.views.events import SessionDeleted
from sessions.views.times import iso

Severity = Literal["warning", "critical"]
"""critical: somebody has to do something now; warning: it can wait until the morning, or mends
itself.
"""
State = Literal["began", "ended", "happened"]
"""happened: it was over when it was told, as a worker that was replaced."""

KEPT_ENDED: Final = 200
"""Alerts that are over, shown still.

Those that are on are bounded by those who raise them: a name for a session and a cause.
"""
RANKS: Final[Mapping[Severity, int]] = {"warning": 0, "critical": 1}

log = structlog.get_logger("alerts")


class Alert(msgspec.Struct, frozen=True, rename="camel"):
    """An alert.

    `session` None: the host's or the fleet's; `about`: of which task or the like, where a name has
    several. `cause`: the close reason of a session that is parked. `id`: of this one time that it
    is on.

    `value` beside its `limit`, where there is one. Times are ISO 8601, UTC.
    """

    session: SessionId | None
    name: str
    severity: Severity
    state: State
    message: str
    value: float | None
    limit: float | None
    began_at: str
    ended_at: str | None
    about: str | None = None
    cause: str | None = None
    id: str = ""

    @property
    def key(self) -> "Key":
        """One alert of a key is on at a time."""
        return self.session, self.name, self.about


Key = tuple[SessionId | None, str, str | None]


class _AlertEvent(EventData, frozen=True, kw_only=True):
    """The fields are the alert's own. `details`: what else is known of its cause, by name. `id`:
    the same as it begins and as it ends.
    """

    name: str
    severity: Severity
    state: State
    message: str
    value: float | None
    limit: float | None
    began_at: str
    ended_at: str | None
    about: str | None
    details: dict[str, Any] = msgspec.field(default_factory=dict)
    cause: str | None = None
    id: str | None = None


class AlertRaised(_AlertEvent, frozen=True, kw_only=True):
    """Something is wrong from now on (`state` `began`), or was and is over (`happened`)."""

    type: ClassVar[str] = "alert.raised"


class AlertEnded(_AlertEvent, frozen=True, kw_only=True):
    """It is over; `message` says how things are now."""

    type: ClassVar[str] = "alert.ended"


class Alerts:
    """Knows what is on.

    Tells once when an alert begins, once when it becomes worse, and once when it ends. `write`:
    takes a line of each of these, for the file of alerts.
    """

    def __init__(
        self,
        publish: Callable[[SessionId | None, EventData], None],
        now: Callable[[], float] = time.time,
        write: Callable[[Mapping[str, Any]], None] = lambda line: None,
    ) -> None:
        self._publish = publish
        self._write = write
        self._now = now
        self._active: dict[Key, Alert] = {}
        self._ended: deque[Alert] = deque(maxlen=KEPT_ENDED)
        self._happened = itertools.count()
        self._inherited: dict[Key, Alert] = {}

    def inherit(self, alerts: Iterable[Alert]) -> None:
        """Those that an earlier supervisor had told of: if one begins, it is the same still, since
        when it was and by its id.
        """
        self._inherited = {alert.key: alert for alert in alerts}

    def active(self) -> list[Alert]:
        """Those that are on: the critical ones first, then the oldest."""
        return sorted(
            self._active.values(), key=lambda alert: (-RANKS[alert.severity], alert.began_at)
        )

    def ended(self) -> list[Alert]:
        """Those that are over, the newest first."""
        return list(reversed(self._ended))

    def on_change(self, session: SessionId | None, told: AlertChange) -> None:
        """What a session says of its alerts is kept, and becomes an event."""
        match told.state:
            case "began":
                self.begin(
                    session,
                    told.name,
                    told.message,
                    told.severity,
                    cause=told.cause,
                    goes_on=told.goes_on,
                )
            case "ended":
                self.end(session, told.name, told.message)
            case "happened":
                at = self._stamp()
                alert = Alert(
                    session,
                    told.name,
                    told.severity,
                    "happened",
                    told.message,
                    None,
                    None,
                    at,
                    at,
                    id=_id((session, told.name, None), f"{at} {next(self._happened)}"),
                )
                self._ended.append(alert)
                self._tell(alert, {})

    def begin(
        self,
        session: SessionId | None,
        name: str,
        message: str,
        severity: Severity = "warning",
        value: float | None = None,
        limit: float | None = None,
        *,
        about: str | None = None,
        cause: str | None = None,
        goes_on: bool = False,
        **more: Any,
    ) -> None:
        """It is on: told if it was not, or was less severe; else what is shown of it is brought up
        to date. `more`: for the event alone.
        """
        key = session, name, about
        on = self._active.get(key)
        known = on or self._inherited.pop(key, None)
        began_at = known.began_at if known else self._stamp()
        alert = Alert(
            session,
            name,
            severity,
            "began",
            message,
            value,
            limit,
            began_at,
            None,
            about,
            cause,
            known.id if known else _id(key, began_at),
        )
        self._active[alert.key] = alert
        if goes_on:
            self._log(alert)
        elif on is None or RANKS[severity] > RANKS[on.severity]:
            self._tell(alert, more)

    def end(
        self,
        session: SessionId | None,
        name: str,
        message: str,
        value: float | None = None,
        *,
        about: str | None = None,
        **more: Any,
    ) -> None:
        """It is over, in words that say how things are now; nothing happens if it was not on."""
        known = self._active.pop((session, name, about), None)
        if known is None:
            return
        over = msgspec.structs.replace(
            known, state="ended", message=message, value=value, ended_at=self._stamp()
        )
        self._ended.append(over)
        self._tell(over, more)

    def on_deleted(self, session: SessionId | None, _deleted: SessionDeleted) -> None:
        """The session is gone, and with it what was wrong with it."""
        for _, name, about in [key for key in self._active if key[0] == session]:
            self.end(session, name, "The session was deleted.", about=about)

    def _tell(self, alert: Alert, more: Mapping[str, Any]) -> None:
        self._log(alert)
        made = AlertEnded if alert.state == "ended" else AlertRaised
        fields = {
            name: value
            for name, value in msgspec.structs.asdict(alert).items()
            if name != "session"
        }
        self._publish(alert.session, made(**fields, details=dict(more)))

    def _log(self, alert: Alert) -> None:
        """In the log first, and in the file of alerts."""
        write = log.info if alert.state == "ended" else log.warning
        fields = {
            "alert": alert.name,
            "about": alert.about,
            "session": alert.session,
            "severity": alert.severity,
            "state": alert.state,
            "value": alert.value,
            "limit": alert.limit,
            "began_at": alert.began_at,
            "id": alert.id,
        }
        write(alert.message, action="alert", **fields)
        self._write({"timestamp": self._stamp(), "message": alert.message, **fields})

    def _stamp(self) -> str:
        return iso(self._now())


def _id(key: Key, began_at: str) -> str:
    """Names one time that an alert is on: the same for a successor that takes it up."""
    text = "\0".join((*(part or "" for part in key), began_at))
    return "al_" + hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
