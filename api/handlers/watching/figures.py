"""For whoever watches the fleet: the figures, what everybody waits for, the alerts."""

import time

import msgspec
from aiohttp import web

from api.gatehouse.principals import principal_of
from api.handlers.watching.alerts import seen
from api.live.metrics import FeedFigures
from api.parts import ALERTS, FEED_METRICS, FLEET, HISTORY, HOST, MEMORY, STORE
from api.responses import json
from sessions.lifecycle.session import Session
from sessions.model import SessionId
from sessions.records.stages import Stage, StageSummary, summaries
from sessions.store import StoreHealth
from sessions.views.session_view import Performance, Reconnection
from sessions.views.times import iso
from supervisor.alerts.alerts import Alert
from supervisor.gate.view import GateView
from supervisor.host.reading.disks import DiskReading
from supervisor.host.reading.documents import document
from supervisor.watch.memory_growth import MemoryGrowth
from supervisor.watch.performance import (
    ServicePerformance,
    SystemPerformance,
    service_performance,
    system_performance,
)


class PerformanceMetrics(msgspec.Struct, frozen=True):
    """The figures at one moment.

    `handshakes`: what each stage of the sessions' last logins took. `live_feed`: its clients,
    `memory_growth`: whether something leaks, `performance_metrics`: the service's; None: not for a
    key of some sessions.
    """

    timestamp: str
    system: SystemPerformance
    disks: tuple[DiskReading, ...]
    sessions: dict[SessionId, Performance]
    handshakes: dict[Stage, StageSummary]
    live_feed: FeedFigures | None = msgspec.field(name="liveFeed")
    memory_growth: MemoryGrowth | None = msgspec.field(name="memoryGrowth")
    performance_metrics: ServicePerformance | None
    alerts: list[Alert]


class ReconnectionStatus(msgspec.Struct, frozen=True):
    """What every session waits for at one moment."""

    timestamp: str
    sessions: dict[SessionId, Reconnection]
    gate: GateView
    store: StoreHealth
    alerts: list[Alert]


async def performance_metrics(request: web.Request) -> web.Response:
    """Figures of the host, its file systems and every session, and the alerts that are on.

    For a key of some sessions: of those, and nothing of file systems, live feed and memory.
    """
    fleet, mine = request.app[FLEET], _mine(request)
    whole = principal_of(request).sees(None)
    disks = await request.app[HOST].disks() if whole else ()
    sessions = {session.id: session.performance() for session in mine}
    return json(
        PerformanceMetrics(
            timestamp=_now(),
            system=system_performance(fleet, mine),
            disks=document(disks),
            sessions=sessions,
            handshakes=summaries(
                one.handshake for one in sessions.values() if one.handshake is not None
            ),
            live_feed=request.app[FEED_METRICS].figures() if whole else None,
            memory_growth=request.app[MEMORY].view() if whole else None,
            performance_metrics=service_performance(request.app[HISTORY].latest())
            if whole
            else None,
            alerts=seen(request, request.app[ALERTS].active()),
        )
    )


async def reconnection_status(request: web.Request) -> web.Response:
    """Why each session is where it is, what comes next, the gate, whether the store works, and the
    alerts that are on.

    For a key of some sessions: of those, and without the gate's pauses, which name others' (each
    session says what holds it).
    """
    gate = request.app[FLEET].gate()
    if not principal_of(request).sees(None):
        gate = msgspec.structs.replace(gate, holds=())
    return json(
        ReconnectionStatus(
            timestamp=_now(),
            sessions={session.id: session.reconnection() for session in _mine(request)},
            gate=gate,
            store=request.app[STORE].health,
            alerts=seen(request, request.app[ALERTS].active()),
        )
    )


def _mine(request: web.Request) -> list[Session]:
    """The sessions that exist for who calls."""
    sees = principal_of(request).sees
    return [session for session in request.app[FLEET].sessions() if sees(session.id)]


def _now() -> str:
    return iso(time.time())
