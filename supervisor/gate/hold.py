"""A hold with canaries. Pure: times and dice are arguments, seconds of a monotonic clock.

While a hold lasts, one attempt at a time (the canary) may try, at a slowing, jittered pace; the
first that succeeds ends the hold. The pace is a share of how long the hold has lasted: when the
server comes back, nobody has waited for much more than that share beyond what the outage itself
took.
"""

from dataclasses import dataclass, field
from typing import Final

from sessions.model import CloseReason, SessionId
from supervisor.gate.outage import SMALL_SECONDS, Scope
from supervisor.gate.queue import HeldLine, Waiting

OUTAGE: Final = "outage"
"""Why, when correlated closes were seen.

Any other cause is a close reason that holds the fleet (405).
"""
PROMPT_SECONDS: Final = 5.0
"""A session that was open until now may try so soon after the last canary: it knows more than those
who have failed for long.
"""
PATIENCE_SECONDS: Final = 60.0
"""When for so long nobody has been there to try, a hold ends: the evidence of an outage is as old
by then.
"""
WELL_SECONDS: Final = 120.0
"""When most have stayed open for so long since a hold began (they are probed every 30 s), those who
are held are ill themselves.
"""
WELL_BY_REASON_SECONDS: Final = 600.0
"""The same, of those whom the server gave a reason: it may give it to some only."""
RESUME_SECONDS: Final = 600.0
RESUME_VERSION_SECONDS: Final = 1800.0
"""A hold that begins so soon after one of the same kind goes on at its pace."""
WHOLE_EVERY: Final = 3
"""Each such canary has as long as any attempt: where logins have become slow, a short deadline
would hold for ever.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long after a canary the next may try: a share of how long the hold has lasted, within
    bounds, spread by the jitter.

    `late_*`: after the first ten minutes. `deadline_*`: what a canary's attempt may take (a server
    that hangs must not stop the next
    canary for long); None: as any attempt.
    """

    first_seconds: float
    floor_seconds: float
    share: float
    cap_seconds: float
    late_share: float
    late_cap_seconds: float
    jitter: float
    deadline_share: float = 0.25
    deadline_floor_seconds: float = 5.0
    deadline_cap_seconds: float | None = None
    urgent_apart_seconds: float = 0.0
    """The least between canaries that operators have forced."""

    def wait_seconds(self, held_for: float, roll: float) -> float:
        """From the begin of a canary's attempt to the next one's; `roll` is uniform in [0, 1)."""
        early = held_for < LATE_SECONDS
        share, cap = (
            (self.share, self.cap_seconds) if early else (self.late_share, self.late_cap_seconds)
        )
        return max(self.floor_seconds, min(cap, share * held_for)) * (
            1 - self.jitter + 2 * self.jitter * roll
        )

    def deadline_seconds(self, held_for: float) -> float | None:
        """How long a canary's attempt may take."""
        if self.deadline_cap_seconds is None:
            return None
        return max(
            self.deadline_floor_seconds,
            min(self.deadline_cap_seconds, self.deadline_share * held_for),
        )


LATE_SECONDS: Final = 600.0
OUTAGE_PACE: Final = Pace(
    first_seconds=0.25,
    floor_seconds=1.0,
    share=0.15,
    cap_seconds=12.5,  # with the jitter, canaries are at most 15 s apart in the first ten minutes
    late_share=0.05,
    late_cap_seconds=50.0,  # and at most 60 s later on
    jitter=0.2,
    deadline_cap_seconds=15.0,
)
LIMITED_PACE: Final = Pace(
    first_seconds=15.0,
    floor_seconds=15.0,
    share=0.15,
    cap_seconds=50.0,
    late_share=0.05,
    late_cap_seconds=50.0,
    jitter=0.2,
    deadline_cap_seconds=15.0,
)
"""After a wave of 429: who is told to slow down does not knock every second."""
VERSION_PACE: Final = Pace(
    first_seconds=300.0,
    floor_seconds=300.0,
    share=1.0,
    cap_seconds=1800.0,
    late_share=1.0,
    late_cap_seconds=1800.0,
    jitter=0.1,
    urgent_apart_seconds=5.0,
)
"""After a 405: a canary every 5 to 30 minutes, each time twice as long, since an update is needed
(docs/evidence.md#what-others-do-when-a-session-closes).
"""


SMALL_PACE: Final = Pace(
    first_seconds=8.0,
    floor_seconds=15.0,
    share=0.05,
    cap_seconds=30.0,
    late_share=0.05,
    late_cap_seconds=50.0,
    jitter=0.15,
    deadline_cap_seconds=15.0,
)
"""Of a small fleet that WhatsApp itself turns away after the login, which no look can see the end
of: each canary is a login of one of a few numbers. For five minutes as often as the 20 s allow
within which an outage's end is to be noticed (17.3 s with the jitter, and the login), then less
often.
"""
BARRED_SECONDS: Final = 120.0
"""While looks find the way closed, canaries are so far apart: they only guard against looks that
are wrong, and none of them logs in.
"""


def pace_of(cause: str, scope: Scope, small: bool = False, limited: bool = False) -> Pace:
    """The pace of a hold's canaries.

    `small`: of a few, turned away by WhatsApp itself; `limited`: for going too fast.
    """
    if cause != OUTAGE:
        return VERSION_PACE
    if small:
        return LIMITED_PACE if limited else SMALL_PACE
    return LIMITED_PACE if scope == Scope("reason", CloseReason.RATE_LIMITED) else OUTAGE_PACE


@dataclass(slots=True)
class Hold:
    """Whom it holds and why, since when, who waits, and when the next canary may try.

    `canary`: whose attempt is under way.
    """

    scope: Scope
    cause: str
    evidence: str
    """What was seen, in words."""
    since: float
    pace: Pace
    next_canary_at: float
    tried_at: float
    canary: SessionId | None = None
    nobody_since: float | None = None
    head_start: float = 0.0
    """For how long the last one of its kind had lasted, if that was just before."""
    canaries: int = 0
    look_at: float = float("inf")
    """When to look whether the others are well."""
    by_look: bool = False
    """Not the number of closes, but a look at the way is its reason."""
    over_at: float = float("inf")
    """When who is held by it becomes ill himself, whatever comes: of a fleet too small to tell."""
    in_vain: int = 0
    """Canaries in a row that have failed although the way was open."""
    line: HeldLine = field(default_factory=HeldLine)

    @classmethod
    def begin(
        cls,
        scope: Scope,
        cause: str,
        evidence: str,
        now: float,
        roll: float,
        head_start: float = 0.0,
        *,
        by_look: bool = False,
        small: bool = False,
        limited: bool = False,
    ) -> "Hold":
        """A hold that begins now; `head_start`: it goes on as if it had lasted for so long.

        `small`, `limited`: see pace_of.
        """
        pace = pace_of(cause, scope, small, limited)
        early = pace.first_seconds * (1 - pace.jitter + 2 * pace.jitter * roll)
        first = pace.wait_seconds(head_start, roll) if head_start else early
        hold = cls(
            scope,
            cause,
            evidence,
            now,
            pace,
            now + first,
            now,
            head_start=head_start,
            by_look=by_look,
        )
        if small:
            hold.over_at = now + SMALL_SECONDS
        if hold.is_outage:
            hold.look_again(now)
        return hold

    @property
    def is_outage(self) -> bool:
        """Whether correlated closes are its cause."""
        return self.cause == OUTAGE

    @property
    def held(self) -> int:
        """How many sessions it holds: not those who are open, and wait to replace their workers."""
        return len(self.line) - self.line.patient + (self.canary is not None)

    @property
    def resumed_within_seconds(self) -> float:
        """How soon after its end one of the same kind goes on at its pace."""
        return RESUME_SECONDS if self.is_outage else RESUME_VERSION_SECONDS

    def lasted(self, now: float) -> float:
        """For how long, with those before it that it goes on from: that is what its pace goes
        by.
        """
        return self.head_start + now - self.since

    def look_again(self, now: float) -> None:
        """Look later whether the others are well."""
        self.look_at = now + (
            WELL_BY_REASON_SECONDS if self.scope.kind == "reason" else WELL_SECONDS
        )

    def seconds_until_canary(self, now: float, urgent: bool = False, barred: bool = False) -> float:
        """How long until a canary may try (`urgent`: as good as at once); infinite while one is
        under way.

        `barred`: looks say that it cannot come through.
        """
        if self.canary is not None:
            return float("inf")
        urgent_at = self.tried_at + self.pace.urgent_apart_seconds if self.canaries else now
        at = (
            max(self.next_canary_at, self.tried_at + BARRED_SECONDS)
            if barred
            else self.next_canary_at
        )
        return max(0.0, (min(at, urgent_at) if urgent else at) - now)

    def way_is_closed(self) -> None:
        """A look has found it closed: that is the reason from now on, if the number of closes was
        not.
        """
        self.in_vain = 0
        if self.over_at != float("inf"):
            self.over_at, self.by_look = float("inf"), True

    def way_opens(self, now: float) -> None:
        """A look has found the way open that was closed: the next canary may try at once."""
        self.in_vain = 0
        self.next_canary_at = min(
            self.next_canary_at, max(now, self.tried_at + OUTAGE_PACE.floor_seconds)
        )

    def canary_tries(
        self, session: SessionId, now: float, roll: float, barred: bool = False
    ) -> float | None:
        """A canary begins; how long its attempt may take (`barred`: not long, as it will hardly
        come through).
        """
        self.canary, self.tried_at, self.nobody_since = session, now, None
        self.line.tried(session)
        self.canaries += 1
        self.next_canary_at = now + self.pace.wait_seconds(self.lasted(now), roll)
        if barred:
            return self.pace.deadline_floor_seconds
        return (
            None
            if self.canaries % WHOLE_EVERY == 0
            else self.pace.deadline_seconds(self.lasted(now))
        )

    def canary_failed(self) -> None:
        """The canary did not come through."""
        self.canary = None

    def canary_left(self, now: float) -> None:
        """The canary was called off, by a human or its own trouble: that says nothing, and the next
        may try at once.
        """
        self.canary, self.next_canary_at = None, now

    def join(self, waiting: Waiting, may_try: bool) -> None:
        """Be held. One that was open until now is worth a try soon."""
        if self.pace is OUTAGE_PACE and may_try and self.line.expects(waiting.session):
            self.next_canary_at = min(self.next_canary_at, self.tried_at + PROMPT_SECONDS)
        self.line.join(waiting, may_try)

    def seconds_until_given_up(self, now: float) -> float:
        """Called when nobody is there to try: how long until the hold ends for that; infinite while
        a canary is under way.
        """
        if self.canary is not None:
            return float("inf")
        if self.nobody_since is None:
            self.nobody_since = now
        return max(0.0, self.nobody_since + PATIENCE_SECONDS - now)


REJECTED_SECONDS: Final = 1800.0
REJECTED: Final = 2
"""So many sessions whose version is rejected (405) within that time hold the fleet: one may have a
trouble of its own.
"""
REJECTED_AGAIN: Final = 5
"""So many, if they had been rejected before a release already, and have not been open since."""


class Rejections:
    """Who was told 405 lately, and whether that concerns all."""

    def __init__(self) -> None:
        self._at: dict[SessionId, float] = {}
        self._before: set[SessionId] = set()

    def add(self, session: SessionId, now: float) -> bool:
        """The session was told so; whether the fleet is to be held."""
        self._at = {other: at for other, at in self._at.items() if now - at <= REJECTED_SECONDS}
        self._at[session] = now
        return len(self._at.keys() - self._before) >= REJECTED or len(self._at) >= REJECTED_AGAIN

    def released(self) -> None:
        """Another came through: who is told so again has a trouble of his own."""
        self._before |= self._at.keys()
        self._at.clear()

    def opened(self, session: SessionId) -> None:
        """The session came through."""
        self._at.pop(session, None)
        self._before.discard(session)

    def left(self, session: SessionId) -> None:
        """The session is not part of the fleet any more."""
        self._before.discard(session)
