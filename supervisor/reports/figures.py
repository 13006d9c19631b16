"""The figures of a report, as data: each with its unit and how it follows from what was measured.
Pure.

What was not measured is None: a figure of an hour in which nobody looked is not 0.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from sessions.records.distribution import quantile
from supervisor.history.points import Point
from supervisor.reports.gathered import Measured, Points
from supervisor.reports.report import Figure, Peak, Unit

RESPONSE_TIME: Final = "session.response_time_ms"


@dataclass(frozen=True, slots=True)
class Definition:
    """A figure, and how it is made of what was measured."""

    name: str
    unit: Unit
    make: Callable[[Measured], float | None]


def total(points: Points) -> float | None:
    """What was counted; None: nobody has counted."""
    return sum(point.sum for point in points) if points else None


def mean(points: Points) -> float | None:
    """Over all figures, each of which weighs the same."""
    count = sum(point.count for point in points)
    return sum(point.sum for point in points) / count if count else None


def greatest(points: Points) -> float | None:
    """The greatest single figure."""
    return max((point.maximum for point in points), default=None)


class Together:
    """The points of several subjects as of one: those of the same step are added.

    Only the sum is kept: the rows of thousands of sessions are more than a machine may have room
    for.
    """

    def __init__(self) -> None:
        self._found: dict[float, Point] = {}

    def add(self, row: Points) -> None:
        """A subject's points."""
        for point in row:
            known = self._found.get(point.at)
            self._found[point.at] = point if known is None else _both(known, point)

    def points(self) -> tuple[Point, ...]:
        """Those of all, the oldest first."""
        return tuple(self._found[at] for at in sorted(self._found))


def _both(one: Point, other: Point) -> Point:
    return Point(
        one.at,
        one.count + other.count,
        one.sum + other.sum,
        min(one.minimum, other.minimum),
        max(one.maximum, other.maximum),
    )


def _of(how: Callable[[Points], float | None], series: str) -> Callable[[Measured], float | None]:
    return lambda measured: how(measured.get(series, ()))


def _share(part: str, *rest: str) -> Callable[[Measured], float | None]:
    """The part of all: what the first series counts, of what all of them count."""

    def make(measured: Measured) -> float | None:
        sums = [total(measured.get(series, ())) for series in (part, *rest)]
        known = [one for one in sums if one is not None]
        if len(known) < len(sums) or not sum(known):
            return None
        return known[0] / sum(known)

    return make


def _ratio(part: str, whole: str) -> Callable[[Measured], float | None]:
    def make(measured: Measured) -> float | None:
        some, every = total(measured.get(part, ())), total(measured.get(whole, ()))
        return None if some is None or not every else some / every

    return make


DEFINITIONS: Final = (
    Definition("avg_response_time", "ms", _of(mean, RESPONSE_TIME)),
    Definition("total_requests", "count", _of(total, "api.requests")),
    Definition("error_rate", "fraction", _share("fleet.errors", "fleet.messages")),
    Definition("request_error_rate", "fraction", _ratio("api.errors", "api.requests")),
    Definition("db_connections_peak", "count", _of(greatest, "database.pool_in_use")),
    Definition("cache_hit_ratio", "fraction", _of(mean, "database.cache_hits")),
    Definition("messages", "count", _of(total, "fleet.messages")),
    Definition("failed_operations", "count", _of(total, "fleet.errors")),
    Definition("reconnections", "count", _of(total, "fleet.reconnects")),
    Definition("sessions", "count", _of(greatest, "fleet.sessions")),
    Definition("sessions_open", "count", _of(mean, "fleet.open")),
    Definition("avg_cpu", "fraction", _of(mean, "host.cpu")),
    Definition("avg_memory", "fraction", _of(mean, "host.memory")),
    Definition("worker_memory_peak", "bytes", _of(greatest, "fleet.worker_memory_bytes")),
)
API_RESPONSE: Final = "api.response_ms"
PERCENTILES: Final[Mapping[str, str]] = {
    API_RESPONSE: "p95_request_time",
    "fleet.response_ms": "p95_response_time",
}
"""Series that are distributions, and the figure that is told of each: its 95th percentile."""
PERCENTILE: Final = 0.95
PEAKS: Final[Mapping[str, Unit]] = {
    "host.cpu": "fraction",
    "host.memory": "fraction",
    "host.load_1": "count",
    "host.connections": "count",
    "supervisor.memory_bytes": "bytes",
    "supervisor.lag_ms": "ms",
    "fleet.open": "count",
    "fleet.worker_memory_bytes": "bytes",
    RESPONSE_TIME: "ms",
    "database.pool_in_use": "count",
}
"""Series whose greatest figure is told, and when it was."""
BUSIEST: Final = ("fleet.messages", "api.requests", "fleet.errors", "fleet.reconnects")
"""Counts of which the busiest step is told."""
PLOTS: Final[Mapping[str, Unit]] = {
    "fleet.open": "count",
    "fleet.messages": "count",
    "api.requests": "count",
    "fleet.errors": "count",
    RESPONSE_TIME: "ms",
    "host.cpu": "fraction",
    "host.memory": "fraction",
}
SERIES: Final = tuple(
    dict.fromkeys(
        (
            *PLOTS,
            *PEAKS,
            *BUSIEST,
            "fleet.sessions",
            "api.errors",
            "database.cache_hits",
        )
    )
)
"""All that is read; those that the history has not are not measured."""


def figures(measured: Measured, before: Measured) -> tuple[Figure, ...]:
    """All of them, with those of before."""
    found = []
    for one in DEFINITIONS:
        value, then = one.make(measured), one.make(before)
        found.append(Figure(one.name, one.unit, value, then, change(value, then)))
    return tuple(found)


def change(value: float | None, before: float | None) -> float | None:
    """By which fraction it has grown; from nothing there is no fraction."""
    return None if value is None or not before else value / before - 1


def peaks(measured: Measured) -> tuple[tuple[Peak, float], ...]:
    """The greatest figures, each with its moment (seconds of wall clock)."""
    found = []
    for series, unit in PEAKS.items():
        most = max(measured.get(series, ()), key=lambda point: point.maximum, default=None)
        if most is not None:
            found.append((Peak(series, unit, most.maximum, ""), most.at))
    for series in BUSIEST:
        most = max(measured.get(series, ()), key=lambda point: point.sum, default=None)
        if most is not None and most.sum:
            found.append((Peak(series, "count", most.sum, ""), most.at))
    return tuple(found)


Spreads = Mapping[str, Mapping[int, int]]


def percentiles(spreads: Spreads, before: Spreads) -> tuple[Figure, ...]:
    """The 95th percentile of each distribution."""
    found = []
    for series, name in PERCENTILES.items():
        value, then = (quantile(one.get(series, {}), PERCENTILE) for one in (spreads, before))
        found.append(Figure(name, "ms", value, then, change(value, then)))
    return tuple(found)
