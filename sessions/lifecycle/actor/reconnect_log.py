"""The lines of the log that tell of reconnecting: one for each try that is planned, one when the
session is open again.
"""

from collections.abc import Callable

import structlog

from sessions.model import SessionId
from sessions.policy import ClosePolicy

log = structlog.get_logger("session")


class ReconnectLog:
    """A session's. `attempts`: those since it was last stable."""

    def __init__(self, session: SessionId, policy: ClosePolicy, now: Callable[[], float]) -> None:
        self._session = session
        self._policy = policy
        self._now = now
        self._planned: tuple[int, float | None] | None = None
        """After which attempt, and which close, the last try that was told is."""
        self._away_since: float | None = None
        """Since when it has been on its way back to open; None: it is open, or not wanted, or has
        not closed yet.
        """

    def waits(self, seconds: float, attempts: int) -> None:
        """A try is planned, in so many seconds.

        It is told once for each close: where nothing has been tried meanwhile (the store is away,
        say), it has been told.
        """
        last = self._policy.last_close
        planned = (attempts, last.at_wall_seconds if last else None)
        if planned != self._planned:
            self._planned = planned
            self.planned(f"in {seconds:.1f} s", attempts, wait_seconds=round(seconds, 1))

    def planned(self, when: str, attempts: int, **more: float) -> None:
        """Which attempt comes next, when, and why."""
        last = self._policy.last_close
        self._away_since = self._now() if self._away_since is None else self._away_since
        reason = last.reason if last else None
        log.info(
            f"reconnect: attempt {attempts + 1} {when}, after {reason or 'a restart'}",
            action="reconnect_planned",
            session=self._session,
            attempt=attempts + 1,
            reason=reason,
            rule=last.rule if last else None,
            **more,
        )

    def open_again(self, attempts: int) -> None:
        """It is open, at that attempt."""
        since, self._away_since = self._away_since, None
        if since is not None:
            last, away = self._policy.last_close, self._now() - since
            log.info(
                f"reconnected: open again after {away:.1f} s, at attempt {attempts}",
                action="reconnected",
                session=self._session,
                attempt=attempts,
                away_seconds=round(away, 1),
                reason=last.reason if last else None,
            )

    def given_up(self) -> None:
        """It is not wanted any more: nobody waits for it to be open."""
        self._away_since = None
