"""What a report is made of, as it was read: points of the history, exact times, and what stands
beside them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sessions.store.supervision.presence import Away, OutageTimes, Times
from supervisor.history.points import Point
from supervisor.reports.period import Period
from supervisor.reports.report import AlertCount, Backups, Capacity

Points = Sequence[Point]
Measured = Mapping[str, Points]
"""By series. Of one that each session has, the points of all sessions together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Gathered:
    """Of a period; `before`: of the one that it is compared with.

    `parts`: the begin of each part of the period, and the times of all sessions in it. `spreads`:
    by series, how many figures fell into each bucket of its distribution. `disks`: the fractions in
    use, by directory. `excluded_seconds`: maintenance. `availability_target`: a fraction of 1.
    """

    period: Period
    made_at: float
    version: str
    step_seconds: int
    measured: Measured
    measured_before: Measured
    times: Mapping[str, Times]
    times_before: Mapping[str, Times]
    parts: Sequence[tuple[float, Times]]
    away: Sequence[Away]
    outages: Sequence[OutageTimes]
    recorded_since: float | None
    availability_target: float
    excluded_seconds: float = 0.0
    disks: Mapping[str, Points] = field(default_factory=dict)
    spreads: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    spreads_before: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    alerts: Sequence[AlertCount] = ()
    capacity: Capacity | None = None
    backups: Backups | None = None
