"""When a session closes, what next? Pure: no clock, no dice, no I/O.

rules      the table: a row for each close reason, with its numbers
memory     what is remembered of a session's closes and logins
decide     a row, applied to what is remembered
overrides  a policy file (TOML) over the table; and what no file may say
shown      the table as a policy file
replay     two tables over recorded closes: where they differ
breaker    a session's circuit breaker; the only file that knows pybreaker

The *now* of the clock and the *roll* of the dice are arguments. Times are seconds on whatever clock
the caller keeps; waits are seconds.
"""

from sessions.policy.decide import (
    CRASH_BUDGET_USED_UP,
    EXCUSED,
    Close,
    Config,
    DeafAction,
    Decision,
    decide,
    decide_deaf,
    excused,
    spent,
)
from sessions.policy.memory import (
    DAY_SECONDS,
    RATE_LIMIT_MEMORY_SECONDS,
    Memory,
    attempted,
    failures_forgotten,
    forgiven,
    logins_of_the_day,
    stable,
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
from sessions.policy.shown import as_toml, changes

__all__ = [
    "CRASH_BUDGET_USED_UP",
    "DAY_SECONDS",
    "EXCUSED",
    "NOTHING",
    "RATE_LIMIT_MEMORY_SECONDS",
    "RULES",
    "STORE_RETRY_SECONDS",
    "Action",
    "Close",
    "Config",
    "Credentials",
    "DeafAction",
    "Decision",
    "Difference",
    "Memory",
    "Mend",
    "Pace",
    "Recorded",
    "Replay",
    "Rule",
    "Rules",
    "as_toml",
    "attempted",
    "changes",
    "correlated_reasons",
    "decide",
    "decide_deaf",
    "excused",
    "failures_forgotten",
    "forgiven",
    "in_words",
    "logins_of_the_day",
    "overridden",
    "replay",
    "spent",
    "stable",
]
