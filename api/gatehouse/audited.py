"""What of the calls is written into the audit log: every one that would change something, with what
came of it, and every look that is refused by scope, fleet or the session in its path.
"""

import asyncio
import re
from collections import Counter
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from api.errors import code_of, status_of
from api.gatehouse.fences import SAFE_METHODS
from api.gatehouse.principals import PRINCIPAL
from api.gatehouse.rates import Rates
from sessions.model import WasupError
from supervisor.access.audit import AuditLog, Deed
from supervisor.access.principal import Principal

REFUSALS_PER_MINUTE: Final = 60
REFUSALS_AT_ONCE: Final = 100
"""Of one caller: whoever asks for what he may not must not push older lines out of the log."""
_SESSION: Final = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_WEBHOOK: Final = re.compile(r"wh_[0-9a-f]{16}")
_MADE: Final = re.compile(r"/[a-z]+/[A-Za-z0-9_.-]{1,64}")


class Audited:
    """The middleware, and what the guard tells of its refusals."""

    def __init__(self, log: AuditLog) -> None:
        self._log = log
        self._rates = Rates(REFUSALS_PER_MINUTE, REFUSALS_AT_ONCE)
        self._unlogged = Counter[str]()

    @web.middleware
    async def changes(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Write down what came of a call that changes something."""
        principal = request.get(PRINCIPAL)
        if request.method in SAFE_METHODS or principal is None:
            return await handler(request)
        try:
            response = await handler(request)
        except WasupError as error:
            self._failed(request, principal, status_of(error), code_of(error))
            raise
        except web.HTTPException as error:
            self._failed(request, principal, error.status, "refused")
            raise
        except TimeoutError:  # what its caller is told, too (api/errors.py)
            self._write(request, principal, 504, "timed_out")
            raise
        except Exception:
            self._write(request, principal, 500, "internal_error")
            raise
        except asyncio.CancelledError:
            self._write(request, principal, 503, "cut_off")
            raise
        self._write(request, principal, response.status, "done", response.headers.get("Location"))
        return response

    def refused(self, request: web.Request, principal: Principal, error: WasupError) -> None:
        """Write down that somebody may not do what he asked for."""
        self._write_limited(request, principal, status_of(error), code_of(error))

    def _failed(self, request: web.Request, principal: Principal, status: int, result: str) -> None:
        """Write down what a handler made of a call; whom it refuses may not fill the log either."""
        write = self._write if status >= 500 else self._write_limited
        write(request, principal, status, result)

    def _write_limited(
        self, request: web.Request, principal: Principal, status: int, result: str
    ) -> None:
        if self._rates.take(principal.id, asyncio.get_running_loop().time()) > 0:
            self._unlogged[principal.id] += 1
            return
        unlogged = self._unlogged.pop(principal.id, 0)
        self._write(request, principal, status, result, unlogged=unlogged)

    def _write(
        self,
        request: web.Request,
        principal: Principal,
        status: int,
        result: str,
        made: str | None = None,
        unlogged: int = 0,
    ) -> None:
        resource = request.match_info.route.resource
        deed = Deed(
            address=request.remote,
            route=f"{request.method} {'unknown' if resource is None else resource.canonical}",
            session=_named(request, "id", _SESSION),
            webhook=_named(request, "webhook", _WEBHOOK),
            made=made if made is not None and _MADE.fullmatch(made) else None,
            status=status,
            result=result,
        )
        self._log.write(principal, deed, unlogged)


def _named(request: web.Request, name: str, form: re.Pattern[str]) -> str | None:
    """What the path names, if it is a name: what somebody has put in its place may be a secret."""
    given = request.match_info.get(name)
    return given if given is not None and form.fullmatch(given) else None
