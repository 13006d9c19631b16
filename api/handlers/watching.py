"""For whoever watches the fleet: the figures, what everybody waits for, the alerts."""

import time

import msgspec
from aiohttp import web

from api.live.metrics import FeedFigures
from api.paging import PageQuery, page
from api.parts import ALERTS, FEED_METRICS, FLEET, HOST, STORE
from api.responses import json, query
from sessions.model import SessionId
from sessions.records.stages import Stage, StageSummary, summaries
from sessions.store import StoreHealth
from sessions.views.snapshot import Performance, Reconnection
from sessions.views.times import iso
from supervisor.gate.view import GateView
from supervisor.host.reading.disks import DiskReading
from supervisor.host.reading.documents import document
from supervisor.watch.alerts import RANKS, Alert
from supervisor.watch.performance import SystemPerformance, system_performance


class PerformanceMetrics(msgspec.Struct, frozen=True):
    """The figures at one moment.

    `handshakes`: what each stage of the sessions' last logins took. `live_feed`: its clients.
    """

    timestamp: str
    system: SystemPerformance
    disks: tuple[DiskReading, ...]
    sessions: dict[SessionId, Performance]
    handshakes: dict[Stage, StageSummary]
    live_feed: FeedFigures = msgspec.field(name="liveFeed")
    alerts: list[Alert]


class ReconnectionStatus(msgspec.Struct, frozen=True):
    """What every session waits for at one moment."""

    timestamp: str
    sessions: dict[SessionId, Reconnection]
    gate: GateView
    store: StoreHealth
    alerts: list[Alert]


class AlertsView(msgspec.Struct, frozen=True):
    """The alerts that are on, and those that have ended of late, the newest first.

    `next`: the `after` of the next page of those that are on; None: there is none.
    """

    timestamp: str
    alerts: list[Alert]
    next: str | None
    ended: list[Alert]


async def performance_metrics(request: web.Request) -> web.Response:
    """Figures of the host, its file systems and every session, and the alerts that are on."""
    fleet = request.app[FLEET]
    disks = await request.app[HOST].disks()
    sessions = {session.id: session.performance() for session in fleet.sessions()}
    return json(
        PerformanceMetrics(
            timestamp=_now(),
            system=system_performance(fleet),
            disks=document(disks),
            sessions=sessions,
            handshakes=summaries(
                one.handshake for one in sessions.values() if one.handshake is not None
            ),
            live_feed=request.app[FEED_METRICS].figures(),
            alerts=request.app[ALERTS].active(),
        )
    )


async def reconnection_status(request: web.Request) -> web.Response:
    """Why each session is where it is, what comes next, the gate, whether the store works, and the
    alerts that are on.
    """
    fleet = request.app[FLEET]
    return json(
        ReconnectionStatus(
            timestamp=_now(),
            sessions={session.id: session.reconnection() for session in fleet.sessions()},
            gate=fleet.gate(),
            store=request.app[STORE].health,
            alerts=request.app[ALERTS].active(),
        )
    )


async def alerts(request: web.Request) -> web.Response:
    """The alerts that are on (the critical ones first), and those that have ended of late.

    From memory: also while the store fails.
    """
    known = request.app[ALERTS]
    asked = query(request, PageQuery)
    shown, following = page(known.active(), _urgency, tuple[int, str, str, str, str], asked)
    return json(AlertsView(_now(), shown, following, known.ended()))


def _urgency(alert: Alert) -> tuple[int, str, str, str, str]:
    """The critical ones first, then the oldest."""
    return (
        -RANKS[alert.severity],
        alert.began_at,
        alert.session or "",
        alert.name,
        alert.about or "",
    )


def _now() -> str:
    return iso(time.time())
