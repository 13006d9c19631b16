"""The live feed: a Socket.IO server on the API's own port, below /socket.io/.

python-socketio speaks the protocol; what it lacks is here and in the files beside: bounded queues
(client_queue.py), one writer and no task for each recipient of an event (broadcast.py), an end of
those who never log in, tokens that expire, and a room that is told where it stands.

Nobody who was let in is ever sent Socket.IO's `disconnect`: clients do not come back after it. What
has to end is closed below, as a broken line would be, and its client connects again.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any, Final

import engineio
import socketio
import structlog
from aiohttp import web
from socketio import packet
from socketio.exceptions import ConnectionRefusedError as RefusedConnection

from api.errors import BadRequest, Busy, Gone, TooSoon
from api.gatehouse.connections import Connection as ApiConnection
from api.gatehouse.connections import most_connections
from api.live import subscription
from api.live.admission.connection import Connection
from api.live.admission.manager import HANDSHAKE_SECONDS, EnhancedWebSocketManager, Guest
from api.live.admission.pool import ConnectionPool
from api.live.admission.refusals import EXPIRED, INVALID, InvalidTokenError, payload
from api.live.admission.resource_monitor import ResourceMonitor
from api.live.broadcast import Broadcast
from api.live.client_queue import ClientQueue
from api.live.frames import notice
from api.live.log_reader import LogReader
from api.live.observer import FeedObserver, NoObserver, Transport
from sessions.forever import Forever, Kept
from sessions.model import WasupError
from supervisor.access.principal import Principal
from supervisor.fleet.feed import Feed
from supervisor.fleet.live_feed_limits import LiveFeedLimits
from supervisor.watch.host_watch import HostWatch

PING_SECONDS: Final = 25
PING_TIMEOUT_SECONDS: Final = 60
"""A client that does not answer a ping for so long is gone."""
MOST_QUEUED_BYTES: Final = 100 * 1000 * 1000
"""What may wait for one client. What one may send is another matter:"""
MOST_SENT_BYTES: Final = 64 * 1024
"""What a client may send in one message: it asks for sessions and types, in some hundred bytes."""
MOST_GUESTS: Final = 1024
"""Clients whose transport is open and who are not let in yet; who has waited longest goes first."""
MOST_CALLS: Final = 2
"""Of one client, that take no place of the API's calls: a poll, and beside it what replaces it."""
REFUSED_SECONDS: Final = 5.0
"""What a refused client has to read why, before its transport is closed."""
SWEEP_SECONDS: Final = 1.0
TURN_SECONDS: Final = 0.05
"""Between two turns of the broadcast: what happens within it goes in one frame."""
TURN_SECONDS_PER_CLIENT: Final = 0.00005
"""In addition, for each client: sending to one takes nearly as long, and others want the loop."""
WARNING_SECONDS: Final = 60.0
"""Before a token expires its client is told."""
COME_BACK_SECONDS: Final = (0.5, 1.5)
"""After which a client comes back when the supervisor goes: each at another moment."""

Authenticate = Callable[[web.Request, str | None], Awaitable[Principal]]
"""Whose token that is; None: the client has sent none. Raises AccessDenied, StoreUnavailable."""
Holds = Callable[[Principal], bool]
"""Whether who was let in may stay: its token has not ended, and its key is not revoked."""

_PROTOCOL: Final = "Use a Socket.IO client, version 4 (docs/live-feed.md)."

log = structlog.get_logger("live")
_CALL: Final[ContextVar[web.Request]] = ContextVar("call")
"""The call that carries what a client says: of a client that polls each is another one, and whose
it is may have to be asked of its connection.
"""
_BINARY: Final = (str(packet.BINARY_EVENT), str(packet.BINARY_ACK))
"""With what such a message begins; nothing that a client can ask for is one."""
_NOWHERE: Final = logging.getLogger("wasup.nowhere")
# the libraries' own lines quote what was sent, tokens among it; what is told is told here


class _EngineIO(engineio.AsyncServer):  # type: ignore[misc]
    """Engine.IO's server, whose queues are ours."""

    def create_queue(self, *_args: Any, **_named: Any) -> ClientQueue:
        """The queue of a new client."""
        return ClientQueue(MOST_QUEUED_BYTES, asyncio.get_running_loop().time())


class _SocketIO(socketio.AsyncServer):  # type: ignore[misc]
    """Socket.IO's server, above that one."""

    def _engineio_server_class(self) -> type[engineio.AsyncServer]:
        return _EngineIO

    async def _handle_eio_message(self, eio_sid: str, data: Any) -> None:
        # its pieces are kept until the last one comes, and who sends them says how many there are
        if isinstance(data, str) and not data.startswith(_BINARY):
            await super()._handle_eio_message(eio_sid, data)


class LiveFeed:
    """The server. It begins to work with its first client."""

    def __init__(
        self,
        feed: Feed,
        host: HostWatch,
        forever: Forever,
        limits: LiveFeedLimits,
        authenticate: Authenticate,
        holds: Holds,
        observer: FeedObserver | None = None,
    ) -> None:
        self._feed = feed
        self._forever = forever
        self._authenticate = authenticate
        self._holds = holds
        self._rng = random.Random()
        self._kept: list[Kept] = []
        self._closing = False
        told = observer or NoObserver()
        self._most_guests = most_connections(MOST_GUESTS)
        self.pool = ConnectionPool(_places(limits.max_websocket_connections))
        self.resource_monitor = ResourceMonitor(
            limits, lambda: host.reading(with_workers=False), self.pool.__len__
        )
        self.manager = EnhancedWebSocketManager(self.pool, self.resource_monitor, told)
        self._broadcast = Broadcast(feed, LogReader(feed), told)
        self._io = _SocketIO(
            async_mode="aiohttp",
            ping_interval=PING_SECONDS,
            ping_timeout=PING_TIMEOUT_SECONDS,
            max_http_buffer_size=MOST_SENT_BYTES,
            http_compression=False,
            cors_allowed_origins=[],  # whose pages may come is the guard's to say, as for all calls
            async_handlers=False,  # two messages of one client are handled in their order
            monitor_clients=False,  # `_sweep` does it: what runs for ever is kept by Forever
            logger=_NOWHERE,
            engineio_logger=_NOWHERE,
        )
        self._io.on("connect", self._on_connect)
        self._io.on("disconnect", self._on_disconnect)
        self._io.on("subscribe", self._on_subscribe)
        self._io.on("unsubscribe", self._on_unsubscribe)
        self._io.on("token", self._on_token)

    # --- HTTP below it ----------------------------------------------------------------------------

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """A call below /socket.io/: a WebSocket for as long as it lasts, or a poll."""
        if self._closing:
            raise Busy("The supervisor is stopping.")
        self._begin()
        _CALL.set(request)
        transport_id = request.query.get("sid")
        socket = None if transport_id is None else self._io.eio.sockets.get(transport_id)
        if transport_id is None:
            await self._make_room()
        if socket is not None and socket.queue.admitted and socket.queue.calls < MOST_CALLS:
            _settle(request)
        elif "Upgrade" in request.headers and isinstance(request.protocol, ApiConnection):
            # a new WebSocket is a guest, of whom there are so many; further calls of one are calls
            is_guest = transport_id is None and request.query.get("transport") == "websocket"
            request.protocol.await_login(settles=is_guest)
        # without it there is no compression: it would cost each client up to 200 KiB
        headers = request.headers.copy()
        headers.popall("Sec-WebSocket-Extensions", None)
        plain = request.clone(headers=headers)
        queue = ClientQueue(0, 0.0) if socket is None else socket.queue
        queue.calls += 1
        try:
            answer: web.Response = await self._io.handle_request(plain)
        except (asyncio.CancelledError, web.HTTPException):
            await self._end_of(plain)
            raise
        except Exception as error:
            # what was sent is no Engine.IO, and the library did not see to it
            await self._end_of(plain)
            log.debug(
                "a client of the live feed broke the protocol",
                action="feed_protocol",
                error=type(error).__name__,
            )
            if request.transport is not None and "Upgrade" in request.headers:
                request.transport.abort()
            raise BadRequest("That is no Engine.IO.", _PROTOCOL) from None
        finally:
            queue.calls -= 1
        if answer.status >= 400 and not answer.prepared:
            said = (answer.text or "Bad Request").strip('".')
            raise BadRequest(f"{said}.", _PROTOCOL)
        return answer

    async def close(self) -> None:
        """Tell everybody to come back in a moment, and close. Waits for nobody."""
        self._closing = True
        for kept in self._kept:
            await kept.close()
        for connection in self.pool:
            told = {
                "reason": "stopping",
                "retryAfterSeconds": round(self._rng.uniform(*COME_BACK_SECONDS), 2),
            }
            connection.queue.put_nowait(notice("going_away", told))
            self._leave(connection.id, "going away")
        for transport_id in list(self._io.eio.sockets):
            await self._end(transport_id, "going away")

    # --- what clients say -------------------------------------------------------------------------

    async def _on_connect(self, client: str, _environ: dict[str, Any], auth: Any = None) -> bool:
        transport_id = self._io.manager.eio_sid_from_sid(client, "/")
        socket = self._io.eio.sockets[transport_id]
        queue: ClientQueue = socket.queue
        request = _CALL.get()
        transport: Transport = self._io.eio.transport(transport_id)
        guest = Guest(
            client,
            transport_id,
            transport,
            queue,
            lambda token: self._authenticate(request, token),
        )
        try:
            await self.manager.connect_with_validation(guest, _token(auth))
        except WasupError as error:
            queue.ends_at = asyncio.get_running_loop().time() + REFUSED_SECONDS
            raise _refused(payload(error)) from None
        except asyncio.CancelledError:  # its caller hung up; the library would take it for a yes
            await self._end(transport_id, "transport error")
            return False
        except Exception as error:
            queue.ends_at = asyncio.get_running_loop().time() + REFUSED_SECONDS
            raise _refused(_our_error(error)) from None
        if socket.closed or self._io.eio.sockets.get(transport_id) is not socket:
            # it ended meanwhile, and of one not let in yet the library does not tell us
            self._leave(client, "transport close")
            return False
        queue.admitted = True
        if transport == "websocket":
            _settle(request)
        return True

    async def _on_disconnect(self, client: str, reason: str = "transport close") -> None:
        connection = self.pool.get(client)
        self._leave(client, reason)
        if connection is not None:  # without its place it may not keep its connection
            connection.queue.admitted = False
            connection.queue.ends_at = asyncio.get_running_loop().time() + REFUSED_SECONDS

    async def _on_subscribe(self, client: str, given: Any = None) -> dict[str, Any]:
        return self._answer(client, lambda connection: self._subscribe(connection, given))

    async def _on_unsubscribe(self, client: str, *_given: Any) -> dict[str, Any]:
        return self._answer(client, self._unsubscribe)

    async def _on_token(self, client: str, given: Any = None) -> dict[str, Any]:
        connection = self.pool.get(client)
        if connection is None:
            return {"error": payload(InvalidTokenError("expired"))}
        try:
            _take(connection)
            token = subscription.parse_renewal(given)
            principal = await self.manager.validate(
                lambda token: self._authenticate(_CALL.get(), token), token
            )
        except WasupError as error:
            return {"error": payload(error)}
        except Exception as error:
            return {"error": _our_error(error)}
        self._renew(connection, principal)
        return {"expiresAt": principal.expires_at}

    def _answer(self, client: str, work: Callable[[Connection], dict[str, Any]]) -> dict[str, Any]:
        connection = self.pool.get(client)
        if connection is None or connection.expired_at is not None:
            return {"error": payload(InvalidTokenError("expired"))}
        try:
            _take(connection)
            return work(connection)
        except WasupError as error:
            return {"error": payload(error)}
        except Exception as error:
            return {"error": _our_error(error)}

    def _subscribe(self, connection: Connection, given: Any) -> dict[str, Any]:
        asked, after = subscription.parse_subscribe(given)
        last = self._feed.last
        if after is not None and after > last:
            hint = (
                "The log has begun anew (a restore?). Subscribe with after=0 (all that is kept) or"
                f" after={last} (only what comes)."
            )
            raise Gone(f"There was no event {after}: the newest is {last}.", hint)
        self._broadcast.end(connection)
        if after is None:
            after = self._broadcast.position if connection.position is None else connection.position
        else:
            connection.queue.drop()
        connection.asked = asked
        self._broadcast.begin(connection, after)
        return {"after": after, "last": last}

    def _unsubscribe(self, connection: Connection) -> dict[str, Any]:
        self._broadcast.end(connection)
        connection.asked = None
        return {"after": connection.position}

    def _renew(self, connection: Connection, principal: Principal) -> None:
        """It has handed in a fresh token: what it asked for goes on where it stood."""
        self._broadcast.end(connection)
        connection.principal = principal
        connection.warned, connection.expired_at = False, None
        connection.queue.ends_at = float("inf")
        if connection.asked is not None and connection.position is not None:
            self._broadcast.begin(connection, connection.position)

    # --- what nobody asks for ---------------------------------------------------------------------

    def _begin(self) -> None:
        if self._kept:
            return
        self._kept = [
            self._forever.keep("live feed", self._turn, within_seconds=None),
            self._forever.keep("live feed's clients", self._sweep, every_seconds=SWEEP_SECONDS),
        ]

    async def _turn(self) -> None:
        await self._broadcast.turn()
        await asyncio.sleep(TURN_SECONDS + TURN_SECONDS_PER_CLIENT * len(self.pool))

    async def _sweep(self) -> None:
        """End whoever does not log in, does not answer pings, or does not read its answers; see to
        tokens that expire.
        """
        now = asyncio.get_running_loop().time()
        for transport_id, socket in list(self._io.eio.sockets.items()):
            queue: ClientQueue = socket.queue
            late = not queue.admitted and now - queue.opened_at >= HANDSHAKE_SECONDS
            if queue.overrun:
                await self._end(transport_id, "overrun")
            elif socket.closed or late or now >= queue.ends_at:
                await self._end(transport_id, "expired")
            else:
                await socket.check_ping_timeout()
        self._broadcast.bound()
        for connection in self.pool:
            self._look_at_token(connection, now)

    def _look_at_token(self, connection: Connection, now: float) -> None:
        if connection.expired_at is not None:
            return
        expires_at = connection.principal.expires_at
        left_seconds = float("inf") if expires_at is None else expires_at - time.time()
        if left_seconds <= 0 or not self._holds(connection.principal):
            connection.expired_at = now
            connection.queue.ends_at = now + HANDSHAKE_SECONDS
            self._broadcast.cut(connection)  # nor what was meant for it before
            reason = EXPIRED if left_seconds <= 0 else INVALID  # its key is revoked
            told = payload(InvalidTokenError(reason)) | {"after": connection.position}
            connection.queue.put_nowait(notice("token_expired", told))
        elif left_seconds <= WARNING_SECONDS and not connection.warned:
            connection.warned = True
            told = {"secondsLeft": round(left_seconds)}
            connection.queue.put_nowait(notice("token_expiring", told))

    async def _make_room(self) -> None:
        """For another guest: if there are too many, who has waited longest goes."""
        sockets = self._io.eio.sockets
        if len(sockets) - len(self.pool) < self._most_guests:
            return
        guests = (one for one, socket in sockets.items() if not socket.queue.admitted)
        oldest = next(guests, None)  # a dict keeps the order in which they came
        if oldest is not None:
            await self._end(oldest, "overrun")

    async def _end(self, transport_id: str, reason: str) -> None:
        """Close a client's connection below Socket.IO, as a broken line would be."""
        socket = self._io.eio.sockets.get(transport_id)
        if socket is None:
            return
        for client in [one.id for one in self.pool if one.transport_id == transport_id]:
            self._leave(client, reason)
        # without the protocol's own farewell, to which some clients do not come back either
        await socket.close(wait=False, abort=True, reason=reason)
        socket.queue.put_nowait(None)
        self._io.eio.sockets.pop(transport_id, None)

    async def _end_of(self, request: web.Request) -> None:
        """The same, of whoever has this connection."""
        for transport_id, environ in list(self._io.environ.items()):
            if environ["aiohttp.request"] is request:
                await self._end(transport_id, "transport error")

    def _leave(self, client: str, reason: str) -> None:
        connection = self.manager.disconnect(client, reason)
        if connection is not None:
            self._broadcast.end(connection)


_OUR_ERROR: Final = {
    "code": "internal_error",
    "reason": "internal_error",
    "message": "The supervisor made an error.",
    "hint": WasupError.hint,
    "retryAfterSeconds": 5,
}


def _places(wanted: int) -> int:
    """How many clients there may be: what is wanted, within the API's share of descriptors."""
    most = min(wanted, most_connections(wanted))
    if most < wanted:
        log.warning(
            f"the live feed has {most} places, not {wanted} (MAX_WEBSOCKET_CONNECTIONS): a quarter"
            " of the descriptor limit; raise that (ulimit -n)",
            action="feed_places",
            places=most,
            wanted=wanted,
        )
    return most


def _our_error(error: Exception) -> dict[str, Any]:
    """What a client is told of it; the log is told all."""
    log.error("an error of this program", action="feed_error", exc_info=error)
    return _OUR_ERROR


def _refused(told: dict[str, Any]) -> RefusedConnection:
    """What Socket.IO's clients get as `connect_error`: `message`, and all of it as `data`."""
    about = "auth error, " if told["code"] == InvalidTokenError.code else ""
    return RefusedConnection(f"{about}{told['reason']}: {told['message']}", told)


def _token(auth: Any) -> str | None:
    token = auth.get("token") if isinstance(auth, dict) else None
    return token if isinstance(token, str) else None


def _take(connection: Connection) -> None:
    now = asyncio.get_running_loop().time()
    wait_seconds = connection.asks.seconds_until(1, now)
    if wait_seconds > 0:
        raise TooSoon("That was asked for too often.", "Ask once, and wait.", wait_seconds)
    connection.asks.take(now)


def _settle(request: web.Request) -> None:
    """Tell the API's door that this connection is a client's of the feed, which has places of its
    own.
    """
    if isinstance(request.protocol, ApiConnection):
        request.protocol.settle()
