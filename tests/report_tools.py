"""A period, and what was gathered of it, to be changed by a test."""

from typing import Any
from zoneinfo import ZoneInfo

from sessions.records.distribution import bucket_of
from sessions.store.supervision.presence import Away, OutageTimes, Times
from supervisor.history.points import Point
from supervisor.reports.composing import compose
from supervisor.reports.gathered import Gathered
from supervisor.reports.period import DAY, HOUR, Period
from supervisor.reports.report import AlertCount, Backups, Capacity, Report

T0 = 1_800_057_600.0
"""A midnight of UTC, 2027-01-16."""
UTC = ZoneInfo("UTC")
DAILY = Period("daily", T0, T0 + DAY, T0 - 7 * DAY, T0 - 6 * DAY, UTC)


def point(hour: int, value: float, most: float | None = None) -> Point:
    """An hour of figures, all alike but one."""
    greatest = value if most is None else most
    return Point(T0 + hour * HOUR, 360, value * 359 + greatest, min(value, greatest), greatest)


def counted(hour: int, count: float) -> Point:
    """An hour in which so many were counted."""
    return Point(T0 + hour * HOUR, 360, count, 0, count)


def whole(value: float) -> list[Point]:
    """A day of it."""
    return [point(hour, value) for hour in range(24)]


def gathered(**changed: Any) -> Gathered:
    """A day on which all went well, but for what is changed."""
    given: dict[str, Any] = {
        "period": DAILY,
        "made_at": T0 + DAY + 8 * HOUR,
        "version": "0.0.0",
        "step_seconds": HOUR,
        "measured": {"host.cpu": whole(0.25), "host.memory": whole(0.5)},
        "measured_before": {},
        "times": {"shop": Times(DAY, 0, 0)},
        "times_before": {},
        "parts": [(T0 + hour * HOUR, Times(HOUR, 0, 0)) for hour in range(24)],
        "away": (),
        "outages": (),
        "recorded_since": T0 - 90 * DAY,
        "availability_target": 0.999,
        "backups": Backups("2027-01-17T07:30:00Z", 12.0),
        "capacity": Capacity(10, 90, "memory", "add memory"),
    }
    return Gathered(**given | changed)


def bad_day() -> Report:
    """A day on which every rule has something to say."""
    busy = {
        "host.cpu": [point(hour, 0.8) for hour in range(20)],
        "host.memory": [point(hour, 0.9) for hour in range(20)],
        "fleet.messages": [counted(3, 500)],
        "fleet.errors": [counted(3, 100)],
        "fleet.reconnects": [counted(3, 500)],
        "fleet.sessions": [point(3, 10)],
        "session.response_time_ms": [point(3, 3_000)],
        "database.cache_hits": [point(3, 0.5)],
    }
    return compose(
        gathered(
            measured=busy,
            times={"shop": Times(DAY - HOUR, HOUR, 0), "bar": Times(DAY - 60, 60, 0)},
            parts=[(T0, Times(HOUR, 60, 0)), (T0 + HOUR, Times())],
            away=[
                Away("shop", "logged_out", 1, 3_500.0),
                Away("shop", "connection_lost", 2, 100.0),
                Away("bar", "connection_lost", 1, 60.0),
            ],
            outages=[OutageTimes("all", "connection_lost", T0 + 60, None)],
            recorded_since=T0 + 60,
            excluded_seconds=600.0,
            spreads={"api.response_ms": {bucket_of(3_000): 100}},
            disks={
                "/data": [point(hour, 0.5 + hour / 100) for hour in range(24)],
                "/logs": whole(0.9),
            },
            alerts=[AlertCount("parked", "critical", 2, 1)],
            capacity=Capacity(10, 0, "memory", "add memory"),
            backups=Backups("2027-01-17T01:00:00Z", 5 * HOUR),
        )
    )
