"""Every source is asked, and one that fails takes nothing away from the others."""

from collections.abc import Awaitable

import pytest

from supervisor.history.history import History
from supervisor.history.sampler import Sampler
from supervisor.history.sources import Figures

CPU, MEMORY = ("host.cpu", None), ("host.memory", None)


async def test_a_source_that_fails_leaves_gaps_in_its_own_series_alone() -> None:
    def broken() -> Figures:
        raise OSError("no /proc")

    async def told_later() -> Figures:
        return {MEMORY: 0.5}

    def awaited() -> Awaitable[Figures]:
        return told_later()

    history = History()
    sampler = Sampler(history, [lambda: {CPU: 0.25}, broken, awaited])
    with pytest.raises(OSError, match="no /proc"):
        await sampler.sample()
    latest = history.latest()
    assert (latest[CPU], latest[MEMORY]) == (0.25, 0.5)
