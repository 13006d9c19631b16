"""A session's figures."""

import pytest

from sessions.records.counters import ERROR_WINDOW_SECONDS, RESPONSES_KEPT, Counters


def test_fresh_counters_say_nothing_happened() -> None:
    counters = Counters()
    assert (counters.messages_processed, counters.error_count, counters.reconnect_count) == (
        0,
        0,
        0,
    )
    assert counters.average_response_ms() is None
    assert counters.messages_per_minute(100.0) == 0
    assert counters.outcomes(100.0) == (0, 0)


def test_messages_per_minute_are_those_of_the_last_sixty_seconds() -> None:
    counters = Counters()
    for now in (0.0, 30.0, 59.0):
        counters.message(now)
    assert counters.messages_per_minute(59.5) == 3
    assert counters.messages_per_minute(61.0) == 2
    assert counters.messages_per_minute(200.0) == 0
    assert counters.messages_processed == 3, "the total is never forgotten"


def test_it_is_quiet_when_nothing_has_come_or_gone_for_a_while_and_nothing_is_under_way() -> None:
    counters = Counters()
    assert counters.idle(0.0, 5.0)
    counters.message(10.0)
    assert not counters.idle(14.9, 5.0)
    assert counters.idle(15.0, 5.0)
    counters.sending = 1
    assert not counters.idle(1000.0, 5.0)
    counters.sending = 0
    assert counters.idle(1000.0, 5.0)
    counters.messages_per_minute(1000.0)  # forgets the old ones
    assert counters.idle(1000.0, 5.0)


def test_the_average_is_of_the_last_round_trips_only() -> None:
    counters = Counters()
    counters.succeeded(0.0, 1e9)
    for _ in range(RESPONSES_KEPT - 1):
        counters.succeeded(0.0, 10.0)
    assert counters.average_response_ms() == pytest.approx((1e9 + 190) / 20)
    counters.succeeded(0.0, 10.0)
    assert counters.average_response_ms() == 10.0


def test_a_success_without_a_round_trip_leaves_the_average_alone() -> None:
    counters = Counters()
    counters.succeeded(0.0, 8.0)
    counters.succeeded(1.0)
    assert counters.average_response_ms() == 8.0


def test_outcomes_are_those_of_the_last_five_minutes() -> None:
    counters = Counters()
    counters.failed(0.0)
    counters.succeeded(10.0)
    counters.failed(20.0)
    assert counters.outcomes(20.0) == (2, 3)
    assert counters.outcomes(ERROR_WINDOW_SECONDS + 5) == (1, 2)
    assert counters.outcomes(ERROR_WINDOW_SECONDS + 21) == (0, 0)
    assert counters.error_count == 2


def test_the_first_opening_is_no_reconnect() -> None:
    counters = Counters()
    for now in (1.0, 2.0, 3.0):
        counters.opened(now)
    assert counters.reconnect_count == 2
    assert counters.outcomes(3.0) == (0, 3)
