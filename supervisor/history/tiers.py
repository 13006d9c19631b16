"""How long figures are kept, and how finely: three tiers, and which answers a question. Pure.

every 10 s for a day ──► every minute for a week ──► every hour for 400 days
"""

from dataclasses import dataclass
from typing import Final

from sessions.model import WasupError
from sessions.views.times import duration

SLOT_SECONDS: Final = 10
"""Every so many seconds, counted from 1970, there is one figure of each series."""
HOUR: Final = 3600
DAY: Final = 24 * HOUR
MOST_POINTS: Final = 11_000
"""Of one answer: a whole tier."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tier:
    """A tier.

    `step_seconds`: of so long a time a cell tells. `page_seconds`: so much of one subject is
    written, and packed, together. `kept_seconds`: what is older is dropped, a page at a time.
    """

    number: int
    step_seconds: int
    page_seconds: int
    kept_seconds: int

    def page_of(self, at_seconds: int) -> int:
        """When the page begins on which that moment is."""
        return at_seconds - at_seconds % self.page_seconds

    @property
    def readable_seconds(self) -> int:
        """So old is the oldest moment that may be asked for: its page is still there."""
        return self.kept_seconds + self.page_seconds

    @property
    def stored_seconds(self) -> int:
        """A page that began longer ago is dropped: nothing on it may be asked for."""
        return self.readable_seconds + self.page_seconds


TIERS: Final = (
    Tier(number=0, step_seconds=SLOT_SECONDS, page_seconds=HOUR, kept_seconds=DAY),
    Tier(number=1, step_seconds=60, page_seconds=4 * HOUR, kept_seconds=7 * DAY),
    Tier(number=2, step_seconds=HOUR, page_seconds=5 * DAY, kept_seconds=400 * DAY),
)


class InvalidPeriod(WasupError):
    """There are no such figures."""

    code = "invalid_period"
    hint = (
        "Figures of every 10 s are kept for a day, of every minute for a week, of every hour for"
        " 400 days."
    )


def tier_for(start: float, end: float, step_seconds: int, now: float) -> Tier:
    """The tier that answers: the coarsest of whose cells such steps can be made.

    Times: seconds since 1970. Raises InvalidPeriod, whose hint says what could be asked.
    """
    if step_seconds <= 0 or step_seconds % SLOT_SECONDS:
        raise InvalidPeriod(
            f"The step is {step_seconds} s.",
            f"A step is {SLOT_SECONDS} s or a multiple of it: 10, 60, 300, 3600, 86400.",
        )
    if not start < end:
        raise InvalidPeriod("The period ends before it begins.", "`from` is earlier than `to`.")
    if step_seconds > max(end - start, DAY):  # steps are counted from 1970, as would be the answer
        raise InvalidPeriod(
            f"The step of {step_seconds} s is longer than the period.",
            f"Ask for a step of {max(int(end - start), DAY)} s at the most.",
        )
    tier = next(one for one in reversed(TIERS) if step_seconds % one.step_seconds == 0)
    age, points = now - start, (end - start) / step_seconds
    kept = next((one for one in TIERS if age <= one.readable_seconds), None)
    if kept is None or age > tier.readable_seconds:
        raise InvalidPeriod(
            f"Figures for a step of {step_seconds} s are kept for {duration(tier.kept_seconds)};"
            f" the period begins {duration(age)} ago.",
            f"Ask for a step of {_least(kept, start, end)} s or a multiple of it, or for a later"
            " beginning."
            if kept is not None
            else f"Nothing is kept for longer than {duration(TIERS[-1].kept_seconds)}.",
        )
    if points > MOST_POINTS:
        raise InvalidPeriod(
            f"That would be {points:.0f} points; an answer has {MOST_POINTS} at the most.",
            f"Ask for a step of {_least(kept, start, end)} s or a multiple of it, or for a shorter"
            " period.",
        )
    return tier


def _least(kept: Tier, start: float, end: float) -> int:
    """The shortest customary step that can be asked for: kept for so long, and of few points."""
    points_step = -(-int(end - start) // MOST_POINTS)
    return _usual(max(points_step, kept.step_seconds))


def _usual(least_seconds: int) -> int:
    """A step that is customary, and no shorter than that."""
    usual = (10, 60, 300, 900, HOUR, 6 * HOUR, DAY)
    return next((step for step in usual if step >= least_seconds), -(-least_seconds // DAY) * DAY)
