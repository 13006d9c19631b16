"""A report as a value: what was measured, what it means, and what to do. Its JSON is the report for
programs; HTML, PDF and text are made of nothing else.

What was not measured is None, never 0. Instants are ISO 8601, UTC.
"""

from typing import Literal

import msgspec

from supervisor.alerts.alerts import Severity
from supervisor.reports.period import Kind

Unit = Literal["fraction", "ms", "seconds", "bytes", "count"]


class Figure(msgspec.Struct, frozen=True, rename="camel"):
    """A figure of the period, and of the one that it is compared with. `change`: the fraction by
    which it has grown; None: it cannot be said.
    """

    name: str
    unit: Unit
    value: float | None
    before: float | None
    change: float | None


class ServiceLevel(msgspec.Struct, frozen=True, rename="camel"):
    """What was promised, and what came of it. `met` None: it was not measured.

    `at_least`: whether the value has to reach the target, or may not exceed it. `budget_seconds`:
    for so long the average session may have been away, of the time that it was to be open;
    `used_seconds`: it was.
    """

    name: Literal["availability", "response_time", "errors", "rpo", "rto"]
    unit: Unit
    target: float
    at_least: bool
    value: float | None
    met: bool | None
    budget_seconds: float | None = None
    used_seconds: float | None = None


class Availability(msgspec.Struct, frozen=True, rename="camel"):
    """Exact times of all sessions together, without what was excluded as maintenance.

    `sessions`: those that were wanted at any time. `recorded_since_at`: earlier than that nothing
    is on record. `maintenance_seconds`: how much of the period was excluded.
    """

    sessions: int
    open_seconds: float
    down_seconds: float
    stopped_seconds: float
    maintenance_seconds: float
    recorded_since_at: str | None


class Part(msgspec.Struct, frozen=True, rename="camel"):
    """An hour or a day of the period."""

    from_at: str
    availability: float | None


class Peak(msgspec.Struct, frozen=True, rename="camel"):
    """The greatest figure of a series, and when that was (the begin of its step)."""

    name: str
    unit: Unit
    value: float
    at: str
    subject: str | None = None


class Cause(msgspec.Struct, frozen=True, rename="camel"):
    """What kept sessions away: a close reason, how often it began, and for how long all were away
    because of it.
    """

    reason: str
    incidents: int
    sessions: int
    seconds: float


class WorstSession(msgspec.Struct, frozen=True, rename="camel"):
    """A session that was away for long. `causes`: the worst first."""

    session: str
    availability: float | None
    down_seconds: float
    incidents: int
    causes: tuple[Cause, ...]


class Outage(msgspec.Struct, frozen=True, rename="camel"):
    """An outage of the fleet, or of a part. `ended_at` None: it lasts."""

    scope: str
    reason: str
    began_at: str
    ended_at: str | None


class AlertCount(msgspec.Struct, frozen=True, rename="camel"):
    """How often an alert was raised in the period, and how many are on as the report is made."""

    name: str
    severity: Severity
    raised: int
    on: int


class Capacity(msgspec.Struct, frozen=True, rename="camel"):
    """How many more sessions fit on this host. `more_sessions` None: no limit is known."""

    sessions: int
    more_sessions: int | None
    first_limit: str | None
    remedy: str


class Disk(msgspec.Struct, frozen=True, rename="camel"):
    """A file system. `full_in_seconds`: as the period has it; None: it does not fill."""

    directory: str
    used: float
    full_in_seconds: float | None


class Backups(msgspec.Struct, frozen=True, rename="camel"):
    """The newest backup that could be restored, and what restoring it took."""

    last_verified_at: str | None
    last_restore_seconds: float | None


class Recommendation(msgspec.Struct, frozen=True, rename="camel"):
    """What to do, by a rule's name, with the figures that say why.

    A figure's name ends with its unit: `_fraction`, `_seconds`, `_ms`, `_bytes`, `_count`.
    """

    rule: str
    severity: Severity
    figures: dict[str, float | str]


class Plot(msgspec.Struct, frozen=True, rename="camel"):
    """What is drawn: for each step its begin (seconds since 1970), least, mean and greatest figure.

    Of a count mean is what was counted in the step. A step without figures has no point.
    """

    name: str
    unit: Unit
    step_seconds: int
    points: tuple[tuple[float, float, float, float], ...]


class Report(msgspec.Struct, frozen=True, rename="camel", kw_only=True):
    """A report. `measured`: the fraction of the period of which there are figures; `complete`:
    whether the period was over as it was made.
    """

    kind: Kind
    from_at: str
    to_at: str
    compared_from_at: str
    compared_to_at: str
    time_zone: str
    made_at: str
    version: str
    measured: float
    complete: bool
    figures: tuple[Figure, ...]
    service_levels: tuple[ServiceLevel, ...]
    availability: Availability
    parts: tuple[Part, ...]
    peaks: tuple[Peak, ...]
    causes: tuple[Cause, ...]
    sessions: tuple[WorstSession, ...]
    sessions_away: int
    """How many were away at all; `sessions` are the worst of them."""
    outages: tuple[Outage, ...]
    alerts: tuple[AlertCount, ...]
    capacity: Capacity | None
    disks: tuple[Disk, ...]
    backups: Backups | None
    recommendations: tuple[Recommendation, ...] = ()
    plots: tuple[Plot, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether there is nothing to tell: nothing was measured, and no session was wanted."""
        return not self.measured and not self.availability.sessions
