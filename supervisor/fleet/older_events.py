"""Events that a supervisor of 0.1.0 has left in the log, as they are told today. Pure.

They stay stored as they were, since they are sealed under the name that they had; whoever reads
them sees the names and fields of now.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec
import structlog

from sessions.store import StoredEvent
from sessions.views.events import of_frame
from sessions.workers import wire

Data = dict[str, Any]

log = structlog.get_logger("feed")


def of_today(event: StoredEvent) -> StoredEvent:
    """The event under the name and with the fields that its kind has now."""
    if "." in event.type or event.type not in RENAMED:
        return event
    name, converted = RENAMED[event.type]
    try:
        data = msgspec.json.decode(event.data)
        kind, shown = name if isinstance(name, str) else name(data), converted(data)
    except wire.UNREADABLE as error:
        # one odd event must not end a page for everybody who follows
        log.warning(
            "an old event is shown as it was stored",
            action="event_of_before",
            number=event.n,
            error=type(error).__name__,
        )
        return event
    return msgspec.structs.replace(event, type=kind, data=msgspec.Raw(msgspec.json.encode(shown)))


def _same(data: Data) -> Data:
    return data


def _state(data: Data) -> Data:
    return {_OF_A_STATE.get(name, name): value for name, value in data.items()}


def _message(data: Data) -> Any:
    return of_frame(msgspec.convert(data | _NUMBERS, wire.Message))


def _receipt(data: Data) -> Any:
    return of_frame(msgspec.convert(data | _NUMBERS, wire.Receipt))


def _alert(data: Data) -> Data:
    own = {name: value for name, value in data.items() if name in _OF_AN_ALERT}
    return own | {"details": {n: value for n, value in data.items() if n not in _OF_AN_ALERT}}


def _rolled(data: Data) -> Data:
    return {("replaced" if name == "done" else name): value for name, value in data.items()}


def _of_message(data: Data) -> str:
    return "message.sent" if data.get("from_me") else "message.received"


def _of_alert(data: Data) -> str:
    return "alert.ended" if data.get("state") == "ended" else "alert.raised"


_NUMBERS: Final[Data] = {"epoch": 0, "seq": 0}
"""What only the worker's line has use for."""
_OF_A_STATE: Final[Mapping[str, str]] = {"from": "previousState", "nextAttempt": "nextAttemptAt"}
"""The fields of a change of state that have other names now."""
_OF_AN_ALERT: Final = frozenset(
    ("name", "severity", "state", "message", "value", "limit", "beganAt", "endedAt", "about")
)
RENAMED: Final[Mapping[str, tuple[str | Callable[[Data], str], Callable[[Data], Any]]]] = {
    "created": ("session.created", _same),
    "deleted": ("session.deleted", _same),
    "state": ("session.state", _state),
    "qr": ("session.qr", _same),
    "pairing_code": ("session.pairing_code", _same),
    "paired": ("session.paired", _same),
    "adopted": ("session.adopted", _same),
    "restored": ("session.restored", _same),
    "proxy": ("session.proxy_changed", _same),
    "message": (_of_message, _message),
    "receipt": ("message.status", _receipt),
    "outage_begins": ("outage.began", _same),
    "outage_ends": ("outage.ended", _same),
    "alert": (_of_alert, _alert),
    "policy": ("policy.changed", _same),
    "rolled": ("worker.replaced", _rolled),
}
"""Its name of then; the name of now, and what becomes of its data."""
