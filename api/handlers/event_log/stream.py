"""Events as they happen, as Server-Sent Events (the HTML standard, 9.2): a listener that falls
behind reads the log at its own pace, and one that has gone goes on by the number that it saw last.

What one listener holds here is a page of events and a piece on its way; nobody else waits for it.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Final

import msgspec
import structlog
from aiohttp import web

from api.errors import BadRequest, Busy
from api.gatehouse.connections import HEADERS
from api.gatehouse.principals import principal_of
from api.parts import ACCESS, STREAMS
from sessions.model import StoreError
from sessions.views.events import EventView
from supervisor.fleet.event_filter import EventFilter
from supervisor.fleet.feed import Feed, Page

EVENT_STREAM: Final = "text/event-stream"
LAST_SEEN: Final = "Last-Event-ID"
RETRY_MS: Final = 3000
"""When a browser comes back after the end of a stream."""
BEAT_SECONDS: Final = 15.0
"""A stream without events says so often that it lives: proxies cut silent ones after 30 s or 60 s.
"""
EVENTS_AT_ONCE: Final = 100
PIECE_BYTES: Final = 64 * 1024
TAKEN_SECONDS: Final = 20.0
"""A listener that has not taken a piece in this time has stopped reading. The connection itself is
dropped a little later (connections.py), so that the last word can still be read.
"""
STOPPING: Final = ("stopping", "The supervisor stops. Come again in a moment.")
SLOW: Final = ("slow", "What was sent was not read in time. Come again, and read on.")
STORE: Final = ("store", "The log cannot be read now. Come again in a moment.")
ENDED: Final = ("token", "Your key or token has ended. Come again with a fresh one.")
GONE: Final = ("gone", "The listener has hung up.")
"""Why a stream ends: what programs go by, and words."""

log = structlog.get_logger("api")


class StreamEnd(msgspec.Struct, frozen=True):
    """The last word of a stream."""

    reason: str
    message: str


def last_seen(request: web.Request) -> int | None:
    """The number that a listener who comes again has seen last. Raises BadRequest."""
    given = request.headers.get(LAST_SEEN)
    if given is None or not given.strip():
        return None
    if not given.isascii() or not given.isdigit() or len(given) > 15:
        raise BadRequest(
            f"{LAST_SEEN} is {given[:40]!r}.", "It is the `id` of the event that was seen last."
        )
    return int(given)


async def tell(
    request: web.Request, feed: Feed, after: int, wanted: EventFilter
) -> web.StreamResponse:
    """Answer with a stream, until the listener or the program ends it. Raises Busy, and what the
    feed raises before anything was sent.
    """
    headers = {
        "Content-Type": f"{EVENT_STREAM}; charset=utf-8",
        "Cache-Control": "no-store",
        "X-Accel-Buffering": "no",
        "Vary": "Accept",
    }
    if request.method == "HEAD":
        return web.Response(headers=headers)
    access, principal = request.app[ACCESS], principal_of(request)
    response, end = web.StreamResponse(headers={**HEADERS, **headers}), STOPPING
    with contextlib.suppress(TimeoutError):
        async with request.app[STREAMS].one(request):
            first = await feed.after(after, EVENTS_AT_ONCE, 0.0, wanted)
            await response.prepare(request)
            may_stay = partial(access.holds, principal)
            end = await _Listener(response, feed, after, wanted, may_stay).told(first)
    if not response.prepared:
        raise Busy(STOPPING[1])
    if end is SLOW:
        log.info("a listener to the events does not read", action="stream_slow")
    with contextlib.suppress(ConnectionError):  # it has gone
        await response.write(_block(event="end", data=msgspec.json.encode(StreamEnd(*end))))
    return response


class _Listener:
    """One who listens."""

    def __init__(
        self,
        response: web.StreamResponse,
        feed: Feed,
        after: int,
        wanted: EventFilter,
        may_stay: Callable[[], bool],
    ) -> None:
        self._may_stay = may_stay
        self._response = response
        self._feed = feed
        self._wanted = wanted
        self._after = after
        """Everything up to this number is told, or was not asked for."""
        self._told = after
        """As far as the listener knows of it."""
        self._spoke_at = 0.0

    async def told(self, page: Page) -> tuple[str, str]:
        """Tell this page, and those that come; why there is an end."""
        try:
            await self._send(f"retry: {RETRY_MS}\nid: {self._after}\n\n".encode())
            while self._may_stay():
                for piece in _pieces(_blocks(page)):
                    await self._send(piece)
                if page.events:
                    self._told = page.read_to
                self._after = page.read_to
                await self._beat()
                page = await self._feed.after(
                    self._after, EVENTS_AT_ONCE, BEAT_SECONDS, self._wanted
                )
            return ENDED
        except _Stuck:
            return SLOW
        except StoreError:
            return STORE
        except ConnectionError:
            return GONE

    async def _beat(self) -> None:
        """Say that all is well if nothing was said for long; and how far the log was looked
        through, so that who comes again need not have it looked through once more.
        """
        if asyncio.get_running_loop().time() - self._spoke_at < BEAT_SECONDS:
            return
        place = f"id: {self._after}\n" if self._after != self._told else ""
        self._told = self._after
        await self._send(f":\n{place}\n".encode())

    async def _send(self, piece: bytes) -> None:
        """Raises _Stuck when it is not taken."""
        loop = asyncio.get_running_loop()
        taken = loop.time() + TAKEN_SECONDS
        try:
            async with asyncio.timeout_at(taken):
                await self._response.write(piece)
        except TimeoutError:
            raise _Stuck from None
        self._spoke_at = loop.time()


class _Stuck(Exception):
    """The listener does not read."""


def _blocks(page: Page) -> Iterator[bytes]:
    if page.gap is not None:
        data = msgspec.json.encode(page.gap._asdict())
        yield _block(event="gap", number=page.gap.last, data=data)
    for event in page.events:
        yield _block(number=event.n, data=msgspec.json.encode(EventView.of(event)))
    if page.events and page.read_to > page.events[-1].n:
        yield f"id: {page.read_to}\n\n".encode()


def _block(data: bytes, event: str | None = None, number: int | None = None) -> bytes:
    """One message. JSON of ours has no line breaks."""
    head = (f"id: {number}\n" if number is not None else "") + (
        f"event: {event}\n" if event else ""
    )
    return head.encode() + b"data: " + data + b"\n\n"


def _pieces(blocks: Iterable[bytes]) -> Iterator[bytes]:
    """The blocks in pieces that are sent at once; one block is whole, however long."""
    piece = bytearray()
    for block in blocks:
        piece += block
        if len(piece) >= PIECE_BYTES:
            yield bytes(piece)
            piece.clear()
    if piece:
        yield bytes(piece)
