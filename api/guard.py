"""Who may call: the bearer token where one is set, and no other web site through a browser."""

import hmac
from urllib.parse import urlsplit

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from supervisor.settings import is_loopback

OPEN_PATHS = frozenset({"/healthz", "/readyz"})
"""A load balancer's probes carry no token, and learn nothing."""


def guard(token: str | None) -> Middleware:
    """The middleware. Without a token the API is on loopback, and then only loopback names may be called (DNS rebinding)."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        origin = request.headers.get("Origin")
        if origin is not None and origin.partition("://")[2] != request.host:
            raise web.HTTPForbidden
        if token is None and not is_loopback(_name(request.host)):
            raise web.HTTPForbidden
        if token is not None and request.path not in OPEN_PATHS and not _carries(request, token):
            raise web.HTTPUnauthorized(headers={"WWW-Authenticate": "Bearer"})
        return await handler(request)

    return check


def _name(host: str) -> str | None:
    """The name or address in a Host header."""
    try:
        return urlsplit(f"//{host}").hostname
    except ValueError:
        return None


def _carries(request: web.Request, token: str) -> bool:
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    return scheme.lower() == "bearer" and hmac.compare_digest(
        given.strip().encode(errors="surrogateescape"), token.encode()
    )
