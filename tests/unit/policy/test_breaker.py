"""The breaker: pybreaker's counting, our clock, one trial at a time."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sessions.policy.breaker import Breaker, BreakerRecord

THRESHOLD = 5
TIMEOUT = 600.0


def test_it_opens_at_the_threshold_and_not_before() -> None:
    breaker = Breaker(THRESHOLD, TIMEOUT)
    for number in range(THRESHOLD - 1):
        breaker.failed(float(number))
        assert breaker.state == "closed"
        assert breaker.seconds_until_trial(float(number)) == 0
        assert breaker.opens_until() is None
    breaker.failed(100.0)
    assert breaker.state == "open"
    assert breaker.opens_until() == 700.0
    assert breaker.seconds_until_trial(100.0) == TIMEOUT
    assert breaker.seconds_until_trial(699.0) == 1.0
    assert breaker.seconds_until_trial(900.0) == 0.0


def test_a_rate_limit_counts_twice_and_no_more_than_opens_it() -> None:
    breaker = Breaker(THRESHOLD, TIMEOUT)
    breaker.failed(1.0, 2)
    assert (breaker.state, breaker.failures) == ("closed", 2)
    breaker.failed(2.0, 2)
    assert (breaker.state, breaker.failures) == ("closed", 4)
    breaker.failed(3.0, 2)
    assert (breaker.state, breaker.opens_until()) == ("open", 603.0)


def test_what_does_not_count_is_not_counted() -> None:
    breaker = Breaker(1, TIMEOUT)
    breaker.failed(1.0, 0)
    assert (breaker.state, breaker.failures) == ("closed", 0)


def test_a_failed_trial_opens_it_for_another_time_out() -> None:
    breaker = _open_at(0.0)
    assert breaker.begin_attempt()
    assert breaker.state == "half-open"
    breaker.failed(TIMEOUT + 7)
    assert (breaker.state, breaker.opens_until()) == ("open", 2 * TIMEOUT + 7)


def test_an_attempt_under_a_closed_breaker_is_no_trial() -> None:
    assert not Breaker(THRESHOLD, TIMEOUT).begin_attempt()


def test_a_successful_trial_closes_it_on_probation() -> None:
    breaker = _open_at(0.0)
    breaker.begin_attempt()
    breaker.opened()
    assert breaker.state == "closed"
    breaker.failed(TIMEOUT + 10)
    assert breaker.state == "open", "one more failure before the stable period opens it again"


def test_the_stable_period_ends_the_probation() -> None:
    breaker = _open_at(0.0)
    breaker.begin_attempt()
    breaker.opened()
    breaker.stable()
    assert breaker.failures == 0
    for number in range(THRESHOLD - 1):
        breaker.failed(float(number))
    assert breaker.state == "closed"


def test_opening_forgives_nothing_before_the_stable_period() -> None:
    breaker = Breaker(THRESHOLD, TIMEOUT)
    for number in range(THRESHOLD):  # a session that opens and is thrown out again, over and over
        breaker.begin_attempt()
        breaker.opened()
        breaker.failed(float(number))
    assert breaker.state == "open"


def test_an_abandoned_trial_may_be_made_again_at_once() -> None:
    breaker = _open_at(0.0)
    breaker.begin_attempt()
    breaker.abandon_attempt(TIMEOUT + 3)
    assert breaker.state == "open"
    assert breaker.seconds_until_trial(TIMEOUT + 3) == 0
    assert breaker.begin_attempt()


def test_abandoning_an_ordinary_attempt_changes_nothing() -> None:
    breaker = Breaker(THRESHOLD, TIMEOUT)
    breaker.failed(0.0)
    breaker.abandon_attempt(1.0)
    assert breaker.record == BreakerRecord(state="closed", failures=1)


def test_a_trip_opens_it_whatever_the_count_and_an_open_one_keeps_its_time() -> None:
    breaker = Breaker(THRESHOLD, TIMEOUT)
    breaker.trip(10.0)
    breaker.trip(50.0)
    assert (breaker.state, breaker.opens_until()) == ("open", 610.0)


def test_a_reset_closes_it_and_begins_anew() -> None:
    breaker = _open_at(0.0)
    breaker.reset()
    assert breaker.record == BreakerRecord()
    breaker.failed(1.0)
    assert breaker.state == "closed"


def test_a_record_brings_back_the_same_breaker() -> None:
    for breaker in (Breaker(THRESHOLD, TIMEOUT), _with_failures(3), _open_at(42.0)):
        restored = Breaker(THRESHOLD, TIMEOUT, breaker.record)
        assert restored.record == breaker.record
        assert restored.opens_until() == breaker.opens_until()


def test_restored_failures_go_on_counting() -> None:
    breaker = Breaker(THRESHOLD, TIMEOUT, _with_failures(THRESHOLD - 1).record)
    breaker.failed(5.0)
    assert breaker.state == "open"


def test_a_breaker_whose_trial_died_with_the_supervisor_is_open_again() -> None:
    breaker = _open_at(0.0)
    breaker.begin_attempt()
    assert breaker.record.state == "half-open"
    restored = Breaker(THRESHOLD, TIMEOUT, breaker.record)
    assert restored.state == "open"
    assert restored.seconds_until_trial(TIMEOUT) == 0


@pytest.mark.parametrize("threshold", [1, 2, 7])
def test_the_threshold_is_the_settings(threshold: int) -> None:
    breaker = Breaker(threshold, TIMEOUT)
    for _ in range(threshold - 1):
        breaker.failed(0.0)
    assert breaker.state == "closed"
    breaker.failed(0.0)
    assert breaker.state == "open"


class AnyHistory(RuleBasedStateMachine):
    """Used as a session uses it: attempts one at a time, each after its wait, each with one
    outcome; restarts in between.
    """

    @initialize(threshold=st.integers(1, 6))
    def begin(self, threshold: int) -> None:
        self.threshold = threshold
        self.breaker = Breaker(threshold, TIMEOUT)
        self.now = 0.0
        self.under_way = False
        self.trial = False
        self.trials_without_failure = 0

    @precondition(lambda self: not self.under_way)
    @rule()
    def attempt(self) -> None:
        was = self.breaker.state
        self.now += self.breaker.seconds_until_trial(self.now)
        self.trial = self.breaker.begin_attempt()
        self.under_way = True
        assert self.trial is (was != "closed")

    @precondition(lambda self: self.under_way)
    @rule(count=st.integers(1, 3))
    def fail(self, count: int) -> None:
        self.breaker.failed(self.now, count)
        self.under_way = False
        if self.trial:
            assert self.breaker.opens_until() == pytest.approx(self.now + TIMEOUT), (
                "the next trial waits the whole time-out"
            )

    @precondition(lambda self: self.under_way)
    @rule()
    def open_and_stay(self) -> None:
        self.breaker.opened()
        self.breaker.stable()
        self.under_way = False
        assert self.breaker.record.failures == 0

    @precondition(lambda self: self.under_way)
    @rule()
    def open_and_fall(self) -> None:
        self.breaker.opened()
        self.breaker.failed(self.now)
        self.under_way = False
        if self.trial:
            assert self.breaker.state == "open"

    @precondition(lambda self: self.under_way)
    @rule()
    def abandon(self) -> None:
        self.breaker.abandon_attempt(self.now)
        self.under_way = False

    @rule(seconds=st.floats(0, 2000))
    def wait(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: not self.under_way)
    @rule()
    def restart(self) -> None:
        self.breaker = Breaker(self.threshold, TIMEOUT, self.breaker.record)

    @invariant()
    def its_figures_make_sense(self) -> None:
        if not hasattr(self, "breaker"):
            return
        assert self.breaker.state in ("closed", "open", "half-open")
        assert 0 <= self.breaker.seconds_until_trial(self.now) <= TIMEOUT + 1e-6
        if self.breaker.state == "closed":
            assert self.breaker.failures < self.threshold
        if self.breaker.state == "half-open":
            assert self.under_way, "a trial without an attempt would let everything through"


AnyHistory.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestAnyHistory = AnyHistory.TestCase


def _open_at(now: float) -> Breaker:
    breaker = Breaker(THRESHOLD, TIMEOUT)
    for _ in range(THRESHOLD):
        breaker.failed(now)
    return breaker


def _with_failures(count: int) -> Breaker:
    breaker = Breaker(THRESHOLD, TIMEOUT)
    for _ in range(count):
        breaker.failed(0.0)
    return breaker
