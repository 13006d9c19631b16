"""A client of the live feed that was let in."""

import asyncio
from typing import Final

import msgspec

from api.live.client_queue import ClientQueue
from api.live.observer import Handshake, Transport
from supervisor.access.principal import Principal
from supervisor.fleet.event_filter import EventFilter
from supervisor.gate.bucket import TokenBucket

ASKS_AT_ONCE: Final = 10
ASKS_PER_SECOND: Final = 1.0
"""How often a client may subscribe, or hand in a token: each may cost a page of the log."""


class Connection:
    """A client: who it is, what it asks for, and how far it has been served.

    `id`: Socket.IO's; `transport_id`: Engine.IO's, of the connection below.
    """

    def __init__(
        self,
        id: str,
        transport_id: str,
        queue: ClientQueue,
        principal: Principal,
        transport: Transport,
        now: float,
    ) -> None:
        self.id = id
        self.transport_id = transport_id
        self.queue = queue
        self.principal = principal
        self.transport = transport
        self.admitted_at = now
        self.asked: EventFilter | None = None
        """What it wants; None: nothing (yet, or since its queue was dropped)."""
        self.position: int | None = None
        """The number up to which all that it wants is in its queue; None: it has never asked. While
        it is in a room, the broadcast's own is meant.
        """
        self.catching_up: asyncio.Task[None] | None = None
        self.warned = False
        """Whether it knows that its token is about to expire."""
        self.expired_at: float | None = None
        """When it was told that its token has expired, by the loop's clock."""
        self.asks = TokenBucket.full(ASKS_PER_SECOND, ASKS_AT_ONCE, now)

    @property
    def wanted(self) -> EventFilter | None:
        """What it wants of what it may see, as a room; None: nothing."""
        if self.asked is None:
            return None
        seen = self.asked.within(self.principal.sessions)
        return msgspec.structs.replace(seen, after=0, before=None)


class ConnectionResult(msgspec.Struct, frozen=True):
    """A client that was let in, and what its handshake's stages took."""

    connection: Connection
    handshake: Handshake
