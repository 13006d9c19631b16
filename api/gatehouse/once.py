"""`Idempotency-Key`: what a client sends twice under one key is done once, also when the supervisor
was restarted in between.

A request is noted in the store before it is done, and its answer after. Whoever asks again under
the same key has the same answer: at once, or when the first one has it. What is refused has done
nothing, and frees its key.
"""

import asyncio
import functools
import hashlib
import re
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec
from aiohttp import web
from aiohttp.typedefs import Handler

from api.errors import BadRequest, KeyReused, OutcomeUnknown
from api.gatehouse.principals import principal_of
from api.responses import whole_body
from sessions.model import StoreUnanswered, Unanswered, WasupError, WorkerGone, WorkerRefused
from sessions.store import Store
from sessions.store.tables.requests import CALLER_DIGITS, Answer

HEADER: Final = "Idempotency-Key"
REPLAYED: Final = "Idempotency-Replayed"
"""Says of an answer that nothing was done for it."""
_KEY: Final = re.compile(r"[!-~]{1,255}")
_LARGE_BYTES: Final = 64 * 1024
"""Above it the digest is made in a thread, so that the loop goes on."""

Work = Callable[[], Awaitable[web.Response]]


class Once:
    """The keyed requests under way, and those that are remembered."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._under_way: dict[str, tuple[str, asyncio.Future[Answer]]] = {}

    async def do(self, key: str, fingerprint: str, session: str | None, work: Work) -> web.Response:
        """Have it done, unless it was. Raises KeyReused, OutcomeUnknown, and what `work` raises."""
        known = self._under_way.get(key)
        if known is not None:
            if known[0] != fingerprint:
                raise KeyReused
            return _shown(await asyncio.shield(known[1]), replayed=True)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._under_way[key] = fingerprint, future
        try:
            answer, replayed = await self._answer(key, fingerprint, session, work)
        except BaseException as error:
            future.set_exception(OutcomeUnknown() if _leaves_doubt(error) else error)
            future.exception()  # nobody may have waited for it
            raise
        finally:
            del self._under_way[key]
        future.set_result(answer)
        return _shown(answer, replayed=replayed)

    async def _answer(
        self, key: str, fingerprint: str, session: str | None, work: Work
    ) -> tuple[Answer, bool]:
        found = await self._store.requests.begin(key, fingerprint, session)
        if found is not None:
            if found.fingerprint != fingerprint:
                raise KeyReused
            if found.answer is None:
                raise OutcomeUnknown
            return found.answer, True
        try:
            response = await work()
        except BaseException as error:
            if not _leaves_doubt(error):
                self._store.requests.forget(key)
            raise
        assert isinstance(response.body, bytes), "the answer of a command is JSON"
        answer = Answer(
            response.status, msgspec.Raw(response.body), response.headers.get("Location")
        )
        # Not awaited: what is done is told at once. Should we die before it is durable, whoever
        # asks again hears that the outcome is not known.
        self._store.requests.finish(key, answer)
        return answer, False


ONCE: Final = web.AppKey("once", Once)


def keyed(handler: Handler) -> Callable[[web.Request], Awaitable[web.Response]]:
    """A handler that does nothing twice under one key."""

    @functools.wraps(handler)
    async def handle(request: web.Request) -> web.Response:
        raw = await whole_body(request) if HEADER in request.headers else b""
        return await once(request, raw, lambda: handler(request))  # type: ignore[arg-type, return-value]

    return handle


async def once(request: web.Request, raw: bytes, work: Work) -> web.Response:
    """Do what the request asks for; once, if it carries a key.

    `raw`: its body. Raises BadRequest, KeyReused, OutcomeUnknown, and what `work` raises.
    """
    key = request.headers.get(HEADER)
    if key is None:
        return await work()
    if _KEY.fullmatch(key) is None:
        raise BadRequest(
            f"{HEADER} is {key[:40]!r}.", "It accepts 1 to 255 visible ASCII characters."
        )
    head = f"{request.method} {request.path_qs}\n".encode()
    digest = functools.partial(_digest, head + raw)
    fingerprint = await asyncio.to_thread(digest) if len(raw) > _LARGE_BYTES else digest()
    session = request.match_info.get("id")
    return await request.app[ONCE].do(_of_caller(request, key), fingerprint, session, work)


def _of_caller(request: web.Request, key: str) -> str:
    """A key's name in the store: what one caller has sent under it is not told to another. It
    begins with the caller's own digits, so that the store bounds what each of them keeps there.
    """
    principal = principal_of(request)
    if principal.is_operator:
        return _digest(key.encode())
    # a key's tokens may be different people's: what they may see tells them apart
    seen = "" if principal.sessions is None else f"\n{','.join(sorted(principal.sessions))}"
    caller = _digest(principal.id.encode())[:CALLER_DIGITS]
    digest = _digest(f"{principal.id}{seen}\n{key}".encode())
    return caller + digest[CALLER_DIGITS:]


def _leaves_doubt(error: BaseException) -> bool:
    """Whether it may have been done all the same: no answer came (a worker's, a session's, the
    store's), or this program failed.
    """
    if isinstance(error, WorkerRefused):
        return error.code == "timed_out"
    return not isinstance(error, WasupError) or isinstance(
        error, Unanswered | StoreUnanswered | WorkerGone
    )


def _digest(text: bytes) -> str:
    return hashlib.sha256(text).hexdigest()


def _shown(answer: Answer, *, replayed: bool) -> web.Response:
    response = web.Response(
        body=bytes(answer.body),
        status=answer.status,
        content_type="application/json",
        charset="utf-8",
    )
    if answer.location is not None:
        response.headers["Location"] = answer.location
    if replayed:
        response.headers[REPLAYED] = "true"
    return response
