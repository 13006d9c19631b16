"""Two policies over the same recorded closes: where would they have decided differently? Pure.

A replay judges what was recorded. It does not guess what other closes other waits would have led
to: that is the simulation's work.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from sessions.model import CloseReason
from sessions.policy.close import Close
from sessions.policy.decide import Config, Decision, covered, decide
from sessions.policy.memory import Memory, attempted, stable
from sessions.policy.rules import Action

DRAW: Final = 0.5
"""The draw of every decision: the middle of each wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A close that was recorded.

    `at_seconds`: on any clock, the same for all. `covered`: by an outage.
    """

    at_seconds: float
    reason: CloseReason
    was_open: bool = False
    was_stable: bool = False
    expire_seconds: float | None = None
    covered: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A close of which the policies think differently."""

    session: str
    close: Recorded
    before: Decision
    after: Decision


@dataclass(frozen=True, slots=True, kw_only=True)
class Total:
    """What a policy would have done in all: waits of the tries planned, failures charged, sessions
    given to a human, tries.
    """

    waits_seconds: float = 0.0
    charged: int = 0
    parked: int = 0
    tries: int = 0

    def plus(self, decision: Decision) -> "Total":
        """And this decision."""
        tries = decision.action is Action.RETRY
        return Total(
            waits_seconds=self.waits_seconds + (decision.wait_seconds or 0.0 if tries else 0.0),
            charged=self.charged + decision.counts,
            parked=self.parked + (decision.action is Action.PARK),
            tries=self.tries + tries,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Replay:
    """How many closes were judged, where the policies differ (oldest first), and what each comes
    to.
    """

    judged: int
    differences: tuple[Difference, ...]
    before: Total
    after: Total


def replay(closes: Mapping[str, Sequence[Recorded]], before: Config, after: Config) -> Replay:
    """Judge each session's closes, oldest first, by both policies, each with a memory of its
    own.
    """
    differences: list[Difference] = []
    totals = (Total(), Total())
    judged = 0
    for session, recorded in closes.items():
        in_order = sorted(recorded, key=lambda close: close.at_seconds)
        for close, old, new in zip(
            in_order, _decisions(in_order, before), _decisions(in_order, after), strict=True
        ):
            judged += 1
            totals = (totals[0].plus(old), totals[1].plus(new))
            if _told_apart(old) != _told_apart(new):
                differences.append(Difference(session=session, close=close, before=old, after=new))
    differences.sort(key=lambda difference: difference.close.at_seconds)
    return Replay(judged=judged, differences=tuple(differences), before=totals[0], after=totals[1])


def _decisions(closes: Iterable[Recorded], config: Config) -> list[Decision]:
    memory, decisions = Memory(), []
    for close in closes:
        memory = stable(memory) if close.was_stable else memory
        if close.was_open or not close.covered:  # most covered tries have reached no server
            memory = attempted(memory, close.at_seconds)
        decision = _decision(close, memory, config)
        decisions.append(decision)
        memory = decision.memory
    return decisions


def _decision(close: Recorded, memory: Memory, config: Config) -> Decision:
    if close.covered and config.rules[close.reason].correlated:
        return covered(memory, config, close.at_seconds, DRAW)
    seen = Close(
        reason=close.reason,
        was_open=close.was_open,
        was_stable=close.was_stable,
        expire_seconds=close.expire_seconds,
    )
    return decide(seen, memory, config, close.at_seconds, DRAW)


def _told_apart(decision: Decision) -> tuple[object, ...]:
    """What makes a difference: not the words, which name numbers that may never have been
    reached.
    """
    wait = None if decision.wait_seconds is None else round(decision.wait_seconds, 3)
    return decision.action, wait, decision.counts, decision.opens_breaker, decision.credentials
