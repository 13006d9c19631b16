"""The API's connections: how many there are at once, how long each may keep us waiting, and what is
said to what is no HTTP.

A connection is a guest before its token is seen. Whatever it does, descriptors are left for the
workers and the store, memory is bounded, and a monitor that asks /healthz gets through: when all
places are taken, who has kept us waiting longest gives his to the newcomer.
"""

import asyncio
import enum
import logging
import resource
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

import structlog
from aiohttp import web
from aiohttp.http_exceptions import LineTooLong

from api.errors import error_response, from_http

MAX_LINE_BYTES: Final = 8_000
"""Longest request line: method, path and query."""
MAX_FIELD_BYTES: Final = 8_190
"""Longest header.

Its difference from a line's is what tells the two apart where aiohttp refuses them.
"""
MAX_UNSENT_BYTES: Final = 32 * 2**20
"""What of answers may wait in memory for those who do not read them; beyond it who has taken
nothing for longest is dropped.
"""
SHARE: Final = 4
"""The API has a quarter of the supervisor's descriptors at the most; the others are for workers and
the store.
"""
SWEEP_SECONDS: Final = 1.0
TELL_SECONDS: Final = 60.0
"""How often malformed and refused calls are told of in the log: 18 bytes of a stranger must not
make a line each.
"""
LINGERING_SECONDS: Final = 1.0
"""How long the rest of a body that was refused is thrown away (uninflated) before the connection is
closed: without that a client that is still sending sees a broken pipe in place of the 401 or 413
that tells it why.
"""
HEADERS: Final[Mapping[str, str]] = {
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": "frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
"""On every answer that says nothing else itself: a browser may neither guess another type, nor let
another site's page embed or frame it, nor tell anybody that it was here, nor keep it.
"""

log = structlog.get_logger("api")
_NOWHERE: Final = logging.getLogger("wasup.nowhere")
# aiohttp's own lines quote the request, with its token; what is told of errors is told below
_NOWHERE.disabled = True


async def bear_headers(_request: web.Request, response: web.StreamResponse) -> None:
    """Put them on, before the head of an answer is sent."""
    for name, value in HEADERS.items():
        response.headers.setdefault(name, value)


class Owes(enum.Enum):
    """What a peer keeps us waiting for."""

    HEAD = "head"
    IDLE = "idle"
    BODY = "body"
    READING = "reading"
    LOGIN = "login"


DEADLINE_SECONDS: Final[Mapping[Owes, float]] = {
    Owes.HEAD: 10.0,
    Owes.IDLE: 75.0,
    Owes.BODY: 120.0,
    Owes.READING: 30.0,
    Owes.LOGIN: 35.0,
}
"""The head of a request whole, from its first byte (the first one: from the connection on); the
next request on a connection that is kept (reverse proxies keep theirs for 60 s and must be the
first to close); a body whole; some more of the answer taken; the token on a WebSocket (the live
feed itself ends who is silent, 5 s before).
"""


def most_connections(wanted: int) -> int:
    """How many connections the API keeps at once: what is wanted, within its share of the
    descriptors.
    """
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return wanted if limit == resource.RLIM_INFINITY else max(8, min(wanted, limit // SHARE))


class Door:
    """All connections of the API. `most`: how many there may be."""

    def __init__(self, most: int) -> None:
        self.most = most
        self._inside: set[Connection] = set()
        self._settled: set[Connection] = set()
        self._loop = asyncio.get_running_loop()
        self._sweeping: asyncio.TimerHandle | None = None
        self._told_at = float("-inf")
        self._untold = Counter[str]()

    def __len__(self) -> int:
        return len(self._inside)

    def open(self) -> None:
        """Begin to look after the connections."""
        self._sweeping = self._loop.call_later(SWEEP_SECONDS, self._sweep)

    def close(self) -> None:
        """Look after them no more."""
        if self._sweeping is not None:
            self._sweeping.cancel()
        self._tell(float("inf"))

    def enter(self, connection: "Connection") -> bool:
        """Whether there is a place for it."""
        if len(self._inside) >= self.most and not self._make_room():
            self._untold["calls refused, all connections were at work"] += 1
            return False
        self._inside.add(connection)
        return True

    def leave(self, connection: "Connection") -> None:
        """It is gone."""
        self._inside.discard(connection)
        self._settled.discard(connection)

    def settle(self, connection: "Connection") -> None:
        """It is the live feed's, which has places of its own: it takes none of those for calls.
        What it leaves unread still counts.
        """
        if connection in self._inside:
            self._inside.discard(connection)
            self._settled.add(connection)

    def unsettle(self, connection: "Connection") -> None:
        """It is one like others again: a long poll is answered."""
        if connection in self._settled:
            self._settled.discard(connection)
            self._inside.add(connection)

    def malformed(self) -> None:
        """Something came that is no HTTP. Its content is told nowhere: it may hold a token."""
        self._untold["malformed requests"] += 1

    def bound_unsent(self, writer: "Connection") -> None:
        """Somebody does not read as fast as we answer: drop those who have taken nothing for
        longest, while too much waits for all.
        """
        now = self._loop.time()
        unsent = {
            one: size
            for one in self._inside | self._settled
            if one is not writer and (size := one.unsent_bytes())
        }
        total = sum(unsent.values()) + writer.unsent_bytes()
        for one in sorted(unsent, key=lambda one: one.taken_at(now)):
            if total <= MAX_UNSENT_BYTES:
                return
            total -= unsent[one]
            self._drop(one, Owes.READING)

    def _make_room(self) -> bool:
        """Drop who has kept us waiting longest, of the peer that keeps us waiting most often;
        False: nobody does.
        """
        now = self._loop.time()
        waiting = {one: owed for one in self._inside if (owed := one.owes(now)) is not None}
        if not waiting:
            return False
        of_peer = Counter(one.peer for one in waiting)
        worst = max(waiting, key=lambda one: (of_peer[one.peer], now - waiting[one][1]))
        self._drop(worst, waiting[worst][0])
        return True

    def _drop(self, connection: "Connection", owes: Owes) -> None:
        self._untold[f"connections dropped ({owes.value} awaited)"] += owes is not Owes.IDLE
        self.leave(connection)
        connection.drop(owes)

    def _sweep(self) -> None:
        # first: nothing below may end it
        self._sweeping = self._loop.call_later(SWEEP_SECONDS, self._sweep)
        now = self._loop.time()
        for connection in self._inside | self._settled:
            owed = connection.owes(now)
            if owed is not None and now - owed[1] >= DEADLINE_SECONDS[owed[0]]:
                self._drop(connection, owed[0])
        self._tell(now)

    def _tell(self, now: float) -> None:
        untold = +self._untold
        if untold and now - self._told_at >= TELL_SECONDS:
            words = ", ".join(f"{count} {what}" for what, count in sorted(untold.items()))
            log.warning(words, action="api_abused", **{"counts": dict(untold)})
            self._untold.clear()
            self._told_at = now


class Connection(web.RequestHandler):
    """One connection. aiohttp speaks HTTP on it; what is added: its place at the door, what it owes
    us, and errors in the one shape.
    """

    __slots__ = ("_door", "_head_began", "_login_began", "_since", "_taken_at", "_unsent", "peer")

    def __init__(self, server: web.Server, door: Door) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            access_log=_NOWHERE,
            # inflating what is thrown away has stopped the loop for a minute
            auto_decompress=False,
            lingering_time=LINGERING_SECONDS,
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_FIELD_BYTES,
            logger=_NOWHERE,
        )
        self._door = door
        self._since = self._taken_at = self._loop.time()
        self._head_began = True
        self._unsent = 0
        self._login_began: float | None = None
        self.peer: str | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It is accepted: in, or told that there is no place."""
        super().connection_made(transport)
        peer = transport.get_extra_info("peername")
        self.peer = str(peer[0]) if peer else None
        if not self._door.enter(self):
            assert self.transport is not None
            self._say(503, "busy", "All connections of this API are in use.", BUSY_HINT)
            self.force_close()

    def connection_lost(self, exc: BaseException | None) -> None:
        """It is over, by either side."""
        self._door.leave(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes came; the first ones of a request's head begin its time."""
        if data and not self._head_began and self._current_request is None:
            self._head_began, self._since = True, self._loop.time()
        super().data_received(data)

    def await_login(self, settles: bool) -> None:
        """It has become a WebSocket, whose token is still to come. `settles`: it is among the live
        feed's guests, who are bounded there.
        """
        self._login_began = self._loop.time()
        if settles:
            self._door.settle(self)

    def settle(self) -> None:
        """It is a client's that the live feed has let in."""
        self._login_began = None
        self._door.settle(self)

    def pause_writing(self) -> None:
        """The peer does not read as fast as we answer."""
        super().pause_writing()
        self._door.bound_unsent(self)

    def unsent_bytes(self) -> int:
        """What of our answers has not left this process."""
        return 0 if self.transport is None else self.transport.get_write_buffer_size()

    def taken_at(self, now: float) -> float:
        """When the peer last took something of what waits for it."""
        self.owes(now)
        return self._taken_at

    def owes(self, now: float) -> tuple[Owes, float] | None:
        """What the peer keeps us waiting for, and since when; None: it is our turn."""
        unsent = self.unsent_bytes()
        if unsent:
            if unsent != self._unsent:
                self._unsent, self._taken_at = unsent, now
            return Owes.READING, self._taken_at
        self._unsent = 0
        request = self._current_request
        if request is None:
            return (Owes.HEAD if self._head_began else Owes.IDLE), self._since
        if self._login_began is not None:
            return Owes.LOGIN, self._login_began
        return None if request.content.is_eof() else (Owes.BODY, self._since)

    def drop(self, owes: Owes) -> None:
        """Close it, now; a word about why where the peer can still read one."""
        transport = self.transport
        if transport is None:
            return
        if owes in {Owes.HEAD, Owes.BODY}:
            self._say(408, "request_timeout", "The request did not arrive in time.", TIMEOUT_HINT)
            self.force_close()
        else:
            transport.abort()  # an orderly close would wait for the peer to read

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """Send an answer; what every answer bears is added here, to those that no handler made as
        well.
        """
        if isinstance(resp, web.HTTPException):  # raised before any middleware: 417
            resp = from_http(resp)
        for name, value in HEADERS.items():
            resp.headers.setdefault(name, value)
        body = request.content
        if not body.is_eof() or body.exception() is not None or "Upgrade" in request.headers:
            resp.force_close()  # what comes next on it could be anything
        if resp.keep_alive is False and not resp.prepared:
            # said in HTTP/1.0 too, in which aiohttp answers what it cannot read
            resp.headers["Connection"] = "close"
        try:
            return await super().finish_response(request, resp, start_time)
        finally:
            self._login_began = None
            self._door.unsettle(self)
            self._head_began, self._since = False, self._loop.time()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """The answer to what aiohttp could not read, in the one shape; nothing of the request is
        repeated, here or in the log.
        """
        if status == 400:
            self._door.malformed()
        elif not isinstance(exc, ConnectionError):
            # whoever hangs up between two words of ours is none
            log.error(
                "an error of this program",
                action="api_error",
                status=status,
                error=type(exc).__name__,
            )
        if isinstance(exc, LineTooLong):
            status = 414 if str(MAX_LINE_BYTES) in map(str, exc.args[1:]) else 431
        response = error_response(status, *UNREADABLE.get(status, UNREADABLE[500]))
        response.force_close()
        return response

    def log_exception(self, *_args: Any, **known: Any) -> None:
        """What aiohttp could not send or finish.

        An exception's words may hold what the request held: its type has to do.
        """
        error = known.get("exc_info")
        log.error("an error of this program", action="api_error", error=type(error).__name__)

    def _say(self, status: int, code: str, message: str, hint: str) -> None:
        """An answer to no request. The peer reads it or not; nobody waits for that."""
        body = error_response(status, code, message, hint).body
        assert isinstance(body, bytes | bytearray)
        reason = {408: "Request Timeout", 503: "Service Unavailable"}[status]
        retry = "Retry-After: 1\r\n" if status == 503 else ""
        head = (
            f"HTTP/1.1 {status} {reason}\r\nContent-Type: application/json; charset=utf-8\r\n"
            f"Content-Length: {len(body)}\r\nConnection: close\r\n{retry}"
            + "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
        )
        if self.transport is not None:
            self.transport.write(head.encode() + b"\r\n" + bytes(body))


BUSY_HINT: Final = (
    "Try again in a second. At most WHATSAPP_API_CONNECTIONS, and a quarter of the descriptor"
    " limit, are open at once."
)
TIMEOUT_HINT: Final = "A request's head may take 10 s, its body 120 s."
UNREADABLE: Final[Mapping[int, tuple[str, str, str]]] = {
    400: (
        "bad_request",
        "That is no HTTP request.",
        "Send HTTP/1.1; a token or a header may hold no line break or control character.",
    ),
    414: (
        "uri_too_long",
        "The request line is too long.",
        f"Method, path and query may have {MAX_LINE_BYTES} bytes together.",
    ),
    431: (
        "request_header_fields_too_large",
        "A header is too long.",
        f"Each may have {MAX_FIELD_BYTES} bytes.",
    ),
    500: ("internal_error", "The supervisor made an error.", "See the supervisor's log."),
    504: ("timed_out", "That took too long.", "Try again."),
}
