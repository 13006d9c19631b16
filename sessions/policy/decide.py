"""A row of the policy, applied to what is remembered of the session. Pure.

The waits are exponential, with full jitter (AWS Architecture Blog, "Exponential Backoff And
Jitter"); 429's five steps and the stable period are WhatsApp Web's own
(docs/evidence.md#the-official-clients-own-waits).
"""

import enum
from dataclasses import dataclass, field, replace
from typing import Final

from sessions.model import CloseReason as R
from sessions.policy.close import Close
from sessions.policy.memory import Memory, after_close, logins_of_the_day, penalty, recent
from sessions.policy.rules import RULES, Action, Credentials, Pace, Rule, Rules

FIRST_TRY_JITTER_SECONDS: Final = 0.5
"""A session that had been stably open goes almost at once: the gate, not the wait, prevents
storms.
"""
TAIL_JITTER: Final = 0.1
"""The long tail is spread by plus or minus a tenth, as WhatsApp Web spreads its own."""
FREE_DROPS: Final = 3
"""So many closes from open within an hour go almost at once; what comes after is flapping, and
steps up.
"""
RESTARTS_AT_ONCE: Final = 3
"""515 is normal after pairing; more than three in a minute is not."""
UNLINKED_AFTER_PAIRING_SECONDS: Final = 60.0
"""A 401 so soon after a 515 may be a race in the server's own books: it is worth one probe."""
BAN_WITHOUT_EXPIRY_SECONDS: Final = 24 * 3600.0
REPEATED_BAN_SECONDS: Final = 60.0
"""A ban that names its end is believed once; each time the try is refused again, the next one waits
at least twice as long.
"""
DEAF_WINDOW_SECONDS: Final = 6 * 3600.0
DEAF_BUDGET: Final = 2
OUTDATED_SECONDS: Final = 300.0
OUTDATED_CAP_SECONDS: Final = 1800.0
"""A lone session whose client version is rejected tries like the canary of a fleet: from the one,
doubled for each try, to the other.
"""
MOST_DOUBLINGS: Final = 100
"""More would leave what a float can hold; every cap is below long before."""
CRASH_BUDGET_USED_UP: Final = "worker crash budget used up"
COVERED: Final = "outage: held with the fleet, nobody is charged"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The table and the policy's numbers, in seconds and counts; the defaults are the settings'.

    `daily_logins`: a session's budget.
    """

    base_seconds: float = 2.0
    cap_seconds: float = 300.0
    max_retries: int = 10
    tail_seconds: float = 900.0
    crash_budget: int = 5
    crash_window_seconds: float = 600.0
    daily_logins: int = 200
    rules: Rules = field(default_factory=lambda: RULES, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to do now.

    `wait_seconds` is None when no try is planned; `rule` names what was applied, in words.

    Of an action that holds the fleet, the wait is that of a session for which the fleet is not
    held. `covered`: an outage covers the close. What only ClosePolicy knows: `blocked_seconds`, how
    long an open breaker puts any try off; `human`, what a human must do; `uncharges`, that what the
    closes before it had charged was taken back with it.
    """

    action: Action
    wait_seconds: float | None
    memory: Memory
    rule: str
    counts: int = 0
    opens_breaker: bool = False
    credentials: Credentials = Credentials.KEEP
    covered: bool = False
    blocked_seconds: float = 0.0
    human: str = ""
    uncharges: bool = False


class DeafAction(enum.Enum):
    """What to do about an open session that answers no probe although bytes arrive."""

    RECONNECT = "reconnect the socket"
    REPLACE_WORKER = "kill the worker"
    LEAVE = "leave it and alert"


def decide(close: Close, memory: Memory, config: Config, now: float, draw: float) -> Decision:
    """What to do after a close. `draw` is uniform in [0, 1)."""
    decision = _by_the_rule(close, memory, config, now, draw)
    if (
        decision.action not in {Action.RETRY, Action.HOLD}
        or close.reason is R.REQUESTED  # an operator's word
        # a pairing has only seconds
        or (close.reason is R.RESTART_REQUIRED and len(decision.memory.restarts) == 1)
    ):
        return decision
    return _within_the_budget(decision, config, now, draw)


def covered(memory: Memory, config: Config, now: float, draw: float) -> Decision:
    """What to do after a close that an outage covers: to the gate at once, which holds it.

    Nothing is charged or counted.

    The day's logins limit it all the same: canaries log in, too.
    """
    decision = Decision(
        action=Action.RETRY, wait_seconds=0.0, memory=memory, rule=COVERED, covered=True
    )
    return _within_the_budget(decision, config, now, draw)


def spent(memory: Memory, config: Config, now: float) -> bool:
    """Whether the day's logins are used up."""
    return logins_of_the_day(memory, now) >= config.daily_logins


def decide_deaf(memory: Memory, now: float) -> tuple[DeafAction, Memory]:
    """What to do about a deaf session: at most twice in six hours, the socket first, then the
    worker.
    """
    earlier = tuple(t for t in memory.deafs if t > now - DEAF_WINDOW_SECONDS)
    if len(earlier) >= DEAF_BUDGET:
        return DeafAction.LEAVE, replace(memory, deafs=earlier)
    action = DeafAction.REPLACE_WORKER if earlier else DeafAction.RECONNECT
    return action, replace(memory, deafs=(*earlier, now))


def _by_the_rule(close: Close, memory: Memory, config: Config, now: float, draw: float) -> Decision:
    rule = config.rules[close.reason]
    memory = after_close(memory, close.reason, rule, close.was_open or close.was_stable, now)
    match close.reason:
        case R.RESTART_REQUIRED if len(memory.restarts) > RESTARTS_AT_ONCE:
            return _by_the_rule(
                replace(close, reason=R.CONNECTION_CLOSED), memory, config, now, draw
            )
        case R.LOGGED_OUT if _may_probe_unlinked(memory, now):
            return _retry(
                rule,
                memory,
                FIRST_TRY_JITTER_SECONDS + draw,
                "one probe: unlinked within 60 s of a 515",
            )
        case R.TEMPORARILY_BANNED:
            wait = (
                close.expire_seconds
                if close.expire_seconds is not None
                else BAN_WITHOUT_EXPIRY_SECONDS
            )
            before = memory.tries[close.reason] - 1
            floor = (
                _ceiling(before, REPEATED_BAN_SECONDS, BAN_WITHOUT_EXPIRY_SECONDS)
                if before
                else 1.0
            )
            return Decision(
                action=Action.PARK,
                wait_seconds=max(floor, wait),
                memory=memory,
                rule="parked until the ban ends, then one try",
            )
        case _:
            return _apply(close, rule, memory, config, now, draw)


def _apply(
    close: Close, rule: Rule, memory: Memory, config: Config, now: float, draw: float
) -> Decision:
    if rule.action is Action.HOLD:
        return _outdated(close, rule, memory, draw)
    if rule.action is not Action.RETRY:
        return Decision(
            action=rule.action,
            wait_seconds=None,
            memory=memory,
            rule=rule.action.value,
            counts=rule.counts,
            credentials=rule.credentials,
        )
    if rule.tries is not None and memory.tries[close.reason] > rule.tries:
        return Decision(
            action=Action.PARK,
            wait_seconds=None,
            memory=memory,
            rule=f"parked after {rule.tries} {'try' if rule.tries == 1 else 'tries'}",
            counts=rule.counts,
            opens_breaker=rule.opens_breaker,
        )
    if rule.pace is Pace.WORKER:
        return _worker(rule, memory, config, now, draw)
    wait, words = _wait(close, rule, memory, config, now, draw)
    return _retry(rule, memory, wait, words)


def _retry(rule: Rule, memory: Memory, wait_seconds: float, words: str) -> Decision:
    return Decision(
        action=Action.RETRY,
        wait_seconds=wait_seconds,
        memory=memory,
        rule=words,
        counts=rule.counts,
    )


def _outdated(close: Close, rule: Rule, memory: Memory, draw: float) -> Decision:
    """It is told so alone, as far as it knows: whether the fleet is held is the gate's to say, who
    hears of the others.
    """
    wait = _ceiling(memory.tries[close.reason], OUTDATED_SECONDS, OUTDATED_CAP_SECONDS)
    return Decision(
        action=Action.HOLD,
        wait_seconds=_spread(wait, draw),
        memory=memory,
        rule=f"held with the fleet if others are told so, too; else one try per {wait:g} s",
        counts=rule.counts,
    )


def _within_the_budget(decision: Decision, config: Config, now: float, draw: float) -> Decision:
    """A day's logins are limited: beyond the budget there is one try per tail delay, whatever the
    rule.
    """
    if not spent(decision.memory, config, now):
        return decision
    wait = max(decision.wait_seconds or 0.0, _spread(config.tail_seconds, draw))
    words = (
        f"daily budget of {config.daily_logins} logins used up: one try per"
        f" {config.tail_seconds:g} s"
    )
    return replace(decision, wait_seconds=wait, rule=words)


def _wait(
    close: Close, rule: Rule, memory: Memory, config: Config, now: float, draw: float
) -> tuple[float, str]:
    """Seconds to wait under a rule's pace, and the pace in words."""
    low, high = rule.minimum_seconds, rule.cap_seconds or 0.0
    tried = memory.tries.get(close.reason, 0)
    of = "" if rule.tries is None else f" of {rule.tries}"
    match rule.pace:
        case Pace.NOW:
            return _jitter(low, high, draw), "at once"
        case Pace.STORE:
            return _jitter(low, high, draw), "until the store can be written"
        case Pace.SPREAD:
            words = f"try {tried}{of}, " if of else ""
            return _jitter(low, high, draw), f"{close.reason}: {words}{low:g} to {high:g} s apart"
        case Pace.STEPS:
            base = rule.base_seconds or 0.0
            ceiling = _ceiling(tried, base, high)
            return _jitter(low, ceiling, draw), f"try {tried}{of}, up to {ceiling:g} s"
        case _:
            return _common(close, rule, memory, config, now, draw)


def _common(
    close: Close, rule: Rule, memory: Memory, config: Config, now: float, draw: float
) -> tuple[float, str]:
    steps, flaps = penalty(memory, now), _flaps(close, memory)
    if close.was_stable and not steps and not flaps:
        return (
            _jitter(rule.minimum_seconds, FIRST_TRY_JITTER_SECONDS, draw),
            "first try, almost at once",
        )
    if memory.failures > config.max_retries:
        tail = max(rule.minimum_seconds, config.tail_seconds)
        return max(rule.minimum_seconds, _spread(tail, draw)), f"long tail, one try per {tail:g} s"
    base = rule.base_seconds
    base = max(rule.base_at_least_seconds, config.base_seconds) if base is None else base
    cap = config.cap_seconds if rule.cap_seconds is None else rule.cap_seconds
    ceiling = _ceiling(max(memory.failures, flaps) + steps, base, cap)
    wait = _jitter(rule.minimum_seconds, ceiling, draw)
    if flaps >= memory.failures and flaps:
        words = f"flapping: {len(memory.drops)} drops within an hour, up to {ceiling:g} s"
    else:
        words = f"try {memory.failures} of {config.max_retries}, up to {ceiling:g} s"
    return wait, words + (f" (rate limited: {steps} steps on)" if steps else "")


def _flaps(close: Close, memory: Memory) -> int:
    """How many drops too many the last hour has seen, this close being one of them."""
    return max(0, len(memory.drops) - FREE_DROPS) if close.was_open or close.was_stable else 0


def _worker(rule: Rule, memory: Memory, config: Config, now: float, draw: float) -> Decision:
    """The worker's own budget: the first crash in a window is mended at once, the others step up;
    then as many as the window lets.
    """
    crashes = recent(memory.crashes, now, config.crash_window_seconds)
    memory = replace(memory, crashes=crashes)
    if len(crashes) > config.crash_budget:
        oldest = crashes[-config.crash_budget]
        return _retry(
            rule, memory, oldest + config.crash_window_seconds - now, CRASH_BUDGET_USED_UP
        )
    words = f"worker crash {len(crashes)} of {config.crash_budget}"
    if len(crashes) == 1:
        return _retry(rule, memory, 0.0, words)
    ceiling = _ceiling(len(crashes) - 1, rule.base_seconds or 0.0, rule.cap_seconds or 0.0)
    return _retry(rule, memory, _jitter(rule.minimum_seconds, ceiling, draw), words)


def _may_probe_unlinked(memory: Memory, now: float) -> bool:
    fresh = any(t > now - UNLINKED_AFTER_PAIRING_SECONDS for t in memory.restarts)
    return fresh and memory.tries[R.LOGGED_OUT] <= 1


def _jitter(low: float, high: float, draw: float) -> float:
    return low + draw * max(0.0, high - low)


def _spread(seconds: float, draw: float) -> float:
    return seconds * (1 - TAIL_JITTER + 2 * TAIL_JITTER * draw)


def _ceiling(attempt: int, base: float, cap: float) -> float:
    """The most that an attempt may wait: base, doubled for each attempt before it, never above the
    cap.
    """
    doublings = min(max(1, attempt) - 1, MOST_DOUBLINGS)
    return min(cap, base * 2.0**doublings)
