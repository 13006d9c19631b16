"""What is refused, or shielded, before any handler: compressed bodies, what can wait while the host
is critical, and commands whose caller hangs up.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Set
from contextlib import contextmanager
from functools import partial
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from api.errors import Busy, EncodedBody, ShedLoad, errors_as_json
from api.gatehouse.principals import PRINCIPAL, is_operators, principal_of, sharer
from sessions.model import SameDevice, WasupError
from supervisor.access.principal import Principal

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
MAX_COMMANDS: Final = 256
"""Commands under way at once, those among them whose callers have hung up."""
OPERATORS_OWN: Final = 64
"""Of those, the last are for the operator: whatever keys are used for, his calls get through."""
SHARE: Final = 4
"""Of commands, and of the places of those who wait, one key has a quarter at the most: what it
does not let go of is missed by nobody else.
"""
WAITS: Final = web.RequestKey("waits", bool)
"""Set on a call that waits on purpose: how long it takes says nothing of how fast we are."""


@web.middleware
async def refuse_encodings(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Nobody needs compressed requests, and inflating them costs us a thousand times what they cost
    the sender.
    """
    if request.headers.get("Content-Encoding", "identity").strip().lower() not in {"identity", ""}:
        raise EncodedBody
    return await handler(request)


def call_of(request: web.Request) -> tuple[str, str] | None:
    """Path and method of the call's row in the table of routes, where a HEAD is its GET; None:
    there is no such path.
    """
    resource = request.match_info.route.resource
    if resource is None:
        return None
    return resource.canonical, "GET" if request.method == "HEAD" else request.method


class Shed:
    """While the host is critical, calls that can wait are refused. `deferrable`: their paths and
    methods; `is_on`: whether it is; `refused`: takes those that would have changed something.
    """

    def __init__(
        self,
        deferrable: Set[tuple[str, str]],
        is_on: Callable[[], bool],
        refused: Callable[[web.Request, Principal, WasupError], None],
    ) -> None:
        self._deferrable = deferrable
        self._is_on = is_on
        self._refused = refused

    @web.middleware
    async def check(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """The middleware. Raises ShedLoad."""
        if call_of(request) in self._deferrable and self._is_on():
            error = ShedLoad("The host is critical, and this call can wait.")
            principal = request.get(PRINCIPAL)
            if principal is not None and request.method not in SAFE_METHODS:
                self._refused(request, principal, error)
            raise error
        return await handler(request)


class Shares:
    """How many of something each key has. None is whoever has no share: the operator, above all."""

    def __init__(self) -> None:
        self._of_keys = Counter[str]()

    def enter(self, whose: str | None, most: int, what: str) -> None:
        """One more of `most`. Raises Busy: it has its share."""
        if whose is None:
            return
        share = max(1, most // SHARE)
        if self._of_keys[whose] >= share:
            raise Busy(f"{share} {what}.")
        self._of_keys[whose] += 1

    def leave(self, whose: str | None) -> None:
        """One fewer; who has none is not remembered."""
        if whose is not None:
            self._of_keys[whose] -= 1
            self._of_keys += Counter()


class Commands:
    """Commands under way.

    What has begun is carried through though its caller hangs up: half a creation is worse than one
    unheard of.
    """

    def __init__(self) -> None:
        self._under_way: set[asyncio.Task[web.StreamResponse]] = set()
        self._shares = Shares()

    @web.middleware
    async def carry_through(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """The middleware. Reading calls end with their connection; so does what nobody has to
        say his name for, the live feed's polls: they are bounded there, and would take from keys
        and operator what they share.
        """
        if request.method in SAFE_METHODS or PRINCIPAL not in request:
            return await handler(request)
        most = MAX_COMMANDS - (0 if is_operators(request) else OPERATORS_OWN)
        if len(self._under_way) >= most:
            raise Busy(f"{most} commands are under way.")
        whose = sharer(request)
        self._shares.enter(whose, MAX_COMMANDS, "commands of this caller are under way")
        task = asyncio.create_task(self._run(request, handler))
        self._under_way.add(task)
        task.add_done_callback(lambda done: self._on_done(done, whose))
        return await asyncio.shield(task)

    def _on_done(self, task: asyncio.Task[web.StreamResponse], whose: str | None) -> None:
        self._under_way.discard(task)
        self._shares.leave(whose)

    async def end(self, _app: web.Application) -> None:
        """Cancel what is still under way when the API has closed."""
        for task in (left := set(self._under_way)):
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    @staticmethod
    async def _run(request: web.Request, handler: Handler) -> web.StreamResponse:
        # here: whoever would hear of an error may have gone
        return await errors_as_json(request, partial(_naming_no_others, handler))


async def _naming_no_others(handler: Handler, request: web.Request) -> web.StreamResponse:
    """What stands in the way may be a session that does not exist for who calls."""
    try:
        return await handler(request)
    except SameDevice as error:
        if error.owner is None or principal_of(request).sees(error.owner):
            raise
        raise error.without_owner() from None


class Places:
    """A bounded number of places, for calls that take long; one key has a share of them at the
    most. `waits`: they take long because they wait for something to happen.
    """

    def __init__(self, most: int, what: str, waits: bool = False) -> None:
        self._most = most
        self._what = what
        self._waits = waits
        self.taken = 0
        self._shares = Shares()

    @contextmanager
    def one(self, request: web.Request) -> Iterator[None]:
        """A place, while the block runs. Raises Busy."""
        if self.taken >= self._most:
            raise Busy(f"{self._most} {self._what} already.")
        whose = sharer(request)
        self._shares.enter(whose, self._most, f"{self._what} for this caller")
        self.taken += 1
        if self._waits:
            request[WAITS] = True
        try:
            yield
        finally:
            self.taken -= 1
            self._shares.leave(whose)
