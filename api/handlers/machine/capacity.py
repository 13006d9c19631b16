"""Capacity: how many more sessions fit on this host, which limit ends first, and
what to change.
"""

from typing import Annotated

import msgspec
from aiohttp import web

from api.parts import FORECASTER
from api.responses import json, query
from supervisor.host.needs.capacity import Capacity, Figure, Row, Storm
from supervisor.host.needs.requirements import SESSIONS_MOST


class CapacityQuery(msgspec.Struct, forbid_unknown_fields=True):
    """What may be asked."""

    sessions: (
        Annotated[
            int,
            msgspec.Meta(ge=1, le=SESSIONS_MOST, description="What is missing for so many in all."),
        ]
        | msgspec.UnsetType
    ) = msgspec.UNSET


class FigureView(msgspec.Struct, frozen=True, rename="camel"):
    """A figure of one session or login.

    `samples`: on how many it rests; `assumed`: on none, `by_design`: on none, and it needs none.
    """

    value: float
    samples: int
    assumed: bool
    by_design: bool


class LimitView(msgspec.Struct, frozen=True, rename="camel"):
    """A limit of this host.

    `kept`: of the maximum, for others or for bad days. `missing` and `remedy`: for what was asked.
    """

    name: str
    unit: str
    per_session: FigureView
    maximum: float | None
    used: float
    kept: float
    more_sessions: int | None
    missing: float
    remedy: str


class StormView(msgspec.Struct, frozen=True, rename="camel"):
    """All sessions logging in at once. `decided_by`: what is the slowest."""

    name: str
    sessions: int
    cpu_seconds_per_login: FigureView
    gate_seconds: float
    cpu_seconds: float
    seconds: float
    decided_by: str


class CapacityView(msgspec.Struct, frozen=True, rename="camel"):
    """The forecast. `asked`: for so many sessions in all; `fits`: whether they do.

    `more_sessions`: as the first limit that ends allows; None: no limit is known.
    """

    sessions: int
    asked: int | None
    fits: bool
    more_sessions: int | None
    words: str
    limits: list[LimitView]
    storms: list[StormView]


async def get_capacity(request: web.Request) -> web.Response:
    """How many more sessions fit, and which limit ends first; `?sessions=N`: what is missing for N
    in all.
    """
    asked = query(request, CapacityQuery).sessions
    sessions = None if asked is msgspec.UNSET else asked
    return json(shown(await request.app[FORECASTER].forecast(sessions)))


def shown(capacity: Capacity) -> CapacityView:
    """The forecast as the API shows it."""
    return CapacityView(
        sessions=capacity.sessions,
        asked=capacity.asked,
        fits=capacity.fits,
        more_sessions=capacity.more_sessions,
        words=capacity.words,
        limits=[_limit(row) for row in capacity.rows],
        storms=[_storm(storm) for storm in capacity.storms],
    )


def _limit(row: Row) -> LimitView:
    return LimitView(
        name=row.name,
        unit=row.unit,
        per_session=_figure(row.per_session),
        maximum=row.maximum,
        used=row.used,
        kept=row.kept,
        more_sessions=row.more_sessions,
        missing=row.missing,
        remedy=row.remedy,
    )


def _storm(storm: Storm) -> StormView:
    return StormView(
        name=storm.name,
        sessions=storm.sessions,
        cpu_seconds_per_login=_figure(storm.cpu_per_login_seconds),
        gate_seconds=storm.gate_seconds,
        cpu_seconds=storm.cpu_seconds,
        seconds=storm.seconds,
        decided_by=storm.decided_by,
    )


def _figure(figure: Figure) -> FigureView:
    return FigureView(figure.value, figure.samples, figure.assumed, figure.by_design)
