"""Hours of a week: over midnight, by days, and what is no such thing."""

from datetime import datetime

import pytest

from supervisor.alerts.hours import Hours

MONDAY = datetime(2026, 11, 30)


@pytest.mark.parametrize(
    ("hours", "day", "time", "within"),
    [
        ("22:00-07:00", 0, "21:59", False),
        ("22:00-07:00", 0, "22:00", True),
        ("22:00-07:00", 0, "06:59", True),
        ("22:00-07:00", 0, "07:00", False),
        ("mon-fri 08:00-18:00", 4, "17:59", True),
        ("mon-fri 08:00-18:00", 5, "12:00", False),
        ("fri-mon 00:00-24:00", 6, "23:59", True),
        ("fri-mon 00:00-24:00", 1, "00:00", False),
        ("sun 23:00-01:00", 0, "00:30", True),  # it began on Sunday
        ("sun 23:00-01:00", 6, "00:30", False),
        ("mon 01:00-02:00, wed 03:00-04:00", 2, "03:30", True),
        ("MON 1:00-2:00", 0, "01:30", True),
        ("22:00-24:00", 0, "23:59", True),
    ],
)
def test_what_lies_within(hours: str, day: int, time: str, within: bool) -> None:
    hour, minute = map(int, time.split(":"))
    at = MONDAY.replace(day=23 + day, hour=hour, minute=minute)
    assert at.weekday() == day
    assert Hours.parse(hours).contains(at) is within


@pytest.mark.parametrize(
    "text", ["", "22-7", "25:00-26:00", "22:60-23:00", "xyz 22:00-23:00", "10:00-10:00", "mon"]
)
def test_what_is_no_span_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"accept|time of the day"):
        Hours.parse(text)
