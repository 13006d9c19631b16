"""An event as a line for people. Pure.

What a type is not known here, a newer supervisor's say, is shown with its data as JSON.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

Data = Mapping[str, Any]


def line(event: Mapping[str, Any]) -> str:
    """An event on one line: when, its number, whose, its type, and what happened."""
    words = WORDS.get(event["type"], _data)(event["data"])
    when = event["time"][:19].replace("T", " ")
    return " ".join(
        f"{when}  {event['n']}  {event['session'] or '-'}  {event['type']}  {words}".splitlines()
    ).rstrip()


def _data(data: Data) -> str:
    return msgspec.json.encode(data).decode()


def _state(data: Data) -> str:
    why = data["closeReason"]
    closed = "" if data["state"] == "open" or why is None else f" ({why})"
    after = f", next try {data['nextAttemptAt'][11:19]}" if data["nextAttemptAt"] else ""
    return f"{data['previousState']} -> {data['state']}{closed}{after}"


def _message(data: Data) -> str:
    chat, sender = _party(data["chat"]), data["sender"]
    whose = f"to {chat}" if data["fromMe"] else f"from {_party(sender or data['chat'])}"
    group = f" in {chat}" if sender is not None and _party(sender) != chat else ""
    what = data["text"] if data["text"] is not None else f"({data['kind'] or 'nothing readable'})"
    return f"{whose}{group}: {what}"


def _party(party: Data) -> str:
    return f"+{party['phone']}" if party["phone"] else str(party["jid"])


def _alert(data: Data) -> str:
    return f"{data['severity']} {data['name']}: {data['message']}"


def _words(data: Data) -> str:
    return str(data["words"])


def _rolled(data: Data) -> str:
    return f"{data['replaced']} of {data['total']} replaced, {data['failed']} not"


WORDS: Final[Mapping[str, Callable[[Data], str]]] = {
    "session.created": lambda data: "started" if data["started"] else "stopped",
    "session.deleted": lambda data: (
        "its credentials are destroyed" if data["purged"] else "its credentials are archived"
    ),
    "session.state": _state,
    "session.qr": lambda data: f"QR {data['number']} waits to be scanned",
    "session.pairing_code": lambda data: f"code {data['code'][:4]}-{data['code'][4:]}",
    "session.paired": lambda _: "a phone has linked it",
    "session.adopted": lambda data: f"worker {data['pid']} goes on ({data['stage']})",
    "session.restored": lambda data: f"archive {data['archive']} ({data['reason']})",
    "session.proxy_changed": lambda data: data["proxy"] or "no proxy",
    "message.received": _message,
    "message.sent": _message,
    "message.status": lambda data: f"{data['id']} {data['status']} by {_party(data['by'])}",
    "outage.began": _words,
    "outage.ended": _words,
    "alert.raised": _alert,
    "alert.ended": _alert,
    "alert.channels_changed": lambda data: "; ".join(data["changed"]) or "nothing differs",
    "delivery.failing": lambda data: f"{data['webhook']} accepts nothing: {data['error']}",
    "delivery.recovered": lambda data: f"{data['webhook']} accepts events again",
    "policy.changed": lambda data: "; ".join(data["changed"]) or "nothing differs",
    "worker.replaced": _rolled,
    "worker.not_replaced": _rolled,
}
"""What is said of each type's data."""
