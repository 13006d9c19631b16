"""The gate's two pure parts: the token bucket and the hold with its canaries."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.bucket import TokenBucket
from supervisor.hold import Hold


def test_a_full_bucket_gives_its_burst_and_then_its_rate() -> None:
    bucket = TokenBucket.full(rate=5.0, burst=10, now=100.0)
    for _ in range(10):
        assert bucket.seconds_until(1, 100.0) == 0
        bucket.take(100.0)
    assert bucket.seconds_until(1, 100.0) == pytest.approx(0.2)
    assert bucket.available(100.1) == pytest.approx(0.5)
    assert bucket.available(1000.0) == 10, "it never holds more than the burst"


def test_an_empty_bucket_has_to_earn_its_first_token() -> None:
    bucket = TokenBucket.empty(rate=5.0, burst=10, now=100.0)
    assert bucket.available(100.0) == 0
    assert bucket.seconds_until(1, 100.0) == pytest.approx(0.2)
    assert bucket.available(1000.0) == 10


def test_a_token_that_is_not_there_is_owed() -> None:
    bucket = TokenBucket.empty(rate=2.0, burst=3, now=0.0)
    bucket.take(0.0)
    bucket.take(0.0)
    assert bucket.available(0.0) == -2
    assert bucket.seconds_until(1, 0.0) == pytest.approx(1.5)


def test_more_tokens_than_the_burst_never_come_together() -> None:
    assert TokenBucket.full(rate=5.0, burst=3, now=0.0).seconds_until(4, 0.0) == math.inf


def test_a_clock_that_stands_still_or_goes_back_mints_no_tokens() -> None:
    bucket = TokenBucket.full(rate=5.0, burst=1, now=100.0)
    bucket.take(100.0)
    assert bucket.available(90.0) == 0


@given(st.lists(st.floats(0, 3), min_size=1, max_size=60))
def test_no_sequence_of_takes_gets_more_than_burst_and_rate(pauses: list[float]) -> None:
    bucket, now, taken = TokenBucket.full(rate=2.0, burst=4, now=0.0), 0.0, 0
    for pause in pauses:
        now += pause
        while bucket.available(now) >= 1:
            bucket.take(now)
            taken += 1
        assert taken <= 4 + 2.0 * now + 1e-6


def test_canaries_wait_five_minutes_and_then_twice_as_long_up_to_half_an_hour() -> None:
    hold = Hold.begin("client_outdated", now=0.0, roll=0.5)
    waits, now = [hold.seconds_until_canary(0.0)], 0.0
    for _ in range(5):
        now = hold.next_canary_at
        assert hold.seconds_until_canary(now) == 0
        hold.canary = "shop"
        assert hold.seconds_until_canary(now) == math.inf, "one at a time"
        hold.canary_failed(now, roll=0.5)
        assert hold.canary is None
        waits.append(hold.seconds_until_canary(now))
    assert waits[0] == pytest.approx(300)
    assert waits[1] in (pytest.approx(300), pytest.approx(600))
    assert waits[-1] == pytest.approx(1800)
    assert waits == sorted(waits)


@given(st.floats(0, 1, exclude_max=True), st.integers(0, 2000))
def test_a_canary_is_spread_by_a_tenth_and_never_overflows(roll: float, failures: int) -> None:
    hold = Hold.begin("client_outdated", now=0.0, roll=roll)
    hold.canaries = min(failures, 1000)
    hold.canary_failed(0.0, roll)
    assert 270 - 1e-6 <= hold.seconds_until_canary(0.0) <= 1980 + 1e-6
