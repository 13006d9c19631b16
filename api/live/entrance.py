"""The way to the live feed, on the API's own port: the server behind it is loaded with its first
client, as many an installation never has one.
"""

from typing import TYPE_CHECKING, Final

from aiohttp import web

from api.live.observer import FeedObserver
from sessions.forever import Forever
from supervisor.fleet.feed import Feed
from supervisor.fleet.live_feed_limits import LiveFeedLimits
from supervisor.watch.host_watch import HostWatch

if TYPE_CHECKING:
    from api.live.feed_server import Authenticate, Holds, LiveFeed

PATH: Final = "/socket.io/"


class Entrance:
    """Makes the live feed's server when it is first asked for. The parameters are the server's."""

    def __init__(
        self,
        feed: Feed,
        host: HostWatch,
        forever: Forever,
        limits: LiveFeedLimits,
        authenticate: "Authenticate",
        holds: "Holds",
        observer: FeedObserver | None = None,
    ) -> None:
        self._parts = (feed, host, forever, limits, authenticate, holds, observer)
        self._server: LiveFeed | None = None

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """A call below /socket.io/."""
        if self._server is None:
            from api.live.feed_server import LiveFeed

            self._server = LiveFeed(*self._parts)
        return await self._server.handle(request)

    async def close(self, _app: web.Application) -> None:
        """Tell its clients to come back in a moment."""
        if self._server is not None:
            await self._server.close()
