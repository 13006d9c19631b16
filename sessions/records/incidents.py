"""What befell a session, as a story: an *incident* goes from the close of a session until it is
open again. Pure.

    closed ──► further tries that fail ──► open                           ending: open
           └─► parked (a human must do something) ──► later open again    ending: parked, then open
           └─► stopped by hand                                            ending: stopped

An incident that is parked is at rest, not over: what comes next goes on with it, so that its cost
is the whole time that the number was away. Times are seconds of wall clock (incidents outlive
boots); a clock that was set back makes durations 0, never negative.
"""

from collections.abc import Collection, Iterable, Sequence
from typing import Final, Literal, NamedTuple

import msgspec

from sessions.model import CloseReason, SessionState
from sessions.policy import COVERED, Close, Decision

Ending = Literal["open", "parked", "quarantined", "stopped", "deleted", "lost"]
"""How an incident ended, or where it rests.

`lost`: nobody knows, its supervisor has forgotten it; `deleted`: its session was.
"""

MAX_CLOSES: Final = 30
"""Closes kept of one incident: the first, which is the cause, and the newest.

A night of tries every 15 minutes makes a hundred.
"""
MAX_MESSAGE: Final = 300
"""Characters of a close's message; what the server says in earnest is far shorter."""
AT_REST: Final[tuple[Ending, ...]] = ("parked", "quarantined")
DAY_SECONDS: Final = 24 * 3600.0
WEEK_SECONDS: Final = 7 * DAY_SECONDS


class RecordedClose(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One close and what was decided.

    `wait_seconds`: until the next try was planned (None: none was). `covered`: by an outage.
    """

    at: float
    reason: CloseReason
    code: int | None = None
    message: str = ""
    was_open: bool = False
    was_stable: bool = False
    expire_seconds: float | None = None
    rule: str = ""
    wait_seconds: float | None = None
    covered: bool = msgspec.field(default=False, name="excused")


class Incident(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A story. `session` None: the fleet's or a group's (`scope` says which).

    `reason`, `code`, `message`: of the first close, the cause; `rule`, `human`: of the newest.
    `ended_at` None: under way.
    `hold`: the outage that covers it, in words. `id` 0: not stored yet.
    """

    id: int = 0
    session: str | None
    scope: str = ""
    began_at: float
    ended_at: float | None = None
    ending: Ending | None = None
    reason: str
    code: int | None = None
    message: str = ""
    rule: str = ""
    closes: tuple[RecordedClose, ...] = ()
    attempts: int = 0
    human: str = ""
    hold: str | None = None

    @property
    def over(self) -> bool:
        """Whether nothing more belongs to it: the session is open again, or not wanted any more."""
        return self.ended_at is not None and self.ending not in AT_REST

    def down_seconds(self, now: float) -> float:
        """How long the session was away, or has been so far: also while it is parked."""
        until = self.ended_at if self.over and self.ended_at is not None else now
        return max(0.0, until - self.began_at)


Presence = Literal["open", "down", "off"]
"""How a session counts for its availability: `down` is wanted and not open, `off` not wanted."""


class Move(NamedTuple):
    """A session is open, down or off from then on; wall clock, seconds."""

    presence: Presence
    at: float


class Span(msgspec.Struct, frozen=True):
    """A time in which a session was `open`, `down` (wanted, and not open) or `off` (not wanted).

    `ended_at` None: it lasts.
    """

    began_at: float
    ended_at: float | None
    state: str


class Summary(msgspec.Struct, frozen=True, rename="camel"):
    """A session's figures.

    Parts of 1 and seconds; None where nothing is recorded. `since`: when the records of the session
    begin.
    """

    day: float | None
    week: float | None
    since: float | None
    mttr_seconds: float | None
    reconnects_of_the_day: int


def recorded(close: Close, decision: Decision) -> RecordedClose:
    """A close, and what was decided, as it goes on record."""
    return RecordedClose(
        at=close.at_wall_seconds,
        reason=close.reason,
        code=close.code,
        message=close.message,
        was_open=close.was_open,
        was_stable=close.was_stable,
        expire_seconds=close.expire_seconds,
        rule=decision.rule,
        # The breaker is reckoned in.
        wait_seconds=(
            None
            if decision.wait_seconds is None
            else max(decision.wait_seconds, decision.blocked_seconds)
        ),
        covered=decision.covered,
    )


def closed(
    incident: Incident | None, session: str, close: RecordedClose, human: str
) -> Incident | None:
    """The incident after a close: the one under way goes on, or one begins.

    None: this close is no incident.

    A restart (515) of a session that was not open belongs to every pairing.
    """
    hold = COVERED if close.covered else None
    close = msgspec.structs.replace(
        close, message=close.message.replace("\0", "")[:MAX_MESSAGE]
    )  # PostgreSQL takes no NUL
    if incident is not None and not incident.over and not close.was_open:
        return msgspec.structs.replace(
            incident,
            ended_at=None,
            ending=None,
            closes=_bounded((*incident.closes, close)),
            rule=close.rule,
            human=human,
            hold=hold or incident.hold,
        )
    if close.reason is CloseReason.RESTART_REQUIRED and not close.was_open:
        return incident
    return Incident(
        session=session,
        began_at=close.at,
        reason=close.reason,
        code=close.code,
        message=close.message,
        rule=close.rule,
        closes=(close,),
        human=human,
        hold=hold,
    )


def attempted(incident: Incident | None) -> Incident | None:
    """A try begins, which belongs to the incident unless that is over."""
    if incident is None or incident.over:
        return incident
    return msgspec.structs.replace(
        incident, attempts=incident.attempts + 1, ended_at=None, ending=None
    )


def covered(incident: Incident, words: str) -> Incident:
    """An outage covers it."""
    return msgspec.structs.replace(incident, hold=words)


def uncharged(incident: Incident, words: str, correlated: Collection[CloseReason]) -> Incident:
    """An outage turns out to cover it: those of its closes that an outage can cause charge
    nobody.
    """
    closes = tuple(
        msgspec.structs.replace(close, covered=close.covered or close.reason in correlated)
        for close in incident.closes
    )
    newest = closes and closes[-1].covered
    return msgspec.structs.replace(
        incident, closes=closes, hold=words, rule=words if newest else incident.rule
    )


def ended(incident: Incident, now: float, ending: Ending) -> Incident:
    """It is over, or rests."""
    return msgspec.structs.replace(incident, ended_at=max(now, incident.began_at), ending=ending)


def moved(incident: Incident | None, state: SessionState, now: float) -> Incident | None:
    """The session has come to that state, in which an incident may end or rest."""
    ending = ending_of(state)
    if incident is None or ending is None or incident.over:
        return incident
    return ended(incident, now, ending)


def ending_of(state: SessionState) -> Ending | None:
    """How an incident ends when its session comes to be in that state; None: it goes on."""
    return _ENDINGS.get(state)


def told(stored: Sequence[Incident], current: Incident | None) -> list[Incident]:
    """A session's incidents, newest first, as stored, but the current one as it is: the store may
    not have it yet.

    The current one is the newest whatever its date says: the clock may have been set back.
    """
    if current is None:
        return list(stored)
    others = [incident for incident in stored if incident.began_at != current.began_at]
    return [current, *others]


def since_creation(stored: Iterable[Incident], created_at: float, now: float) -> list[Incident]:
    """Those of a session, not of an earlier one of its name.

    While the clock is behind its creation, dates say nothing: all are told.
    """
    return [incident for incident in stored if now < created_at or incident.began_at >= created_at]


def availability(spans: Iterable[Span], now: float, window_seconds: float) -> float | None:
    """The part of the time that a session was open, of the time that it was wanted, within the
    window; None if it never was.
    """
    begin, seconds = now - window_seconds, {"open": 0.0, "down": 0.0, "off": 0.0}
    for span in spans:
        until = now if span.ended_at is None else min(now, span.ended_at)
        seconds[span.state] += max(0.0, until - max(begin, span.began_at))
    wanted = seconds["open"] + seconds["down"]
    return seconds["open"] / wanted if wanted > 0 else None


def mttr_seconds(incidents: Iterable[Incident], since: float) -> float | None:
    """The mean time from a close until the session was open again, of the incidents that ended so
    since then.
    """
    healed = [
        i.down_seconds(i.ended_at)
        for i in incidents
        if i.ending == "open" and i.ended_at and i.ended_at >= since
    ]
    return sum(healed) / len(healed) if healed else None


def reconnects(incidents: Iterable[Incident], since: float) -> int:
    """How often the session came back since then."""
    return sum(
        1
        for i in incidents
        if i.ending == "open" and i.ended_at is not None and i.ended_at >= since
    )


def summary(spans: Sequence[Span], incidents: Sequence[Incident], now: float) -> Summary:
    """A session's figures, from the spans and the incidents of the last week at least."""
    return Summary(
        day=availability(spans, now, DAY_SECONDS),
        week=availability(spans, now, WEEK_SECONDS),
        since=min((span.began_at for span in spans), default=None),
        mttr_seconds=mttr_seconds(incidents, now - WEEK_SECONDS),
        reconnects_of_the_day=reconnects(incidents, now - DAY_SECONDS),
    )


def _bounded(closes: tuple[RecordedClose, ...]) -> tuple[RecordedClose, ...]:
    return closes if len(closes) <= MAX_CLOSES else (closes[0], *closes[1 - MAX_CLOSES :])


_ENDINGS: Final[dict[SessionState, Ending]] = {
    SessionState.OPEN: "open",
    SessionState.PARKED: "parked",
    SessionState.QUARANTINED: "quarantined",
    SessionState.STOPPED: "stopped",
}
