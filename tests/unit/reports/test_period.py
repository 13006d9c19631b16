"""Days, weeks and months of a time zone, and what is compared with what."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from supervisor.alerts.hours import Hours
from supervisor.reports.period import (
    DAY,
    HOUR,
    InvalidReportPeriod,
    Period,
    between,
    last,
    windows,
)

SAO_PAULO, BERLIN = ZoneInfo("America/Sao_Paulo"), ZoneInfo("Europe/Berlin")


def at(text: str, zone: ZoneInfo = SAO_PAULO) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=zone).timestamp()


def told(period: Period) -> list[str]:
    moments = (period.start, period.end, period.before_start, period.before_end)
    return [f"{datetime.fromtimestamp(one, period.zone):%Y-%m-%d %H:%M}" for one in moments]


def test_a_day_is_the_one_before_and_is_compared_with_the_same_weekday() -> None:
    assert told(last("daily", at("2027-03-01 08:00"), SAO_PAULO)) == [
        "2027-02-28 00:00",
        "2027-03-01 00:00",
        "2027-02-21 00:00",
        "2027-02-22 00:00",
    ]


def test_a_week_goes_from_monday_to_monday() -> None:
    monday = told(last("weekly", at("2027-03-08 00:00"), SAO_PAULO))
    assert monday == [
        "2027-03-01 00:00",
        "2027-03-08 00:00",
        "2027-02-22 00:00",
        "2027-03-01 00:00",
    ]
    assert told(last("weekly", at("2027-03-14 23:59"), SAO_PAULO)) == monday


def test_a_month_is_compared_with_the_one_before() -> None:
    assert told(last("monthly", at("2027-01-01 08:00"), SAO_PAULO)) == [
        "2026-12-01 00:00",
        "2027-01-01 00:00",
        "2026-11-01 00:00",
        "2026-12-01 00:00",
    ]


def test_a_day_on_which_the_clocks_are_set_has_as_many_hours_as_it_has() -> None:
    spring = last("daily", at("2027-03-29 08:00", BERLIN), BERLIN)
    autumn = last("daily", at("2027-11-01 08:00", BERLIN), BERLIN)
    assert [spring.seconds, autumn.seconds] == [23 * HOUR, 25 * HOUR]
    assert [len(list(spring.parts())), len(list(autumn.parts()))] == [23, 25]
    week = last("weekly", at("2027-03-29 08:00", BERLIN), BERLIN)
    lengths = [end - start for start, end in week.parts()]
    assert lengths == [DAY] * 6 + [23 * HOUR]


def test_names_are_those_of_files_and_sort_by_time() -> None:
    names = [
        last(kind, at("2027-03-08 08:00"), SAO_PAULO).name
        for kind in ("daily", "weekly", "monthly")
    ]
    assert names == ["daily-2027-03-07", "weekly-2027-03-01", "monthly-2027-02"]


def test_any_time_is_compared_with_what_was_before_it() -> None:
    now = at("2027-03-08 08:00")
    assert told(between(now - 6 * HOUR, now, now, SAO_PAULO)) == [
        "2027-03-08 02:00",
        "2027-03-08 08:00",
        "2027-03-07 20:00",
        "2027-03-08 02:00",
    ]


@pytest.mark.parametrize(
    ("start", "end"), [(0, 60), (0, 0), (60, 0), (0, 401 * DAY), (-HOUR, HOUR)]
)
def test_what_cannot_be_reported_is_refused(start: float, end: float) -> None:
    now = at("2027-03-08 08:00")
    shift = now - 402 * DAY if end <= 402 * DAY and start >= 0 else now
    with pytest.raises(InvalidReportPeriod):
        between(shift + start, shift + end, now, SAO_PAULO)


def test_announced_maintenance_is_found_to_the_minute() -> None:
    hours = Hours.parse("sun 02:00-04:00")
    week = last("weekly", at("2027-03-08 08:00"), SAO_PAULO)
    found = windows(hours.contains, week.start, week.end, SAO_PAULO)
    assert found == [(at("2027-03-07 02:00"), at("2027-03-07 04:00"))]
    assert windows(hours.contains, found[0][0] + 90, week.end, SAO_PAULO) == [
        (found[0][0] + 90, found[0][1])
    ]
