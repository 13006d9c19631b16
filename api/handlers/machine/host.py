"""The machine below: what it has and uses, what workers and supervisor weigh and
may, and which alarms are on.
"""

from dataclasses import fields
from typing import Any

import msgspec
from aiohttp import web

from api.parts import FLEET, HOST, THRESHOLDS
from api.responses import json
from supervisor.host.needs.process_limits import (
    LimitFinding,
    ProcessLimits,
    StartedBy,
    own_limits,
)
from supervisor.host.reading.alarms import AlertLimits
from supervisor.host.reading.connections import Connections
from supervisor.host.reading.disks import DiskReading
from supervisor.host.reading.documents import document
from supervisor.host.reading.host_sampler import SupervisorReading, WorkersReading
from supervisor.host.reading.monitor import ActiveAlarm, reading_document
from supervisor.host.reading.readings import HostSample


class ProcessLimitsView(msgspec.Struct, frozen=True, rename="camel"):
    """The limits of the supervisor's own process, for so many sessions."""

    pid: int
    sessions: int
    started_by: StartedBy
    findings: tuple[LimitFinding, ...]
    enough: bool


class HostView(msgspec.Struct, frozen=True, rename="camel"):
    """The machine below, at one moment.

    None: it could not be read; `notes` says why. `alarms`: what is above its limit (`thresholds`).
    """

    at: str
    host: HostSample
    connections: Connections | None
    workers: WorkersReading | None
    supervisor: SupervisorReading | None
    disks: tuple[DiskReading, ...]
    notes: tuple[str, ...]
    alarms: tuple[ActiveAlarm, ...]
    thresholds: AlertLimits
    process_limits: ProcessLimitsView


async def get_host(request: web.Request) -> web.Response:
    """The host's figures and connections, the workers' weight, the supervisor's own descriptors and
    limits, and the alarms that are on.
    """
    reading = await request.app[HOST].reading()
    sessions = len(request.app[FLEET].sessions())
    thresholds = request.app[THRESHOLDS].of_host(reading.host.cores, sessions)
    limits = own_limits(sessions)
    return json(
        HostView(
            **reading_document(reading, thresholds),
            thresholds=document(thresholds),
            process_limits=ProcessLimitsView(**_fields(limits), enough=limits.enough),
        )
    )


def _fields(limits: ProcessLimits) -> dict[str, Any]:
    return {field.name: document(getattr(limits, field.name)) for field in fields(limits)}
