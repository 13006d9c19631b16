"""Outages as alerts: one of each, whatever it costs in sessions, and what it explains."""

from typing import Final

from sessions.model import SessionId, SessionState
from supervisor.alerts.alerts import Alerts, Severity
from supervisor.alerts.muting import NO_OUTAGES, Outages
from supervisor.alerts.rules import OUTAGE
from supervisor.fleet.fleet import Fleet
from supervisor.gate.view import OutageBegan, OutageEnded

LOOK_SECONDS: Final = 5.0
FLEET: Final = "fleet"


class OutageWatch:
    """Begins an alert with each pause of the gate, keeps its figures up to date, ends it."""

    def __init__(self, fleet: Fleet, alerts: Alerts) -> None:
        self._fleet = fleet
        self._alerts = alerts
        self._on: dict[str, int] = {}
        self._missed: set[str] = set()
        """Those that the gate did not know at the last look."""
        self._explained = NO_OUTAGES

    def explained(self) -> Outages:
        """Whose troubles are an outage's now."""
        return self._explained

    def on_began(self, _: SessionId | None, outage: OutageBegan) -> None:
        """An outage begins."""
        self._begin(outage.whom, outage.words, outage.sessions)
        self._explain()

    def on_ended(self, _: SessionId | None, outage: OutageEnded) -> None:
        """An outage is over; one that nobody here has seen begin may have been told of before."""
        self._end(outage.whom, outage.words, outage.sessions)
        self._explain()

    def look(self) -> None:
        """How many each of them holds now."""
        holds = self._fleet.gate().holds
        for hold in holds:
            self._begin(hold.whom, hold.words, hold.sessions_held)
        gone = self._on.keys() - {hold.whom for hold in holds}
        for whom in gone & self._missed:  # nobody has said that it ended, and yet it has
            self._end(whom, "The gate holds nobody because of it any more.", 0)
        self._missed = gone
        self._explain()

    def _begin(self, whom: str, words: str, sessions: int) -> None:
        most = max(sessions, self._on.get(whom, 0))
        self._on[whom] = most
        severity: Severity = "critical" if whom == FLEET else "warning"
        self._alerts.begin(None, OUTAGE, words, severity, float(most), about=whom)

    def _end(self, whom: str, words: str, sessions: int) -> None:
        most = max(sessions, self._on.pop(whom, 0))
        self._alerts.end(None, OUTAGE, words, float(most), about=whom)

    def _explain(self) -> None:
        if not self._on:
            self._explained = NO_OUTAGES
        elif FLEET in self._on:
            self._explained = Outages(everything=True)
        else:
            held = frozenset(
                session.id
                for session in self._fleet.sessions()
                # who only stands in the queue of logins is held as well
                if session.state is SessionState.HELD
                and self._fleet.pause_of(session.id) is not None
            )
            self._explained = Outages(sessions=self._explained.sessions | held)
