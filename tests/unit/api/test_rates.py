"""Everybody has a rate of his own, and what is remembered of everybody is bounded."""

import pytest

from api.gatehouse import rates
from api.gatehouse.rates import Rates


def test_who_calls_too_often_waits_and_nobody_else_does() -> None:
    found = Rates(per_minute=60, burst=3)
    assert [found.take("n8n", 0.0) for _ in range(4)] == [0.0, 0.0, 0.0, 1.0]
    assert found.take("cron", 0.0) == 0.0
    assert found.wait("n8n", 0.5) == 0.5
    assert found.take("n8n", 1.0) == 0.0
    assert found.take("n8n", 1.0) == 1.0
    assert found.take("n8n", 100.0) == 0.0
    assert [found.take("n8n", 100.0) for _ in range(3)] == [0.0, 0.0, 1.0], "a pause is no credit"


def test_a_look_takes_nothing() -> None:
    found = Rates(per_minute=60, burst=1)
    assert found.wait("n8n", 0.0) == 0.0
    assert found.wait("n8n", 0.0) == 0.0
    assert found.take("n8n", 0.0) == 0.0
    assert found.wait("n8n", 0.0) == 1.0


def test_of_too_many_whoever_was_not_seen_for_longest_is_forgotten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rates, "MOST_KNOWN", 2)
    found = Rates(per_minute=60, burst=1)
    for who in ("a", "b", "a", "c"):
        found.take(who, 0.0)
    assert found.wait("a", 0.0) > 0
    assert found.wait("b", 0.0) == 0
    assert found.wait("c", 0.0) > 0
