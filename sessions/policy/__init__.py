"""When a session closes, what next? Pure: no clock, no chance, no I/O.

rules         the table: a row for each close reason, with its numbers
close         how an attempt or an open socket has ended, and what the gate says of it
memory        what is remembered of a session's closes and logins
decide        a row, applied to what is remembered
breaker       a session's circuit breaker; the only file that knows pybreaker
close_policy  what one session has learned from its closes; judges the next one by all of that
overrides     a policy file (TOML) over the table; and what no file may say
shown         the table as a policy file
replay        two tables over recorded closes: where they differ

The *now* of the clock and the *draw* of chance are arguments. Times are seconds on whatever clock
the caller keeps; waits are seconds.
"""

from sessions.policy.close import Close, ClosedWay, Verdict, expiry
from sessions.policy.close_policy import Baseline, Budget, ClosePolicy, LastClose, Learned
from sessions.policy.decide import (
    COVERED,
    CRASH_BUDGET_USED_UP,
    Config,
    DeafAction,
    Decision,
    covered,
    decide,
    decide_deaf,
    spent,
)
from sessions.policy.memory import (
    DAY_SECONDS,
    RATE_LIMIT_MEMORY_SECONDS,
    Memory,
    attempted,
    failures_forgotten,
    logins_of_the_day,
    stable,
    uncharged,
)
from sessions.policy.overrides import overridden
from sessions.policy.replay import Difference, Recorded, Replay, replay
from sessions.policy.rules import (
    NOTHING,
    RULES,
    STORE_RETRY_SECONDS,
    Action,
    Credentials,
    Mend,
    Pace,
    Rule,
    Rules,
    correlated_reasons,
    in_words,
)
from sessions.policy.shown import as_toml, changes, said

__all__ = [
    "COVERED",
    "CRASH_BUDGET_USED_UP",
    "DAY_SECONDS",
    "NOTHING",
    "RATE_LIMIT_MEMORY_SECONDS",
    "RULES",
    "STORE_RETRY_SECONDS",
    "Action",
    "Baseline",
    "Budget",
    "Close",
    "ClosePolicy",
    "ClosedWay",
    "Config",
    "Credentials",
    "DeafAction",
    "Decision",
    "Difference",
    "LastClose",
    "Learned",
    "Memory",
    "Mend",
    "Pace",
    "Recorded",
    "Replay",
    "Rule",
    "Rules",
    "Verdict",
    "as_toml",
    "attempted",
    "changes",
    "correlated_reasons",
    "covered",
    "decide",
    "decide_deaf",
    "expiry",
    "failures_forgotten",
    "in_words",
    "logins_of_the_day",
    "overridden",
    "replay",
    "said",
    "spent",
    "stable",
    "uncharged",
]
