"""The handler about capacity: how many more sessions fit on this host, which limit ends first, and
what to change.
"""

import re
from typing import Any, Final

from aiohttp import web

from api.errors import BadRequest
from api.handlers.parts import FORECASTER
from api.responses import json
from supervisor.host.needs.capacity import Capacity, Figure, Row, Storm
from supervisor.host.needs.requirements import SESSIONS_MOST

_WHOLE: Final = re.compile(r"[1-9][0-9]{0,5}")


async def get_capacity(request: web.Request) -> web.Response:
    """How many more sessions fit, and which limit ends first; `?sessions=N`: what is missing for N
    in all.
    """
    return json(shown(await request.app[FORECASTER].forecast(_sessions(request))))


def shown(capacity: Capacity) -> dict[str, Any]:
    """The forecast as the API shows it."""
    return {
        "sessions": capacity.sessions,
        "asked": capacity.asked,
        "fits": capacity.fits,
        "moreSessions": capacity.more_sessions,
        "words": capacity.words,
        "limits": [_row(row) for row in capacity.rows],
        "storms": [_storm(storm) for storm in capacity.storms],
    }


def _sessions(request: web.Request) -> int | None:
    text = request.query.get("sessions")
    if text is None:
        return None
    if _WHOLE.fullmatch(text) is None or int(text) > SESSIONS_MOST:
        raise BadRequest(
            f"sessions is {text[:40]!r}.", f"It accepts a whole number from 1 to {SESSIONS_MOST}."
        )
    return int(text)


def _row(row: Row) -> dict[str, Any]:
    return {
        "name": row.name,
        "unit": row.unit,
        "perSession": _figure(row.per_session),
        "maximum": row.maximum,
        "used": row.used,
        "kept": row.kept,
        "moreSessions": row.more_sessions,
        "missing": row.missing,
        "remedy": row.remedy,
    }


def _storm(storm: Storm) -> dict[str, Any]:
    return {
        "name": storm.name,
        "sessions": storm.sessions,
        "cpuSecondsPerLogin": _figure(storm.cpu_per_login_seconds),
        "gateSeconds": storm.gate_seconds,
        "cpuSeconds": storm.cpu_seconds,
        "seconds": storm.seconds,
        "decidedBy": storm.decided_by,
    }


def _figure(figure: Figure) -> dict[str, Any]:
    return {
        "value": figure.value,
        "samples": figure.samples,
        "assumed": figure.assumed,
        "byDesign": figure.by_design,
    }
