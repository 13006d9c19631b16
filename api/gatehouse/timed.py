"""How long each call takes and what comes of it: the outermost middleware, so that what is refused
counts, too.

What is measured ends where the answer's head is ready, or, of a stream, with the stream: how fast a
caller reads is its own affair.
"""

from asyncio import CancelledError
from collections.abc import Set
from time import perf_counter
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from api.gatehouse.fences import WAITS, call_of
from api.gatehouse.principals import PRINCIPAL
from api.live.entrance import PATH as LIVE
from supervisor.history.outward.requests import Requests, Served

HUNG_UP: Final = 499
"""Not HTTP's: nginx's word in its log for a caller that has hung up before it was answered."""
UNKNOWN: Final = "unknown"
"""The path of what there is not."""


class Timed:
    """The middleware. `requests`: is told of each call; `slow`: paths and methods of the calls that
    take long on purpose.
    """

    def __init__(self, requests: Requests, slow: Set[tuple[str, str]]) -> None:
        self._requests = requests
        self._slow = slow

    @web.middleware
    async def each(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Let it through, and tell of it."""
        begun, status = perf_counter(), 500
        try:
            response = await handler(request)
            status = response.status
            return response
        except web.HTTPException as redirection:
            status = redirection.status
            raise
        except CancelledError:
            status = HUNG_UP
            raise
        finally:
            self._tell(request, status, perf_counter() - begun)

    def _tell(self, request: web.Request, status: int, seconds: float) -> None:
        call, principal = call_of(request), request.get(PRINCIPAL)
        path = UNKNOWN if call is None else call[0]
        self._requests.served(
            Served(
                method=request.method,
                path=path,
                caller=None if principal is None else (principal.id, principal.name),
                status=status,
                seconds=seconds,
                waited=WAITS in request or path == LIVE or call in self._slow,
                agent=request.headers.get("User-Agent"),
                address=request.remote,
            )
        )
