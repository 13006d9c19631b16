"""What is promised, and whether it was kept: availability from exact times, response time from
distributions, errors from counts, recovery from backups that were restored. Pure.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from sessions.store.supervision.presence import Times
from sessions.views.times import wall_seconds
from supervisor.reports.gathered import Gathered
from supervisor.reports.report import Backups, Figure, ServiceLevel

RESPONSE_MS: Final = 2_000.0
"""Below it are 95 % of all calls."""
ERRORS: Final = 0.01
RPO_SECONDS: Final = 3_600.0
RTO_SECONDS: Final = 4 * 3_600.0


def all_together(times: Iterable[Times]) -> Times:
    """The times of all sessions as of one."""
    found = Times()
    for one in times:
        found = found.and_(one)
    return found


def availability(times: Times) -> float | None:
    """The part of the time that sessions were open, of the time that they were to be."""
    return times.open / times.wanted if times.wanted > 0 else None


def service_levels(gathered: Gathered, figures: Mapping[str, Figure]) -> tuple[ServiceLevel, ...]:
    """All of them."""
    errors, p95_ms = figures["error_rate"].value, figures["p95_request_time"].value
    return (
        _availability(gathered),
        ServiceLevel(
            "response_time", "ms", RESPONSE_MS, False, p95_ms, _at_most(p95_ms, RESPONSE_MS)
        ),
        ServiceLevel("errors", "fraction", ERRORS, False, errors, _at_most(errors, ERRORS)),
        *_recovery(gathered.backups, gathered.made_at),
    )


def _availability(gathered: Gathered) -> ServiceLevel:
    wanted = [times for times in gathered.times.values() if times.wanted > 0]
    together, count = all_together(wanted), max(1, len(wanted))
    value, target = availability(together), gathered.availability_target
    return ServiceLevel(
        "availability",
        "fraction",
        target,
        True,
        value,
        None if value is None else value >= target,
        # of the time that they were to be open and that is on record: of no more is anything known
        budget_seconds=(1 - target) * together.wanted / count,
        used_seconds=None if value is None else together.down / count,
    )


def _recovery(backups: Backups | None, now: float) -> tuple[ServiceLevel, ServiceLevel]:
    age = took = None
    if backups is not None:
        took = backups.last_restore_seconds
        if backups.last_verified_at is not None:
            # one may be made while the report is; those of a moment to come were left out before
            age = max(0.0, now - wall_seconds(backups.last_verified_at))
    return (
        ServiceLevel("rpo", "seconds", RPO_SECONDS, False, age, _at_most(age, RPO_SECONDS)),
        ServiceLevel("rto", "seconds", RTO_SECONDS, False, took, _at_most(took, RTO_SECONDS)),
    )


def _at_most(value: float | None, target: float) -> bool | None:
    return None if value is None else value <= target
