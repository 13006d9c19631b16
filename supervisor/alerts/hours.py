"""Hours of the day, by days of the week: quiet hours, maintenance windows, a channel's hours.

Nothing is ever generated from them: whoever asks looks whether it is one of them now. Pure.
"""

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
FORM: Final = "hours such as 22:00-07:00, or mon-fri 12:00-13:00, comma-separated"
_SPAN: Final = re.compile(
    r"(?:(?P<first>[a-z]{3})(?:-(?P<last>[a-z]{3}))?\s+)?"
    r"(?P<from>\d{1,2}:\d{2})\s*-\s*(?P<to>\d{1,2}:\d{2})"
)
_DAY_MINUTES: Final = 24 * 60


@dataclass(frozen=True, slots=True)
class _Span:
    """Minutes of a day; `end` is not after `begin` where midnight lies between."""

    days: frozenset[int]
    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Hours:
    """Some hours of a week."""

    spans: tuple[_Span, ...]

    @classmethod
    def parse(cls, text: str) -> "Hours":
        """Of text such as `22:00-07:00` or `sat-sun 00:00-24:00, wed 02:00-04:00`.

        A span that ends the day after belongs to the day that it begins on. Raises ValueError,
        which says what is wrong.
        """
        return cls(tuple(_span(part.strip().lower()) for part in text.split(",")))

    def contains(self, at: datetime) -> bool:
        """Whether that time of a clock on the wall is one of them."""
        minute, day = at.hour * 60 + at.minute, at.weekday()
        before = (at - timedelta(days=1)).weekday()
        return any(
            (day in span.days and span.begin <= minute < span.end)
            if span.begin < span.end
            else (day in span.days and minute >= span.begin)
            or (before in span.days and minute < span.end)
            for span in self.spans
        )


def _span(text: str) -> _Span:
    found = _SPAN.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no span of hours; it accepts {FORM}")
    begin, end = _minutes(found["from"]), _minutes(found["to"])
    if begin == end:
        raise ValueError(f"{text!r} ends when it begins; for whole days it accepts 00:00-24:00")
    return _Span(_days(found["first"], found["last"]), begin % _DAY_MINUTES, end)


def _minutes(text: str) -> int:
    hour, minute = map(int, text.split(":"))
    if minute > 59 or hour * 60 + minute > _DAY_MINUTES:
        raise ValueError(f"{text!r} is no time of the day")
    return hour * 60 + minute


def _days(first: str | None, last: str | None) -> frozenset[int]:
    if first is None:
        return frozenset(range(7))
    for day in (first, last or first):
        if day not in DAYS:
            raise ValueError(f"{day!r} is no day; it accepts {', '.join(DAYS)}")
    begin, end = DAYS.index(first), DAYS.index(last or first)
    length = (end - begin) % 7
    return frozenset((begin + step) % 7 for step in range(length + 1))
