"""Lets clients into the live feed: token, capacity and a place, within the time of a handshake."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, NamedTuple

import structlog
from tenacity import AsyncRetrying, retry_if_exception_type, stop_after_attempt, wait_exponential

from api.live.admission.connection import Connection, ConnectionResult
from api.live.admission.pool import ConnectionPool
from api.live.admission.refusals import (
    ConnectionTimeoutError,
    InsufficientResourcesError,
    InvalidTokenError,
)
from api.live.admission.resource_monitor import ResourceMonitor
from api.live.client_queue import ClientQueue
from api.live.observer import Closure, FeedObserver, Handshake, Refusal, Transport
from sessions.model import StoreUnavailable, WasupError
from supervisor.access.principal import Principal
from supervisor.access.refusals import AccessDenied

HANDSHAKE_SECONDS: Final = 30.0
"""From the open transport until a client is let in."""
TRIES: Final = 3
"""Of what may work a moment later: a token that cannot be looked up just now. Today's entrance
(supervisor/access/access.py) has its keys in memory and asks no store, so that the first try
decides; this is for one that asks.
"""
SHORT_OF_RESOURCES_SECONDS: Final = 10.0
"""When to come again if memory or CPU is short: the host's CPU is that of so many seconds."""

Authenticate = Callable[[str | None], Awaitable[Principal]]
"""Whose token that is. Raises AccessDenied, or StoreUnavailable where it asks a store."""

log = structlog.get_logger("live")


class Guest(NamedTuple):
    """A client whose transport is open, and who is not let in yet."""

    id: str
    transport_id: str
    transport: Transport
    queue: ClientQueue
    authenticate: Authenticate


class EnhancedWebSocketManager:
    """The pool, and the way into it and out of it."""

    def __init__(
        self,
        connection_pool: ConnectionPool,
        resource_monitor: ResourceMonitor,
        observer: FeedObserver,
    ) -> None:
        self.connection_pool = connection_pool
        self.resource_monitor = resource_monitor
        self._observer = observer

    async def connect_with_validation(
        self, websocket: Guest, token: str | None
    ) -> ConnectionResult:
        """Let a client in.

        Raises InvalidTokenError, InsufficientResourcesError, ConnectionTimeoutError.
        """
        loop = asyncio.get_running_loop()
        until = websocket.queue.opened_at + HANDSHAKE_SECONDS
        try:
            async with asyncio.timeout_at(until):
                result = await self._establish_connection(websocket, token)
        except (TimeoutError, WasupError) as error:
            refused = ConnectionTimeoutError() if isinstance(error, TimeoutError) else error
            refusal = Refusal(
                reason=getattr(refused, "reason", refused.code),
                transport=websocket.transport,
                after_seconds=loop.time() - websocket.queue.opened_at,
            )
            self._notify(lambda: self._observer.on_refusal(refusal))
            raise refused from None
        self._notify(lambda: self._observer.on_handshake(result.handshake))
        return result

    def disconnect(self, client: str, reason: str) -> Connection | None:
        """A client is gone, or shall go; None: it was not in."""
        connection = self.connection_pool.remove(client)
        if connection is None:
            return None
        closure = Closure(
            reason=reason,
            transport=connection.transport,
            principal=connection.principal.name,
            age_seconds=asyncio.get_running_loop().time() - connection.admitted_at,
            sent_events=connection.queue.sent_events,
        )
        self._notify(lambda: self._observer.on_closure(closure))
        return connection

    async def _establish_connection(self, guest: Guest, token: str | None) -> ConnectionResult:
        clock = asyncio.get_running_loop().time
        began = clock()
        principal = await self.validate(guest.authenticate, token)
        validated = clock()
        shortage = await self.resource_monitor.shortage()
        if shortage is not None:
            raise InsufficientResourcesError(
                f"There are insufficient resources: {shortage}.", SHORT_OF_RESOURCES_SECONDS
            )
        roomy = clock()
        connection = Connection(
            guest.id, guest.transport_id, guest.queue, principal, guest.transport, roomy
        )
        self.connection_pool.add(connection)
        handshake = Handshake(
            transport=guest.transport,
            principal=principal.name,
            waited_seconds=began - guest.queue.opened_at,
            token_seconds=validated - began,
            capacity_seconds=roomy - validated,
            admitted_seconds=clock() - roomy,
        )
        return ConnectionResult(connection, handshake)

    async def validate(self, authenticate: Authenticate, token: str | None) -> Principal:
        """Whose token that is.

        Tried three times, 1 and 2 s apart, where the store does not answer. Raises
        InvalidTokenError, InsufficientResourcesError (the store goes on not answering).
        """
        try:
            async for attempt in AsyncRetrying(
                stop=stop_after_attempt(TRIES),
                wait=wait_exponential(),
                retry=retry_if_exception_type(StoreUnavailable),
                reraise=True,
            ):
                with attempt:
                    principal = await authenticate(token)
        except AccessDenied as error:
            raise InvalidTokenError(error.reason, str(error), error.hint) from None
        except StoreUnavailable as error:
            raise InsufficientResourcesError(
                f"There are insufficient resources: the token cannot be looked up ({error})",
                SHORT_OF_RESOURCES_SECONDS,
            ) from None
        if principal.expires_at is not None and principal.expires_at <= time.time():
            raise InvalidTokenError("expired")
        return principal

    def _notify(self, tell: Callable[[], None]) -> None:
        try:
            tell()
        except Exception as error:  # whoever counts must not shut anybody out
            log.error(
                "an observer of the live feed failed", action="observer_failed", exc_info=error
            )
