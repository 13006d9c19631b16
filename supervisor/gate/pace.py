"""At what pace canaries try while a pause lasts. Pure: times and dice are arguments.

The pace is a share of how long the pause has lasted: when the server comes back, nobody has waited
for much more than that share beyond what the outage itself took.
"""

from dataclasses import dataclass
from typing import Final

from sessions.model import CloseReason
from supervisor.gate.outage import OUTAGE, Scope

LATE_SECONDS: Final = 600.0
"""After so long a pause is a late one, whose pace slows down further."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long after a canary the next may try: a share of how long the pause has lasted, within
    bounds, spread by the jitter.

    `late_*`: after the first ten minutes. `deadline_*`: what a canary's attempt may take (a server
    that hangs must not stop the next
    canary for long); None: as any attempt.
    """

    first_seconds: float
    floor_seconds: float
    share: float
    cap_seconds: float
    late_share: float
    late_cap_seconds: float
    jitter: float
    deadline_share: float = 0.25
    deadline_floor_seconds: float = 5.0
    deadline_cap_seconds: float | None = None
    urgent_apart_seconds: float = 0.0
    """The least between canaries that operators have forced."""

    def wait_seconds(self, held_for: float, draw: float) -> float:
        """From the begin of a canary's attempt to the next one's; `draw` is uniform in [0, 1)."""
        early = held_for < LATE_SECONDS
        share, cap = (
            (self.share, self.cap_seconds) if early else (self.late_share, self.late_cap_seconds)
        )
        return max(self.floor_seconds, min(cap, share * held_for)) * (
            1 - self.jitter + 2 * self.jitter * draw
        )

    def deadline_seconds(self, held_for: float) -> float | None:
        """How long a canary's attempt may take."""
        if self.deadline_cap_seconds is None:
            return None
        return max(
            self.deadline_floor_seconds,
            min(self.deadline_cap_seconds, self.deadline_share * held_for),
        )


OUTAGE_PACE: Final = Pace(
    first_seconds=0.25,
    floor_seconds=1.0,
    share=0.15,
    cap_seconds=12.5,  # with the jitter, canaries are at most 15 s apart in the first ten minutes
    late_share=0.05,
    late_cap_seconds=50.0,  # and at most 60 s later on
    jitter=0.2,
    deadline_cap_seconds=15.0,
)
LIMITED_PACE: Final = Pace(
    first_seconds=15.0,
    floor_seconds=15.0,
    share=0.15,
    cap_seconds=50.0,
    late_share=0.05,
    late_cap_seconds=50.0,
    jitter=0.2,
    deadline_cap_seconds=15.0,
)
"""After a wave of 429: who is told to slow down does not knock every second."""
VERSION_PACE: Final = Pace(
    first_seconds=300.0,
    floor_seconds=300.0,
    share=1.0,
    cap_seconds=1800.0,
    late_share=1.0,
    late_cap_seconds=1800.0,
    jitter=0.1,
    urgent_apart_seconds=5.0,
)
"""After a 405: a canary every 5 to 30 minutes, each time twice as long, since an update is needed
(docs/evidence.md#what-others-do-when-a-session-closes).
"""


SMALL_PACE: Final = Pace(
    first_seconds=8.0,
    floor_seconds=15.0,
    share=0.05,
    cap_seconds=30.0,
    late_share=0.05,
    late_cap_seconds=50.0,
    jitter=0.15,
    deadline_cap_seconds=15.0,
)
"""Of a small fleet that WhatsApp itself turns away after the login, which no look can see the end
of: each canary is a login of one of a few numbers. For five minutes as often as the 20 s allow
within which an outage's end is to be noticed (17.3 s with the jitter, and the login), then less
often.
"""


def pace_of(cause: str, scope: Scope, small: bool = False, limited: bool = False) -> Pace:
    """The pace of a pause's canaries.

    `small`: of a few, turned away by WhatsApp itself; `limited`: for going too fast.
    """
    if cause != OUTAGE:
        return VERSION_PACE
    if small:
        return LIMITED_PACE if limited else SMALL_PACE
    return LIMITED_PACE if scope == Scope("reason", CloseReason.RATE_LIMITED) else OUTAGE_PACE
