"""Which time a report is about, and with which it is compared: days, weeks and months of a time
zone, or any from a moment to another. Pure.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final, Literal, get_args
from zoneinfo import ZoneInfo

from sessions.model import WasupError
from sessions.views.times import duration

Regular = Literal["daily", "weekly", "monthly"]
Kind = Literal["daily", "weekly", "monthly", "custom"]
REGULAR: Final[tuple[Regular, ...]] = get_args(Regular)
HOUR: Final = 3600
DAY: Final = 24 * HOUR
SHORTEST_SECONDS: Final = HOUR
LONGEST_SECONDS: Final = 400 * DAY
FINE_SECONDS: Final = 2 * DAY
"""A period up to that is shown by hours, and its plots are fine; longer ones by days."""


class InvalidReportPeriod(WasupError):
    """There can be no report of such a time."""

    code = "invalid_report_period"
    hint = "A report is about an hour at least, 400 days at the most, and about what has been."


@dataclass(frozen=True, slots=True)
class Period:
    """From `start` up to `end`, seconds of wall clock; it is compared with the time from
    `before_start` up to `before_end`.
    """

    kind: Kind
    start: float
    end: float
    before_start: float
    before_end: float
    zone: ZoneInfo

    @property
    def seconds(self) -> float:
        """How long it is."""
        return self.end - self.start

    @property
    def fine(self) -> bool:
        """Whether it is shown by hours."""
        return self.seconds <= FINE_SECONDS

    @property
    def name(self) -> str:
        """For the name of a file: `daily-2027-01-31`."""
        first = datetime.fromtimestamp(self.start, self.zone)
        if self.kind == "monthly":
            return f"{self.kind}-{first:%Y-%m}"
        if self.kind == "custom":
            last = datetime.fromtimestamp(self.end, self.zone)
            return f"{first:%Y-%m-%dT%H%M}-{last:%Y-%m-%dT%H%M}"
        return f"{self.kind}-{first:%Y-%m-%d}"

    def parts(self) -> Iterator[tuple[float, float]]:
        """Its hours, or its days, as the time zone has them; the first and the last may be
        shorter.
        """
        start = self.start
        while start < self.end:
            end = min(self.end, self._next(start))
            yield start, end
            start = end

    def _next(self, at: float) -> float:
        if self.fine:
            return at - at % HOUR + HOUR
        return _midnight(datetime.fromtimestamp(at, self.zone).date() + timedelta(1), self.zone)


def last(kind: Regular, now: float, zone: ZoneInfo) -> Period:
    """The last whole day, week (from Monday) or month. A day is compared with the same day of the
    week before, a week or month with the one before.
    """
    today = datetime.fromtimestamp(now, zone).date()
    match kind:
        case "daily":
            days = today - timedelta(1), today, today - timedelta(8), today - timedelta(7)
        case "weekly":
            monday = today - timedelta(today.weekday())
            before = monday - timedelta(7)
            days = before, monday, before - timedelta(7), before
        case "monthly":
            first = today.replace(day=1)
            month = _month_before(first)
            days = month, first, _month_before(month), month
    start, end, before_start, before_end = (_midnight(day, zone) for day in days)
    return Period(kind, start, end, before_start, before_end, zone)


def between(start: float, end: float, now: float, zone: ZoneInfo) -> Period:
    """From a moment to another, compared with what was just before, for as long.

    Raises InvalidReportPeriod.
    """
    length = end - start
    if end > now + 1:
        raise InvalidReportPeriod("The period ends in the future.")
    if length < SHORTEST_SECONDS:
        raise InvalidReportPeriod(
            "The period ends before it begins."
            if length <= 0
            else f"The period is {duration(length)} long."
        )
    if length > LONGEST_SECONDS:
        raise InvalidReportPeriod(f"The period is {duration(length)} long.")
    return Period("custom", start, end, start - length, start, zone)


def _month_before(first: date) -> date:
    return (first - timedelta(1)).replace(day=1)


def _midnight(day: date, zone: ZoneInfo) -> float:
    return datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()


def windows(
    contains: Callable[[datetime], bool], start: float, end: float, zone: ZoneInfo
) -> list[tuple[float, float]]:
    """The stretches of a time in which a clock on the wall shows certain hours, to the minute:
    maintenance that was announced.
    """
    found: list[tuple[float, float]] = []
    at = start
    while at < end:
        until = min(end, at - at % 60 + 60)
        if contains(datetime.fromtimestamp(at, zone)):
            if found and found[-1][1] == at:
                found[-1] = found[-1][0], until
            else:
                found.append((at, until))
        at = until
    return found
