"""The report made of what was gathered. Pure: the same in, the same out."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from sessions.store.supervision.presence import Away
from sessions.views.times import iso
from supervisor.history.points import Point
from supervisor.history.tiers import SLOT_SECONDS
from supervisor.reports.figures import BUSIEST, PLOTS, change, figures, peaks, percentiles
from supervisor.reports.gathered import Gathered, Points
from supervisor.reports.recommendations import recommend
from supervisor.reports.report import (
    Availability,
    Cause,
    Disk,
    Figure,
    Outage,
    Part,
    Peak,
    Plot,
    Report,
    WorstSession,
)
from supervisor.reports.service_levels import (
    all_together,
    availability,
    service_levels,
)

WORST: Final = 500
"""Sessions that a report names; a page shows the first of them."""
CAUSES_OF_ONE: Final = 3
WITNESS: Final = "host.cpu"
"""The series by which is known for how much of the time anything was measured."""
SOONEST_POINTS: Final = 6
"""Of so few points no trend is read."""
LATEST_SECONDS: Final = 400 * 86_400.0
"""A disk that is full later than that does not fill."""


def compose(gathered: Gathered) -> Report:
    """The report."""
    period = gathered.period
    all_figures = (
        *figures(gathered.measured, gathered.measured_before),
        *percentiles(gathered.spreads, gathered.spreads_before),
        _availability_figure(gathered),
    )
    by_name = {figure.name: figure for figure in all_figures}
    sessions = _worst(gathered)
    report = Report(
        kind=period.kind,
        from_at=iso(period.start),
        to_at=iso(period.end),
        compared_from_at=iso(period.before_start),
        compared_to_at=iso(period.before_end),
        time_zone=period.zone.key,
        made_at=iso(gathered.made_at),
        version=gathered.version,
        measured=_measured(gathered.measured.get(WITNESS, ()), period.seconds),
        complete=gathered.made_at >= period.end,
        figures=all_figures,
        service_levels=service_levels(gathered, by_name),
        availability=_availability(gathered),
        parts=tuple(Part(iso(at), availability(times)) for at, times in gathered.parts),
        peaks=tuple(_dated(peak, at) for peak, at in peaks(gathered.measured)),
        causes=_causes(gathered.away),
        sessions=sessions[:WORST],
        sessions_away=len(sessions),
        outages=tuple(
            Outage(
                one.scope,
                one.reason,
                iso(one.began_at),
                None if one.ended_at is None else iso(one.ended_at),
            )
            for one in gathered.outages
        ),
        alerts=tuple(gathered.alerts),
        capacity=gathered.capacity,
        disks=tuple(
            Disk(directory, points[-1].mean, full_in_seconds(points))
            for directory, points in sorted(gathered.disks.items())
            if points
        ),
        backups=gathered.backups,
        plots=tuple(_plots(gathered)),
    )
    return msgspec.structs.replace(report, recommendations=recommend(report))


def full_in_seconds(points: Points) -> float | None:
    """When a disk is full if it goes on as it went: by the line of least squares through the means
    of the fractions in use; counted from the last point.
    """
    if len(points) < SOONEST_POINTS:
        return None
    count, first = len(points), points[0].at
    times = [point.at - first for point in points]
    mean_time = sum(times) / count
    mean_used = sum(point.mean for point in points) / count
    spread = sum((at - mean_time) ** 2 for at in times)
    slope = (
        sum(
            (at - mean_time) * (point.mean - mean_used)
            for at, point in zip(times, points, strict=True)
        )
        / spread
    )
    if slope <= 0:
        return None
    seconds = max(0.0, 1.0 - points[-1].mean) / slope
    return seconds if seconds < LATEST_SECONDS else None


def _measured(points: Points, seconds: float) -> float:
    """The fraction of the time of which there are figures."""
    return min(1.0, sum(point.count for point in points) * SLOT_SECONDS / seconds)


def _availability_figure(gathered: Gathered) -> Figure:
    value = availability(all_together(gathered.times.values()))
    before = availability(all_together(gathered.times_before.values()))
    return Figure("availability", "fraction", value, before, change(value, before))


def _availability(gathered: Gathered) -> Availability:
    times = all_together(gathered.times.values())
    since = gathered.recorded_since
    return Availability(
        sessions=sum(1 for one in gathered.times.values() if one.wanted > 0),
        open_seconds=times.open,
        down_seconds=times.down,
        stopped_seconds=times.off,
        maintenance_seconds=gathered.excluded_seconds,
        recorded_since_at=None if since is None else iso(since),
    )


def _dated(peak: Peak, at: float) -> Peak:
    return msgspec.structs.replace(peak, at=iso(at))


def _causes(away: Iterable[Away]) -> tuple[Cause, ...]:
    """What kept sessions away, the worst first."""
    rows = defaultdict[str, list[Away]](list)
    for one in away:
        rows[one.reason].append(one)
    found = [
        Cause(
            reason,
            sum(one.began for one in its),
            len({one.session for one in its}),
            sum(one.seconds for one in its),
        )
        for reason, its in rows.items()
    ]
    return tuple(sorted(found, key=lambda cause: (-cause.seconds, cause.reason)))


def _worst(gathered: Gathered) -> tuple[WorstSession, ...]:
    """The sessions that were away at all, the worst first."""
    mine = defaultdict[str, list[Away]](list)
    for one in gathered.away:
        mine[one.session].append(one)
    found = [
        WorstSession(
            session,
            availability(times),
            times.down,
            sum(one.began for one in mine[session]),
            _causes(mine[session])[:CAUSES_OF_ONE],
        )
        for session, times in gathered.times.items()
        if times.down > 0
    ]
    return tuple(sorted(found, key=lambda one: (-one.down_seconds, one.session)))


def _plots(gathered: Gathered) -> Iterable[Plot]:
    for series, unit in PLOTS.items():
        points = gathered.measured.get(series, ())
        if points:
            yield Plot(series, unit, gathered.step_seconds, _drawn(series, points))


def _drawn(series: str, points: Sequence[Point]) -> tuple[tuple[float, float, float, float], ...]:
    if series in BUSIEST:
        return tuple((point.at, point.sum, point.sum, point.sum) for point in points)
    return tuple((point.at, point.minimum, point.mean, point.maximum) for point in points)
