"""When an event that was refused is sent again, and how long it blocks its lane meanwhile. Pure.

While it blocks its lane it is tried often; after BLOCKED_SECONDS it is set aside as a *hole*, so
that what comes after it goes on, and is tried ever more rarely until its time is over. The first
waits are those of the Standard Webhooks' example schedule (github.com/standard-webhooks, spec,
"Operational considerations"), which goes on for three days.
"""

from typing import Final

BLOCKED_SECONDS: Final = 600.0
"""So long an event may hold up those behind it, of its own session alone."""
IN_LANE_SECONDS: Final = (5.0, 15.0, 30.0, 60.0, 120.0)
"""Waits after the first, second, ... failure, while it blocks; the last one again and again."""
FIRST_AS_HOLE_SECONDS: Final = 300.0
LAST_AS_HOLE_SECONDS: Final = 36_000.0
"""Once it is set aside: half as long as it has failed already, but no less and no more than this.
"""
MOST_RETRY_AFTER_SECONDS: Final = 3_600.0
"""An endpoint may ask for more time (Retry-After), but not for more than this."""


def in_lane(failures: int) -> float:
    """Seconds to wait after so many failures, while the event blocks its lane."""
    return IN_LANE_SECONDS[min(failures, len(IN_LANE_SECONDS)) - 1]


def as_hole(failing_seconds: float) -> float:
    """Seconds to wait, as a hole, after it has failed for so long."""
    return min(LAST_AS_HOLE_SECONDS, max(FIRST_AS_HOLE_SECONDS, failing_seconds / 2))
