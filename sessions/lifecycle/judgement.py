"""What a session has learned from its closes: policy memory, breaker, last close.

Judged together, and stored together.
"""

import math
import time
from typing import Final

import msgspec

from sessions import policy
from sessions.lifecycle.remembered import Calm, LastClose, Remembered
from sessions.model import CloseReason, SessionId
from sessions.policy import Config, DeafAction, Decision, Mend
from sessions.policy.breaker import Breaker
from sessions.ports import ClosedWay

MAX_EXPIRY_SECONDS = 366 * 24 * 3600.0
"""No ban that names its end is longer; anything above is garbage on the wire."""
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


class Judgement:
    """Judges closes by the policy and charges the breaker.

    Times are seconds of the monotonic clock.
    """

    def __init__(
        self,
        session: SessionId,
        config: Config,
        threshold: int,
        timeout_seconds: float,
        past: Remembered,
    ) -> None:
        self.breaker = Breaker(threshold, timeout_seconds, past.breaker)
        self.last_close = past.last_close
        self._session = session
        self._config = config
        self._memory = past.policy
        self._calm = past.calm or Calm(past.policy, past.breaker)
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
        return policy.correlated_reasons(self._config.rules)

    def close(
        self,
        reason: CloseReason,
        code: int | None,
        message: str,
        data: dict[str, str] | None,
        stable: bool,
        now: float,
        roll: float,
        *,
        was_open: bool = False,
        excused: bool = False,
        human: str | None = None,
    ) -> Decision:
        """Judge a close: what to do now.

        `was_open`: the session had been open; `stable`: for the stable period. `excused`: an outage
        covers the close, so that nobody is
        charged; believed only of reasons that an outage can have. `human`: what a human must do,
        where it is known better than by reason.
        """
        if excused and self._config.rules[reason].correlated:
            decision = policy.excused(self._memory, self._config, now, roll)
            self.breaker.abandon_attempt(now)
        else:
            close = policy.Close(
                reason=reason, was_open=was_open, was_stable=stable, expire_seconds=expiry(data)
            )
            decision = policy.decide(close, self._memory, self._config, now, roll)
        self._memory = decision.memory
        self.breaker.failed(now, decision.counts)
        if decision.opens_breaker:
            self.breaker.trip(now)
        if reason is not CloseReason.REQUESTED:  # what we asked for ourselves explains nothing
            human = human or self._config.rules[reason].human.replace("{id}", self._session)
            self.last_close = LastClose(reason, code, message, decision.rule, human, time.time())
        return decision

    def as_found(self, way: ClosedWay) -> LastClose | None:
        """What is shown of a session that an outage covers: why WhatsApp cannot be reached now, not
        how it noticed at first.
        """
        last = self.last_close
        if last is None or last.rule != policy.EXCUSED:
            return last
        human = self._config.rules[way.reason].human.replace("{id}", self._session)
        return msgspec.structs.replace(
            last, reason=way.reason, code=None, message=way.words, human=human
        )

    def excuse(self, now: float) -> bool:
        """The closes since the session was last open were an outage's: what they charged is taken
        back.

        False, and nothing is changed, when the last close is none that an outage can cause: then
        its wait stands.
        """
        last = self.last_close
        if last is None or not self._config.rules[last.reason].correlated:
            return False
        self._memory = policy.forgiven(self._memory, self._calm.policy, self._config.rules)
        self.breaker.restore(self._calm.breaker)
        if not self.spent(now):
            self.last_close = msgspec.structs.replace(last, rule=policy.EXCUSED)
        return True

    def spent(self, now: float) -> bool:
        """Whether the day's logins are used up: then a wait that is planned stands, outage or
        not.
        """
        return policy.spent(self._memory, self._config, now)

    def attempted(self, now: float) -> str | None:
        """A login is on the wire.

        What a human has to be told of the day's budget: once a day that it nears its end, and that
        it is there.
        """
        self._memory = policy.attempted(self._memory, now)
        budget = self.budget(now)
        if budget.used >= budget.limit and now >= self._silent_until[1]:
            self._silent_until = (now + policy.DAY_SECONDS, now + policy.DAY_SECONDS)
            made = "" if budget.used == budget.limit else f" ({budget.used} were made)"
            return (
                f"All {budget.limit} logins of a day are used up{made}: from now on one try per"
                f" {self._config.tail_seconds:g} s."
            )
        if (
            budget.limit > budget.used >= math.ceil(budget.limit * WARN_AT)
            and now >= self._silent_until[0]
        ):
            self._silent_until = (now + policy.DAY_SECONDS, self._silent_until[1])
            return (
                f"{budget.used} of {budget.limit} logins of a day are used up: look at why it"
                " reconnects so often, before WhatsApp does."
            )
        return None

    def budget(self, now: float) -> Budget:
        """The logins of the last 24 hours, and how many there may be."""
        return Budget(policy.logins_of_the_day(self._memory, now), self._config.daily_logins)

    def follow(self, config: Config) -> None:
        """Judge by another table or other numbers from now on. What is planned stays planned."""
        if config.daily_logins != self._config.daily_logins:
            self._silent_until = _NEVER_TOLD
        self._config = config

    def deaf(self, now: float) -> DeafAction:
        """Judge an open session that answers no probe although bytes arrive."""
        action, self._memory = policy.decide_deaf(self._memory, now)
        return action

    def opened(self) -> None:
        """The session is open: a trial has succeeded.

        What is remembered now is what an outage's charges are taken back to.
        """
        self.breaker.opened()
        self._be_calm()

    def stable(self) -> None:
        """The session has been open for the stable period."""
        self._memory = policy.stable(self._memory)
        self.breaker.stable()
        self._be_calm()

    def pardon(self) -> None:
        """An operator begins anew: failures and tries are forgotten, a breaker that is open stays
        so.
        """
        self._memory = policy.stable(self._memory)
        self._be_calm()

    def reset(self) -> None:
        """An operator closes the breaker.

        What the server itself has answered (a 440, a ban) is not the breaker's, and stays counted.
        """
        self.breaker.reset()
        self._memory = policy.failures_forgotten(self._memory)
        self._be_calm()

    def forget(self) -> None:
        """Other credentials: what was learned was of those that have gone."""
        self.breaker.reset()
        self._memory, self.last_close = policy.Memory(), None
        self._calm = Calm(self._memory, self.breaker.record)

    def only_a_human_can_mend(self) -> bool:
        """Whether the last close is one that a reconnect cannot mend."""
        return (
            self.last_close is not None
            and self._config.rules[self.last_close.reason].mend is Mend.HUMAN
        )

    def remembered(
        self, parked: bool, next_attempt_at: float | None, judged: tuple[int, int] | None
    ) -> Remembered:
        """What to store."""
        return Remembered(
            self._memory,
            self.breaker.record,
            self.last_close,
            parked,
            next_attempt_at,
            judged,
            self._calm,
        )

    def _be_calm(self) -> None:
        self._calm = Calm(self._memory, self.breaker.record)


def expiry(data: dict[str, str] | None) -> float | None:
    """The seconds that a temporary ban's `<failure>` names (whatsmeow: attribute `expire`), if it
    names any that can be true.
    """
    named = (data or {}).get("expire", "")
    return min(float(named), MAX_EXPIRY_SECONDS) if named.isascii() and named.isdecimal() else None
