"""The aiohttp application, put together; and its listening socket, as a guest of the program's
event loop.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

import msgspec
from aiohttp import web

from api.errors import errors_as_json
from api.gatehouse.audited import Audited
from api.gatehouse.callers import own_users, prepare
from api.gatehouse.connections import Connection, Door, bear_headers, most_connections
from api.gatehouse.fences import Commands, Places, Shed, refuse_encodings
from api.gatehouse.guard import Guard
from api.gatehouse.once import ONCE, Once
from api.gatehouse.pairing_budget import PairingBudget
from api.gatehouse.rates import Rates
from api.gatehouse.sites import Sites
from api.gatehouse.streams import Streams
from api.gatehouse.timed import Timed
from api.handlers.docs import FILES
from api.live.connection_log import ConnectionLog
from api.live.entrance import PATH, Entrance
from api.live.metrics import MetricsCollector as MetricsCollector
from api.live.observer import Observers
from api.openapi import spec
from api.parts import (
    ACCESS,
    ALERTS,
    ALERTS_FILE,
    CONNECTIONS,
    DESCRIPTION,
    DIAGNOSTICS,
    EXPOSITION,
    FEED,
    FEED_METRICS,
    FLEET,
    FORECASTER,
    FOREVER,
    HISTORY,
    HOST,
    IMPORTING,
    IMPORTS,
    KEYS,
    MEMORY,
    NOTIFIER,
    PAIRING,
    POLICY,
    REPORTER,
    ROLL,
    SHEDDING,
    STORE,
    STREAMS,
    THRESHOLDS,
    TRACER,
    UPKEEP,
    WAITERS,
    WEBHOOKS,
    WORKERS,
)
from api.routes import ROUTES
from sessions.forever import Forever
from sessions.store import Store
from sessions.workers.pool import Workers
from supervisor.access.access import Access
from supervisor.access.audit import AuditLog
from supervisor.access.keys import Keys
from supervisor.alerts.alerts import Alerts
from supervisor.alerts.channels.live_alerts_file import LiveAlertsFile
from supervisor.alerts.judging.thresholds import Thresholds
from supervisor.alerts.notifier import Notifier
from supervisor.delivery.webhook_registry import Webhooks
from supervisor.fleet.feed import Feed
from supervisor.fleet.fleet import Fleet
from supervisor.fleet.live_feed_limits import LiveFeedLimits
from supervisor.fleet.policy_file import LivePolicy
from supervisor.fleet.roll import Roll
from supervisor.history.history import History
from supervisor.history.outward.exposition import Exposition
from supervisor.history.outward.requests import Requests
from supervisor.process.log_files import LogFile
from supervisor.reports.reporter import Reporter
from supervisor.upkeep.upkeep import Upkeep
from supervisor.watch.diagnostics.checks import Diagnostics
from supervisor.watch.forecasting import Forecaster
from supervisor.watch.host_watch import HostWatch
from supervisor.watch.memory_growth import MemoryWatch
from supervisor.watch.memory_tracing import MemoryTracer
from supervisor.watch.shedding import Shedding

MAX_BODY_BYTES: Final = 512 * 1024
"""The longest text (60,000 characters) fits even when every character is written as a JSON
escape.
"""
MAX_IMPORTS: Final = 4
"""Imports that may be sent at once; they are read one at a time."""
BACKLOG: Final = 128
"""What the kernel accepts for us in advance; so many descriptors at the most are taken for a moment
above the API's own share.
"""
SHUTDOWN_SECONDS: Final = 2.0
"""How long calls under way (long polls above all) may go on when the program stops."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What of the program the handlers ask, each under its key (parts.py)."""

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
    alerts: Alerts
    notifier: Notifier
    alerts_file: LiveAlertsFile
    webhooks: Webhooks
    access: Access
    audit: AuditLog
    keys: Keys
    feed_limits: LiveFeedLimits
    history: History
    feed_metrics: MetricsCollector
    memory: MemoryWatch
    websocket_log: tuple[LogFile, str] | None
    """With the least level that is written; None: nothing is."""
    requests: Requests
    exposition: Exposition
    diagnostics: Diagnostics
    reporter: Reporter
    upkeep: Upkeep
    shedding: Shedding


@dataclass(frozen=True, slots=True, kw_only=True)
class Doorway:
    """Who may come in, and how many.

    `needs_token`: every call must carry one. Else processes of our own user and root may call
    without; or `everybody`'s on this machine. `origins`: web sites whose pages may call. The last
    three: calls of one key, and wrong tokens of one address.
    """

    connections: int
    needs_token: bool = False
    everybody: bool = False
    origins: frozenset[str] = frozenset()
    rate_per_minute: int = 6_000
    burst: int = 600
    failures_per_minute: int = 30


def create_app(parts: Parts, doorway: Doorway) -> web.Application:
    """The application."""
    commands, most = Commands(), most_connections(doorway.connections)
    sites, audited = Sites(doorway.origins), Audited(parts.audit)
    guard = Guard(
        ROUTES,
        parts.access,
        audited,
        None if doorway.everybody else own_users(),
        needs_token=doorway.needs_token,
        rates=Rates(doorway.rate_per_minute, doorway.burst),
        failures=Rates(doorway.failures_per_minute, doorway.failures_per_minute),
    )
    prepare()
    middlewares = [
        Timed(parts.requests, {(route.path, route.method) for route in ROUTES if route.slow}).each,
        errors_as_json,
        sites.check,
        guard.check,
        refuse_encodings,
        Shed(
            {(route.path, route.method) for route in ROUTES if route.deferrable},
            lambda: parts.shedding.on,
            audited.refused,
        ).check,
        commands.carry_through,
        audited.changes,
    ]
    app = web.Application(middlewares=middlewares, client_max_size=MAX_BODY_BYTES)
    app.on_response_prepare.append(sites.mark)
    app.on_response_prepare.append(bear_headers)
    app.on_cleanup.append(commands.end)
    app[ACCESS], app[KEYS] = parts.access, parts.keys
    app[CONNECTIONS] = most
    app[IMPORTS], app[IMPORTING] = Places(MAX_IMPORTS, "imports are under way"), asyncio.Lock()
    app[ONCE] = Once(parts.store)
    app[PAIRING] = PairingBudget(asyncio.get_running_loop().time())
    app[WAITERS] = Places(most // 2, "calls wait for an event or a QR", waits=True)
    app[STREAMS] = Streams(app[WAITERS])
    app.on_shutdown.append(app[STREAMS].end_all)
    app[FLEET], app[FEED], app[STORE], app[ROLL] = parts.fleet, parts.feed, parts.store, parts.roll
    app[ALERTS], app[NOTIFIER], app[WEBHOOKS] = parts.alerts, parts.notifier, parts.webhooks
    app[ALERTS_FILE] = parts.alerts_file
    app[DIAGNOSTICS], app[UPKEEP] = parts.diagnostics, parts.upkeep
    app[REPORTER] = parts.reporter
    app[POLICY], app[HOST], app[THRESHOLDS], app[FORECASTER] = (
        parts.policy,
        parts.host,
        parts.thresholds,
        parts.forecaster,
    )
    app[FOREVER], app[WORKERS] = parts.forever, parts.workers
    app[DESCRIPTION] = msgspec.json.encode(spec(ROUTES)) + b"\n"
    app[HISTORY], app[EXPOSITION] = parts.history, parts.exposition
    app[MEMORY], app[SHEDDING] = parts.memory, parts.shedding
    app[TRACER] = MemoryTracer()
    metrics = app[FEED_METRICS] = parts.feed_metrics
    written = [] if parts.websocket_log is None else [ConnectionLog(*parts.websocket_log)]
    live = Entrance(
        parts.feed,
        parts.host,
        parts.forever,
        parts.feed_limits,
        guard.live_principal,
        parts.access.holds,
        Observers(metrics, *written),
    )
    app.on_shutdown.append(live.close)
    app.add_routes([*(route.definition() for route in ROUTES), *FILES])
    app.add_routes([web.route(method, PATH, live.handle) for method in ("GET", "POST")])
    return app


def bind(host: str, port: int) -> socket.socket:
    """Take the address, so that a conflict shows before anything is started.

    Calls wait until `serving`. Raises OSError.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=BACKLOG)


@asynccontextmanager
async def serving(app: web.Application, listener: socket.socket) -> AsyncIterator[None]:
    """Answer calls while the block runs."""
    runner = web.AppRunner(
        app,
        access_log=None,
        shutdown_timeout=SHUTDOWN_SECONDS,
        handle_signals=False,
        handler_cancellation=True,
    )
    await runner.setup()
    answering = runner.server
    assert answering is not None
    door = Door(app[CONNECTIONS])
    try:
        loop = asyncio.get_running_loop()
        accepting = await loop.create_server(
            lambda: Connection(answering, door), sock=listener, backlog=BACKLOG
        )
        door.open()
        try:
            yield
        finally:
            accepting.close()
    finally:
        await runner.cleanup()
        door.close()
