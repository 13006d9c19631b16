"""What a session remembers across restarts: policy memory, breaker, why it is parked.

Encoded for the store.

In memory, times are seconds of the monotonic clock; in the store they are seconds of wall clock,
because a monotonic clock begins anew at every boot. Within one boot the monotonic clock is trusted,
whatever was done to the wall clock; after a boot, a wall clock that was set back in between can
only shorten what is remembered, never make it lie in the future.
"""

import time
from dataclasses import replace
from pathlib import Path

import msgspec

from sessions.model import CloseReason
from sessions.policy import Baseline, LastClose, Learned, Memory
from sessions.policy.breaker import BreakerRecord, BreakerState
from sessions.records.incidents import Incident
from sessions.records.phone import PhoneRecord
from sessions.workers.wire import UNREADABLE, WireError


def _boot() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""


BOOT = _boot()
"""Names this boot of the machine; empty where it has no name."""


class Opened(msgspec.Struct, frozen=True):
    """The attempt that is open.

    A worker that comes back without a socket does not tell whether it had been open: this does.
    """

    epoch: int
    attempt: int
    stable: bool = False


class Remembered(msgspec.Struct, frozen=True):
    """The whole of it.

    `parked`: the session waits for a human. `next_attempt_at`: when a try is due, parked or not.
    """

    policy: Memory
    breaker: BreakerRecord
    last_close: LastClose | None = None
    parked: bool = False
    next_attempt_at: float | None = None
    judged: tuple[int, int] | None = None
    """Epoch and attempt of the last close that the policy has judged: an adopted worker tells of it
    again.
    """
    baseline: Baseline | None = None
    incident: Incident | None = None
    """The incident that the session is in, or rests in."""
    phone: PhoneRecord | None = None
    opened: Opened | None = None
    counted: tuple[int, int] | None = None
    """Epoch and attempt of the last login of the day's that was counted: an adopted one is not
    counted again.
    """

    @property
    def learned(self) -> Learned:
        """What the session has learned from its closes."""
        return Learned(self.policy, self.breaker, self.last_close, self.baseline)


class _Stored(msgspec.Struct):
    """Remembered as JSON, times in wall-clock seconds."""

    failures: int = 0
    penalty_steps: int = 0
    penalty_until: float = 0.0
    tries: dict[CloseReason, int] = {}
    restarts: tuple[float, ...] = ()
    crashes: tuple[float, ...] = ()
    deafs: tuple[float, ...] = ()
    drops: tuple[float, ...] = ()
    logins: tuple[tuple[float, int], ...] = ()
    breaker_state: BreakerState = "closed"
    breaker_failures: int = 0
    breaker_opened_at: float | None = None
    last_close: LastClose | None = None
    parked: bool = False
    next_attempt_at: float | None = None
    saved_at: float = 0.0
    saved_at_monotonic: float | None = None
    boot: str = ""
    judged: tuple[int, int] | None = None
    baseline: Baseline | None = msgspec.field(default=None, name="calm")
    incident: Incident | None = None
    phone: PhoneRecord | None = None
    opened: Opened | None = None
    counted: tuple[int, int] | None = None


def encode(memory: Remembered, now: float) -> bytes:
    """As JSON for the store. `now` is the monotonic clock's."""
    to_wall = time.time() - now
    policy = memory.policy.shifted(to_wall)
    return msgspec.json.encode(
        _Stored(
            failures=policy.failures,
            penalty_steps=policy.penalty_steps,
            penalty_until=policy.penalty_until,
            tries=dict(policy.tries),
            restarts=policy.restarts,
            crashes=policy.crashes,
            deafs=policy.deafs,
            drops=policy.drops,
            logins=policy.logins,
            breaker_state=memory.breaker.state,
            breaker_failures=memory.breaker.failures,
            breaker_opened_at=_shift(memory.breaker.opened_at, to_wall),
            last_close=memory.last_close,
            parked=memory.parked,
            next_attempt_at=_shift(memory.next_attempt_at, to_wall),
            saved_at=now + to_wall,
            saved_at_monotonic=now,
            boot=BOOT,
            judged=memory.judged,
            baseline=_shifted(memory.baseline, to_wall),
            incident=memory.incident,
            phone=memory.phone,
            opened=memory.opened,
            counted=memory.counted,
        )
    )


def decode(stored: bytes | None, now: float) -> Remembered:
    """From the store. Raises WireError when it cannot be read."""
    if stored is None:
        return Remembered(Memory(), BreakerRecord())
    try:
        data = msgspec.json.decode(stored, type=_Stored)
    except UNREADABLE as error:
        raise WireError(f"not a session's memory: {type(error).__name__}") from None
    to_monotonic = _to_monotonic(data, now)
    policy = Memory(
        failures=data.failures,
        penalty_steps=data.penalty_steps,
        penalty_until=data.penalty_until + to_monotonic,
        tries=data.tries,
        restarts=_past(data.restarts, to_monotonic, now),
        crashes=_past(data.crashes, to_monotonic, now),
        deafs=_past(data.deafs, to_monotonic, now),
        drops=_past(data.drops, to_monotonic, now),
        logins=tuple((min(now, begin + to_monotonic), count) for begin, count in data.logins),
    )
    opened_at = _shift(data.breaker_opened_at, to_monotonic)
    breaker = BreakerRecord(
        state=data.breaker_state,
        failures=data.breaker_failures,
        opened_at=None if opened_at is None else min(now, opened_at),
    )
    due = _shift(data.next_attempt_at, to_monotonic)
    baseline = _shifted(data.baseline, to_monotonic)
    return Remembered(
        policy,
        breaker,
        data.last_close,
        data.parked,
        due,
        data.judged,
        baseline,
        data.incident,
        data.phone,
        data.opened,
        data.counted,
    )


def _to_monotonic(data: _Stored, now: float) -> float:
    """What to add to a stored wall-clock time to have it on the monotonic clock, which shows
    `now`.
    """
    if (
        data.boot == BOOT
        and BOOT
        and data.saved_at_monotonic is not None
        and data.saved_at_monotonic <= now
    ):
        return data.saved_at_monotonic - data.saved_at
    # A clock that was set back since must not make waits longer: then no time at all has passed.
    return now - max(time.time(), data.saved_at)


def _shifted(baseline: Baseline | None, seconds: float) -> Baseline | None:
    if baseline is None:
        return None
    opened_at = _shift(baseline.breaker.opened_at, seconds)
    return Baseline(
        baseline.policy.shifted(seconds), replace(baseline.breaker, opened_at=opened_at)
    )


def _shift(at: float | None, seconds: float) -> float | None:
    return None if at is None else at + seconds


def _past(times: tuple[float, ...], to_monotonic: float, now: float) -> tuple[float, ...]:
    return tuple(min(now, t + to_monotonic) for t in times)
