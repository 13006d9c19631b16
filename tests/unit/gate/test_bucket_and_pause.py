"""The gate's two pure parts: the token bucket and the hold with its canaries."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sessions.model import SessionId
from supervisor.gate.bucket import Allowance, TokenBucket
from supervisor.gate.outage import FLEET, OUTAGE, Scope
from supervisor.gate.pace import LIMITED_PACE, OUTAGE_PACE, VERSION_PACE
from supervisor.gate.pause import Pause
from supervisor.gate.pauses import Rejections

SHOP = SessionId("shop")


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


def test_canaries_after_a_405_wait_five_minutes_and_then_twice_as_long_up_to_half_an_hour() -> None:
    pause = Pause.begin(FLEET, "client_outdated", "", now=0.0, draw=0.5)
    waits, now = [pause.seconds_until_canary(0.0)], 0.0
    for _ in range(6):
        now = pause.next_canary_at
        assert pause.seconds_until_canary(now) == 0
        assert pause.canary_tries(SHOP, now, draw=0.5) is None, (
            "its attempt may take as long as any"
        )
        assert pause.seconds_until_canary(now) == math.inf, "one at a time"
        assert pause.seconds_until_canary(now, urgent=True) == math.inf
        pause.canary_failed()
        assert pause.seconds_until_canary(now, urgent=True) == 5, (
            "operators who force all do not make it a burst"
        )
        waits.append(pause.seconds_until_canary(now))
    assert waits == pytest.approx([300, 300, 600, 1200, 1800, 1800, 1800])


def test_canaries_of_an_outage_are_a_share_of_its_length_apart() -> None:
    pause, now, waits = Pause.begin(FLEET, OUTAGE, "", now=0.0, draw=0.5), 0.0, {}
    while now < 3600:
        now = pause.next_canary_at
        deadline = pause.canary_tries(SHOP, now, draw=0.5)
        assert (deadline is None) == (pause.canaries % 3 == 0), (
            "every third has the time of any attempt"
        )
        assert deadline is None or 5 <= deadline <= 15
        waits[now] = pause.next_canary_at - now
        pause.canary_failed()
    assert min(waits) == pytest.approx(0.25)
    assert all(
        wait == pytest.approx(max(1, min(12.5, 0.15 * at)))
        for at, wait in waits.items()
        if at < 600
    )
    assert all(wait == pytest.approx(min(50, 0.05 * at)) for at, wait in waits.items() if at >= 600)


def test_a_wave_of_429_is_not_answered_by_knocking_every_second() -> None:
    pause = Pause.begin(Scope("reason", "rate_limited"), OUTAGE, "", now=0.0, draw=0.0)
    assert pause.seconds_until_canary(0.0) == pytest.approx(12)
    pause.canary_tries(SHOP, 12.0, draw=0.0)
    assert pause.next_canary_at == pytest.approx(24)


def test_a_canary_that_is_called_off_leaves_its_turn_to_the_next_and_one_that_fails_does_not() -> (
    None
):
    pause = Pause.begin(FLEET, OUTAGE, "", now=0.0, draw=0.5)
    pause.canary_tries(SHOP, 100.0, draw=0.5)
    pause.canary_failed()
    assert pause.seconds_until_canary(101.0) == pytest.approx(11.5)
    pause.canary_tries(SHOP, 112.5, draw=0.5)
    pause.canary_left(113.0)
    assert pause.seconds_until_canary(113.0) == 0


def test_a_pause_is_given_up_when_for_a_minute_nobody_was_there_to_try() -> None:
    pause = Pause.begin(FLEET, OUTAGE, "", now=0.0, draw=0.5)
    assert [pause.seconds_until_given_up(at) for at in (10.0, 40.0, 70.0)] == [60, 30, 0]
    pause.canary_tries(SHOP, 70.0, draw=0.5)
    assert pause.seconds_until_given_up(200.0) == math.inf, "the canary is there"
    pause.canary_failed()
    assert pause.seconds_until_given_up(200.0) == 60
    assert Pause.begin(FLEET, "client_outdated", "", 0.0, 0.5).seconds_until_given_up(1e6) == 60


def test_a_pause_with_a_head_start_goes_on_at_the_pace_of_the_one_before() -> None:
    pause = Pause.begin(FLEET, OUTAGE, "", now=1000.0, draw=0.5, head_start=40.0)
    assert pause.seconds_until_canary(1000.0) == pytest.approx(6)
    pause.canary_tries(SHOP, 1010.0, draw=0.5)
    assert pause.next_canary_at == pytest.approx(1010 + 0.15 * 50)
    assert pause.lasted(1010.0) == 50
    late = Pause.begin(FLEET, "client_outdated", "", now=0.0, draw=0.5, head_start=900.0)
    assert late.seconds_until_canary(0.0) == pytest.approx(900)


def test_one_rejected_version_is_its_sessions_own_trouble_and_a_second_is_everybodys() -> None:
    shop, desk, third = SHOP, SessionId("desk"), SessionId("third")
    rejections = Rejections()
    assert [rejections.add(shop, at) for at in (0.0, 300.0, 600.0)] == [False] * 3, (
        "one session, however often"
    )
    assert not rejections.add(desk, 2401.0), "too far apart"
    assert rejections.add(third, 2402.0)
    rejections.opened(third)
    assert not rejections.add(desk, 2500.0), "the other has come through"


def test_who_is_rejected_again_after_a_release_is_no_reason_to_hold_the_others_unless_many_are() -> (
    None
):
    five = [SessionId(f"s{number}") for number in range(5)]
    rejections = Rejections()
    for session in five:
        rejections.add(session, 0.0)
    rejections.released()
    assert [rejections.add(session, 10.0) for session in five] == [False] * 4 + [True]
    rejections.released()
    rejections.left(five[0])
    assert [rejections.add(session, 20.0) for session in five[:2]] == [False] * 2
    assert rejections.add(SessionId("new"), 30.0)


@given(st.floats(0, 1, exclude_max=True), st.floats(0, 1e6))
def test_every_pace_stays_within_its_bounds(draw: float, held_for: float) -> None:
    early = held_for < 600
    assert 0.8 <= OUTAGE_PACE.wait_seconds(held_for, draw) <= (15.0 if early else 60.0)
    assert 12 <= LIMITED_PACE.wait_seconds(held_for, draw) <= 60.0
    assert 270 - 1e-6 <= VERSION_PACE.wait_seconds(held_for, draw) <= 1980 + 1e-6


def test_an_allowance_keeps_what_is_reserved_until_the_login_lands() -> None:
    allowance = Allowance(TokenBucket.full(rate=1.0, burst=2, now=0.0))
    allowance.reserve()
    assert allowance.seconds_until_free(0.0) == 0
    allowance.reserve()
    assert allowance.seconds_until_free(1000.0) == math.inf, "a login has to land first"
    allowance.take(1000.0)
    assert (allowance.available(1000.0), allowance.seconds_until_free(1000.0)) == (1, 1)
    assert allowance.seconds_until_free(1001.0) == 0
