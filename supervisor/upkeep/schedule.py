"""When a job is due: cron's five fields, in a time zone. Pure.

An hour that the clocks leave out or repeat is treated as Debian's cron does: what is due at a
certain time runs once.
"""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

OFF: Final = "off"
"""In place of a schedule: only when somebody asks for it."""
FIELDS: Final = 5
ACCEPTED: Final = (
    "cron's five fields (minute hour day-of-month month day-of-week): `0 * * * *` is every hour,"
    " `30 3 * * *` every day at 03:30; or off"
)


@dataclass(frozen=True, slots=True)
class Schedule:
    """When, as it is written, and in which zone."""

    text: str
    zone: ZoneInfo

    def next_after(self, at: float) -> float | None:
        """The first turn later than that; seconds of wall clock. None: there is none."""
        if self.text == OFF:
            return None
        try:
            return next(CronSim(self.text, datetime.fromtimestamp(at, self.zone))).timestamp()
        except StopIteration:
            return None

    def turns_after(self, at: float, turns: int) -> float | None:
        """The so-manieth turn later than that. None: there are not so many."""
        due: float | None = at
        for _ in range(turns):
            due = None if due is None else self.next_after(due)
        return due


def checked(text: str) -> str:
    """A schedule as an operator writes it. Raises ValueError, which says what is accepted."""
    text = " ".join(text.split())
    if text == OFF:
        return text
    try:
        if len(text.split()) != FIELDS:
            raise ValueError(ACCEPTED)
        next(CronSim(text, datetime(2000, 1, 1, tzinfo=UTC)))
    except (CronSimError, StopIteration):
        raise ValueError(ACCEPTED) from None
    return text
