"""When a session closes, what next? Pure: no clock, no dice, no I/O.

`RULES` is the whole policy, a row for each close reason; `decide` applies a row to what is remembered of the session. The
*now* of the clock and the *roll* of the dice are arguments. Times are seconds on whatever clock the caller keeps; waits are seconds.

Sources of the rows and numbers: the design's section 5; the waits are tenacity's (exponential, with full jitter as in the AWS
Architecture Blog's "Exponential Backoff And Jitter"); 429's five steps and the stable period are WhatsApp Web's own.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final, cast

from tenacity import BaseRetrying, RetryCallState, stop_after_attempt, wait_exponential
from tenacity.wait import wait_base

from sessions.model import CloseReason as R

FIRST_TRY_JITTER_SECONDS: Final = 0.5
"""A session that had been stably open goes almost at once: the gate, not the wait, prevents storms."""
TAIL_JITTER: Final = 0.1
"""The long tail is spread by plus or minus a tenth, as WhatsApp Web spreads its own."""
RATE_LIMIT_STEPS: Final = 5
RATE_LIMIT_MEMORY_SECONDS: Final = 3600.0
"""For how long a 429 keeps a session five steps further on: it survives the reset of the failure count."""
MAX_PENALTY_STEPS: Final = 20
RESTARTS_AT_ONCE: Final = 3
RESTARTS_WINDOW_SECONDS: Final = 60.0
"""515 is normal after pairing; more than three in a minute is not."""
UNLINKED_AFTER_PAIRING_SECONDS: Final = 60.0
"""A 401 so soon after a 515 may be a race in the server's own books: it is worth one probe."""
BAN_WITHOUT_EXPIRY_SECONDS: Final = 24 * 3600.0
REPEATED_BAN_SECONDS: Final = 60.0
"""A ban that names its end is believed once; each time the try is refused again, the next one waits at least twice as long."""
STORE_RETRY_SECONDS: Final = 5.0
DEAF_WINDOW_SECONDS: Final = 6 * 3600.0
DEAF_BUDGET: Final = 2


class Action(enum.Enum):
    """What a rule does."""

    RETRY = "retry"
    PARK = "park"
    HOLD = "hold the fleet"
    DONE = "done"


class Pace(enum.StrEnum):
    """How long a rule waits before a try."""

    NOW = "at once"
    COMMON = "common"
    SERVER = "common, from 5 s to 900 s"
    REPLACED = "30 to 60 s"
    REPAIR = "from 30 s to 900 s"
    WORKER = "1 s to 60 s"
    STORE = "every 5 to 10 s, without a login while the store refuses"


class Credentials(enum.Enum):
    """What becomes of the credentials. There is no row, and no word, for deleting them."""

    KEEP = "keep"
    ARCHIVE = "archive"


class Mend(enum.Enum):
    """Whether a reconnect can mend a parked session, so that force-reconnection is worth a try."""

    RECONNECT = "a reconnect can mend it"
    HUMAN = "only a human can mend it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One row of the policy.

    `counts`: how many failures it adds to the breaker. `tries`: how many attempts it allows before it parks (None: no limit).
    `opens_breaker`: the breaker is opened when the tries are used up. `mend` and `human` matter once it is parked.
    """

    action: Action
    pace: Pace = Pace.COMMON
    counts: int = 0
    tries: int | None = None
    opens_breaker: bool = False
    credentials: Credentials = Credentials.KEEP
    mend: Mend = Mend.RECONNECT
    human: str = ""


_NOTHING: Final = "Nothing: it comes back by itself."
_FORCE: Final = "When the cause is gone: POST /force-reconnection/{id}."
_COMMON: Final = Rule(action=Action.RETRY, counts=1, human=_NOTHING)
_SERVER: Final = replace(_COMMON, pace=Pace.SERVER)

RULES: Final[Mapping[R, Rule]] = {
    R.RESTART_REQUIRED: Rule(action=Action.RETRY, pace=Pace.NOW, human=_NOTHING),
    R.CONNECTION_CLOSED: _COMMON,
    R.CONNECTION_LOST: _COMMON,
    R.ATTEMPT_TIMED_OUT: _COMMON,
    R.UNDECRYPTABLE_FRAME: _COMMON,
    R.UPGRADE_REFUSED: _COMMON,
    R.QR_EXPIRED: Rule(
        action=Action.PARK,
        mend=Mend.HUMAN,
        human="Have the phone at hand, then POST /sessions/{id}/start for a new QR code (GET /sessions/{id}/qr).",
    ),
    R.SERVER_ERROR: _SERVER,
    R.UNAVAILABLE: _SERVER,
    R.RATE_LIMITED: replace(_COMMON, counts=2),
    R.REPLACED: Rule(
        action=Action.RETRY,
        pace=Pace.REPLACED,
        counts=1,
        tries=2,
        opens_breaker=True,
        human="Another program holds this device's keys: stop that one, then POST /force-reconnection/{id}.",
    ),
    R.LOGGED_OUT: Rule(
        action=Action.PARK,
        credentials=Credentials.ARCHIVE,
        mend=Mend.HUMAN,
        human="The phone has unlinked this device: POST /sessions/{id}/start and pair it again. The old credentials are archived.",
    ),
    R.OWN_LOGOUT: Rule(
        action=Action.DONE,
        credentials=Credentials.ARCHIVE,
        mend=Mend.HUMAN,
        human="Logged out as asked: POST /sessions/{id}/start pairs it anew.",
    ),
    R.TEMPORARILY_BANNED: Rule(
        action=Action.PARK,
        mend=Mend.HUMAN,
        human="WhatsApp has banned this number for a time: let it rest; one try is made when the ban ends.",
    ),
    R.LOCKED: Rule(
        action=Action.PARK,
        mend=Mend.HUMAN,
        human="WhatsApp has locked this account: open WhatsApp on the phone and follow what it says, "
        "then POST /sessions/{id}/start.",
    ),
    R.BANNED: Rule(
        action=Action.PARK,
        mend=Mend.HUMAN,
        human="WhatsApp has banned this number: appeal on the phone; once it is lifted, POST /sessions/{id}/start.",
    ),
    R.CLIENT_OUTDATED: Rule(
        action=Action.HOLD,
        human="WhatsApp rejects this client version, for all numbers: the fleet is held and one canary at a time tries. "
        "If it lasts, update wasup.",
    ),
    R.REPAIR_NEEDED: Rule(
        action=Action.RETRY,
        pace=Pace.REPAIR,
        counts=1,
        tries=2,
        human="WhatsApp refuses this device's registration. " + _FORCE + " If it stays: log out, start and pair again.",
    ),
    R.UNKNOWN_FAILURE: Rule(
        action=Action.RETRY,
        pace=Pace.REPAIR,
        counts=1,
        tries=3,
        human="WhatsApp refuses the login with a code that nobody has explained. " + _FORCE,
    ),
    R.STORE_FAILED: Rule(
        action=Action.RETRY,
        pace=Pace.STORE,
        human="The data directory cannot be written: free space on its disk. It comes back by itself when it can be.",
    ),
    R.WORKER_EXITED: Rule(action=Action.RETRY, pace=Pace.WORKER, human=_NOTHING),
    R.WORKER_HUNG: Rule(action=Action.RETRY, pace=Pace.WORKER, human=_NOTHING),
    R.DEAF: Rule(action=Action.RETRY, pace=Pace.NOW, human=_NOTHING),
    R.REQUESTED: Rule(action=Action.RETRY, pace=Pace.NOW, human=_NOTHING),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The policy's numbers, in seconds and counts; the defaults are the settings' own."""

    base_seconds: float = 2.0
    cap_seconds: float = 300.0
    max_retries: int = 10
    tail_seconds: float = 900.0
    crash_budget: int = 5
    crash_window_seconds: float = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """What is remembered of a session's closes. Times are seconds on the caller's clock, oldest first."""

    failures: int = 0
    penalty_steps: int = 0
    penalty_until: float = 0.0
    tries: Mapping[R, int] = field(default_factory=dict)
    restarts: tuple[float, ...] = ()
    crashes: tuple[float, ...] = ()
    deafs: tuple[float, ...] = ()

    def shifted(self, seconds: float) -> "Memory":
        """The same memory told on a clock that is `seconds` ahead."""
        return replace(
            self,
            penalty_until=self.penalty_until + seconds if self.penalty_steps else 0.0,
            restarts=tuple(t + seconds for t in self.restarts),
            crashes=tuple(t + seconds for t in self.crashes),
            deafs=tuple(t + seconds for t in self.deafs),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Close:
    """A close as the policy sees it. `was_stable`: it had been open for the stable period. `expire_seconds`: a ban's own."""

    reason: R
    was_stable: bool = False
    expire_seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What to do now. `wait_seconds` is None when no try is planned; `rule` names what was applied, in words."""

    action: Action
    wait_seconds: float | None
    memory: Memory
    rule: str
    counts: int = 0
    opens_breaker: bool = False
    credentials: Credentials = Credentials.KEEP


class DeafAction(enum.Enum):
    """What to do about an open session that answers no probe although bytes arrive."""

    RECONNECT = "reconnect the socket"
    REPLACE_WORKER = "kill the worker"
    LEAVE = "leave it and alert"


def decide(close: Close, memory: Memory, config: Config, now: float, roll: float) -> Decision:
    """What to do after a close. `roll` is uniform in [0, 1)."""
    rule = RULES[close.reason]
    memory = _remember(close, rule, memory, now)
    match close.reason:
        case R.RESTART_REQUIRED if len(memory.restarts) > RESTARTS_AT_ONCE:
            return decide(replace(close, reason=R.CONNECTION_CLOSED), memory, config, now, roll)
        case R.LOGGED_OUT if _may_probe_unlinked(memory, now):
            return _retry(rule, memory, FIRST_TRY_JITTER_SECONDS + roll, "one probe: unlinked within 60 s of a 515")
        case R.TEMPORARILY_BANNED:
            wait = close.expire_seconds if close.expire_seconds is not None else BAN_WITHOUT_EXPIRY_SECONDS
            before = memory.tries[close.reason] - 1
            floor = _ceiling(before, REPEATED_BAN_SECONDS, BAN_WITHOUT_EXPIRY_SECONDS) if before else 1.0
            return Decision(
                action=Action.PARK,
                wait_seconds=max(floor, wait),
                memory=memory,
                rule="parked until the ban ends, then one try",
            )
        case _:
            return _apply(close, rule, memory, config, now, roll)


def decide_deaf(memory: Memory, now: float) -> tuple[DeafAction, Memory]:
    """What to do about a deaf session: at most twice in six hours, the socket first, then the worker."""
    recent = tuple(t for t in memory.deafs if t > now - DEAF_WINDOW_SECONDS)
    if len(recent) >= DEAF_BUDGET:
        return DeafAction.LEAVE, replace(memory, deafs=recent)
    action = DeafAction.REPLACE_WORKER if recent else DeafAction.RECONNECT
    return action, replace(memory, deafs=(*recent, now))


def stable(memory: Memory) -> Memory:
    """The memory of a session that has been open for the stable period: failures forgotten, penalties and windows kept."""
    return replace(memory, failures=0, tries={})


def _remember(close: Close, rule: Rule, memory: Memory, now: float) -> Memory:
    failures = memory.failures + (1 if rule.counts else 0)
    tries = dict(memory.tries)
    if rule.tries is not None or close.reason in {R.LOGGED_OUT, R.TEMPORARILY_BANNED}:
        tries[close.reason] = tries.get(close.reason, 0) + 1
    memory = replace(memory, failures=failures, tries=tries)
    match close.reason:
        case R.RESTART_REQUIRED:
            return replace(memory, restarts=_recent(memory.restarts, now, RESTARTS_WINDOW_SECONDS))
        case R.RATE_LIMITED:
            steps = min(MAX_PENALTY_STEPS, _penalty(memory, now) + RATE_LIMIT_STEPS)
            return replace(memory, penalty_steps=steps, penalty_until=now + RATE_LIMIT_MEMORY_SECONDS)
        case _:
            return memory


def _apply(close: Close, rule: Rule, memory: Memory, config: Config, now: float, roll: float) -> Decision:
    if rule.action is not Action.RETRY:
        return Decision(
            action=rule.action, wait_seconds=None, memory=memory, rule=rule.action.value, credentials=rule.credentials
        )
    if rule.tries is not None and memory.tries[close.reason] > rule.tries:
        return Decision(
            action=Action.PARK,
            wait_seconds=None,
            memory=memory,
            rule=f"parked after {rule.tries} tries",
            counts=rule.counts,
            opens_breaker=rule.opens_breaker,
        )
    if rule.pace is Pace.WORKER:
        return _worker(rule, memory, config, now, roll)
    wait, words = _wait(close, rule, memory, config, now, roll)
    return _retry(rule, memory, wait, words)


def _retry(rule: Rule, memory: Memory, wait_seconds: float, words: str) -> Decision:
    return Decision(action=Action.RETRY, wait_seconds=wait_seconds, memory=memory, rule=words, counts=rule.counts)


def _wait(close: Close, rule: Rule, memory: Memory, config: Config, now: float, roll: float) -> tuple[float, str]:
    """Seconds to wait under a rule's pace, and the pace in words."""
    match rule.pace:
        case Pace.NOW:
            return roll * FIRST_TRY_JITTER_SECONDS if close.reason is R.DEAF else 0.0, "at once"
        case Pace.STORE:
            return STORE_RETRY_SECONDS * (1 + roll), "until the store can be written"
        case Pace.REPLACED:
            return 30.0 + 30.0 * roll, f"replaced: try {memory.tries[close.reason]} of {rule.tries}, 30 to 60 s apart"
        case Pace.REPAIR:
            tried = memory.tries[close.reason]
            return roll * _ceiling(tried, 30.0, 900.0), f"try {tried} of {rule.tries}, from 30 s to 900 s"
        case Pace.SERVER:
            return _common(close, memory, config, now, roll, max(5.0, config.base_seconds), 900.0)
        case _:
            return _common(close, memory, config, now, roll, config.base_seconds, config.cap_seconds)


def _common(
    close: Close, memory: Memory, config: Config, now: float, roll: float, base: float, cap: float
) -> tuple[float, str]:
    penalty = _penalty(memory, now)
    if close.was_stable and not penalty:
        return roll * FIRST_TRY_JITTER_SECONDS, "first try, almost at once"
    if stop_after_attempt(config.max_retries + 1)(_attempt(memory.failures)):
        spread = 1 - TAIL_JITTER + 2 * TAIL_JITTER * roll
        return config.tail_seconds * spread, f"long tail, one try per {config.tail_seconds:g} s"
    ceiling = _ceiling(memory.failures + penalty, base, cap)
    words = f"try {memory.failures} of {config.max_retries}, up to {ceiling:g} s"
    return roll * ceiling, words + (f" (rate limited: {penalty} steps on)" if penalty else "")


def _worker(rule: Rule, memory: Memory, config: Config, now: float, roll: float) -> Decision:
    """The worker's own budget: the first crash in a window is mended at once, the others 1 s to 60 s apart; then as many as the window lets."""
    crashes = _recent(memory.crashes, now, config.crash_window_seconds)
    memory = replace(memory, crashes=crashes)
    if len(crashes) > config.crash_budget:
        oldest = crashes[-config.crash_budget]
        return _retry(rule, memory, oldest + config.crash_window_seconds - now, "worker crash budget used up")
    words = f"worker crash {len(crashes)} of {config.crash_budget}"
    if len(crashes) == 1:
        return _retry(rule, memory, 0.0, words)
    return _retry(rule, memory, 1.0 + roll * (_ceiling(len(crashes) - 1, 1.0, 60.0) - 1.0), words)


def _may_probe_unlinked(memory: Memory, now: float) -> bool:
    fresh = any(t > now - UNLINKED_AFTER_PAIRING_SECONDS for t in memory.restarts)
    return fresh and memory.tries[R.LOGGED_OUT] <= 1


def _penalty(memory: Memory, now: float) -> int:
    return memory.penalty_steps if now < memory.penalty_until else 0


def _recent(times: tuple[float, ...], now: float, window_seconds: float) -> tuple[float, ...]:
    return (*(t for t in times if t > now - window_seconds), now)


def _ceiling(attempt: int, base: float, cap: float) -> float:
    """The most that an attempt may wait: base, doubled for each attempt before it, never above the cap."""
    wait: wait_base = wait_exponential(multiplier=base, max=cap)
    return wait(_attempt(attempt))


def _attempt(number: int) -> RetryCallState:
    """Tenacity's word for "the n-th attempt"; its strategies read nothing else of it."""
    state = RetryCallState(cast("BaseRetrying", None), None, (), {})
    state.attempt_number = max(1, number)
    return state
