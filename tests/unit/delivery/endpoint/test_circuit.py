"""The circuit: is the endpoint away, or is it one event that it refuses?"""

import pytest

from supervisor.delivery.endpoint.circuit import (
    FAILURES,
    FIRST_CANARY_SECONDS,
    LAST_CANARY_SECONDS,
    Circuit,
)

EVEN = 0.5
"""The draw that leaves a wait as it is."""


def failed(circuit: Circuit, *numbers: int, away: bool = False, now: float = 0.0) -> list[bool]:
    return [circuit.failed(n, away, now, EVEN) for n in numbers]


def test_refusals_of_several_events_in_a_row_open_it_once() -> None:
    circuit = Circuit()
    assert failed(circuit, 1, 2, 3, 4, 5, 6) == [False] * (FAILURES - 1) + [True, False]
    assert circuit.is_open


def test_refusals_of_one_event_alone_are_that_event_s_trouble() -> None:
    circuit = Circuit()
    assert not any(failed(circuit, *[1] * 50))
    assert failed(circuit, 2) == [True], "and now it is two"


def test_no_answer_is_the_endpoint_s_trouble_whichever_event_it_was() -> None:
    circuit = Circuit()
    assert failed(circuit, *[1] * FAILURES, away=True)[-1]


def test_one_success_in_between_begins_anew() -> None:
    circuit = Circuit()
    failed(circuit, 1, 2, 3, 4)
    assert not circuit.succeeded()
    assert not any(failed(circuit, 1, 2, 3, 4))


def test_canaries_go_ever_more_rarely_and_one_success_closes_it() -> None:
    circuit, now, waits = Circuit(), 100.0, []
    failed(circuit, 1, 2, 3, 4, 5, now=now)
    for _ in range(10):
        assert circuit.canary_at is not None
        assert not circuit.sends_canary(circuit.canary_at - 0.01)
        assert circuit.sends_canary(circuit.canary_at)
        waits.append(circuit.canary_at - now)
        now = circuit.canary_at
        failed(circuit, 1, now=now)
    assert waits[:3] == [FIRST_CANARY_SECONDS, 2 * FIRST_CANARY_SECONDS, 4 * FIRST_CANARY_SECONDS]
    assert max(waits) == waits[-1] == LAST_CANARY_SECONDS
    assert circuit.failing_since == 100.0
    assert circuit.succeeded()
    assert not circuit.is_open


def test_the_endpoint_s_own_wish_is_the_least_wait_and_jitter_is_a_fifth() -> None:
    circuit = Circuit()
    for n in range(FAILURES):
        circuit.failed(n, True, 0.0, EVEN, least_seconds=60.0)
    assert circuit.canary_at == 60.0
    times = []
    for draw in (0.0, 1.0):
        circuit = Circuit()
        for n in range(FAILURES):
            circuit.failed(n, True, 0.0, draw)
        times.append(circuit.canary_at)
    assert times == pytest.approx([0.8 * FIRST_CANARY_SECONDS, 1.2 * FIRST_CANARY_SECONDS])
