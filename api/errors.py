"""Errors as HTTP: one JSON shape, `{"error": {"code", "message", "hint"}}`; the status is decided
here and nowhere else.
"""

import math
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec
import structlog
from aiohttp import web

from api.live.admission.refusals import (
    ConnectionTimeoutError,
    InsufficientResourcesError,
    InvalidTokenError,
)
from sessions.messages.numbers import EXAMPLE, InvalidRecipient
from sessions.model import (
    BadPolicy,
    InvalidProxy,
    InvalidSessionId,
    NoArchive,
    Refused,
    SameDevice,
    SessionExists,
    SessionNotFound,
    StoreError,
    Unanswered,
    UnreadableValue,
    UnstorableValue,
    WasupError,
    WorkerError,
    WorkerRefused,
)
from supervisor.access.keys import KeyNotFound, TooManyKeys
from supervisor.access.refusals import AccessDenied
from supervisor.access.scopes import Scope
from supervisor.alerts.channels.alerts_file import BadAlertsFile
from supervisor.alerts.channels.own_channels import ChannelNotFound
from supervisor.alerts.ledger import AlertNotFound, InvalidSilence, SilenceNotFound
from supervisor.delivery.webhook_registry import TooManyWebhooks
from supervisor.delivery.webhook_settings import InvalidWebhook, WebhookNotFound
from supervisor.fleet.event_filter import InvalidEventFilter
from supervisor.history.history import UnknownSeries
from supervisor.history.tiers import InvalidPeriod
from supervisor.reports.period import InvalidReportPeriod
from supervisor.reports.reporter import ReportFailed, ReportsBusy
from supervisor.upkeep.jobs import JobNotFound, JobRunning
from supervisor.watch.forecasting import BeyondCapacity

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = structlog.get_logger("api")


class BadRequest(WasupError):
    """The request cannot be used."""

    code = "bad_request"


class ForeignSite(WasupError):
    """The call comes from another web site's page."""

    code = "foreign_site"
    hint = "Browsers may call this API only from its own address: open it there."


class ForbiddenScope(WasupError):
    """The key may not do that."""

    code = "forbidden_scope"

    def __init__(self, scope: Scope, has: Scope) -> None:
        super().__init__(
            f"This call needs the scope `{scope}`; this key has `{has}`.",
            f"Use a key of that scope: `wasup keys create --scope {scope}` (docs/access.md).",
        )
        self.scope = scope


class ForbiddenFleet(WasupError):
    """That is about the whole fleet, and the key is for some sessions only."""

    code = "forbidden_fleet"
    hint = "Use a key for all sessions (docs/access.md)."


class EncodedBody(WasupError):
    """A compressed body is not taken."""

    code = "encoded_body"
    hint = "Send the body as it is, without Content-Encoding."


class TimedOut(WasupError):
    """The request's body did not arrive in time."""

    code = "timed_out"
    hint = "Send it without a pause."


class Gone(WasupError):
    """What was asked for is not there any more."""

    code = "gone"


class MessageNotFound(WasupError):
    """The event log has no event of that message."""

    code = "message_not_found"
    hint = (
        "Older events have aged out (WHATSAPP_EVENT_LOG_DAYS), and those of versions before are not"
        " found by message. If it is newer: is it the message's id, `data.id` of its event, and was"
        " its session open (`wasup explain`)? WhatsApp delivers it when it is."
    )


class NotInstalled(WasupError):
    """A part that only some installations have is not here."""

    code = "not_installed"
    hint = "`make setup-run` installs it."


class Busy(WasupError):
    """The supervisor does as much of this at once as it may."""

    code = "busy"
    hint = "Try again when Retry-After says."
    retry_after_seconds = 5.0


class ShedLoad(Busy):
    """A call that can wait, while the host has nothing to spare (supervisor/watch/shedding.py)."""

    code = "shedding"
    hint = (
        "Try again when Retry-After says. `wasup alerts list` says what is short; sessions, sends"
        " and webhooks go on meanwhile (docs/monitoring.md#when-the-host-is-critical)."
    )
    retry_after_seconds = 60.0


class TooSoon(WasupError):
    """That was asked for too often."""

    code = "too_soon"

    def __init__(self, message: str, hint: str, retry_after_seconds: float) -> None:
        super().__init__(message, hint)
        self.retry_after_seconds = retry_after_seconds


class RateLimited(TooSoon):
    """Somebody calls more often than he may."""

    code = "rate_limited"

    def __init__(self, message: str, retry_after_seconds: float) -> None:
        super().__init__(
            message, "Wait as long as Retry-After says (docs/access.md).", retry_after_seconds
        )


class KeyReused(WasupError):
    """The Idempotency-Key was used for another request."""

    code = "idempotency_key_reused"
    hint = "Choose a new key for each new request; a key is remembered for 24 hours."


class OutcomeUnknown(WasupError):
    """The request of this Idempotency-Key was begun, and nobody knows whether it was done."""

    code = "outcome_unknown"
    hint = "Look whether it was done (GET /sessions, GET /events); if not, ask with a new key."


class RequestEntityTooLarge(WasupError):
    """The request's body has more bytes than this call takes."""

    code = "request_entity_too_large"


STATUS: Final[Mapping[type[WasupError], int]] = {
    BadRequest: 400,
    AccessDenied: 401,
    ForeignSite: 403,
    ForbiddenScope: 403,
    ForbiddenFleet: 403,
    TimedOut: 408,
    NotInstalled: 404,
    MessageNotFound: 404,
    Gone: 410,
    RequestEntityTooLarge: 413,
    EncodedBody: 415,
    KeyReused: 422,
    OutcomeUnknown: 409,
    TooSoon: 429,
    KeyNotFound: 404,
    AlertNotFound: 404,
    SilenceNotFound: 404,
    TooManyKeys: 409,
    BeyondCapacity: 409,
    Busy: 503,
    InvalidTokenError: 401,
    ConnectionTimeoutError: 408,
    InsufficientResourcesError: 503,
    BadPolicy: 422,
    BadAlertsFile: 422,
    ChannelNotFound: 404,
    InvalidSessionId: 400,
    InvalidProxy: 400,
    InvalidRecipient: 400,
    InvalidWebhook: 400,
    InvalidSilence: 400,
    InvalidEventFilter: 400,
    UnknownSeries: 400,
    InvalidPeriod: 400,
    InvalidReportPeriod: 400,
    ReportsBusy: 503,
    ReportFailed: 500,
    WebhookNotFound: 404,
    JobNotFound: 404,
    JobRunning: 409,
    TooManyWebhooks: 409,
    SessionNotFound: 404,
    NoArchive: 404,
    SessionExists: 409,
    Refused: 409,
    SameDevice: 409,
    UnreadableValue: 409,
    UnstorableValue: 400,
    WorkerError: 503,
    StoreError: 503,
    Unanswered: 504,
    WasupError: 500,
}

WORKER_STATUS: Final[Mapping[str, int]] = {
    "already_paired": 409,
    "invalid_recipient": 400,
    "no_whatsapp": 422,
    "not_open": 409,
    "not_ready": 409,
    "timed_out": 504,
    "refused": 502,
    "failed": 502,
}
"""Statuses of what comes back from a worker: what it refused itself, and (502) what WhatsApp
refused or Baileys could not do.
"""

WORKER_HINTS: Final[Mapping[str, str]] = {
    "already_paired": "It is linked to a phone already. For another number create another session.",
    "invalid_recipient": EXAMPLE,
    "no_whatsapp": "Nothing was sent, and trying again cannot help: check the number. " + EXAMPLE,
    "refused": "WhatsApp did not take the message; the session itself goes on.",
    "timed_out": "It may arrive all the same: look before you send it again.",
}
"""What to do about what the worker refused: for all other codes, to look at the session."""

HINTS: Final[Mapping[int, str]] = {
    403: "Browsers may call this API only from its own address, or from WHATSAPP_CORS_ORIGINS.",
    404: "The calls are listed in docs/reference.md.",
    405: "The calls are listed in docs/reference.md; the Allow header says what this one takes.",
    406: (
        "A QR comes as application/json, image/png, image/svg+xml, text/html or text/plain; a"
        " report as application/json, text/html, application/pdf or text/plain; events as"
        " application/json or text/event-stream."
    ),
    417: "Send the request without Expect, or with 100-continue.",
}


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every error into the one shape."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return from_http(error)
    except WasupError as error:
        return _from_wasup(error)
    except TimeoutError:
        return error_response(
            504, "timed_out", "The worker did not answer in time.", WorkerError.hint
        )
    except Exception:
        log.exception(
            "an error of this program",
            action="api_error",
            method=request.method,
            route=_route(request),
        )
        return error_response(
            500, "internal_error", "The supervisor made an error.", WasupError.hint
        )


def error_response(status: int, code: str, message: str, hint: str, **further: str) -> web.Response:
    """The one shape. `further`: what programs go by in this kind of error."""
    content = {"error": {"code": code, "message": message, "hint": hint, **further}}
    return web.Response(
        body=msgspec.json.encode(content) + b"\n",
        status=status,
        content_type="application/json",
        charset="utf-8",
    )


def status_of(error: WasupError) -> int:
    """The HTTP status of an error."""
    if isinstance(error, WorkerRefused):
        return WORKER_STATUS.get(error.code, 502)
    return status_of_kind(type(error))


def status_of_kind(kind: type[WasupError]) -> int:
    """The HTTP status of a kind of errors: its own, or that of what it is a kind of."""
    return next(STATUS[one] for one in kind.__mro__ if one in STATUS)


def code_of(error: WasupError) -> str:
    """The code by which scripts know an error."""
    if isinstance(error, WorkerRefused) and error.code not in WORKER_STATUS:
        return "failed"  # a worker may say what it likes; scripts know the declared codes
    return error.code


def _from_wasup(error: WasupError) -> web.Response:
    code = code_of(error)
    hint = WORKER_HINTS.get(code, error.hint) if isinstance(error, WorkerRefused) else error.hint
    response = error_response(status_of(error), code, str(error), hint, **_further(error))
    if isinstance(error, AccessDenied):
        response.headers["WWW-Authenticate"] = "Bearer"
    if isinstance(error, Busy | TooSoon | InsufficientResourcesError):
        response.headers["Retry-After"] = str(math.ceil(error.retry_after_seconds))
    return response


def _further(error: WasupError) -> dict[str, str]:
    if isinstance(error, AccessDenied):
        return {"reason": error.reason}
    if isinstance(error, ForbiddenScope):
        return {"scope": error.scope}
    return {}


def from_http(error: web.HTTPException) -> web.Response:
    """An error of aiohttp's own, in the one shape."""
    code = error.reason.lower().replace(" ", "_")
    response = error_response(
        error.status, code, f"{error.reason}.", HINTS.get(error.status, WasupError.hint)
    )
    for name in ("Allow", "WWW-Authenticate"):
        if name in error.headers:
            response.headers[name] = error.headers[name]
    return response


def _route(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unknown"
