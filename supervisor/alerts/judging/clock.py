"""Whether the host's clock jumps: then messages, tokens and certificates are judged by a wrong
time.
"""

import time
from collections.abc import Callable
from typing import Final

from sessions.views.times import duration
from supervisor.alerts.alerts import Alerts

LOOK_SECONDS: Final = 10.0
JUMP_SECONDS: Final = 5.0
CALM_SECONDS: Final = 1800.0
"""Without a further jump, after which it is over."""
NAME: Final = "clock"


def _since_boot() -> float:
    """Goes on while the machine sleeps, as the clock on the wall does."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


class ClockWatch:
    """Notices when the host's clock jumps, against one that only counts."""

    def __init__(
        self,
        alerts: Alerts,
        wall: Callable[[], float] = time.time,
        steady: Callable[[], float] = _since_boot,
    ) -> None:
        self._alerts = alerts
        self._wall = wall
        self._steady = steady
        self._offset = wall() - steady()
        self._jumped_at: float | None = None

    def look(self) -> None:
        """Compare both clocks."""
        steady = self._steady()
        offset = self._wall() - steady
        jump, self._offset = offset - self._offset, offset
        if abs(jump) >= JUMP_SECONDS:
            self._jumped_at = steady
            ahead = "forward" if jump > 0 else "back"
            words = f"The host's clock was put {ahead} by {duration(abs(jump))}."
            self._alerts.begin(None, NAME, words, "warning", round(jump, 1), JUMP_SECONDS)
        elif self._jumped_at is not None and steady - self._jumped_at > CALM_SECONDS:
            self._jumped_at = None
            words = f"The host's clock has not jumped for {duration(CALM_SECONDS)}."
            self._alerts.end(None, NAME, words)
