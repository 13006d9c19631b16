"""The figures for Prometheus."""

from aiohttp import web

from api.gatehouse.principals import principal_of
from api.parts import EXPOSITION
from supervisor.history.outward.exposition import CONTENT_TYPE


async def metrics(request: web.Request) -> web.Response:
    """All figures of the last ten seconds in Prometheus' text format, counts since the supervisor
    started (docs/metrics.md).

    For a key of some sessions: of those, and nothing of host, routes and fleet.
    """
    text = await request.app[EXPOSITION].text(principal_of(request).sessions)
    return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE})
