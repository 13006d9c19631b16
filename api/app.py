"""The aiohttp application, put together; and its listening socket, as a guest of the program's event loop."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from aiohttp import web

from api.errors import errors_as_json
from api.guard import guard
from api.keys import FEED, FLEET, FORECASTER, FOREVER, HOST, POLICY, ROLL, STORE, THRESHOLDS, WORKERS
from api.routes import ROUTES
from sessions.forever import Forever
from sessions.store import Store
from sessions.workers import Workers
from supervisor.feed import Feed
from supervisor.fleet import Fleet
from supervisor.forecasting import Forecaster
from supervisor.host_watch import HostWatch
from supervisor.performance import Thresholds
from supervisor.policy_file import LivePolicy
from supervisor.roll import Roll

MAX_BODY_BYTES: Final = 512 * 1024
"""The longest text (60,000 characters) fits even when every character is written as a JSON escape."""
SHUTDOWN_SECONDS: Final = 2.0
"""How long calls under way (long polls above all) may go on when the program stops."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What of the program the handlers ask, each under its key (keys.py)."""

    fleet: Fleet
    feed: Feed
    store: Store
    forever: Forever
    workers: Workers
    roll: Roll
    policy: LivePolicy
    host: HostWatch
    thresholds: Thresholds
    forecaster: Forecaster


def create_app(parts: Parts, token: str | None) -> web.Application:
    """The application. `token`: what every call must carry; None: nothing."""
    app = web.Application(middlewares=[errors_as_json, guard(token)], client_max_size=MAX_BODY_BYTES)
    app[FLEET], app[FEED], app[STORE], app[ROLL] = parts.fleet, parts.feed, parts.store, parts.roll
    app[POLICY], app[HOST], app[THRESHOLDS], app[FORECASTER] = (
        parts.policy,
        parts.host,
        parts.thresholds,
        parts.forecaster,
    )
    app[FOREVER], app[WORKERS] = parts.forever, parts.workers
    app.add_routes(ROUTES)
    return app


def bind(host: str, port: int) -> socket.socket:
    """Take the address, so that a conflict shows before anything is started. Calls wait until `serving`. Raises OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=256)


@asynccontextmanager
async def serving(app: web.Application, listener: socket.socket) -> AsyncIterator[None]:
    """Answer calls while the block runs."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=SHUTDOWN_SECONDS, handle_signals=False)
    await runner.setup()
    try:
        await web.SockSite(runner, listener).start()
        yield
    finally:
        await runner.cleanup()
