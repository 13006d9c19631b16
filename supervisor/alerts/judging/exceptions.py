"""Errors of our own, as the log has them: one may be chance, several are somebody's to report."""

import time
from collections import deque
from collections.abc import Callable
from typing import Final

from sessions.views.times import duration
from supervisor.alerts.alerts import Alerts

LOOK_SECONDS: Final = 10.0
NAME: Final = "exceptions"
MANY: Final = 3
WITHIN_SECONDS: Final = 600.0
CALM_SECONDS: Final = 1800.0


class ExceptionWatch:
    """Judges how many there were. `seen`: so many since the program's start."""

    def __init__(
        self, seen: Callable[[], int], alerts: Alerts, now: Callable[[], float] = time.time
    ) -> None:
        self._seen = seen
        self._alerts = alerts
        self._now = now
        self._before = seen()
        self._times: deque[float] = deque(maxlen=1_000)

    def look(self) -> None:
        """Count those since the last look, and judge."""
        now, seen = self._now(), self._seen()
        self._times.extend([now] * (seen - self._before))
        self._before = seen
        lately = sum(now - at <= WITHIN_SECONDS for at in self._times)
        if lately >= MANY:
            words = (
                f"The program has met {lately} errors of its own in {duration(WITHIN_SECONDS)};"
                " they are in the supervisor's log (`grep '\"exception\"'`)."
            )
            self._alerts.begin(None, NAME, words, "warning", float(lately), float(MANY))
        elif self._times and now - self._times[-1] > CALM_SECONDS:
            self._times.clear()
            words = f"There were no errors of its own for {duration(CALM_SECONDS)}."
            self._alerts.end(None, NAME, words)
