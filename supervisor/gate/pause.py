"""One pause, with its canaries; pauses.py has them all. Pure: times and dice are arguments, seconds
of a monotonic clock.

While a pause lasts, one attempt at a time (the canary) may try, at a slowing, jittered pace
(pace.py); the first that succeeds ends the pause.
"""

from dataclasses import dataclass, field
from typing import Final

from sessions.model import SessionId
from supervisor.gate.outage import OUTAGE, SMALL_SECONDS, Scope
from supervisor.gate.pace import OUTAGE_PACE, Pace, pace_of
from supervisor.gate.queue import PausedQueue, Waiting

PROMPT_SECONDS: Final = 5.0
"""A session that was open until now may try so soon after the last canary: it knows more than those
who have failed for long.
"""
PATIENCE_SECONDS: Final = 60.0
"""When for so long nobody has been there to try, a pause ends: the evidence of an outage is as old
by then.
"""
WELL_SECONDS: Final = 120.0
"""When most have stayed open for so long since a pause began (they are probed every 30 s), those
who are paused fail on their own.
"""
WELL_BY_REASON_SECONDS: Final = 600.0
"""The same, of those whom the server gave a reason: it may give it to some only."""
RESUME_SECONDS: Final = 600.0
RESUME_VERSION_SECONDS: Final = 1800.0
"""A pause that begins so soon after one of the same kind goes on at its pace."""
WHOLE_EVERY: Final = 3
"""Each such canary has as long as any attempt: where logins have become slow, a short deadline
would pause them for ever.
"""
BARRED_SECONDS: Final = 120.0
"""While looks find the way closed, canaries are so far apart: they only guard against looks that
are wrong, and none of them logs in.
"""


@dataclass(slots=True)
class Pause:
    """Whom it pauses and why, since when, who waits, and when the next canary may try.

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
    """When whoever is paused by it is taken to fail on its own, whatever comes: of a fleet that is
    too small to tell.
    """
    in_vain: int = 0
    """Canaries in a row that have failed although the way was open."""
    queue: PausedQueue = field(default_factory=PausedQueue)

    @classmethod
    def begin(
        cls,
        scope: Scope,
        cause: str,
        evidence: str,
        now: float,
        draw: float,
        head_start: float = 0.0,
        *,
        by_look: bool = False,
        small: bool = False,
        limited: bool = False,
    ) -> "Pause":
        """A pause that begins now; `head_start`: it goes on as if it had lasted for so long.

        `small`, `limited`: see pace_of.
        """
        pace = pace_of(cause, scope, small, limited)
        early = pace.first_seconds * (1 - pace.jitter + 2 * pace.jitter * draw)
        first = pace.wait_seconds(head_start, draw) if head_start else early
        pause = cls(
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
            pause.over_at = now + SMALL_SECONDS
        if pause.is_outage:
            pause.look_again(now)
        return pause

    @property
    def is_outage(self) -> bool:
        """Whether correlated closes are its cause."""
        return self.cause == OUTAGE

    @property
    def sessions(self) -> int:
        """How many sessions it pauses: not those that are open, and wait to replace their
        workers.
        """
        return len(self.queue) - self.queue.patient + (self.canary is not None)

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
        self, session: SessionId, now: float, draw: float, barred: bool = False
    ) -> float | None:
        """A canary begins; how long its attempt may take (`barred`: not long, as it will hardly
        come through).
        """
        self.canary, self.tried_at, self.nobody_since = session, now, None
        self.queue.tried(session)
        self.canaries += 1
        self.next_canary_at = now + self.pace.wait_seconds(self.lasted(now), draw)
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
        """Be paused. One that was open until now is worth a try soon."""
        if self.pace is OUTAGE_PACE and may_try and self.queue.expects(waiting.session):
            self.next_canary_at = min(self.next_canary_at, self.tried_at + PROMPT_SECONDS)
        self.queue.join(waiting, may_try)

    def seconds_until_given_up(self, now: float) -> float:
        """Called when nobody is there to try: how long until the pause ends for that; infinite
        while a canary is under way.
        """
        if self.canary is not None:
            return float("inf")
        if self.nobody_since is None:
            self.nobody_since = now
        return max(0.0, self.nobody_since + PATIENCE_SECONDS - now)
