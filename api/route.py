"""A row of the URL table: a call, what it takes, and every answer that it gives."""

from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Handler

from api.errors import (
    WORKER_STATUS,
    BadRequest,
    Busy,
    EncodedBody,
    ForbiddenFleet,
    ForbiddenScope,
    ForeignSite,
    KeyReused,
    OutcomeUnknown,
    RateLimited,
    RequestEntityTooLarge,
    ShedLoad,
    TimedOut,
    status_of_kind,
)
from sessions.model import (
    SessionNotFound,
    StoreUnanswered,
    StoreUnavailable,
    Unanswered,
    WasupError,
    WorkerGone,
)
from supervisor.access.refusals import AccessDenied
from supervisor.access.scopes import Scope

Problem = type[WasupError] | tuple[int, str]
"""An error that a call may be answered with: its class, or its status and code where a class has
several codes, or HTTP itself has refused the call.
"""

EVERYWHERE: Final[tuple[Problem, ...]] = (
    BadRequest,
    (403, "forbidden"),
    ForeignSite,
    (408, "timed_out"),
    EncodedBody,
    (417, "expectation_failed"),
    (500, "internal_error"),
    Busy,
)
"""Before any handler: docs/api.md says when."""
TOKEN: Final[tuple[Problem, ...]] = (AccessDenied, RateLimited)
"""Of every call but the load balancer's and the pages of this description."""
STORE: Final[tuple[Problem, ...]] = (StoreUnavailable, StoreUnanswered)
KEYED: Final[tuple[Problem, ...]] = (BadRequest, KeyReused, OutcomeUnknown, *STORE)
"""Of every call that takes an Idempotency-Key."""
BODY: Final[tuple[Problem, ...]] = (BadRequest, TimedOut, RequestEntityTooLarge)
"""Of every call that takes a body."""
QUERY: Final[tuple[Problem, ...]] = ((414, "uri_too_long"),)
"""Of every call that takes a query: encoded, it may be longer than a request line (docs/api.md)."""
SESSION: Final[tuple[Problem, ...]] = (SessionNotFound,)
"""Of every call whose path names a session."""
"""Of every call that reads from the store, or writes to it."""
ASKED: Final[tuple[Problem, ...]] = (*STORE, WorkerGone, Unanswered, (504, "timed_out"))
"""Of every call that asks something of a session, which asks its worker and the store."""
WORKER: Final = ("not_open", "not_ready", "timed_out", "refused", "failed")
"""Of every call that the session's worker may refuse itself, or WhatsApp through it."""


def from_worker(*codes: str) -> tuple[Problem, ...]:
    """What a worker may answer to any request, and to this one."""
    return tuple((WORKER_STATUS[code], code) for code in (*WORKER, *codes))


@dataclass(frozen=True, slots=True, kw_only=True)
class Forms:
    """An answer whose form the caller's `Accept` chooses.

    `json`: the type of the JSON, if there is one. `others`: the other media types.
    """

    json: Any = None
    others: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Route:
    """A call. `answers`: by status, the type of its JSON, or its forms.

    `errors`: the errors of this call alone; those that follow from what it takes are added.
    `body`: the type of its JSON. `query`: a type whose fields are what may stand behind the `?`.
    """

    method: str
    path: str
    handler: Handler
    _: KW_ONLY
    answers: Mapping[int, Any] = field(default_factory=dict)
    errors: tuple[Problem, ...] = ()
    body: Any = None
    body_may_be_empty: bool = False
    query: Any = None
    needs_token: bool = True
    scope: Scope = Scope.ADMIN
    """What a key needs for it; who forgets to say so has opened nothing."""
    fleet: bool = False
    """It is about the whole fleet: a key for some sessions may not."""
    deferrable: bool = False
    """It can wait: it is refused while the host is critical (supervisor/watch/shedding.py)."""
    slow: bool = False
    """It takes long on purpose: that is no part of how long calls take (gatehouse/timed.py)."""
    keyed: bool = False
    """It takes an Idempotency-Key (once.py)."""

    def definition(self) -> web.RouteDef:
        """The same for aiohttp. A call that reads is answered to HEAD, too."""
        if self.method == "GET":
            return web.get(self.path, self.handler)
        return web.route(self.method, self.path, self.handler)

    def problems(self) -> Mapping[int, tuple[str, ...]]:
        """Every error that it may be answered with: codes by status, both in order."""
        every = EVERYWHERE + self.errors
        every += TOKEN if self.needs_token else ()
        every += (ForbiddenScope,) if self.needs_token and self.scope is not Scope.READ else ()
        every += (ForbiddenFleet,) if self.fleet else ()
        every += (ShedLoad,) if self.deferrable else ()
        every += KEYED if self.keyed else ()
        every += BODY if self.body is not None else ()
        every += QUERY if self.query is not None else ()
        every += SESSION if "{id}" in self.path else ()
        pairs = {
            one if isinstance(one, tuple) else (status_of_kind(one), one.code) for one in every
        }
        statuses = sorted({status for status, _ in pairs})
        return {
            status: tuple(sorted(code for its, code in pairs if its == status))
            for status in statuses
        }
