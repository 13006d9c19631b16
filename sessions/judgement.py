"""What a session has learned from its closes: policy memory, breaker, last close. Judged together, and stored together."""

import time

from sessions import policy
from sessions.breaker import Breaker
from sessions.memory import LastClose, Remembered
from sessions.model import CloseReason, SessionId
from sessions.policy import Config, DeafAction, Decision, Mend

MAX_EXPIRY_SECONDS = 366 * 24 * 3600.0
"""No ban that names its end is longer; anything above is garbage on the wire."""


class Judgement:
    """Judges closes by the policy and charges the breaker. Times are seconds of the monotonic clock."""

    def __init__(
        self, session: SessionId, config: Config, threshold: int, timeout_seconds: float, past: Remembered
    ) -> None:
        self.breaker = Breaker(threshold, timeout_seconds, past.breaker)
        self.last_close = past.last_close
        self._session = session
        self._config = config
        self._memory = past.policy

    @property
    def failures(self) -> int:
        """Failures in a row, as the policy counts them."""
        return self._memory.failures

    def close(
        self,
        reason: CloseReason,
        code: int | None,
        message: str,
        data: dict[str, str] | None,
        stable: bool,
        now: float,
        roll: float,
    ) -> Decision:
        """Judge a close: what to do now. `stable`: the session had been open for the stable period."""
        close = policy.Close(reason=reason, was_stable=stable, expire_seconds=expiry(data))
        decision = policy.decide(close, self._memory, self._config, now, roll)
        self._memory = decision.memory
        self.breaker.failed(now, decision.counts)
        if decision.opens_breaker:
            self.breaker.trip(now)
        if reason is not CloseReason.REQUESTED:  # what we asked for ourselves explains nothing
            human = policy.RULES[reason].human.replace("{id}", self._session)
            self.last_close = LastClose(reason, code, message, decision.rule, human, time.time())
        return decision

    def deaf(self, now: float) -> DeafAction:
        """Judge an open session that answers no probe although bytes arrive."""
        action, self._memory = policy.decide_deaf(self._memory, now)
        return action

    def stable(self) -> None:
        """The session has been open for the stable period."""
        self._memory = policy.stable(self._memory)
        self.breaker.stable()

    def pardon(self) -> None:
        """An operator begins anew: failures and tries are forgotten, a breaker that is open stays so."""
        self._memory = policy.stable(self._memory)

    def reset(self) -> None:
        """An operator closes the breaker."""
        self.pardon()
        self.breaker.reset()

    def forget(self) -> None:
        """Other credentials: what was learned was of those that have gone."""
        self.reset()
        self._memory, self.last_close = policy.Memory(), None

    def only_a_human_can_mend(self) -> bool:
        """Whether the last close is one that a reconnect cannot mend."""
        return self.last_close is not None and policy.RULES[self.last_close.reason].mend is Mend.HUMAN

    def remembered(self, parked: bool, next_attempt_at: float | None, judged: tuple[int, int] | None) -> Remembered:
        """What to store."""
        return Remembered(self._memory, self.breaker.record, self.last_close, parked, next_attempt_at, judged)


def expiry(data: dict[str, str] | None) -> float | None:
    """The seconds that a temporary ban's `<failure>` names (whatsmeow: attribute `expire`), if it names any that can be true."""
    named = (data or {}).get("expire", "")
    return min(float(named), MAX_EXPIRY_SECONDS) if named.isascii() and named.isdecimal() else None
