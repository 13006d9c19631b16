"""What a session has learned from its closes (policy memory, breaker, last close), and the one
place where a close is judged by it. Pure.
"""

import math
from dataclasses import replace
from typing import Final

import msgspec

from sessions.model import CloseReason, SessionId
from sessions.policy import memory as remembering
from sessions.policy.breaker import Breaker, BreakerRecord
from sessions.policy.close import Close, ClosedWay, Verdict
from sessions.policy.decide import (
    COVERED,
    Config,
    DeafAction,
    Decision,
    covered,
    decide,
    decide_deaf,
    spent,
)
from sessions.policy.memory import DAY_SECONDS, Memory
from sessions.policy.rules import NOTHING, Mend, correlated_reasons

WARN_AT: Final = 0.8
"""The part of the daily budget of logins at which a human is told: early enough to look before the
session is slowed.
"""

_NEVER_TOLD: Final = (-math.inf, -math.inf)


class Budget(msgspec.Struct, frozen=True, rename="camel"):
    """A session's logins of the last 24 hours, and how many a day may see before each waits for the
    tail delay.
    """

    used: int
    limit: int


class LastClose(msgspec.Struct, frozen=True):
    """Why the session was closed the last time, and what the policy made of it."""

    reason: CloseReason
    code: int | None
    message: str
    rule: str
    human: str
    at_wall_seconds: float


class Baseline(msgspec.Struct, frozen=True):
    """What policy and breaker remembered when the session was last open: what an outage charges is
    taken back to this.
    """

    policy: Memory
    breaker: BreakerRecord


class Learned(msgspec.Struct, frozen=True):
    """What is stored of it."""

    policy: Memory
    breaker: BreakerRecord
    last_close: LastClose | None = None
    baseline: Baseline | None = None


class ClosePolicy:
    """Judges closes by the policy and charges the breaker.

    Times are seconds of the monotonic clock.
    """

    def __init__(
        self,
        session: SessionId,
        config: Config,
        threshold: int,
        timeout_seconds: float,
        past: Learned,
    ) -> None:
        self.breaker = Breaker(threshold, timeout_seconds, past.breaker)
        self.last_close = past.last_close
        self._session = session
        self._config = config
        self._memory = past.policy
        self._baseline = past.baseline or Baseline(past.policy, past.breaker)
        self._silent_until = _NEVER_TOLD
        """Until when nobody is told again that the day's logins are nearly used up, and that they
        all are.
        """

    @property
    def failures(self) -> int:
        """Failures in a row, as the policy counts them."""
        return self._memory.failures

    @property
    def correlated(self) -> frozenset[CloseReason]:
        """The close reasons that an outage can have, by the table in force."""
        return correlated_reasons(self._config.rules)

    @property
    def learned(self) -> Learned:
        """What to store."""
        return Learned(self._memory, self.breaker.record, self.last_close, self._baseline)

    def close(self, close: Close, verdict: Verdict, draw: float) -> Decision:
        """Judge a close: what to do now. `draw` is uniform in [0, 1).

        That an outage covers it is believed only of reasons that an outage can have: a ban in the
        middle of an outage is a ban.
        """
        rule = self._config.rules[close.reason]
        if verdict is not Verdict.OWN and rule.correlated:
            decision = covered(self._memory, self._config, close.at, draw)
            self.breaker.abandon_attempt(close.at)
        else:
            decision = decide(close, self._memory, self._config, close.at, draw)
        self._memory = decision.memory
        self.breaker.failed(close.at, decision.counts)
        if decision.opens_breaker:
            self.breaker.trip(close.at)
        if close.reason is not CloseReason.REQUESTED:
            # What we asked for ourselves explains nothing.
            self.last_close = LastClose(
                close.reason,
                close.code,
                close.message,
                decision.rule,
                close.human or rule.human.replace("{id}", self._session),
                close.at_wall_seconds,
            )
        uncharges = verdict is Verdict.REVEALING and self.uncharge(close.at)
        last = self.last_close
        return replace(
            decision,
            memory=self._memory,
            uncharges=uncharges,
            blocked_seconds=self.breaker.seconds_until_trial(close.at),
            human=NOTHING if last is None else last.human,
        )

    def as_found(self, way: ClosedWay) -> LastClose | None:
        """What is shown of a session that an outage covers: why WhatsApp cannot be reached now, not
        how it noticed at first.
        """
        last = self.last_close
        if last is None or last.rule != COVERED:
            return last
        human = self._config.rules[way.reason].human.replace("{id}", self._session)
        return msgspec.structs.replace(
            last, reason=way.reason, code=None, message=way.words, human=human
        )

    def uncharge(self, now: float) -> bool:
        """The closes since the session was last open were an outage's: what they charged is taken
        back.

        False, and nothing is changed, when the last close is none that an outage can cause: then
        its wait stands.
        """
        last = self.last_close
        if last is None or not self._config.rules[last.reason].correlated:
            return False
        self._memory = remembering.uncharged(
            self._memory, self._baseline.policy, self._config.rules
        )
        self.breaker.restore(self._baseline.breaker)
        if not self.spent(now):
            self.last_close = msgspec.structs.replace(last, rule=COVERED)
        return True

    def spent(self, now: float) -> bool:
        """Whether the day's logins are used up: then a wait that is planned stands, outage or
        not.
        """
        return spent(self._memory, self._config, now)

    def attempted(self, now: float) -> str | None:
        """A login is on the wire.

        What a human has to be told of the day's budget: once a day that it nears its end, and that
        it is there.
        """
        self._memory = remembering.attempted(self._memory, now)
        budget = self.budget(now)
        if budget.used >= budget.limit and now >= self._silent_until[1]:
            self._silent_until = (now + DAY_SECONDS, now + DAY_SECONDS)
            made = "" if budget.used == budget.limit else f" ({budget.used} were made)"
            return (
                f"All {budget.limit} logins of a day are used up{made}: from now on one try per"
                f" {self._config.tail_seconds:g} s."
            )
        if (
            budget.limit > budget.used >= math.ceil(budget.limit * WARN_AT)
            and now >= self._silent_until[0]
        ):
            self._silent_until = (now + DAY_SECONDS, self._silent_until[1])
            return (
                f"{budget.used} of {budget.limit} logins of a day are used up: look at why it"
                " reconnects so often, before WhatsApp does."
            )
        return None

    def budget(self, now: float) -> Budget:
        """The logins of the last 24 hours, and how many there may be."""
        return Budget(remembering.logins_of_the_day(self._memory, now), self._config.daily_logins)

    def follow(self, config: Config) -> None:
        """Judge by another table or other numbers from now on. What is planned stays planned."""
        if config.daily_logins != self._config.daily_logins:
            self._silent_until = _NEVER_TOLD
        self._config = config

    def deaf(self, now: float) -> DeafAction:
        """Judge an open session that answers no probe although bytes arrive."""
        action, self._memory = decide_deaf(self._memory, now)
        return action

    def opened(self) -> None:
        """The session is open: a trial has succeeded.

        What is remembered now is what an outage's charges are taken back to.
        """
        self.breaker.opened()
        self._set_baseline()

    def stable(self) -> None:
        """The session has been open for the stable period."""
        self._memory = remembering.stable(self._memory)
        self.breaker.stable()
        self._set_baseline()

    def clear_failures(self) -> None:
        """An operator begins anew: failures and tries are forgotten, a breaker that is open stays
        so.
        """
        self._memory = remembering.stable(self._memory)
        self._set_baseline()

    def reset(self) -> None:
        """An operator closes the breaker.

        What the server itself has answered (a 440, a ban) is not the breaker's, and stays counted.
        """
        self.breaker.reset()
        self._memory = remembering.failures_forgotten(self._memory)
        self._set_baseline()

    def forget(self) -> None:
        """Other credentials: what was learned was of those that have gone."""
        self.breaker.reset()
        self._memory, self.last_close = Memory(), None
        self._set_baseline()

    def only_a_human_can_mend(self) -> bool:
        """Whether the last close is one that a reconnect cannot mend."""
        return (
            self.last_close is not None
            and self._config.rules[self.last_close.reason].mend is Mend.HUMAN
        )

    def _set_baseline(self) -> None:
        self._baseline = Baseline(self._memory, self.breaker.record)
