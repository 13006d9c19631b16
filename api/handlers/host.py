"""The handler about the machine below: what it has and uses, what workers and supervisor weigh and
may, and which alarms are on.
"""

from typing import Any

from aiohttp import web

from api.handlers.parts import FLEET, HOST, THRESHOLDS
from api.responses import json
from supervisor.host.needs.process_limits import own_limits
from supervisor.host.reading.documents import document
from supervisor.host.reading.monitor import reading_document


async def get_host(request: web.Request) -> web.Response:
    """The host's figures and connections, the workers' weight, the supervisor's own descriptors and
    limits, and the alarms that are on.
    """
    reading = await request.app[HOST].reading()
    sessions = len(request.app[FLEET].sessions())
    limits = request.app[THRESHOLDS].of_host(reading.host.cores, sessions)
    return json(
        reading_document(reading, limits)
        | {"thresholds": document(limits), "processLimits": _process_limits(sessions)}
    )


def _process_limits(sessions: int) -> dict[str, Any]:
    found = own_limits(sessions)
    shown: dict[str, Any] = document(found)
    return shown | {"enough": found.enough}
