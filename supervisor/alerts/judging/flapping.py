"""What comes and goes: of it one message says so, and one that it is over."""

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final

from sessions.model import SessionId
from sessions.views.events import SessionDeleted
from supervisor.alerts.alerts import Alert, AlertRaised
from supervisor.alerts.decision import identity

TIMES: Final = 5
"""So often in an hour an alert has to begin until it is said to come and go."""
WITHIN_SECONDS: Final = 3600.0
CALM_SECONDS: Final = 1800.0
"""Without a further begin: then it is what it is, on or over."""
KEPT_BEGINS: Final = 100


class Flapping:
    """Counts begins. An alert that comes and goes counts as on until it has been calm."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._begins: dict[str, deque[float]] = {}
        self._last: dict[str, Alert] = {}
        self._flapping: set[str] = set()

    def on_raised(self, session: SessionId | None, told: AlertRaised) -> None:
        """An alert begins, or has become worse."""
        if told.state != "began":
            return
        alert = Alert(
            session,
            told.name,
            told.severity,
            told.state,
            told.message,
            told.value,
            told.limit,
            told.began_at,
            None,
            told.about,
            told.cause,
            told.id or "",
        )
        key = identity(alert)
        known = self._last.get(key)
        self._last[key] = alert
        if known is None or known.id != alert.id:
            self._begins.setdefault(key, deque(maxlen=KEPT_BEGINS)).append(self._now())

    def on_deleted(self, session: SessionId | None, _deleted: SessionDeleted) -> None:
        """The session is gone, and all that came and went with it."""
        for key in [key for key, alert in self._last.items() if alert.session == session]:
            del self._begins[key], self._last[key]
            self._flapping.discard(key)

    def look(self, on: Mapping[str, Alert]) -> tuple[dict[str, Alert], dict[str, int]]:
        """What is on, with what comes and goes; and of that, how often in the last hour."""
        now = self._now()
        for key in list(self._begins):
            self._forget_old(key, now)
        counts = {key: len(self._begins[key]) for key in self._flapping}
        return {**{key: self._last[key] for key in counts}, **on}, counts

    def _forget_old(self, key: str, now: float) -> None:
        begins = self._begins[key]
        if len(begins) >= TIMES and now - begins[-TIMES] <= WITHIN_SECONDS:
            self._flapping.add(key)
        if now - begins[-1] > CALM_SECONDS:
            self._flapping.discard(key)
        while begins and now - begins[0] > WITHIN_SECONDS:
            begins.popleft()
        if not begins:
            del self._begins[key], self._last[key]
            self._flapping.discard(key)
