"""The daily snapshots: looked for every hour, for as long as the supervisor lives."""

import asyncio
from functools import partial

import pytest

from sessions.forever import Forever
from sessions.model import StoreUnavailable
from supervisor.fleet.credential_snapshots import DAY_SECONDS, LOOK_SECONDS, take_snapshots

pytestmark = [pytest.mark.looptime(noop_cycles=6), pytest.mark.usefixtures("no_tasks_left")]


class SnapshotStore:
    """Remembers when it was asked for what is due."""

    def __init__(self) -> None:
        self.asked: list[tuple[float, float]] = []
        self.failing = False

    async def snapshot_due(self, older_than_seconds: float) -> int:
        self.asked.append((asyncio.get_running_loop().time(), older_than_seconds))
        if self.failing:
            raise StoreUnavailable("The disk is full.")
        return 3


async def test_it_is_looked_at_once_and_then_every_hour_whatever_the_store_says() -> None:
    store = SnapshotStore()
    look = partial(take_snapshots, store)  # type: ignore[arg-type]
    keeping = Forever().keep("snapshots", look, every_seconds=LOOK_SECONDS)
    await asyncio.sleep(1.5 * LOOK_SECONDS)
    assert store.asked == [
        (pytest.approx(0.0, abs=0.1), DAY_SECONDS),
        (pytest.approx(LOOK_SECONDS), DAY_SECONDS),
    ]
    store.failing = True
    await asyncio.sleep(10 * LOOK_SECONDS)
    assert len(store.asked) == 12, "an hour that fails is made up for in the next"
    assert not keeping.done
    await keeping.close()
