"""What to do, derived from a report by rules, each with the figure that says why. Pure.

A rule that has nothing to go by says nothing.
"""

from collections.abc import Callable, Iterator
from typing import Final

from sessions.views.explanations import TEXTS
from sessions.views.times import wall_seconds
from supervisor.alerts.alerts import Severity
from supervisor.alerts.judging.figures import FEWEST_OPERATIONS
from supervisor.reports.period import DAY
from supervisor.reports.report import Recommendation, Report, ServiceLevel

MEASURED: Final = 0.98
"""A report of less of its time says so."""
BUSY_CPU: Final = 0.7
BUSY_MEMORY: Final = 0.8
FULL_DISK: Final = 0.85
DISK_SECONDS: Final = 30 * 86_400.0
"""A disk that is full so soon is to be seen to."""
ROOM: Final = 0.1
"""Of the sessions that there are, so many more should fit."""
CACHE: Final = 0.9
RESTLESS: Final = 10.0
"""Reconnections of the average session in a day."""
SLOW_MS: Final = 2_000.0
HUMAN_REASONS: Final = frozenset(
    str(reason) for reason, text in TEXTS.items() if text.until is not None
)
"""Close reasons for which a session is parked by default: a human has to do something."""

Found = Iterator[Recommendation]


def recommend(report: Report) -> tuple[Recommendation, ...]:
    """All that follows from it, what is critical first."""
    found = [one for rule in RULES for one in rule(report)]
    return tuple(sorted(found, key=lambda one: one.severity != "critical"))


def _one(rule: str, severity: Severity, **figures: float | str) -> Found:
    yield Recommendation(rule, severity, figures)


def _gaps(report: Report) -> Found:
    if not report.measured:
        yield from _one("nothing_measured", "warning")
    elif report.measured < MEASURED:
        yield from _one("gaps", "warning", measured_fraction=report.measured)


def _availability(report: Report) -> Found:
    level = _level(report, "availability")
    if level.met is False and report.causes:
        worst = report.causes[0]
        yield from _one(
            "availability",
            "critical",
            value_fraction=level.value or 0.0,
            target_fraction=level.target,
            reason=worst.reason,
            away_seconds=worst.seconds,
            sessions_count=worst.sessions,
        )


def _needs_human(report: Report) -> Found:
    for cause in report.causes:
        if cause.reason in HUMAN_REASONS:
            yield from _one(
                "needs_human", "critical", reason=cause.reason, sessions_count=cause.sessions
            )


def _outages(report: Report) -> Found:
    if report.outages:
        yield from _one("outages", "warning", outages_count=len(report.outages))


def _restless(report: Report) -> Found:
    reconnections, sessions = _figure(report, "reconnections"), _figure(report, "sessions")
    days = max(1.0, (wall_seconds(report.to_at) - wall_seconds(report.from_at)) / DAY)
    if reconnections and sessions and reconnections / sessions / days > RESTLESS:
        yield from _one("restless", "warning", reconnections_count=reconnections)


def _response_time(report: Report) -> Found:
    level = _level(report, "response_time")
    if level.met is False and level.value is not None:
        yield from _one("response_time", "warning", p95_ms=level.value, target_ms=level.target)
    slow = _figure(report, "avg_response_time")
    if slow is not None and slow > SLOW_MS:
        yield from _one("slow_sessions", "warning", value_ms=slow)


def _errors(report: Report) -> Found:
    level = _level(report, "errors")
    operations = (_figure(report, "messages") or 0) + (_figure(report, "failed_operations") or 0)
    if level.met is False and level.value is not None and operations >= FEWEST_OPERATIONS:
        yield from _one(
            "errors", "warning", value_fraction=level.value, target_fraction=level.target
        )


def _recovery(report: Report) -> Found:
    rpo, rto = _level(report, "rpo"), _level(report, "rto")
    if report.backups is not None and rpo.value is None:
        yield from _one("no_backup", "critical")
    elif rpo.met is False and rpo.value is not None:
        yield from _one("old_backup", "critical", age_seconds=rpo.value, target_seconds=rpo.target)
    if rto.met is False and rto.value is not None:
        yield from _one(
            "slow_restore", "warning", took_seconds=rto.value, target_seconds=rto.target
        )


def _disks(report: Report) -> Found:
    for disk in report.disks:
        if disk.full_in_seconds is not None and disk.full_in_seconds < DISK_SECONDS:
            yield from _one(
                "disk_filling",
                "warning",
                directory=disk.directory,
                used_fraction=disk.used,
                full_seconds=disk.full_in_seconds,
            )
        elif disk.used >= FULL_DISK:
            yield from _one(
                "disk_full", "warning", directory=disk.directory, used_fraction=disk.used
            )


def _host(report: Report) -> Found:
    for rule, name, most in (("cpu", "avg_cpu", BUSY_CPU), ("memory", "avg_memory", BUSY_MEMORY)):
        value = _figure(report, name)
        if value is not None and value > most:
            yield from _one(rule, "warning", value_fraction=value)


def _capacity(report: Report) -> Found:
    capacity = report.capacity
    if capacity is None or capacity.more_sessions is None or capacity.first_limit is None:
        return
    if capacity.more_sessions <= ROOM * max(1, capacity.sessions):
        yield from _one(
            "capacity",
            "critical" if capacity.more_sessions <= 0 else "warning",
            more_count=capacity.more_sessions,
            limit=capacity.first_limit,
        )


def _cache(report: Report) -> Found:
    ratio = _figure(report, "cache_hit_ratio")
    if ratio is not None and ratio < CACHE:
        yield from _one("cache", "warning", value_fraction=ratio)


RULES: Final[tuple[Callable[[Report], Found], ...]] = (
    _availability,
    _needs_human,
    _outages,
    _restless,
    _response_time,
    _errors,
    _recovery,
    _disks,
    _host,
    _capacity,
    _cache,
    _gaps,
)
NAMES: Final = (
    "availability",
    "needs_human",
    "outages",
    "restless",
    "response_time",
    "slow_sessions",
    "errors",
    "no_backup",
    "old_backup",
    "slow_restore",
    "disk_filling",
    "disk_full",
    "cpu",
    "memory",
    "capacity",
    "cache",
    "gaps",
    "nothing_measured",
)
"""All that rules can say; a test holds that each has its words in each language."""


def _level(report: Report, name: str) -> ServiceLevel:
    return next(level for level in report.service_levels if level.name == name)


def _figure(report: Report, name: str) -> float | None:
    return next(figure.value for figure in report.figures if figure.name == name)
