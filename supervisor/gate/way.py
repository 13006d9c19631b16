"""What is known of an egress: whether WhatsApp can be reached by it, and when to look again.

Pure: times and dice are arguments, seconds of a monotonic clock. reachability.py looks.
"""

from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple

from sessions.model import CloseReason, SessionId

LOOK_SECONDS: Final = 8.0
"""A look takes no longer: enough for the third SYN (after 3 s) and its answer, and so short that an
outage's end is noticed within 20 s.
"""
GAPS_SECONDS: Final = (1.0, 2.0, 2.0, 3.0, 3.0, 5.0, 5.0, 8.0)
"""From one look's begin to the next one's, while the way is closed; the last for all that follow.

WhatsApp Web tries as often.
"""
LATE_SECONDS: Final = 600.0
LATE_GAP_SECONDS: Final = 12.0
"""After so long so far apart: with the jitter (14.4 s), and a login, still within the 20 s."""
LIMITED_GAP_SECONDS: Final = 30.0
"""Who is told to slow down (429) does not knock every few seconds."""
OPEN_GAPS_SECONDS: Final = (1.0, 2.0, 4.0, 8.0, 15.0)
"""The same after looks that found the way open: a session that is sick is in doubt after each of
its own attempts.
"""
CALM_SECONDS: Final = 60.0
"""After so long without a doubt those begin again with the first."""
JITTER: Final = 0.2
UNKNOWN_ENOUGH: Final = 3
"""So many looks in a row that could tell nothing are enough: without them the correlated closes
decide alone, as ever.
"""
CONTRADICTIONS: Final = 2
"""So often a look found the way closed beside a session that had just come through: they are not
believed then, until one finds it open.
"""


class Look(NamedTuple):
    """What a look has found.

    `reason`: of a way that is closed, as a session would close; `words`: how it went, without
    secrets. `server_seconds`: what the server's clock says, `certificate_ends_seconds`: until when
    its certificate is valid (of wall clock; None: it has not told).
    """

    state: Literal["open", "closed", "unknown"]
    words: str
    reason: CloseReason | None = None
    server_seconds: float | None = None
    certificate_ends_seconds: float | None = None


@dataclass(slots=True)
class Way:
    """What is known of an egress.

    Pure: times and dice are arguments, seconds of a monotonic clock.
    """

    egress: str
    last: Look | None = None
    """What the last look found; None: nothing that is still of account."""
    doubters: dict[SessionId, None] = field(default_factory=dict)
    """Who has closed since the way was last found open, and is not open again."""
    closed_since: float | None = None
    open_at: float = float("-inf")
    """When a look that found it open was begun."""
    next_at: float = 0.0
    looking: bool = False
    """A look is under way."""
    turn: int = 0
    """Which of the doubters looks next, if nobody is open."""
    _begun_at: float = float("-inf")
    _looks: int = 0
    _unknown: int = 0
    _contradicted: int = 0
    _checking: bool = False
    """A login came through while the way was closed: it has opened since the last look, or looks
    are wrong.
    """

    @property
    def doubted(self) -> bool:
        """Whether looks are due."""
        return bool(self.doubters) or self._checking

    @property
    def disbelieved(self) -> bool:
        """Whether looks have been wrong so often that they are not believed."""
        return self._contradicted >= CONTRADICTIONS

    @property
    def is_closed(self) -> bool:
        """Whether nobody can come through just now."""
        return self.closed_since is not None and not self.disbelieved

    def doubt(self, session: SessionId, now: float) -> None:
        """The session has closed, and it may be the way."""
        if not self.doubters and not self.looking:
            self._unknown = 0
            if now - self._begun_at > CALM_SECONDS:
                self._looks = 0
            self.next_at = max(now, self._begun_at + _of(OPEN_GAPS_SECONDS, self._looks))
        self.doubters[session] = None

    def settled(self, session: SessionId) -> None:
        """The session is open, or not of the fleet any more."""
        self.doubters.pop(session, None)
        if not self.doubters:
            self._rest()

    def came_through(self, now: float) -> None:
        """A login was answered."""
        if self.closed_since is not None:
            self.closed_since, self._checking, self.next_at = None, True, now

    def drop(self) -> None:
        """Nobody is there any more who could look, or wants to know."""
        self.doubters.clear()
        self._checking = False
        self._rest()

    def begins(self, now: float) -> None:
        """A look begins."""
        self.looking, self._begun_at = True, now

    def learns(self, look: Look, now: float, draw: float) -> bool:
        """What it has found.

        True: the way was closed until now, and is open. `draw` is uniform in [0, 1).
        """
        self.looking = False
        checking, self._checking = self._checking, False
        was_closed = self.closed_since is not None
        if look.state == "unknown":
            self._unknown += 1
            if self._unknown >= UNKNOWN_ENOUGH:
                self.drop()
        else:
            self.last, self._unknown = look, 0
        if look.state == "open":
            self._looks = 0 if was_closed else self._looks + 1
            self.open_at, self.closed_since, self._contradicted = self._begun_at, None, 0
            self.doubters.clear()
            return was_closed
        if look.state == "closed" and checking and not self.doubters:
            self._contradicted += 1
            self._rest()
        elif look.state == "closed":
            if not was_closed:
                self.closed_since, self._looks = now, 0
            if not self.doubters:
                self._rest()
        gap = self._gap(now) * (1 - JITTER + 2 * JITTER * draw)
        self.next_at = max(now, self._begun_at + gap)
        self._looks += 1
        return False

    def _gap(self, now: float) -> float:
        if self.last is not None and self.last.reason is CloseReason.RATE_LIMITED:
            return LIMITED_GAP_SECONDS
        late = self.closed_since is not None and now - self.closed_since >= LATE_SECONDS
        return LATE_GAP_SECONDS if late else _of(GAPS_SECONDS, self._looks)

    def _rest(self) -> None:
        """Nobody asks any more: what was found is soon of no account."""
        self.closed_since = None
        if self.last is not None and self.last.state != "open":
            self.last = None


def _of(gaps: tuple[float, ...], number: int) -> float:
    return gaps[min(number, len(gaps) - 1)]
