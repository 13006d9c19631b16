"""Who may call, and what: a token, a key or a short-lived token says who calls, and where none is
set, the kernel says whether it is the supervisor's own user or root; the URL table says what each
call needs.
"""

import pwd
import re
from asyncio import get_running_loop
from collections.abc import Iterable, Set
from typing import Final
from weakref import WeakKeyDictionary

from aiohttp import web
from aiohttp.typedefs import Handler

from api.errors import ForbiddenFleet, ForbiddenScope, RateLimited
from api.gatehouse.audited import Audited
from api.gatehouse.callers import user_of
from api.gatehouse.fences import SAFE_METHODS, call_of
from api.gatehouse.principals import PRINCIPAL, must_see
from api.gatehouse.rates import Rates
from api.gatehouse.sites import is_foreign
from api.live.entrance import PATH as LIVE
from api.route import Route
from sessions.model import WasupError
from supervisor.access.access import Access
from supervisor.access.principal import BY_USER, Principal
from supervisor.access.refusals import AccessDenied
from supervisor.access.scopes import Scope
from supervisor.access.token_validator import Audience
from supervisor.settings import is_loopback

OPEN_FILES: Final = "/docs/"
"""What the page of the description loads."""
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
    "Send the header `Authorization: Bearer <token>`: a key (`wasup keys create`, docs/access.md)"
    " or WHATSAPP_API_TOKEN; or set WHATSAPP_API_LOCAL_USERS=all, which gives every number to every"
    " user of this machine."
)


class Guard:
    """The middleware, and the same for the live feed.

    `users`: whose processes may call without a token; None: everybody's. Where a token is set
    (`needs_token`), nobody's; where not, the API is on loopback, and whoever brings none may call
    only loopback names (DNS rebinding). `rates`: of keys; `failures`: of addresses.
    """

    def __init__(
        self,
        routes: Iterable[Route],
        access: Access,
        audited: Audited,
        users: Set[int] | None,
        *,
        needs_token: bool,
        rates: Rates,
        failures: Rates,
    ) -> None:
        self._routes = {(route.path, route.method): route for route in routes}
        self._open = {route.path for route in self._routes.values() if not route.needs_token}
        self._access = access
        self._audited = audited
        self._users = users
        self._needs_token = needs_token
        self._rates = rates
        self._failures = failures
        self._told = WeakKeyDictionary[object, int]()
        """By connection, whose it is: it cannot change."""

    @web.middleware
    async def check(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let in who may do that.

        Raises AccessDenied, RateLimited, ForbiddenScope, ForbiddenFleet, SessionNotFound,
        HTTPForbidden.
        """
        if _name(request) == "":
            raise web.HTTPForbidden
        # a browser can put no header on a WebSocket: there the token comes in the first message
        if request.path == LIVE or self._is_open(request):
            return await handler(request)
        principal = await self._principal(request, _credential(request), Audience.API)
        request[PRINCIPAL] = principal
        try:
            self._must_be_allowed(request, principal)
        except WasupError as error:
            self._audited.refused(request, principal, error)
            raise
        response = await handler(request)
        if request.method in SAFE_METHODS and not response.prepared:
            self._must_still_hold(principal)
        return response

    async def live_principal(self, request: web.Request, given: str | None) -> Principal:
        """Who a client of the live feed is, by the token of its first message or the header of its
        first call. Raises AccessDenied, RateLimited.
        """
        credential = _credential(request) if given is None else given
        try:
            return await self._principal(request, credential, Audience.LIVE)
        except web.HTTPForbidden:
            raise AccessDenied("empty_token") from None

    def _is_open(self, request: web.Request) -> bool:
        is_file = request.path.startswith(OPEN_FILES)
        return request.method in SAFE_METHODS and (is_file or request.path in self._open)

    async def _principal(
        self, request: web.Request, credential: str | None, audience: Audience
    ) -> Principal:
        address, now = _address(request), get_running_loop().time()
        if credential is None and not self._needs_token and not is_foreign(request):
            if not is_loopback(_name(request)):
                raise web.HTTPForbidden
            self._must_be_local(request)
            return BY_USER
        may_guess = is_loopback(address) or self._failures.wait(address, now) <= 0
        try:
            principal = await self._access.authenticate(credential, audience, address, may_guess)
        except AccessDenied as error:
            wait = self._failures.take(address, now) if error.reason == "invalid" else 0.0
            if wait > 0:
                raise RateLimited("Too many wrong tokens came from this address.", wait) from None
            raise
        if not principal.is_operator:
            wait = self._rates.take(principal.id, now)
            if wait > 0:
                raise RateLimited("This key calls more often than it may.", wait)
        return principal

    def _must_be_allowed(self, request: web.Request, principal: Principal) -> None:
        call = call_of(request)
        if call is None:  # there is no such call, which is said in its place
            return
        route = self._routes.get(call)
        scope, of_fleet = (Scope.ADMIN, True) if route is None else (route.scope, route.fleet)
        if not principal.may(scope):
            raise ForbiddenScope(scope, principal.scope)
        if of_fleet and principal.sessions is not None:
            raise ForbiddenFleet
        if "id" in request.match_info:
            must_see(request, request.match_info["id"])

    def _must_still_hold(self, principal: Principal) -> None:
        """Who was revoked while he waited for something to see does not see it."""
        if not self._access.holds(principal):
            raise AccessDenied("invalid" if self._access.is_revoked(principal) else "expired")

    def _must_be_local(self, request: web.Request) -> None:
        if self._users is None:
            return
        stranger = _stranger(request, self._users, self._told)
        if stranger is not None:
            raise AccessDenied("empty_token", f"{stranger}, and it brings no token.", HOW_TO)


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


def _credential(request: web.Request) -> str | None:
    """What the caller brings; None: nothing."""
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    return given.strip() if scheme.lower() == "bearer" else None


def _address(request: web.Request) -> str:
    """Where a call comes from, for counting: a proxy is no part of this machine."""
    peer = request.remote or "unknown"
    through = any(PROXY_HEADERS.fullmatch(name) for name in request.headers)
    return f"{peer} through a proxy" if through else peer
