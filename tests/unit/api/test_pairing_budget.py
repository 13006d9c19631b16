"""Pairing codes are asked for at a pace that a person can type at."""

from api.gatehouse.pairing_budget import FLEET_BURST, PairingBudget
from sessions.model import SessionId

A, B = SessionId("a"), SessionId("b")


def test_a_session_gets_one_code_in_half_a_minute_and_is_told_when_the_next() -> None:
    budget = PairingBudget(100.0)
    assert budget.take(A, 100.0) == 0
    assert budget.take(A, 110.0) == 20
    assert budget.take(B, 110.0) == 0, "another session is another phone"
    assert budget.take(A, 129.0) == 1, "what was refused has not begun the time anew"
    assert budget.take(A, 130.0) == 0


def test_the_fleet_gets_a_few_at_once_and_then_one_every_six_seconds() -> None:
    budget = PairingBudget(0.0)
    assert [budget.take(SessionId(f"s{n}"), 0.0) for n in range(FLEET_BURST)] == [0.0] * FLEET_BURST
    assert round(budget.take(A, 0.0), 6) == 6
    assert round(budget.take(A, 2.0), 6) == 4
    assert budget.take(A, 6.001) == 0
    assert budget.take(B, 6.001) > 5


def test_sessions_of_the_past_are_not_remembered() -> None:
    budget = PairingBudget(0.0)
    for n in range(100):
        assert budget.take(SessionId(f"s{n}"), n * 10.0) == 0
    assert len(budget._asked_at) <= 3
