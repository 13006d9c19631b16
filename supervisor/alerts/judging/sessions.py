"""Sessions that are down for too long, or that come and go: whatever the cause, and beside what a
session tells of itself.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from sessions.lifecycle.session import Session
from sessions.model import ON_ITS_WAY, SessionId
from sessions.records.changes import Changes
from sessions.records.incidents import Presence
from sessions.views.events import SessionDeleted
from sessions.views.times import duration
from supervisor.alerts.alerts import Alerts
from supervisor.alerts.muting import Outages
from supervisor.fleet.fleet import Fleet
from supervisor.watch.performance import is_away

LOOK_SECONDS: Final = 10.0
WITHIN_SECONDS: Final = 3600.0
CALM_SECONDS: Final = 1800.0
"""Without a close, after which a session does not come and go any more."""
DOWN: Final = "down"
FLAPPING: Final = "flapping"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionLimits:
    """`down_seconds`: for so long a session may be away. `closes`: so many in an hour are too
    many.
    """

    down_seconds: float = 300.0
    closes: int = 6


class SessionWatch:
    """Judges every session. `explained`: what outages explain; that time does not count."""

    def __init__(
        self,
        fleet: Fleet,
        alerts: Alerts,
        explained: Callable[[], Outages],
        limits: SessionLimits,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._fleet = fleet
        self._alerts = alerts
        self._explained = explained
        self._limits = limits
        self._now = now
        self._away_since: dict[SessionId, float] = {}
        self._closes: dict[SessionId, deque[float]] = {}
        self._presence: dict[SessionId, Presence] = {}
        self._on: dict[str, set[SessionId]] = {DOWN: set(), FLAPPING: set()}

    def on_changes(self, session: SessionId | None, changes: Changes) -> None:
        """A session has opened, or closed, or is wanted no more."""
        if session is None or changes.move is None:
            return
        before, self._presence[session] = self._presence.get(session), changes.move.presence
        if (before, changes.move.presence) == ("open", "down") and not self._excused(session):
            kept = self._closes.setdefault(session, deque(maxlen=max(2, self._limits.closes)))
            kept.append(changes.move.at)

    def on_deleted(self, session: SessionId | None, _deleted: SessionDeleted) -> None:
        """A session is gone; its alerts end with it."""
        if session is not None:
            self._away_since.pop(session, None)
            self._closes.pop(session, None)
            self._presence.pop(session, None)
            for known in self._on.values():
                known.discard(session)

    def look(self) -> None:
        """Judge them all."""
        now = self._now()
        for session in self._fleet.sessions():
            self._judge_away(session, now)
        for name in list(self._closes):
            self._judge_closes(name, now)

    def _judge_away(self, session: Session, now: float) -> None:
        if not is_away(session) or self._excused(session.id):
            self._away_since.pop(session.id, None)
            if session.state not in ON_ITS_WAY:
                self._end(DOWN, session.id, f"The session is {session.state}.")
            return
        since = self._away_since.setdefault(session.id, now)
        away = now - since
        if away < self._limits.down_seconds:
            return
        why = session.reconnection()
        cause = "" if why.close_reason is None else f" ({why.close_reason}: {why.close_message})"
        words = f"It has been away for {duration(away)}{cause}. {why.human_action}".strip()
        self._on[DOWN].add(session.id)
        self._alerts.begin(
            session.id, DOWN, words, "critical", round(away, 1), self._limits.down_seconds
        )

    def _judge_closes(self, session: SessionId, now: float) -> None:
        closes, limit = self._closes[session], self._limits.closes
        lately = [at for at in closes if now - at <= WITHIN_SECONDS]
        if len(lately) >= limit:
            words = f"It has closed {limit} times in {duration(now - lately[0])}."
            self._on[FLAPPING].add(session)
            self._alerts.begin(session, FLAPPING, words, "warning", float(limit), float(limit))
        elif closes and now - closes[-1] > CALM_SECONDS:
            self._end(FLAPPING, session, f"It has not closed for {duration(now - closes[-1])}.")
        if not lately:
            del self._closes[session]

    def _end(self, name: str, session: SessionId, words: str) -> None:
        if session in self._on[name]:
            self._on[name].discard(session)
            self._alerts.end(session, name, words)

    def _excused(self, session: SessionId) -> bool:
        outages = self._explained()
        return outages.everything or session in outages.sessions
