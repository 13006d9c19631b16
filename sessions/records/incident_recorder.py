"""A session's chronicler: tells the store of its incidents and of when it was open, as the actor
goes through them.

It never waits, and decides nothing.
"""

import time
from collections.abc import Collection, Mapping
from typing import Final, Literal, Protocol

from sessions.model import CloseReason, SessionState
from sessions.policy import COVERED, Close, Decision
from sessions.records import incidents
from sessions.records.incidents import Incident, Span

S = SessionState
Presence = Literal["open", "down", "off"]

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


class IncidentStore(Protocol):
    """Where records go (the store's; sessions/store/tables/incidents.py).

    Futures are for whoever wants to wait.
    """

    silent_since: float | None
    lasting: Mapping[str, Span]
    """How each session was when its supervisor before this one was last seen alive, and since
    when.
    """

    def save_incident(self, incident: Incident) -> object:
        """Write an incident as it stands now."""

    def move(self, session: str, state: str, at: float) -> object:
        """The session is open, down or off from then on."""


class IncidentRecorder:
    """One session's. `current`: the incident under way or at rest, or the last one."""

    def __init__(self, session: str, store: IncidentStore, current: Incident | None) -> None:
        self.current = current
        self._session = session
        self._store = store
        self._presence: Presence | None = None

    @property
    def remembered(self) -> Incident | None:
        """What a successor has to go on with: the incident, unless it is over."""
        return None if self.current is None or self.current.over else self.current

    def left_since(self, state: SessionState) -> float | None:
        """Since when the supervisor before this one left it open or off, if `state` says so; wall
        clock, seconds.
        """
        span = self._store.lasting.get(self._session)
        return span.began_at if span is not None and span.state == PRESENCE.get(state) else None

    def closed(self, close: Close, decision: Decision) -> None:
        """An attempt or the open socket has ended, and the policy has judged."""
        recorded = incidents.recorded(close, decision)
        self._note(incidents.closed(self.current, self._session, recorded, decision.human))

    def attempted(self) -> None:
        """A try begins."""
        if self.current is not None and not self.current.over:
            self._note(incidents.attempted(self.current))

    def uncharged(self, correlated: Collection[CloseReason]) -> None:
        """An outage turns out to cover the incident, and those closes that it had already which an
        outage can cause (`correlated`).
        """
        if self.current is not None and not self.current.over:
            self._note(incidents.uncharged(self.current, COVERED, correlated))

    def moved(self, state: SessionState) -> None:
        """The session's state has changed."""
        now = time.time()
        ending = incidents.ending_of(state)
        if ending is not None and self.current is not None and not self.current.over:
            self._note(incidents.ended(self.current, now, ending))
        presence = PRESENCE.get(state)
        if presence is None or presence == self._presence:
            return
        first, self._presence = self._presence is None, presence
        self._store.move(
            self._session, presence, self._since(now) if first and presence == "down" else now
        )

    def _since(self, now: float) -> float:
        """Taken up without a living worker: it was away since our predecessor was last seen alive,
        not since just now.
        """
        silent_since = self._store.silent_since
        return now if silent_since is None else min(now, silent_since)

    def _note(self, incident: Incident | None) -> None:
        if incident is not None and incident is not self.current:
            self.current = incident
            self._store.save_incident(incident)
