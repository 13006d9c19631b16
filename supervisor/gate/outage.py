"""Whether it is the sessions, or the network or WhatsApp.

Correlated closes tell. Pure: times are arguments, seconds of a monotonic clock.

Numbers without a source beside them are our own: nobody else has a detector for a whole fleet
(docs/evidence.md#what-others-do-when-a-session-closes). Every method is O(1), but for those that an
outage needs once, when it begins or ends.
"""

import enum
from collections import Counter, OrderedDict
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

from sessions.model import DIRECT, CloseReason, SessionId
from sessions.policy import correlated_reasons

R = CloseReason

OUTAGE: Final = "outage"
"""Why sessions are paused when correlated closes were seen, or a look found the way closed.

Any other cause is a close reason that pauses the fleet (405).
"""
WINDOW_SECONDS: Final = 60.0
"""Closes so far apart still belong together: Baileys notices a dead line only after its keep-alive
of 30 s and 5 s of patience.
"""
FEWEST: Final = 5
"""Fewer are no outage by their number alone: of a smaller fleet the looks (reachability.py) tell,
or that WhatsApp gives none a place.
"""
SHARE: Final = 0.2
"""Of the open sessions and those that have closed: so many make it an outage."""
MAJORITY: Final = 0.5
"""Who fails at once after a release counts only when more than so many fail: else it is his own
failure, not the others'.
"""
STILL_OPEN: Final = 0.5
"""A reason of the server's pauses only those who were given it while so many are still open."""
ECHO_SECONDS: Final = WINDOW_SECONDS
"""For how long after an outage a session that was open before it may still notice that its line is
dead.
"""
SMALL_SECONDS: Final = 600.0
"""For so long a fleet of fewer is paused because WhatsApp itself turns all of it away: after that
each fails on its own. As long as a breaker stays open (docs/evidence.md#names-that-scripts-use).
"""
CHRONIC_SECONDS: Final = 600.0
"""A session that has been failing alone for so long fails on its own: its attempts say nothing
of the others.
"""
SERVER_MADE: Final = frozenset({R.UNAVAILABLE, R.SERVER_ERROR, R.RATE_LIMITED})
"""Reasons that the server gives, and may give to some only."""
ANSWERS: Final = frozenset(
    {
        R.LOGGED_OUT,
        R.REPLACED,
        R.BANNED,
        R.LOCKED,
        R.TEMPORARILY_BANNED,
        R.QR_EXPIRED,
        R.PASSKEY_REQUIRED,
        R.RESTART_REQUIRED,
        R.OWN_LOGOUT,
        R.REPAIR_NEEDED,
    }
)
"""An attempt that ends so has been answered by a server that knows the session: there is no outage
(any more).
"""


class Scope(NamedTuple):
    """Whom a pause is for: everybody, those of an egress, or those whom the server gave a
    reason.
    """

    kind: Literal["fleet", "egress", "reason"]
    value: str

    @property
    def words(self) -> str:
        """Whom, in words."""
        return {
            "fleet": "everybody",
            "egress": f"egress {self.value}",
            "reason": f"sessions closed as {self.value}",
        }[self.kind]


FLEET: Final = Scope("fleet", "all")


class Finding(enum.Enum):
    """What a close says of the others."""

    ALONE = "nothing"
    ECHO = "an outage that is over, noticed late"
    EVIDENCE = "it may be an outage"
    TRIAL = (
        "it was released with the others, and has failed again: it fails on its own, unless most do"
    )


@dataclass(slots=True)
class _Member:
    """What is known of a session of the fleet."""

    egress: str = DIRECT
    opened_at: float | None = None
    down_since: float | None = None
    reason: CloseReason | None = None
    weight: float = 0.0
    on_trial: bool = False
    """It was released with others, and has not been open since."""
    tried_at: float = float("-inf")
    released_at: float = float("-inf")
    fails_alone: bool = False
    """Others are well, and it is not: until it has been open again, its closes are its own
    matter.
    """


class _Sighting(NamedTuple):
    at: float
    egress: str
    reason: CloseReason


class _Tally:
    """Who has closed within the last minute, oldest first; one session, one voice: its latest."""

    def __init__(self) -> None:
        self.by_egress: Counter[str] = Counter()
        self.by_reason: Counter[CloseReason] = Counter()
        self._seen: OrderedDict[SessionId, _Sighting] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen)

    def __contains__(self, session: SessionId) -> bool:
        return session in self._seen

    def get(self, session: SessionId) -> _Sighting | None:
        """Its close, if it is counted."""
        return self._seen.get(session)

    def items(self) -> Iterator[tuple[SessionId, _Sighting]]:
        """All that is counted."""
        yield from self._seen.items()

    def add(self, session: SessionId, sighting: _Sighting) -> None:
        """Count it."""
        self._seen[session] = sighting
        self.by_egress[sighting.egress] += 1
        self.by_reason[sighting.reason] += 1

    def forget(self, session: SessionId) -> None:
        """Count it no more."""
        sighting = self._seen.pop(session, None)
        if sighting is not None:
            for counts, key in (
                (self.by_egress, sighting.egress),
                (self.by_reason, sighting.reason),
            ):
                counts[key] -= 1  # type: ignore[index]
                if not counts[key]:  # type: ignore[index]
                    del counts[key]

    def expire(self, now: float) -> None:
        """Forget what is too old."""
        while self._seen:
            oldest = next(iter(self._seen))
            if now - self._seen[oldest].at <= WINDOW_SECONDS:
                return
            self.forget(oldest)


class Detector:
    """Who is open, who has closed lately and how, and whether that is an outage."""

    def __init__(self, correlated: Collection[CloseReason] = correlated_reasons()) -> None:
        self.correlated = correlated
        """Reasons that many sessions get at the same time when it is not their own fault."""
        self._members: dict[SessionId, _Member] = {}
        self._open = 0
        self._open_by_egress: Counter[str] = Counter()
        self._members_by_egress: Counter[str] = Counter()
        self._seen = _Tally()
        self._trials = _Tally()
        """Of those who were released with others, and have not been open since."""
        self._over: dict[Scope, float] = {}

    # --- what happens to sessions -----------------------------------------------------------------

    def registered(self, session: SessionId, egress: str) -> tuple[str, bool]:
        """The session uses this egress: the one that it used before, and whether nobody used this
        one.
        """
        is_new = egress not in self._members_by_egress
        before = self.egress(session)
        member = self._member(session, egress)
        if member.egress != egress:
            self._forget(session)
            opened_at = member.opened_at
            self._no_longer_open(member)
            self._leave_egress(member)
            member.egress = egress
            self._members_by_egress[egress] += 1
            if opened_at is not None:
                self._now_open(member, opened_at)
        return before, is_new

    def opened(self, session: SessionId, now: float) -> None:
        """The session is open."""
        member = self._member(session)
        self._forget(session)
        self._no_longer_open(member)
        self._now_open(member, now)
        member.down_since = member.reason = None
        member.on_trial = member.fails_alone = False

    def tries(self, session: SessionId, now: float) -> None:
        """An attempt of the session begins."""
        member = self._members.get(session)
        if member is not None:
            member.tried_at = now

    def left(self, session: SessionId) -> None:
        """The session is not part of the fleet any more."""
        member = self._members.pop(session, None)
        self._forget(session)
        if member is not None:
            self._no_longer_open(member)
            self._leave_egress(member)

    def closed(
        self, session: SessionId, reason: CloseReason, was_open: bool, weight: float, now: float
    ) -> Finding:
        """The session, or an attempt of it, has ended.

        Evidence counts only when it is added (`add`): what a pause covers is none.
        """
        member = self._member(session)
        opened_at = member.opened_at
        self._no_longer_open(member)
        member.reason = reason
        if was_open:
            member.weight = weight
        if was_open or member.down_since is None:
            member.down_since = now
        if reason not in self.correlated:
            self._forget(session)  # whatever it closed of before, this is its own matter
            return Finding.ALONE
        if was_open and opened_at is not None and self._is_echo(session, opened_at, now):
            return Finding.ECHO
        if was_open:
            return Finding.EVIDENCE
        if member.fails_alone:
            return Finding.ALONE
        if member.on_trial:
            begun_before = (
                member.tried_at < member.released_at and now - member.released_at <= ECHO_SECONDS
            )
            return Finding.ECHO if begun_before else Finding.TRIAL
        return Finding.EVIDENCE if now - member.down_since <= CHRONIC_SECONDS else Finding.ALONE

    def add(self, session: SessionId, finding: Finding, now: float) -> None:
        """Count its last close as evidence (a trial that failed: as little evidence, since it fails
        on its own).
        """
        member = self._members[session]
        if member.reason is not None:
            self._forget(session)
            member.fails_alone = finding is Finding.TRIAL
            tally = self._trials if member.fails_alone else self._seen
            tally.add(session, _Sighting(now, member.egress, member.reason))

    # --- what is known ----------------------------------------------------------------------------

    def egress(self, session: SessionId) -> str:
        """The session's egress."""
        member = self._members.get(session)
        return DIRECT if member is None else member.egress

    def weight(self, session: SessionId) -> float:
        """How busy the session was when it was last open."""
        member = self._members.get(session)
        return 0.0 if member is None else member.weight

    def is_open(self, session: SessionId) -> bool:
        """Whether the session is open."""
        member = self._members.get(session)
        return member is not None and member.opened_at is not None

    def fails_alone(self, session: SessionId) -> bool:
        """Whether others are well, and the session is not."""
        member = self._members.get(session)
        return member is not None and member.fails_alone

    def is_only(self, egress: str) -> bool:
        """Whether nobody uses another egress."""
        return len(self._members_by_egress) <= 1 and self.uses(egress)

    def somebody_open(self, egress: str) -> SessionId | None:
        """A session of the egress that is open, if one is."""
        if not self._open_by_egress[egress]:
            return None
        return next(
            session
            for session, member in self._members.items()
            if member.egress == egress and member.opened_at is not None
        )

    def tried_at(self, session: SessionId) -> float:
        """When the last attempt of the session began."""
        member = self._members.get(session)
        return float("-inf") if member is None else member.tried_at

    def turned_away(self) -> dict[SessionId, CloseReason]:
        """All who are down, if the fleet is small, nobody is open, and WhatsApp's own answers have
        closed them all; else nobody.

        Who has failed on its own before has no voice.
        """
        if self._open or len(self._members) >= FEWEST:
            return {}
        down = {
            session: member.reason
            for session, member in self._members.items()
            if member.reason in self.correlated
            and member.reason is not None
            and not member.fails_alone
        }
        return down if down and set(down.values()) <= SERVER_MADE else {}

    def uses(self, egress: str) -> bool:
        """Whether a session uses this egress."""
        return egress in self._members_by_egress

    def others_are_well(self, scope: Scope, since: float) -> bool:
        """Whether most have been open all the time since then: of the egress, or of the fleet."""
        asked = FLEET if scope.kind == "reason" else scope
        members = [member for member in self._members.values() if _within(member, asked)]
        stayed = sum(
            member.opened_at is not None and member.opened_at <= since for member in members
        )
        return stayed > MAJORITY * len(members)

    def scopes(self, session: SessionId) -> tuple[Scope, ...]:
        """Every scope that the session is in, the widest first."""
        member = self._members.get(session)
        if member is None:
            return FLEET, Scope("egress", DIRECT)
        egress = Scope("egress", member.egress)
        if member.reason is None:
            return FLEET, egress
        return FLEET, egress, Scope("reason", member.reason)

    def suspect(
        self, session: SessionId, now: float, paused: Collection[Scope] = ()
    ) -> Scope | None:
        """Whom the close just added, with those before it, shows to be in an outage.

        `paused`: they are left out of the reckoning.
        """
        self._expire(now)
        sighting = self._seen.get(session) or self._trials.get(session)
        seen, trials = len(self._seen), len(self._trials)
        if sighting is None or seen + trials < FEWEST:
            return None  # No scope can hold enough of them: nearly every close ends here.
        paused_open = sum(
            self._open_by_egress[scope.value] for scope in paused if scope.kind == "egress"
        )
        still_open = self._open - paused_open
        return (
            self._suspect_egress(sighting.egress, seen, trials, still_open)
            or self._suspect_reason(sighting.reason, seen, still_open)
            or (FLEET if _is_outage(seen, still_open, trials) else None)
        )

    def take(self, scope: Scope, now: float) -> dict[SessionId, CloseReason]:
        """An outage of the scope begins: those who have closed in it, and how.

        They are no evidence any more.
        """
        self._expire(now)
        both = (*self._seen.items(), *self._trials.items())
        taken = {session: seen.reason for session, seen in both if _within(seen, scope)}
        for session in taken:
            self._forget(session)
            self._members[session].fails_alone = False  # it is not alone
        return taken

    def over(self, scope: Scope, now: float, others_are_well: bool = False) -> None:
        """An outage of the scope has ended: who fails from now on fails on its own.

        `others_are_well`: who has been down for long, is.
        """
        self.take(scope, now)
        self._over[scope] = now
        self._over = {past: at for past, at in self._over.items() if now - at <= ECHO_SECONDS}
        for member in self._members.values():
            if member.opened_at is None and _within(member, scope):
                down_since = now if member.down_since is None else member.down_since
                member.on_trial, member.released_at = True, now
                member.fails_alone = member.fails_alone or (
                    others_are_well and now - down_since >= WINDOW_SECONDS
                )

    # --- inside -----------------------------------------------------------------------------------

    def _member(self, session: SessionId, egress: str = DIRECT) -> _Member:
        member = self._members.get(session)
        if member is None:
            member = self._members[session] = _Member(egress)
            self._members_by_egress[egress] += 1
        return member

    def _leave_egress(self, member: _Member) -> None:
        self._members_by_egress[member.egress] -= 1
        if not self._members_by_egress[member.egress]:
            del self._members_by_egress[member.egress]

    def _suspect_egress(self, egress: str, seen: int, trials: int, still_open: int) -> Scope | None:
        seen_here, open_here = self._seen.by_egress[egress], self._open_by_egress[egress]
        trials_here = self._trials.by_egress[egress]
        others_seen, others_open = seen - seen_here, still_open - open_here
        others_are_well = others_open > 0 and others_seen < SHARE * (others_open + others_seen)
        others_are_well = others_are_well and not _is_outage(
            others_seen, others_open, trials - trials_here
        )
        return (
            Scope("egress", egress)
            if others_are_well and _is_outage(seen_here, open_here, trials_here)
            else None
        )

    def _suspect_reason(self, reason: CloseReason, seen: int, still_open: int) -> Scope | None:
        if reason not in SERVER_MADE or still_open < STILL_OPEN * (still_open + seen):
            return None
        alike = self._seen.by_reason[reason]
        others = _is_outage(seen - alike, still_open)
        return Scope("reason", reason) if _is_outage(alike, still_open) and not others else None

    def _is_echo(self, session: SessionId, opened_at: float, now: float) -> bool:
        if not self._over:
            return False
        ends = (self._over.get(scope) for scope in self.scopes(session) if scope.kind != "reason")
        return any(at is not None and opened_at < at and now - at <= ECHO_SECONDS for at in ends)

    def _now_open(self, member: _Member, opened_at: float) -> None:
        member.opened_at = opened_at
        self._open += 1
        self._open_by_egress[member.egress] += 1

    def _no_longer_open(self, member: _Member) -> None:
        if member.opened_at is not None:
            member.opened_at = None
            self._open -= 1
            self._open_by_egress[member.egress] -= 1
            if not self._open_by_egress[member.egress]:
                del self._open_by_egress[member.egress]

    def _expire(self, now: float) -> None:
        self._seen.expire(now)
        self._trials.expire(now)

    def _forget(self, session: SessionId) -> None:
        self._seen.forget(session)
        self._trials.forget(session)


def _is_outage(closed: int, still_open: int, trials: int = 0) -> bool:
    """The fifth part, or, with those who fail again after a release, most."""
    many = closed >= FEWEST and closed >= SHARE * (closed + still_open)
    both = closed + trials
    return many or (both >= FEWEST and both > MAJORITY * (both + still_open))


def _within(of: "_Sighting | _Member", scope: Scope) -> bool:
    match scope.kind:
        case "egress":
            return of.egress == scope.value
        case "reason":
            return of.reason == scope.value
        case _:
            return True
