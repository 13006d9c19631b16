"""What is remembered of a session's closes and logins.

Pure; times are seconds on the caller's clock, oldest first.
"""

import operator
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final

from sessions.model import CloseReason as R
from sessions.policy.rules import Pace, Rule, Rules

RATE_LIMIT_STEPS: Final = 5
RATE_LIMIT_MEMORY_SECONDS: Final = 3600.0
"""For how long a 429 keeps a session five steps further on: it survives the reset of the failure
count.
"""
MAX_PENALTY_STEPS: Final = 20
RESTARTS_WINDOW_SECONDS: Final = 60.0
FLAPPING_WINDOW_SECONDS: Final = 3600.0
MAX_DROPS: Final = 20
"""So many closes from open within the window are remembered; by then the wait is at its cap."""
DAY_SECONDS: Final = 24 * 3600.0
LOGIN_BUCKET_SECONDS: Final = 3600.0
"""Logins are counted by the hour, so that a day of them is a handful of numbers."""
ALWAYS_COUNTED: Final = frozenset({R.LOGGED_OUT, R.TEMPORARILY_BANNED, R.CLIENT_OUTDATED})
"""Their tries are remembered although no number limits them: the first is treated better than the
others.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What is remembered.

    `drops`: closes from open, of the last hour. `logins`: begin of an hour, and those on the wire
    in it.
    """

    failures: int = 0
    penalty_steps: int = 0
    penalty_until: float = 0.0
    tries: Mapping[R, int] = field(default_factory=dict)
    restarts: tuple[float, ...] = ()
    crashes: tuple[float, ...] = ()
    deafs: tuple[float, ...] = ()
    drops: tuple[float, ...] = ()
    logins: tuple[tuple[float, int], ...] = ()

    def shifted(self, seconds: float) -> "Memory":
        """The same memory told on a clock that is `seconds` ahead."""
        shift = partial(operator.add, seconds)
        return replace(
            self,
            penalty_until=self.penalty_until + seconds if self.penalty_steps else 0.0,
            restarts=tuple(map(shift, self.restarts)),
            crashes=tuple(map(shift, self.crashes)),
            deafs=tuple(map(shift, self.deafs)),
            drops=tuple(map(shift, self.drops)),
            logins=tuple((t + seconds, count) for t, count in self.logins),
        )


def stable(memory: Memory) -> Memory:
    """The memory of a session that has been open for the stable period: failures forgotten,
    penalties and windows kept.
    """
    return replace(memory, failures=0, tries={})


def failures_forgotten(memory: Memory) -> Memory:
    """The memory of a session whose breaker an operator has reset: tries that the server has
    answered stay counted.
    """
    return replace(memory, failures=0)


def uncharged(memory: Memory, before: Memory, rules: Rules) -> Memory:
    """The memory of a session whose closes since `before` were an outage's: what those charged is
    taken back.

    What an outage cannot cause (duels, bans, crashes) stays remembered, and so do the logins: they
    were made.
    """
    theirs = {
        reason: count for reason, count in memory.tries.items() if not rules[reason].correlated
    }
    ours = {reason: count for reason, count in before.tries.items() if rules[reason].correlated}
    return replace(
        memory,
        failures=min(memory.failures, before.failures),
        penalty_steps=before.penalty_steps,
        penalty_until=before.penalty_until,
        drops=before.drops,
        tries=theirs | ours,
    )


def attempted(memory: Memory, now: float) -> Memory:
    """The memory with one more login that has reached the wire."""
    kept = _logins(memory, now)
    if kept and now < kept[-1][0] + LOGIN_BUCKET_SECONDS:
        begin, count = kept[-1]
        return replace(memory, logins=(*kept[:-1], (begin, count + 1)))
    return replace(memory, logins=(*kept, (now, 1)))


def logins_of_the_day(memory: Memory, now: float) -> int:
    """Logins of the last 24 hours: never fewer than there were, and at most those of one hour
    more.
    """
    since = now - DAY_SECONDS - LOGIN_BUCKET_SECONDS
    return sum(count for begin, count in memory.logins if begin > since)


def after_close(memory: Memory, reason: R, rule: Rule, from_open: bool, now: float) -> Memory:
    """The memory with one more close, before it is judged."""
    tries = dict(memory.tries)
    if rule.tries is not None or rule.pace is Pace.STEPS or reason in ALWAYS_COUNTED:
        tries[reason] = tries.get(reason, 0) + 1
    memory = replace(memory, failures=memory.failures + (1 if rule.counts else 0), tries=tries)
    if from_open and rule.pace is Pace.COMMON:
        memory = replace(
            memory, drops=recent(memory.drops, now, FLAPPING_WINDOW_SECONDS)[-MAX_DROPS:]
        )
    match reason:
        case R.RESTART_REQUIRED:
            return replace(memory, restarts=recent(memory.restarts, now, RESTARTS_WINDOW_SECONDS))
        case R.RATE_LIMITED:
            steps = min(MAX_PENALTY_STEPS, penalty(memory, now) + RATE_LIMIT_STEPS)
            return replace(
                memory, penalty_steps=steps, penalty_until=now + RATE_LIMIT_MEMORY_SECONDS
            )
        case _:
            return memory


def penalty(memory: Memory, now: float) -> int:
    """How many steps a rate limit keeps the session further on."""
    return memory.penalty_steps if now < memory.penalty_until else 0


def recent(times: tuple[float, ...], now: float, window_seconds: float) -> tuple[float, ...]:
    """The times within the window, and now."""
    return (*(t for t in times if t > now - window_seconds), now)


def _logins(memory: Memory, now: float) -> tuple[tuple[float, int], ...]:
    """An hour counts until its last moment is a day ago."""
    return tuple(
        (begin, n) for begin, n in memory.logins if begin + LOGIN_BUCKET_SECONDS > now - DAY_SECONDS
    )
