"""Numbers, times and durations as a language writes them."""

import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from types import ModuleType
from typing import Final
from zoneinfo import ZoneInfo

from babel import Locale
from babel.dates import format_date, format_datetime, format_interval, format_skeleton, format_time
from babel.numbers import format_decimal, format_percent

from sessions.views import times
from supervisor.alerts.notices import Language
from supervisor.reports.rendering.words import english, portuguese
from supervisor.reports.report import Report, Unit

LANGUAGES: Final[Mapping[Language, ModuleType]] = {"en": english, "pt-BR": portuguese}
NEARLY_ALL: Final = 0.99
"""From there on, digits after the point are what is of interest."""
KIB: Final = 1024
SMALL: Final = 10
MINUS: Final = "\N{MINUS SIGN}"


class Numbers:
    """Of a language and a time zone."""

    def __init__(self, language: Language, zone: str) -> None:
        self._locale = Locale.parse(LANGUAGES[language].LOCALE)
        self._zone = ZoneInfo(zone)

    def of(self, value: float, unit: Unit) -> str:
        """A figure with its unit."""
        match unit:
            case "fraction":
                return self.percent(value)
            case "ms":
                return f"{self.count(value)} ms"
            case "seconds":
                return self.duration(value)
            case "bytes":
                return self.bytes(value)
            case "count":
                return self.count(value)

    def count(self, value: float) -> str:
        """A whole number, or one with a decimal where it is small."""
        digits = "#,##0.#" if abs(value) < SMALL else "#,##0"
        return format_decimal(value, digits, locale=self._locale)

    def percent(self, value: float) -> str:
        """A fraction; never rounded up to all."""
        if NEARLY_ALL <= value < 1:
            return format_percent(math.floor(value * 1e5) / 1e5, "#,##0.0##%", locale=self._locale)
        return format_percent(value, "#,##0.#%", locale=self._locale)

    def points(self, value: float) -> str:
        """A difference of two fractions in hundredths, with its sign."""
        return self._signed(value * 100, "#,##0.0##" if abs(value) < 1 / 1000 else "#,##0.0")

    def change(self, value: float) -> str:
        """A fraction by which something has grown, with its sign."""
        return self._signed(value * 100, "#,##0") + "%"

    def bytes(self, value: float) -> str:
        """KiB, MiB or GiB."""
        size = value / KIB
        for unit in ("KiB", "MiB"):
            if size < KIB:
                return f"{self.count(size)} {unit}"
            size /= KIB
        return f"{self.count(size)} GiB"

    def duration(self, seconds: float) -> str:
        """3 min 20 s."""
        point = self._locale.number_symbols["latn"]["decimal"]
        return times.duration(seconds).replace(".", point)

    def moment(self, iso: str) -> str:
        """A day and a time of day."""
        at = self._local(iso)
        return f"{format_date(at, 'medium', locale=self._locale)} {self.clock(at)}"

    def clock(self, at: datetime) -> str:
        """A time of day."""
        return format_time(at, "HH:mm", tzinfo=at.tzinfo, locale=self._locale)

    def period(self, kind: str, from_iso: str, to_iso: str) -> str:
        """A day, a week, a month, or from when to when."""
        start, end = self._local(from_iso), self._local(to_iso)
        match kind:
            case "daily":
                return format_date(start, "full", locale=self._locale)
            case "weekly":
                last = (end - timedelta(hours=12)).date()
                return str(format_interval(start.date(), last, "yMMMd", locale=self._locale))
            case "monthly":
                return format_skeleton("yMMMM", start, tzinfo=self._zone, locale=self._locale)
            case _:
                return f"{self.moment(from_iso)} - {self.moment(to_iso)}"

    def ticks(self, start: float, end: float) -> list[tuple[float, str]]:
        """Moments of a plot's axis: how far along they are (0 to 1), and their words."""
        length = end - start
        by_hours = length <= 2 * 86_400
        every = 6 * 3600 if by_hours else 86_400 * max(1, round(length / 86_400 / 7))
        found, at = list[tuple[float, str]](), start
        while at < end:
            moment = datetime.fromtimestamp(at, self._zone)
            words = (
                self.clock(moment)
                if by_hours
                else format_datetime(moment, "d MMM", tzinfo=self._zone, locale=self._locale)
            )
            found.append(((at - start) / length, words))
            at += every
        return found

    def _local(self, iso: str) -> datetime:
        return datetime.fromtimestamp(times.wall_seconds(iso), self._zone)

    def _signed(self, value: float, digits: str) -> str:
        text = format_decimal(abs(value), digits, locale=self._locale)
        if not any(character in "123456789" for character in text):
            return text
        return (MINUS if value < 0 else "+") + text


def numbers_of(report: Report, language: Language) -> Numbers:
    """As a report is written."""
    return Numbers(language, report.time_zone)
