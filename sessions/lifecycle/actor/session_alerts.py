"""A session's alerts: those that have happened, and those that last, each told once as it begins
and once as it ends.
"""

import time
from collections.abc import Callable
from typing import Final

from sessions.lifecycle import alerts
from sessions.model import AlertChange
from sessions.policy import ClosePolicy


class SessionAlerts:
    """Tells of them. `publish`: shows an event of the session."""

    def __init__(self, publish: Callable[[AlertChange], None], policy: ClosePolicy) -> None:
        self.on: Final[set[str]] = set()
        """The alerts that are on, of those that last."""
        self._publish = publish
        self._policy = policy
        self._began_at = time.time()

    def happened(self, name: str, message: str) -> None:
        """Tell of what has happened, and is over."""
        self._publish(AlertChange(name=name, message=message))

    def begin(self, name: str, message: str, worse: bool = False, cause: str | None = None) -> None:
        """Tell of what is wrong from now on, or `worse` than it was; `look` tells when it is over
        (alerts.py).
        """
        last = self._policy.last_close
        goes_on = (
            name in alerts.OUTLIVES_A_RESTART
            and last is not None
            and last.at_wall_seconds < self._began_at
        )
        self._publish(
            AlertChange(
                name=name,
                message=message,
                state="began",
                severity="critical" if worse or name in alerts.CRITICAL else "warning",
                goes_on=goes_on,
                cause=cause,
            )
        )
        self.on.add(name)

    def end(self, name: str, message: str) -> None:
        """Tell that it is over, if it is on."""
        if name in self.on:
            self.on.discard(name)
            self._publish(AlertChange(name=name, message=message, state="ended"))

    def end_all(self, message: str) -> None:
        """Tell of each that is on that it is over."""
        for name in sorted(self.on):
            self.end(name, message)

    def look(self, facts: alerts.Facts) -> None:
        """Tell which of them are over by now, and which have begun."""
        for name in sorted(self.on):
            words = alerts.over(name, facts)
            if words is not None:
                self.end(name, words)
        for name, words in alerts.begun(facts).items():
            if name not in self.on:
                self.begin(name, words)
