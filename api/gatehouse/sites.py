"""Which web sites' pages may call: our own, and those that WHATSAPP_CORS_ORIGINS names.

A browser says for whom it asks, in `Origin` and in `Sec-Fetch-Site`: an `<img>` of another site
sends no Origin, so the Origin alone would let it in. What a page is let read, CORS says; nothing is
ever let in by a cookie, so no answer allows credentials.
"""

from collections.abc import Set
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from api.errors import ForeignSite

OWN_SITES: Final = frozenset({"same-origin", "none"})
"""`none`: typed into the address bar. Another port of this machine is `same-site`, and not ours."""
ALLOWED_HEADERS: Final = (
    "Authorization, Content-Type, Accept, Idempotency-Key, Last-Event-ID, Cache-Control"
)
EXPOSED_HEADERS: Final = "Location, Retry-After, Idempotency-Replayed, WWW-Authenticate"
METHODS: Final = "GET, HEAD, POST, PUT, PATCH, DELETE"
PREFLIGHT_SECONDS: Final = 600
"""How long a browser remembers what it was allowed: who takes a site off the list waits as long."""


class Sites:
    """The middleware. `allowed`: origins, exactly as browsers name them."""

    def __init__(self, allowed: Set[str]) -> None:
        self._allowed = allowed

    @web.middleware
    async def check(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Refuse other sites' pages; tell an allowed one's browser what it may ask.

        Raises ForeignSite, HTTPForbidden.
        """
        if not self.is_allowed_other(request):
            if is_foreign(request):
                raise web.HTTPForbidden
            if request.headers.get("Sec-Fetch-Site", "none").lower() not in OWN_SITES:
                raise ForeignSite
        if request.method == "OPTIONS" and "Access-Control-Request-Method" in request.headers:
            return self._preflight(request)
        return await handler(request)

    def is_allowed_other(self, request: web.Request) -> bool:
        """Whether it comes from a page of an allowed site that is not our own."""
        return is_foreign(request) and request.headers.get("Origin") in self._allowed

    async def mark(self, request: web.Request, response: web.StreamResponse) -> None:
        """Say on an answer, before its head is sent, that an allowed site's page may read it."""
        if not self._allowed:
            return
        response.headers.add("Vary", "Origin")
        if self.is_allowed_other(request):
            response.headers["Access-Control-Allow-Origin"] = request.headers["Origin"]
            response.headers["Access-Control-Expose-Headers"] = EXPOSED_HEADERS

    def _preflight(self, request: web.Request) -> web.Response:
        if not self.is_allowed_other(request):
            raise web.HTTPForbidden
        return web.Response(
            status=204,
            headers={
                "Access-Control-Allow-Methods": METHODS,
                "Access-Control-Allow-Headers": ALLOWED_HEADERS,
                "Access-Control-Max-Age": str(PREFLIGHT_SECONDS),
            },
        )


def is_foreign(request: web.Request) -> bool:
    """Whether it comes from a page, and not from one of ours."""
    origin = request.headers.get("Origin")
    return origin is not None and origin.partition("://")[2] != request.headers.get("Host")
