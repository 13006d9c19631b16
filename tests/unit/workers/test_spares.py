"""Warm spares on a fast-forwarded clock: kept, taken, replaced, and started again and again if that
fails.
"""

import asyncio
from collections import deque

import pytest
import structlog
from structlog.testing import capture_logs

from sessions.forever import Forever
from sessions.model import SpawnRefused, StoreUnavailable, WorkerGone
from sessions.workers.spares import LAST_RETRY_SECONDS, REFILL_DELAY_SECONDS, Spares
from sessions.workers.worker_process import Exit

pytestmark = [pytest.mark.looptime(noop_cycles=6), pytest.mark.usefixtures("no_tasks_left")]


class Spare:
    """An idle worker."""

    def __init__(self, number: int) -> None:
        self.id = f"spare-{number}"
        self.ended: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()

    @property
    def alive(self) -> bool:
        return not self.ended.done()

    def end(self) -> None:
        if self.alive:
            self.ended.set_result(Exit(status=0))

    async def stop(self) -> Exit:
        await asyncio.sleep(0.5)
        self.end()
        return Exit(status=0)


class Nursery:
    """Starts spares, each in a second; `errors` come first."""

    def __init__(self, count: int, *errors: Exception) -> None:
        self.errors = deque(errors)
        self.started: list[Spare] = []
        self.tried: list[float] = []
        self.under_way = 0
        self.lives_for: float | None = None
        self.spares = Spares(count, self._start, Forever())  # type: ignore[arg-type]

    async def _start(self) -> Spare:
        loop = asyncio.get_running_loop()
        self.tried.append(loop.time())
        self.under_way += 1
        try:
            await asyncio.sleep(1.0)
        finally:
            self.under_way -= 1
        if self.errors:
            raise self.errors.popleft()
        self.started.append(Spare(len(self.started) + 1))
        if self.lives_for is not None:
            loop.call_later(self.lives_for, self.started[-1].end)
        return self.started[-1]


async def test_none_is_started_before_it_is_opened() -> None:
    nursery = Nursery(2)
    assert nursery.spares.take() is None
    await asyncio.sleep(60)
    assert nursery.tried == []
    nursery.spares.open()
    await asyncio.sleep(2.5)
    assert [worker.id for worker in nursery.spares.idle] == ["spare-1", "spare-2"]
    await asyncio.sleep(3600)
    assert len(nursery.started) == 2, "as many as are wanted, and no more"
    await nursery.spares.close()


async def test_one_that_is_taken_is_replaced_and_never_given_twice() -> None:
    nursery = Nursery(1)
    nursery.spares.open()
    await asyncio.sleep(1.5)
    taken = nursery.spares.take()
    assert taken is not None
    assert taken.id == "spare-1"
    assert nursery.spares.take() is None
    await asyncio.sleep(REFILL_DELAY_SECONDS + 1.5)
    assert [worker.id for worker in nursery.spares.idle] == ["spare-2"]
    await nursery.spares.close()
    assert taken.alive, "whoever took it has it"


async def test_whoever_has_taken_one_logs_in_before_the_next_is_started() -> None:
    nursery = Nursery(2)
    nursery.spares.open()
    await asyncio.sleep(2.5)
    taken = asyncio.get_running_loop().time()
    nursery.spares.take()
    nursery.spares.take()
    await asyncio.sleep(10)
    assert [at - taken for at in nursery.tried[2:]] == pytest.approx(
        [REFILL_DELAY_SECONDS, REFILL_DELAY_SECONDS + 1.0], abs=0.01
    )
    await nursery.spares.close()


async def test_one_that_dies_is_not_handed_out_and_is_replaced() -> None:
    nursery = Nursery(1)
    nursery.spares.open()
    await asyncio.sleep(1.5)
    nursery.started[0].end()
    assert nursery.spares.idle == []
    assert nursery.spares.take() is None
    await asyncio.sleep(2.5)
    assert [worker.id for worker in nursery.spares.idle] == ["spare-2"]
    await nursery.spares.close()


@pytest.mark.parametrize(
    "error", [WorkerGone("no"), TimeoutError(), StoreUnavailable("full"), OSError(12, "memory")]
)
async def test_a_start_that_fails_is_tried_again_with_growing_waits(error: Exception) -> None:
    nursery = Nursery(1, *[error] * 9)
    nursery.spares.open()
    await asyncio.sleep(1000)
    waits = [b - a - 1.0 for a, b in zip(nursery.tried, nursery.tried[1:], strict=False)]
    assert waits == pytest.approx([1, 2, 4, 8, 16, 32, 60, 60, 60], abs=0.01)
    assert len(nursery.spares.idle) == 1
    nursery.errors.append(error)
    nursery.spares.take()
    await asyncio.sleep(REFILL_DELAY_SECONDS + 4)
    assert len(nursery.spares.idle) == 1, "and the next trouble begins with short waits again"
    await nursery.spares.close()


async def test_spares_that_die_as_soon_as_they_are_ready_do_not_make_it_spin() -> None:
    nursery = Nursery(1)
    nursery.lives_for = 0.01
    nursery.spares.open()
    await asyncio.sleep(600)
    await nursery.spares.close()
    assert len(nursery.tried) < 600 / LAST_RETRY_SECONDS + 20, (
        "each start costs a machine in trouble dear"
    )


async def test_close_ends_the_idle_ones_and_what_is_being_started() -> None:
    nursery = Nursery(3)
    nursery.spares.open()
    await asyncio.sleep(2.5)
    assert (len(nursery.started), nursery.under_way) == (2, 1)
    await nursery.spares.close()
    assert [worker.alive for worker in nursery.started] == [False, False]
    assert nursery.under_way == 0
    await asyncio.sleep(600)
    assert len(nursery.tried) == 3


async def test_close_does_not_wait_for_a_retry_and_may_come_before_open() -> None:
    nursery = Nursery(1, *[WorkerGone("no")] * 99)
    nursery.spares.open()
    await asyncio.sleep(100)
    began = asyncio.get_running_loop().time()
    await nursery.spares.close()
    assert asyncio.get_running_loop().time() == began
    await Nursery(1).spares.close()


async def test_without_any_nothing_is_started() -> None:
    nursery = Nursery(0)
    nursery.spares.open()
    await asyncio.sleep(60)
    assert nursery.spares.take() is None
    assert nursery.tried == []
    await nursery.spares.close()


async def test_a_machine_that_refuses_for_long_is_told_of_twice_when_it_begins_and_when_it_is_over() -> (
    None
):
    structlog.reset_defaults()
    nursery = Nursery(
        1, *(SpawnRefused(OSError(11, "Resource temporarily unavailable")) for _ in range(50))
    )
    with capture_logs() as logs:
        nursery.spares.open()
        await asyncio.sleep(2 * 3600)
    assert len(nursery.spares.idle) == 1
    assert [entry["action"] for entry in logs] == ["spare_failed", "spare_works"]
    await nursery.spares.close()
