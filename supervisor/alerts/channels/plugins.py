"""One message to one target, by apprise. Only the helper process imports this: it costs memory and
time.

The services are made from their parts and never from a URL, so there is no schema that an operator
could be talked into: no dbus, no syslog, no file, no plugin or configuration from elsewhere.
"""

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote

from apprise import Apprise, AppriseAsset, AppriseAttachment, NotifyFormat, NotifyType
from apprise.attachment.file import AttachFile
from apprise.plugins.custom_json import NotifyJSON
from apprise.plugins.discord import NotifyDiscord
from apprise.plugins.email import NotifyEmail
from apprise.plugins.ntfy import NotifyNtfy
from apprise.plugins.slack import NotifySlack
from apprise.plugins.telegram import NotifyTelegram
from apprise.plugins.twilio import NotifyTwilio

from supervisor.alerts.channels.causes import cause, hidden
from supervisor.alerts.channels.wire import Request, Service

SERVICES: Final[Mapping[Service, Callable[..., Any]]] = {
    "email": NotifyEmail,
    "slack": NotifySlack,
    "sms": NotifyTwilio,
    "telegram": NotifyTelegram,
    "discord": NotifyDiscord,
    "ntfy": NotifyNtfy,
    "webhook": NotifyJSON,
}
FIXED: Final[Mapping[Service, Mapping[str, Any]]] = {
    "email": {"format": "text"},
    "slack": {"include_image": False, "include_footer": False, "format": "text"},
    "sms": {},
    "telegram": {"detect_owner": False, "include_image": False, "format": "text"},
    "discord": {"avatar": False, "include_image": False, "format": "text"},
    "ntfy": {"include_image": False, "mode": "private"},
    "webhook": {},
}
TYPES: Final = {
    "critical": NotifyType.FAILURE,
    "warning": NotifyType.WARNING,
    "over": NotifyType.SUCCESS,
}
UNQUOTED: Final = ("user", "password")
"""What the library takes for a part of a URL, and undoes the quoting of."""
LOG_BYTES: Final = 64 * 1024
PATIENCE: Final = {"cto": 10.0, "rto": 20.0}
"""Seconds for a connection, and for an answer: the library's own 4 are less than a busy mail server
takes.
"""


def deliver(request: Request, target: Mapping[str, Any]) -> tuple[str | None, bool]:
    """Send it there. Why it was not delivered, or None; and whether another try is in vain."""
    asset = AppriseAsset(
        app_id="wasup",
        app_desc="wasup",
        app_url="",
        image_url_mask="",
        plugin_paths=[],
        allow_templates=False,
        service_timeout=0,  # whoever has started this process ends it
        result_log_memory_size=LOG_BYTES,
        http_redirects=False,
    )
    quoted = {key: quote(target[key]) for key in UNQUOTED if target.get(key)}
    parts: dict[str, Any] = {**FIXED[request.service], **PATIENCE, **target, **quoted}
    parts["asset"] = asset
    if request.service == "webhook":
        parts["payload"] = request.extras
    if request.service == "ntfy":
        parts["priority"] = "max" if request.severity == "critical" else "default"
    try:
        service = SERVICES[request.service](**parts)
    except (TypeError, ValueError) as error:
        words = hidden(str(error), request.secrets)
        return f"its settings cannot be used: {words}", True
    sender = Apprise(asset=asset)
    sender.add(service)
    result = sender.notify(
        body=request.body,
        title=request.title,
        notify_type=TYPES[request.severity],
        body_format=NotifyFormat.TEXT,
        attach=_attached(request.attach),
        log_level=logging.DEBUG,
    )
    if result:
        return None, False
    lines = [entry.message for one in result for entry in one.logs()]
    return cause(lines, request.secrets)


def _attached(path: str | None) -> AppriseAttachment | None:
    """The file that goes with a message: a path, and never an address to be fetched."""
    return None if path is None else AppriseAttachment(AttachFile(path))  # type: ignore[no-untyped-call]
