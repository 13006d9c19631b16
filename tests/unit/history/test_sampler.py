"""Every source is asked, and one that fails takes nothing away from the others."""

from collections.abc import Awaitable, Mapping

import pytest

from supervisor.history.sampler import Sampler
from supervisor.history.series import Key
from supervisor.history.sources import Figures

CPU, MEMORY = ("host.cpu", None), ("host.memory", None)


async def test_a_source_that_fails_leaves_gaps_in_its_own_series_alone() -> None:
    def broken() -> Figures:
        raise OSError("no /proc")

    async def told_later() -> Figures:
        return {MEMORY: 0.5}

    def awaited() -> Awaitable[Figures]:
        return told_later()

    taken: list[Mapping[Key, float]] = []
    sampler = Sampler(
        lambda figures, at: taken.append(figures), [lambda: {CPU: 0.25}, broken, awaited]
    )
    with pytest.raises(OSError, match="no /proc"):
        await sampler.sample()
    (figures,) = taken
    assert (figures[CPU], figures[MEMORY]) == (0.25, 0.5)
