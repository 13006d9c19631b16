"""How many pairing codes may be asked for: WhatsApp notifies the phone of each, and counts them
against number and address. Pure.
"""

from typing import Final

from sessions.model import SessionId
from supervisor.gate.bucket import TokenBucket

SESSION_SECONDS: Final = 30.0
"""One code for a session in this time: who types it needs longer."""
FLEET_BURST: Final = 10
"""Codes for different sessions that may be asked for at once."""
FLEET_SECONDS: Final = 6.0
"""After those, one more in this time."""


class PairingBudget:
    """What is left.

    Codes that a worker renews by itself do not count. Times are seconds of a monotonic clock.
    """

    def __init__(self, now: float) -> None:
        self._fleet = TokenBucket.full(1 / FLEET_SECONDS, FLEET_BURST, now)
        self._asked_at: dict[SessionId, float] = {}

    def take(self, session: SessionId, now: float) -> float:
        """Take a code for that session: 0.

        If it is too soon nothing is taken: the seconds until it is not.
        """
        self._asked_at = {
            one: at for one, at in self._asked_at.items() if now - at < SESSION_SECONDS
        }
        asked_at = self._asked_at.get(session)
        wait = 0.0 if asked_at is None else asked_at + SESSION_SECONDS - now
        wait = max(wait, self._fleet.seconds_until(1, now))
        if wait <= 0:
            self._fleet.take(now)
            self._asked_at[session] = now
        return max(0.0, wait)
