"""Errors as HTTP: one JSON shape, `{"error": {"code", "message", "hint"}}`; the status is decided here and nowhere else."""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import msgspec
import structlog
from aiohttp import web

from sessions.model import (
    BadPolicy,
    InvalidProxy,
    InvalidSessionId,
    NoArchive,
    Refused,
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

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

log = structlog.get_logger("api")


class BadRequest(WasupError):
    """The request cannot be used."""


class RequestEntityTooLarge(WasupError):
    """The request's body has more bytes than this call takes."""


STATUS: Final[Mapping[type[WasupError], int]] = {
    BadRequest: 400,
    RequestEntityTooLarge: 413,
    BadPolicy: 422,
    InvalidSessionId: 400,
    InvalidProxy: 400,
    SessionNotFound: 404,
    NoArchive: 404,
    SessionExists: 409,
    Refused: 409,
    UnreadableValue: 409,
    UnstorableValue: 400,
    WorkerError: 503,
    StoreError: 503,
    Unanswered: 504,
    WasupError: 500,
}

WORKER_STATUS: Final[Mapping[str, int]] = {
    "invalid_recipient": 400,
    "not_open": 409,
    "not_ready": 409,
    "timed_out": 504,
}
"""Statuses of what the worker itself refused; anything else was WhatsApp's refusal: 502."""

HINTS: Final[Mapping[int, str]] = {
    401: "Send the header `Authorization: Bearer <WHATSAPP_API_TOKEN>`.",
    403: "Browsers may call this API only from its own address.",
    404: "See the routes in README.md.",
    405: "See the routes in README.md.",
    406: "A QR comes as application/json, image/png, image/svg+xml or text/plain.",
}


@web.middleware
async def errors_as_json(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every error into the one shape."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return _from_http(error)
    except WasupError as error:
        return _from_wasup(error)
    except TimeoutError:
        return error_response(504, "timed_out", "The worker did not answer in time.", WorkerError.hint)
    except Exception:
        log.exception("an error of this program", action="api_error", method=request.method, route=_route(request))
        return error_response(500, "internal_error", "The supervisor made an error.", WasupError.hint)


def error_response(status: int, code: str, message: str, hint: str) -> web.Response:
    """The one shape."""
    content = {"error": {"code": code, "message": message, "hint": hint}}
    return web.Response(
        body=msgspec.json.encode(content), status=status, content_type="application/json", charset="utf-8"
    )


def status_of(error: WasupError) -> int:
    """The HTTP status of an error."""
    if isinstance(error, WorkerRefused):
        return WORKER_STATUS.get(error.code, 502)
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def code_of(error: WasupError) -> str:
    """The machine-readable code of an error: its own, or its class's name."""
    if isinstance(error, Refused | WorkerRefused):
        return error.code
    return re.sub(r"(?<!^)(?=[A-Z])", "_", type(error).__name__).lower()


def _from_wasup(error: WasupError) -> web.Response:
    return error_response(status_of(error), code_of(error), str(error), error.hint)


def _from_http(error: web.HTTPException) -> web.Response:
    code = error.reason.lower().replace(" ", "_")
    response = error_response(error.status, code, f"{error.reason}.", HINTS.get(error.status, WasupError.hint))
    for name in ("Allow", "WWW-Authenticate"):
        if name in error.headers:
            response.headers[name] = error.headers[name]
    return response


def _route(request: web.Request) -> str:
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unknown"
