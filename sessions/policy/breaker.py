"""The session's circuit breaker: pybreaker's states and counting, in the only file that knows
pybreaker.

pybreaker 1.4.1 has no asyncio of its own that works, reads the wall clock, and lets any number of
trials through when it is half-open. So finished outcomes are reported to it, times are the caller's
monotonic seconds, and one trial at a time is let through here.
"""

import contextlib
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final, Literal

import pybreaker

BreakerState = Literal["closed", "open", "half-open"]

SAME_SECONDS: Final = 0.5
"""Two times so close are one: they were reckoned from the same, and may have been through the
store.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerRecord:
    """What is stored of a breaker. `opened_at` is seconds on the caller's clock."""

    state: BreakerState = "closed"
    failures: int = 0
    opened_at: float | None = None


class _Failure(Exception):
    """What a failed attempt looks like to pybreaker."""


class _Storage(pybreaker.CircuitMemoryStorage):
    """pybreaker's memory storage, begun from a record."""

    def __init__(self, record: BreakerRecord) -> None:
        super().__init__(record.state)
        self._fail_counter = record.failures

    @property
    def opened_at(self) -> datetime | None:
        """Unused: the breaker's times are Breaker's, on the monotonic clock."""
        return None

    @opened_at.setter
    def opened_at(self, at: datetime) -> None:
        """Ignored, see above."""

    def probation(self, failures: int) -> None:
        """Set the failure counter of a breaker that has just closed."""
        self._fail_counter = failures


class _Listener(pybreaker.CircuitBreakerListener):
    """Keeps the breaker's state as pybreaker tells it."""

    def __init__(self, breaker: "Breaker") -> None:
        self._breaker = breaker

    def state_change(self, _: Any, before: pybreaker.CircuitBreakerState | None, now: Any) -> None:
        """Pybreaker has switched."""
        self._breaker.state = now.name


class Breaker:
    """A session's breaker. Every method takes `now`, in seconds of a monotonic clock.

    `state`: `closed`, `open` or `half-open` (a trial is under way).
    """

    def __init__(
        self, threshold: int, timeout_seconds: float, record: BreakerRecord | None = None
    ) -> None:
        self.state: BreakerState = "closed"
        self._threshold = threshold
        self._timeout_seconds = timeout_seconds
        self.restore(record or BreakerRecord())

    def restore(self, record: BreakerRecord) -> None:
        """Be as recorded: as stored by an earlier supervisor, or as before an outage that charged
        it.
        """
        self._opened_at = record.opened_at
        if record.state == "half-open":
            # its trial died with whoever made the record, without an outcome
            record = replace(record, state="open")
        self.state = record.state
        self._storage = _Storage(record)
        self._breaker = pybreaker.CircuitBreaker(
            fail_max=self._threshold,
            reset_timeout=self._timeout_seconds,
            state_storage=self._storage,
            throw_new_error_on_trip=False,
            listeners=[_Listener(self)],
        )

    @property
    def record(self) -> BreakerRecord:
        """What to store."""
        return BreakerRecord(
            state=self.state, failures=self._breaker.fail_counter, opened_at=self._opened_at
        )

    @property
    def failures(self) -> int:
        """Consecutive failures counted."""
        return self._breaker.fail_counter

    @property
    def tripped(self) -> bool:
        """Whether it has opened and not been forgiven yet: it is open, lets its trial through, or
        is closed on probation.
        """
        return self.state != "closed" or 0 < self._threshold - 1 <= self.failures

    def opens_until(self) -> float | None:
        """When an open breaker will let a trial through, else None."""
        if self.state != "open" or self._opened_at is None:
            return None
        return self._opened_at + self._timeout_seconds

    def seconds_until_trial(self, now: float) -> float:
        """How long attempts have to wait for the breaker; 0 when it is closed."""
        until = self.opens_until()
        return 0.0 if until is None else max(0.0, until - now)

    def puts_off(self, attempt_at: float) -> bool:
        """Whether an attempt that is planned for then waits for this breaker, and not for longer
        than that.
        """
        until = self.opens_until()
        return until is not None and abs(attempt_at - until) < SAME_SECONDS

    def begin_attempt(self) -> bool:
        """Called as an attempt starts (after its wait): an open breaker goes half-open.

        True when the attempt is its trial.
        """
        if self.state == "open":
            self._breaker.half_open()
        return self.state == "half-open"

    def abandon_attempt(self, now: float) -> None:
        """The trial was called off before it had an outcome: open again, with its time-out already
        over.
        """
        if self.state == "half-open":
            self._breaker.open()
            self._opened_at = now - self._timeout_seconds

    def failed(self, now: float, count: int = 1) -> None:
        """An attempt has failed, `count` times over."""
        before = self.state
        for _ in range(count):
            if self.state == "open":
                break
            expected = contextlib.suppress(_Failure, pybreaker.CircuitBreakerError)
            with expected, self._breaker.calling():
                raise _Failure
        if self.state == "open" and before != "open":
            self._opened_at = now

    def opened(self) -> None:
        """The session is open: a trial has succeeded, but on probation, so that one more failure
        opens the breaker again.
        """
        if self.state != "closed":
            self._breaker.close()
            self._storage.probation(self._threshold - 1)

    def stable(self) -> None:
        """The session has been open for the stable period: all is forgiven."""
        self._breaker.call(lambda: None)

    def trip(self, now: float) -> None:
        """Open it whatever the count says."""
        if self.state != "open":
            self._breaker.open()
            self._opened_at = now

    def reset(self) -> None:
        """Close it, as an operator asks."""
        self._breaker.close()
        self._opened_at = None
