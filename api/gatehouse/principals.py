"""The principal of a request, as handlers ask for it."""

from collections.abc import Collection
from typing import Final

from aiohttp import web

from api.errors import ForbiddenFleet
from sessions.model import SessionNotFound
from supervisor.access.principal import Principal

PRINCIPAL: Final = web.RequestKey("principal", Principal)
"""Set by the guard, for every call but those that are open to all."""


def principal_of(request: web.Request) -> Principal:
    """Who calls."""
    return request[PRINCIPAL]


def is_operators(request: web.Request) -> bool:
    """Whether it is the operator who calls; nobody, of a call that is open to all, is not."""
    principal = request.get(PRINCIPAL)
    return principal is not None and principal.is_operator


def sharer(request: web.Request) -> str | None:
    """Whose share of what is bounded a call takes; None: it has none, as it is the operator's, or
    open to all.
    """
    principal = request.get(PRINCIPAL)
    return None if principal is None or principal.is_operator else principal.id


def named(request: web.Request, sessions: Collection[str]) -> list[str]:
    """Sessions that a request names, where none named means all: for a key of some sessions that
    means those. Raises SessionNotFound, ForbiddenFleet (it is for none).
    """
    for session in sessions:
        must_see(request, session)
    its = principal_of(request).sessions
    if not sessions and its is not None and not its:
        raise ForbiddenFleet
    return list(sessions) or sorted(its or ())


def must_see(request: web.Request, session: str) -> None:
    """That session exists for who calls; or not at all. Raises SessionNotFound."""
    if not principal_of(request).sees(session):
        raise SessionNotFound(f"There is no session {session[:80]!r}.")
