"""A session's chronicler: what its incidents are, and when it was open, as the actor goes through
them.

It decides nothing, and writes nothing itself: what is new goes to the store with all else that an
event has changed (changes.py).
"""

import time
from collections.abc import Collection, Mapping
from typing import Final, Protocol

from sessions.model import CloseReason, SessionState
from sessions.policy import COVERED, Close, Decision
from sessions.records import incidents
from sessions.records.incidents import Incident, Move, Presence, Span

S = SessionState

PRESENCE: Final[Mapping[SessionState, Presence]] = {
    S.OPEN: "open",
    S.STOPPED: "off",
    S.HELD: "down",
    S.CONNECTING: "down",
    S.QR: "down",
    S.WAITING: "down",
    S.PARKED: "down",
    S.QUARANTINED: "down",
}
"""How a state counts for availability.

`starting` says nothing yet: a worker that lives on may hold the session open meanwhile.
"""


class Predecessor(Protocol):
    """What the store knows of the supervisor before this one (sessions/store/tables/incidents.py).

    `silent_since`: when it was last seen alive; `lasting`: how each session was then, and since
    when.
    """

    silent_since: float | None
    lasting: Mapping[str, Span]


class IncidentRecorder:
    """One session's. `current`: the incident under way or at rest, or the last one."""

    def __init__(self, session: str, predecessor: Predecessor, current: Incident | None) -> None:
        self.current = current
        self._session = session
        self._predecessor = predecessor
        self._told = current
        """The incident as it was handed to the store."""
        self._presence: Presence | None = None

    @property
    def remembered(self) -> Incident | None:
        """What a successor has to go on with: the incident, unless it is over."""
        return None if self.current is None or self.current.over else self.current

    def left_since(self, state: SessionState) -> float | None:
        """Since when the supervisor before this one left it open or off, if `state` says so; wall
        clock, seconds.
        """
        span = self._predecessor.lasting.get(self._session)
        return span.began_at if span is not None and span.state == PRESENCE.get(state) else None

    def closed(self, close: Close, decision: Decision) -> None:
        """An attempt or the open socket has ended, and the policy has judged."""
        recorded = incidents.recorded(close, decision)
        self.current = incidents.closed(self.current, self._session, recorded, decision.human)

    def attempted(self) -> None:
        """A try begins."""
        self.current = incidents.attempted(self.current)

    def uncharged(self, correlated: Collection[CloseReason]) -> None:
        """An outage turns out to cover the incident, and those closes that it had already which an
        outage can cause (`correlated`).
        """
        if self.current is not None and not self.current.over:
            self.current = incidents.uncharged(self.current, COVERED, correlated)

    def take(self, moved_to: SessionState | None) -> tuple[Incident | None, Move | None]:
        """What the store has not been given yet: the incident as it is now, and whether the session
        is open, down or off; None: nothing new. `moved_to`: the state that it has come to since.
        """
        move = None if moved_to is None else self._moved(moved_to)
        told, self._told = self._told, self.current
        return None if self.current is told else self.current, move

    def _moved(self, state: SessionState) -> Move | None:
        now = time.time()
        self.current = incidents.moved(self.current, state, now)
        presence = PRESENCE.get(state)
        if presence is None or presence == self._presence:
            return None
        first, self._presence = self._presence is None, presence
        silent_since = self._predecessor.silent_since
        if first and presence == "down" and silent_since is not None:
            # Taken up without a living worker: it was away since our predecessor was last seen
            # alive, not since just now.
            return Move(presence, min(now, silent_since))
        return Move(presence, now)
