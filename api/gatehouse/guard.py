"""Who may call: the bearer token where one is set, else the supervisor's own user and root; and no
other web site through a browser.
"""

import hmac
import pwd
import re
from collections.abc import Awaitable, Callable, Set
from typing import Final
from weakref import WeakKeyDictionary

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from api.errors import error_response
from api.gatehouse.callers import user_of
from supervisor.access.principal import BY_TOKEN, BY_USER, Principal
from supervisor.access.refusals import AccessDenied
from supervisor.settings import is_loopback

OPEN_PATHS: Final = frozenset({"/healthz", "/readyz", "/openapi.json", "/docs"})
"""A load balancer's probes carry no token; they learn the version, and whether store and tasks are
well. What describes the API holds nothing of this installation but its version.
"""
OPEN_FILES: Final = "/docs/"
"""What the page of the description loads."""
LIVE: Final = "/socket.io/"
"""A browser can put no header on a WebSocket: there the token comes in the first message, and is
checked by `live_principal`.
"""
PROXY_HEADERS: Final = re.compile(
    "forwarded|via|x-forwarded.*|x-(real|client|cluster-client|original|originating)-.*|(true-client|cf-connecting|fastly-client)-ip",
    re.IGNORECASE,
)
"""What proxies add: the connection is the proxy's own, and whose call it carries the kernel cannot
say.
"""
_HOST: Final = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")
"""RFC 3986's host without all that a URL parser may read in two ways."""
HOW_TO: Final = (
    "Set WHATSAPP_API_TOKEN and send the header `Authorization: Bearer <token>`; or"
    " WHATSAPP_API_LOCAL_USERS=all, which gives every number to every user of this machine"
    " (docs/security.md)."
)


def guard(token: str | None, users: Set[int] | None) -> Middleware:
    """The middleware.

    Without a token the API is on loopback: then only loopback names may be called (DNS rebinding),
    and only by `users`.

    `users`: whose processes may call without a token; None: everybody's.
    """
    told = WeakKeyDictionary[object, int]()
    """By connection, whose it is: it cannot change."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        origin, name = request.headers.get("Origin"), _name(request)
        if (
            origin is not None and origin.partition("://")[2] != request.headers.get("Host")
        ) or name == "":
            raise web.HTTPForbidden
        if token is None and not is_loopback(name):
            raise web.HTTPForbidden
        if request.path not in OPEN_PATHS and not request.path.startswith(OPEN_FILES):
            if token is not None and request.path != LIVE and not _carries(request, token):
                raise web.HTTPUnauthorized(headers={"WWW-Authenticate": "Bearer"})
            if (
                token is None
                and users is not None
                and (stranger := _stranger(request, users, told)) is not None
            ):
                refusal = error_response(
                    401, "unauthorized", f"{stranger}, and no token is set here.", HOW_TO
                )
                refusal.headers["WWW-Authenticate"] = "Bearer"
                return refusal
        return await handler(request)

    return check


def live_principal(
    token: str | None,
) -> Callable[[web.Request, str | None], Awaitable[Principal]]:
    """Who a client of the live feed is, by the token of its first message or the header of its
    first call. Raises AccessDenied.
    """

    async def authenticate(request: web.Request, given: str | None) -> Principal:
        if token is None:
            return BY_USER  # `check` has let in nobody else
        if given is None:
            given = request.headers.get("Authorization", "").partition(" ")[2]
        if not given.strip():
            raise AccessDenied("empty_token")
        if not hmac.compare_digest(given.strip().encode(errors="surrogateescape"), token.encode()):
            raise AccessDenied("invalid")
        return BY_TOKEN

    return authenticate


def _name(request: web.Request) -> str | None:
    """The name or address in the Host header; None: there is none; empty: it is none that everybody
    reads alike.
    """
    match request.headers.getall("Host", []):
        case []:
            return None
        case [host] if (found := _HOST.fullmatch(host)) is not None:
            return found["name"].strip("[]").lower()
        case _:
            return ""


def _stranger(
    request: web.Request, users: Set[int], told: WeakKeyDictionary[object, int]
) -> str | None:
    """Why the caller is none of these users, in words; None: it is one of them."""
    through = next((name for name in request.headers if PROXY_HEADERS.fullmatch(name)), None)
    if through is not None:
        return f"This call comes through a proxy (it has the header {through})"
    transport = request.transport
    user = None if transport is None else told.get(transport)
    if user is None and transport is not None:
        user = user_of(transport.get_extra_info("socket"))
        if user is not None:
            told[transport] = user
    if user is None:
        return (
            "Which user this call comes from cannot be told (its process is not on this machine, or"
            " has hung up)"
        )
    return None if user in users else f"This call comes from {_called(user)}"


def _called(user: int) -> str:
    try:
        return f"the user {pwd.getpwuid(user).pw_name}"
    except KeyError:
        return f"user {user}"


def _carries(request: web.Request, token: str) -> bool:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(
        given.strip().encode(errors="surrogateescape"), token.encode()
    )
