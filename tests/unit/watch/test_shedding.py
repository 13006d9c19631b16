"""What is critical, and when calls that can wait are refused for it."""

from collections.abc import Mapping
from typing import Any

import pytest

from supervisor.alerts.alerts import Alerts
from supervisor.alerts.judging.thresholds import Thresholds
from supervisor.history.series import SERIES, Key
from supervisor.watch.shedding import (
    BEGINS_AFTER,
    ENDS_AFTER,
    Shedding,
    SheddingLimits,
    limits_of,
    shortages,
)

LIMITS = SheddingLimits(cpu=0.85, memory=0.9, descriptors=950.0)
CALM: Mapping[Key, float] = {
    ("host.cpu", None): 0.2,
    ("host.memory", None): 0.5,
    ("supervisor.descriptors", None): 100.0,
}


def figures(**more: float) -> dict[Key, float]:
    names = {"cpu": "host.cpu", "memory": "host.memory", "descriptors": "supervisor.descriptors"}
    return {**CALM, **{(names[name], None): value for name, value in more.items()}}


@pytest.fixture
def told() -> list[Any]:
    return []


@pytest.fixture
def shedding(told: list[Any]) -> Shedding:
    alerts = Alerts(lambda _, event: told.append(event))
    return Shedding(dict, LIMITS, alerts)


def judge(shedding: Shedding, seen: Mapping[Key, float], times: int) -> None:
    for _ in range(times):
        shedding.judge(seen)


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"cpu": 0.86}, "CPU is 86%, above 85%"),
        ({"memory": 0.93}, "memory is 93%, above 90%"),
        ({"descriptors": 990.0}, "990 descriptors of the supervisor are open, above 950"),
    ],
)
def test_each_of_the_three_can_be_critical(more: dict[str, float], words: str) -> None:
    (found,) = shortages(figures(**more), LIMITS)
    assert found.words == words


def test_at_its_limit_nothing_is_critical_nor_what_is_not_known_nor_what_has_no_limit() -> None:
    assert shortages(figures(cpu=0.85, memory=0.9, descriptors=950.0), LIMITS) == ()
    assert shortages({}, LIMITS) == ()
    assert shortages(figures(cpu=1.0, memory=1.0, descriptors=1e6), SheddingLimits()) == ()


def test_the_limits_are_those_of_critical_alerts() -> None:
    assert limits_of(Thresholds(), 1000) == SheddingLimits(cpu=None, memory=0.9, descriptors=950.0)
    assert limits_of(Thresholds(cpu_critical=0.85, memory_critical=None), None) == SheddingLimits(
        cpu=0.85, memory=None, descriptors=None
    )


def test_what_is_judged_is_measured() -> None:
    assert {"host.cpu", "host.memory", "supervisor.descriptors"} <= set(SERIES)


def test_one_busy_moment_refuses_nothing(shedding: Shedding, told: list[Any]) -> None:
    for _ in range(5):
        judge(shedding, figures(cpu=1.0), BEGINS_AFTER - 1)
        judge(shedding, CALM, 1)
        assert not shedding.on
    assert told == []


def test_it_is_told_once_as_it_begins_and_once_as_it_ends(
    shedding: Shedding, told: list[Any]
) -> None:
    judge(shedding, figures(cpu=1.0), 10)
    assert shedding.on
    judge(shedding, CALM, ENDS_AFTER - 1)
    assert shedding.on
    judge(shedding, CALM, 1)
    assert not shedding.on
    assert [(one.name, one.state) for one in told] == [("shedding", "began"), ("shedding", "ended")]
    assert told[0].message == "CPU is 100%, above 85%: calls that can wait are refused"
    assert (told[0].value, told[0].limit) == (1.0, 0.85)


def test_a_figure_about_its_limit_does_not_end_it(shedding: Shedding, told: list[Any]) -> None:
    judge(shedding, figures(memory=0.95), BEGINS_AFTER)
    for _ in range(20):
        judge(shedding, figures(memory=0.89), 1)
        judge(shedding, figures(memory=0.91), 1)
    assert shedding.on
    judge(shedding, figures(memory=0.85), ENDS_AFTER)
    assert not shedding.on
    assert len(told) == 2


async def test_it_looks_at_the_figures_of_the_history(told: list[Any]) -> None:
    now = figures(memory=0.99)
    shedding = Shedding(lambda: now, LIMITS, Alerts(lambda _, event: told.append(event)))
    for _ in range(BEGINS_AFTER):
        await shedding.look()
    assert shedding.on
