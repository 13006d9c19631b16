"""All the pauses (each is a Pause, pause.py): which are on, which covers whom, and what is
remembered of those that are over.

Times are arguments; each begin and end is logged and published.
"""

import random
from collections.abc import Collection, Iterator, Mapping
from typing import Final, NamedTuple

import structlog

from sessions.model import CloseReason, SessionId
from sessions.ports import Publish
from supervisor.gate.outage import FLEET, OUTAGE, Detector, Scope
from supervisor.gate.pause import Pause
from supervisor.gate.permit import GatePermit
from supervisor.gate.queue import Waiting
from supervisor.gate.view import (
    OutageBegan,
    OutageEnded,
    evidence_words,
    outage_began,
    outage_ended,
)
from supervisor.gate.way import Way

log = structlog.get_logger("gate")


class Begun(NamedTuple):
    """A pause that has just begun.

    `closed`: who was seen to close; `waiting`: who waited with pauses that it has absorbed.
    """

    pause: Pause
    closed: Collection[SessionId]
    waiting: list[Waiting]


class Pauses:
    """The pauses that are on, by scope. A wider one absorbs those that are within it."""

    def __init__(self, detector: Detector, rng: random.Random, publish: Publish | None) -> None:
        self._detector = detector
        self._rng = rng
        self._publish = publish
        self._on: dict[Scope, Pause] = {}
        self._past: dict[tuple[Scope, str], tuple[float, float]] = {}
        """Of pauses that are over, by scope and cause: until when one like it goes on from there,
        and how long it had lasted.
        """
        self._rejections = Rejections()

    def __iter__(self) -> Iterator[Pause]:
        return iter(list(self._on.values()))

    @property
    def scopes(self) -> Collection[Scope]:
        """Whom they pause."""
        return self._on.keys()

    @property
    def canaries(self) -> int:
        """How many canaries are under way."""
        return sum(pause.canary is not None for pause in self._on.values())

    @property
    def waiting(self) -> int:
        """How many wait with them."""
        return sum(len(pause.queue) for pause in self._on.values())

    def get(self, scope: Scope) -> Pause | None:
        """The pause of exactly that scope."""
        return self._on.get(scope)

    def of(self, scopes: Collection[Scope]) -> list[Pause]:
        """The pauses of these scopes."""
        return [self._on[scope] for scope in scopes if scope in self._on]

    def covering(self, session: SessionId) -> Pause | None:
        """The widest pause that the session is under."""
        if not self._on:
            return None
        return next(iter(self.of(self._detector.scopes(session))), None)

    # --- begin and end ----------------------------------------------------------------------------

    def begin(
        self,
        scope: Scope,
        cause: str,
        now: float,
        way: Way | None = None,
        turned_away: Mapping[SessionId, CloseReason] | None = None,
    ) -> Begun:
        """Pause the scope.

        `way`: a look has found it closed; `turned_away`: all of a small fleet, by WhatsApp's own
        answer.
        """
        closed = self._detector.take(scope, now)
        until, lasted = self._past.get((scope, cause), (now, 0.0))
        pause = Pause.begin(
            scope,
            cause,
            evidence_words(closed, None if way is None else way.last, turned_away),
            now,
            self._rng.random(),
            head_start=lasted if now < until else 0.0,
            by_look=way is not None,
            small=turned_away is not None,
            limited=turned_away is not None and CloseReason.RATE_LIMITED in turned_away.values(),
        )
        why = (
            "it goes on as a wider one" if cause == OUTAGE else f"the server answers, with {cause}"
        )
        absorbed = list(self._on.values()) if scope == FLEET else []
        waiting = [one for other in absorbed for one in self._stop(other, why, now)]
        self._on[scope] = pause
        self._tell(outage_began(pause, now, len(closed)))
        return Begun(pause, closed, waiting)

    def end(
        self, pause: Pause, why: str, now: float, others_are_well: bool = False
    ) -> list[Waiting]:
        """The pause is over; who waited with it, the busiest first.

        `others_are_well`: who is paused by it fails on its own.
        """
        self._detector.over(pause.scope, now, others_are_well)
        waiting = self._stop(pause, why, now)
        return sorted(waiting, key=lambda one: -self._detector.weight(one.session))

    def _stop(self, pause: Pause, why: str, now: float) -> list[Waiting]:
        self._tell(outage_ended(pause, now, why))
        del self._on[pause.scope]
        self._past = {kind: past for kind, past in self._past.items() if now < past[0]}
        resumed_until = now + pause.resumed_within_seconds
        self._past[pause.scope, pause.cause] = (resumed_until, pause.lasted(now))
        return pause.queue.drain()

    def _tell(self, event: OutageBegan | OutageEnded) -> None:
        log.warning(
            event.words,
            action="outage_begins" if isinstance(event, OutageBegan) else "outage_ends",
            scope=event.scope,
            value=event.value,
            reason=event.reason,
        )
        if self._publish is not None:
            self._publish(None, event)

    # --- canaries ---------------------------------------------------------------------------------

    def canary_tries(self, permit: GatePermit, pause: Pause, now: float, barred: bool) -> None:
        """The permit is for a canary of the pause; `barred`: it will hardly come through."""
        permit.deadline_seconds = pause.canary_tries(
            permit.session, now, self._rng.random(), barred
        )
        permit.is_canary = True

    def attempt_over(self, permit: GatePermit) -> None:
        """The attempt is over. If it was a canary's, the next one may take its turn."""
        if permit.is_canary:
            for pause in self._whose_canary_is(permit.session):
                pause.canary_failed()

    def came_through(self, permit: GatePermit) -> list[Pause]:
        """The attempt has come through: the pauses that its success ends."""
        pauses = self.of(permit.scopes)
        if any(not pause.is_outage for pause in pauses):
            self._rejections.released()
        return pauses

    # --- what befalls sessions --------------------------------------------------------------------

    def rejected(self, session: SessionId, now: float) -> bool:
        """The session's version was rejected (405); whether the fleet is to be paused for it."""
        return self._rejections.add(session, now)

    def opened(self, session: SessionId) -> None:
        """The session is open."""
        self._rejections.opened(session)

    def left(self, session: SessionId, now: float) -> None:
        """The session is not part of the fleet any more."""
        self._rejections.left(session)
        for pause in self._whose_canary_is(session):
            pause.canary_left(now)

    def _whose_canary_is(self, session: SessionId) -> list[Pause]:
        return [pause for pause in self._on.values() if pause.canary == session]


REJECTED_SECONDS: Final = 1800.0
REJECTED: Final = 2
"""So many sessions whose version is rejected (405) within that time pause the fleet: one may have a
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
        """The session was told so; whether the fleet is to be paused."""
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
