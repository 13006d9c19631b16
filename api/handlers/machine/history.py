"""The history: what is measured, what it is now, and what it was."""

import asyncio
import time
from typing import Annotated, Final, NamedTuple

import msgspec
from aiohttp import web
from msgspec import UNSET, Meta, UnsetType

from api.errors import BadRequest, ForbiddenFleet
from api.gatehouse.principals import must_see, principal_of
from api.parts import FLEET, HISTORY
from api.responses import json, moment, query
from sessions.model import parse_session_id
from sessions.views.times import iso
from supervisor.history.history import named
from supervisor.history.points import Point, Spread
from supervisor.history.series import SERIES, Kind, Series, Subject
from supervisor.history.tiers import HOUR

USUAL_STEP_SECONDS: Final = 60
_Name = Annotated[str, Meta(max_length=100, description="A name of GET /history/series.")]
_Moment = Annotated[
    str, Meta(max_length=64, description="A moment, ISO 8601: 2027-01-31T08:00:00Z.")
]


class HistoryQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Which figures are asked for."""

    series: _Name
    subject: (
        Annotated[
            str,
            Meta(
                max_length=255,
                description="Whose: a session's id, a directory; none for a series without.",
            ),
        ]
        | UnsetType
    ) = UNSET
    begin: _Moment | UnsetType = msgspec.field(name="from", default=UNSET)
    end: _Moment | UnsetType = msgspec.field(name="to", default=UNSET)
    step: Annotated[
        int, Meta(description="Seconds of each point: 10 or a multiple of it; 60 if not said.")
    ] = USUAL_STEP_SECONDS


class LatestQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Which series is asked for."""

    series: _Name


class SeriesView(msgspec.Struct, frozen=True, rename="camel"):
    """A series.

    `subject`: whose its figures are: a session's, a file system's (`disk`, by directory) ...;
    `none`: there is only one. `kind`: `gauge`; `count`: what was added in each interval;
    `buckets`: GET /history/distribution tells it.
    """

    name: str
    unit: str
    subject: Subject
    kind: Kind
    words: str

    @classmethod
    def of(cls, series: Series) -> "SeriesView":
        """A series as it is shown."""
        return cls(series.name, series.unit, series.subject, series.kind, series.words)


class SeriesList(msgspec.Struct, frozen=True, rename="camel"):
    """All series. `next`: always None: they are all here."""

    series: list[SeriesView]
    next: None = None


class PointView(msgspec.Struct, frozen=True, rename="camel"):
    """The figures of one step, which begins at `at`: how many there were (one each ten seconds),
    their mean and sum, the least and the greatest.
    """

    at: str
    count: int
    mean: float
    sum: float
    min: float
    max: float

    @classmethod
    def of(cls, point: Point) -> "PointView":
        """A point as it is shown."""
        return cls(iso(point.at), point.count, point.mean, point.sum, point.minimum, point.maximum)


class HistoryView(msgspec.Struct, frozen=True, rename="camel"):
    """What was measured. A step in which nothing was measured has no point."""

    series: str
    subject: str | None
    unit: str
    kind: Kind
    from_at: str
    to_at: str
    step_seconds: int
    points: list[PointView]


class SpreadView(msgspec.Struct, frozen=True, rename="camel"):
    """How the figures of one step were distributed, which begins at `at`: how many there were, and
    below which of them half, 95 and 99 percent are (to within some percent).
    """

    at: str
    count: int
    p50: float | None
    p95: float | None
    p99: float | None

    @classmethod
    def of(cls, spread: Spread) -> "SpreadView":
        """A step as it is shown."""
        p50, p95, p99 = (spread.quantile(fraction) for fraction in (0.5, 0.95, 0.99))
        return cls(iso(spread.at), spread.count, p50, p95, p99)


class DistributionView(msgspec.Struct, frozen=True, rename="camel"):
    """How a series' figures were distributed. A step without any has no point."""

    series: str
    subject: str | None
    unit: str
    kind: Kind
    from_at: str
    to_at: str
    step_seconds: int
    points: list[SpreadView]


class FigureNow(msgspec.Struct, frozen=True, rename="camel"):
    """A figure. `subject` None: there is only one."""

    subject: str | None
    value: float


class LatestView(msgspec.Struct, frozen=True, rename="camel"):
    """The figures of the last ten seconds, of all subjects. `next`: always None: they are all
    here.
    """

    series: str
    unit: str
    kind: Kind
    figures: list[FigureNow]
    next: None = None


async def list_series(_request: web.Request) -> web.Response:
    """What is measured."""
    return json(SeriesList([SeriesView.of(series) for series in SERIES.values()]))


async def latest(request: web.Request) -> web.Response:
    """A series' figures of the last ten seconds, of all its subjects; of a count, what was added.

    For a key of some sessions: of those; of series that are no session's, nothing.
    """
    series, sees = named(query(request, LatestQuery).series), principal_of(request).sees
    if series.subject != "session" and not sees(None):
        raise ForbiddenFleet
    if series.kind == "buckets":
        raise _is_distribution(series)
    figures = [
        FigureNow(subject, value)
        for (name, subject), value in request.app[HISTORY].latest().items()
        if name == series.name and sees(subject)
    ]
    return json(LatestView(series.name, series.unit, series.kind, figures))


async def history(request: web.Request) -> web.Response:
    """What was measured, from a moment up to another: without them, the last hour.

    Every ten seconds for a day back, every minute for a week, every hour for 400 days
    (docs/history.md). Beyond that it is refused: nothing is cut off silently.
    """
    asked = _asked(request)
    if asked.series.kind == "buckets":
        raise _is_distribution(asked.series)
    points = await request.app[HISTORY].read(*asked.period)
    # in a thread, and so below: of a whole day these are many
    views = await asyncio.to_thread(lambda: [PointView.of(point) for point in points])
    return json(HistoryView(*asked.shown, views))


async def distribution(request: web.Request) -> web.Response:
    """How the figures of a series of kind `buckets` were distributed: below which of them half, 95
    and 99 percent are, from a moment up to another: without them, the last hour.
    """
    asked = _asked(request)
    if asked.series.kind != "buckets":
        raise BadRequest(f"{asked.series.name} is no distribution.", "GET /history tells it.")
    spreads = await request.app[HISTORY].read_spread(*asked.period)
    views = await asyncio.to_thread(lambda: [SpreadView.of(spread) for spread in spreads])
    return json(DistributionView(*asked.shown, views))


class _Asked(NamedTuple):
    series: Series
    subject: str | None
    start: float
    end: float
    step_seconds: int

    @property
    def period(self) -> tuple[str, str | None, float, float, int]:
        """As the history is asked."""
        return self.series.name, self.subject, self.start, self.end, self.step_seconds

    @property
    def shown(self) -> tuple[str, str | None, str, Kind, str, str, int]:
        """What an answer begins with."""
        series = self.series
        times = iso(self.start), iso(self.end)
        return series.name, self.subject, series.unit, series.kind, *times, self.step_seconds


def _asked(request: web.Request) -> _Asked:
    """What is asked, if who calls may see it.

    Raises BadRequest, UnknownSeries, ForbiddenFleet, SessionNotFound, InvalidSessionId.
    """
    asked = query(request, HistoryQuery)
    series = named(asked.series)
    subject = _subject(request, series, None if asked.subject is UNSET else asked.subject)
    end = time.time() if asked.end is UNSET else moment("to", asked.end)
    start = end - HOUR if asked.begin is UNSET else moment("from", asked.begin)
    return _Asked(series, subject, start, end, asked.step)


def _is_distribution(series: Series) -> BadRequest:
    return BadRequest(f"{series.name} is a distribution.", "GET /history/distribution tells it.")


def _subject(request: web.Request, series: Series, subject: str | None) -> str | None:
    """Whose figures, if who calls may see them. Raises BadRequest, ForbiddenFleet, SessionNotFound,
    InvalidSessionId.
    """
    if series.subject == "none" and subject is not None:
        raise BadRequest(
            f"{series.name} is measured once, and has no subject.", "Leave `subject` out."
        )
    if series.subject != "none" and subject is None:
        raise BadRequest(
            f"{series.name} is measured for each {series.subject}.",
            f"Say whose with `subject`; GET /history/latest?series={series.name} shows all.",
        )
    if series.subject != "session":
        if not principal_of(request).sees(None):
            raise ForbiddenFleet
        return subject
    assert subject is not None, "else it was refused above"
    session = parse_session_id(subject)
    must_see(request, session)
    return request.app[FLEET].get(session).id
