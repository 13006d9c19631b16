"""A fleet-wide hold with canaries. Pure: times and dice are arguments.

While a hold lasts, one attempt at a time (the canary) may try, at a slowing, jittered pace; the first that succeeds ends the hold.
Numbers: PEERS' row for 405 (canary every 5 to 30 minutes).
"""

from dataclasses import dataclass
from typing import Final

FIRST_CANARY_SECONDS: Final = 300.0
LAST_CANARY_SECONDS: Final = 1800.0
JITTER: Final = 0.1


@dataclass(slots=True)
class Hold:
    """Why the fleet is held, since when, and when the next canary may try. `canary` is the session whose attempt is under way."""

    reason: str
    since: float
    next_canary_at: float
    canaries: int = 0
    canary: str | None = None

    @classmethod
    def begin(cls, reason: str, now: float, roll: float) -> "Hold":
        """A hold that begins now."""
        hold = cls(reason, now, now)
        hold.canary_failed(now, roll)
        hold.canaries = 0
        return hold

    def seconds_until_canary(self, now: float) -> float:
        """How long until a canary may try; infinite while one is under way."""
        return float("inf") if self.canary is not None else max(0.0, self.next_canary_at - now)

    def canary_failed(self, now: float, roll: float) -> None:
        """The canary did not come through: the next one waits twice as long."""
        wait = min(LAST_CANARY_SECONDS, FIRST_CANARY_SECONDS * 2.0**self.canaries)
        self.canaries += 1
        self.canary = None
        self.next_canary_at = now + wait * (1 - JITTER + 2 * JITTER * roll)
