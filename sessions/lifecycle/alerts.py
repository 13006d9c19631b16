"""Which of a session's alerts last, when each of them begins by itself, when it is over, and in
which words. Pure.

An alert that lasts begins once and ends once (a session that is parked, a breaker that is open);
the others have happened, and that was it.
"""

from typing import Final, NamedTuple

from sessions.model import ON_ITS_WAY, SessionState
from sessions.policy import CRASH_BUDGET_USED_UP, Budget, LastClose

S = SessionState

CRITICAL: Final = frozenset({"parked", "quarantined", "crash_budget"})
"""Alerts at which somebody has to look now: the session does not come back by itself, or comes back
only to crash.
"""
OUTLIVES_A_RESTART: Final = frozenset({"parked", "breaker_open", "crash_budget"})
"""Alerts that a successor finds as they were: not to be told again."""
OVER_BELOW: Final = 0.7
"""The part of the day's logins below which its alert, which begins at four fifths, is over: else it
would flicker.
"""


class Facts(NamedTuple):
    """What it takes to tell. `breaker_tripped`: open, half-open, or closed on probation."""

    state: SessionState
    stable: bool
    breaker_open: bool
    breaker_tripped: bool
    failures: int
    last: LastClose | None
    left_deaf: bool
    phone_offline: bool
    budget: Budget
    next_attempt_at: str | None


def begun(facts: Facts) -> dict[str, str]:
    """The alerts that are on by what the session is, and in which words.

    The others are begun where something happens.
    """
    found = {}
    if facts.breaker_open and facts.state in ON_ITS_WAY:
        reason = f", the last one {facts.last.reason}" if facts.last else ""
        found["breaker_open"] = (
            f"The circuit breaker is open after {facts.failures} failures{reason}; {_next(facts)}."
        )
    if _crashes(facts) and facts.last is not None:
        found["crash_budget"] = (
            f"The worker's crash budget is used up ({facts.last.message}); {_next(facts)}."
        )
    return found


def over(name: str, facts: Facts) -> str | None:
    """In which words an alert that lasts is over; None: it is on still."""
    ended = {
        "parked": facts.state is not S.PARKED,
        "quarantined": facts.state is not S.QUARANTINED,
        "worker_lag": facts.state is not S.OPEN,
        "deaf": not facts.left_deaf,
        "phone_offline": not facts.phone_offline,
        "reconnect_budget": facts.budget.used < facts.budget.limit * OVER_BELOW,
        "breaker_open": not facts.breaker_tripped or facts.state not in ON_ITS_WAY | {S.OPEN},
        "crash_budget": not _crashes(facts)
        and (facts.stable or facts.state not in ON_ITS_WAY | {S.OPEN}),
    }
    if not ended[name]:
        return None
    match name:
        case "phone_offline":
            return "The phone has given a sign."
        case "reconnect_budget":
            return f"{facts.budget.used} of {facts.budget.limit} logins of a day are used."
        case "breaker_open":
            return f"The circuit breaker is closed; the session is {facts.state}."
        case _:
            return f"The session is {facts.state}."


def _crashes(facts: Facts) -> bool:
    last = facts.last
    return facts.state in ON_ITS_WAY and last is not None and last.rule == CRASH_BUDGET_USED_UP


def _next(facts: Facts) -> str:
    at = facts.next_attempt_at
    return "one try is under way" if at is None else f"one try at {at}"
