"""The live feed over a real store, and the real client of another project (python-socketio's)."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Final

import socketio
from aiohttp import web

from api.live.feed_server import LiveFeed
from api.live.observer import FeedObserver
from scripts.lab import eventually
from sessions.forever import Forever
from sessions.model import SessionId
from sessions.store import Store, sqlite_url
from sessions.store.tables.events import LogBounds
from sessions.views.events import MessageReceived, Party
from supervisor.access.principal import BY_TOKEN, Principal
from supervisor.access.refusals import AccessDenied
from supervisor.fleet.feed import Feed
from supervisor.fleet.live_feed_limits import LiveFeedLimits
from tests.api_tools import api

PATH: Final = "/feed-of-a-test/"
"""The same server at another path, with limits, an observer and principals of the test's own."""
SHOP, BAR = SessionId("shop"), SessionId("bar")


class Host:
    """A host that cannot be read: whatever it has is room enough."""

    async def reading(self, with_workers: bool = True) -> Any:
        raise OSError("no host here")


@dataclass
class Client:
    """A client, and all that it was sent."""

    io: socketio.AsyncClient
    got: list[tuple[str, Any]] = field(default_factory=list)

    NOTICES: ClassVar = (
        "events",
        "gap",
        "resync",
        "going_away",
        "token_expiring",
        "token_expired",
        "connect_error",
        "disconnect",
    )

    def __post_init__(self) -> None:
        for name in self.NOTICES:
            self.io.on(name, self._remember(name))

    def _remember(self, name: str) -> Callable[..., None]:
        def remember(*given: Any) -> None:
            self.got.append((name, given[0] if given else None))

        return remember

    def all(self, name: str) -> list[Any]:
        """All that it was sent under a name."""
        return [told for one, told in self.got if one == name]

    @property
    def numbers(self) -> list[int]:
        """Those of the events that it was sent, in their order."""
        return [event["n"] for frame in self.all("events") for event in frame["events"]]

    async def sees(self, name: str) -> Any:
        """Wait until it was sent that; what it was first."""

        async def seen() -> list[Any]:
            return self.all(name)

        return (await eventually(seen, what=f"{name} for a client"))[0]

    async def reads(self, *numbers: int) -> None:
        """Wait until it has those events, and look that it has no others."""

        async def all_of_them() -> bool:
            return len(self.numbers) >= len(numbers)

        await eventually(all_of_them, what=f"events {numbers} ({self.numbers} so far)")
        assert self.numbers == list(numbers)


@dataclass
class Live:
    """The API with its live feed, and what feeds it."""

    address: tuple[str, int]
    feed: Feed
    store: Store
    server: LiveFeed
    clients: list[Client] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://{self.address[0]}:{self.address[1]}"

    async def connect(self, token: str | None = "good", *transports: str, **more: Any) -> Client:
        """A client that was let in, or refused: then socketio's ConnectionError is raised."""
        client = Client(socketio.AsyncClient(reconnection=False))
        self.clients.append(client)
        await client.io.connect(
            self.url,
            auth=None if token is None else {"token": token},
            transports=list(transports) or ["websocket"],
            socketio_path=PATH,
            **more,
        )
        return client

    async def say(self, *texts: str, session: SessionId = SHOP) -> None:
        """Publish messages, and wait until they have their numbers."""
        last = self.feed.last + len(texts)
        for text in texts:
            self.feed.publish(session, message(text))

        async def durable() -> bool:
            return self.feed.last >= last

        await eventually(durable, what="durable events")


def message(text: str) -> MessageReceived:
    """Somebody has written."""
    who = Party.of("15550001@s.whatsapp.net")
    return MessageReceived(
        id="M", chat=who, sender=who, from_me=False, at=None, kind="text", text=text
    )


@asynccontextmanager
async def live(
    directory: Path,
    limits: LiveFeedLimits | None = None,
    principals: dict[str, Principal] | None = None,
    observer: FeedObserver | None = None,
    bounds: LogBounds | None = None,
    **more: Any,
) -> AsyncIterator[Live]:
    """The API, with a feed whose tokens are the principals' names (by default: `good`)."""
    known = {"good": BY_TOKEN} if principals is None else principals

    async def authenticate(_request: web.Request, token: str | None) -> Principal:
        if not token:
            raise AccessDenied("empty_token")
        if token not in known:
            raise AccessDenied("invalid")
        return known[token]

    forever = Forever()
    store = await Store.open(
        sqlite_url(directory / "wasup.db"), bounds or LogBounds(), forever=forever
    )
    feed = await Feed.open(store, 10_000)
    server = LiveFeed(
        feed,
        Host(),
        forever,
        limits or LiveFeedLimits(),
        authenticate,
        lambda principal: principal in known.values(),
        observer,  # type: ignore[arg-type]
    )
    routes = [web.route(method, PATH, server.handle) for method in ("GET", "POST")]
    found: Live | None = None
    try:
        async with api(*routes, feed=feed, store=store, forever=forever, **more) as address:
            found = Live(address, feed, store, server)
            yield found
            await server.close()
    finally:
        for client in found.clients if found else ():
            await client.io.disconnect()
            await client.io.shutdown()
        await asyncio.sleep(0)
        await forever.close()
        await store.close()
