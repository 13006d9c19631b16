"""Every source is asked, once for each ten seconds, and one that fails takes nothing away from the
others.
"""

import asyncio
from collections.abc import Mapping

import pytest

from supervisor.history.sampler import Sampler
from supervisor.history.series import Key
from supervisor.history.sources import Figures

CPU, MEMORY = ("host.cpu", None), ("host.memory", None)


async def test_a_source_that_fails_leaves_gaps_in_its_own_series_alone() -> None:
    def broken() -> Figures:
        raise OSError("no /proc")

    async def awaited() -> Figures:
        return {MEMORY: 0.5}

    taken: list[Mapping[Key, float]] = []
    sampler = Sampler(
        lambda figures, at: taken.append(figures), [lambda: {CPU: 0.25}, broken, awaited]
    )
    with pytest.raises(OSError, match="no /proc"):
        await sampler.sample(0.0)
    (figures,) = taken
    assert (figures[CPU], figures[MEMORY]) == (0.25, 0.5)


class Clock:
    """Played time. Each sleep ends when it is told: so many seconds after it should have."""

    def __init__(self, *late: float) -> None:
        self.now = 1_003.0
        self._late = list(late)

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds + (self._late.pop(0) if self._late else 0.0)


@pytest.mark.parametrize("late", [(), (-0.00005,), (-3.0, -0.5), (0.25,), (12.0,)])
async def test_the_figures_are_those_of_the_ten_seconds_that_ran_however_long_the_sleep(
    late: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock, taken = Clock(*late), list[float]()
    monkeypatch.setattr(asyncio, "sleep", clock.sleep)
    sampler = Sampler(lambda _figures, at: taken.append(at), [], clock)
    await sampler.look()
    assert taken == [1_000.0]
    assert clock.now >= 1_010.0, "not before they are over: what counts is told of once"
    monkeypatch.undo()


async def test_a_clock_that_is_set_back_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, taken = Clock(-3_600.0), list[float]()
    monkeypatch.setattr(asyncio, "sleep", clock.sleep)
    sampler = Sampler(lambda _figures, at: taken.append(at), [], clock)
    for _ in range(2):
        await sampler.look()
    assert len(taken) == 1
    assert clock.now < 1_003.0
    monkeypatch.undo()


async def test_a_session_that_is_deleted_while_another_source_is_awaited_is_not_told_of() -> None:
    sessions, key = {"shop"}, "session.messages"

    async def slow() -> Figures:
        sessions.clear()
        return {MEMORY: 0.5}

    taken: list[Mapping[Key, float]] = []
    sampler = Sampler(
        lambda figures, at: taken.append(figures),
        [lambda: {(key, name): 1.0 for name in sessions}, slow],
    )
    await sampler.sample(0.0)
    assert (key, "shop") not in taken[0]
