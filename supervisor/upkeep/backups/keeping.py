"""Which backups are kept. Pure.

Of those that can be restored: the newest of each of the last hours, days and weeks that have any,
as many of each as the operator says, and always the newest. Of those that cannot, the newest few,
as long as nothing better has come after them: they may be all that there is.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from zoneinfo import ZoneInfo

DOUBTFUL: Final = 3
"""Of those that could not be restored, or of which nobody knows, so many."""


@dataclass(frozen=True, slots=True)
class Keep:
    """How many are kept."""

    hourly: int
    daily: int
    weekly: int


def kept(
    good: Iterable[float], doubtful: Iterable[float], keep: Keep, zone: ZoneInfo
) -> set[float]:
    """Those that stay, of backups by the moment that each is of (seconds of wall clock)."""
    newest_first = sorted(good, reverse=True)
    stay = set(newest_first[:1])
    for most, period in ((keep.hourly, _hour), (keep.daily, _day), (keep.weekly, _week)):
        seen = dict[object, float]()
        for at in newest_first:
            seen.setdefault(period(datetime.fromtimestamp(at, zone)), at)
        stay.update(list(seen.values())[:most])
    last_good = newest_first[0] if newest_first else 0.0
    stay.update(sorted((at for at in doubtful if at > last_good), reverse=True)[:DOUBTFUL])
    return stay


def _hour(at: datetime) -> object:
    return at.date(), at.hour, at.fold  # clocks that are set back repeat an hour


def _day(at: datetime) -> object:
    return at.date()


def _week(at: datetime) -> object:
    return at.isocalendar()[:2]
