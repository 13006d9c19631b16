"""Which workers are refused, and what becomes of them and their sessions."""

import asyncio

import msgspec
import pytest

from sessions.lifecycle import remembered
from sessions.model import CloseReason as R
from sessions.model import SessionState as S
from sessions.workers.worker_process import Exit
from supervisor.fleet.feed import Feed
from supervisor.fleet.fleet import Fleet
from supervisor.gate.gate import Gate, GateConfig
from tests.fakes import FakeWorker, World
from tests.unit.lifecycle.adoption.pasts import (
    HOUR,
    MINUTE,
    SHOWN_AS,
    Stage,
    holding,
    how_closed,
    now,
    with_a_parked_past,
    with_a_past,
    worker_returns,
)

pytestmark = [
    pytest.mark.looptime(noop_cycles=6),
    pytest.mark.usefixtures("no_tasks_left", "wall_clock_in_step"),
]


@pytest.mark.parametrize("stage", Stage)
async def test_a_worker_of_another_epoch_is_refused_and_ended_before_another_is_given_the_session(
    stage: Stage,
) -> None:
    async with World() as world:
        worker = await worker_returns(world, stage, epoch=3)
        await world.until(S.OPEN)
        assert world.workers.refused == [
            (worker.id, "it is of epoch 3, and the session is at epoch 1")
        ]
        assert not worker.alive
        assert world.session.worker is world.workers.made[1]


@pytest.mark.parametrize("stage", [Stage.IDLE, Stage.CONNECTING, Stage.QR])
async def test_a_worker_of_a_parked_session_is_refused_and_the_session_stays_parked(
    stage: Stage,
) -> None:
    async with World() as world:
        await with_a_parked_past(world)
        worker = world.workers.comes_back("shop", **holding(stage))
        await world.start()
        await world.until(S.PARKED)
        await asyncio.sleep(HOUR)
        assert world.workers.refused == [(worker.id, "its session is parked")]
        assert world.workers.attempts == []
        assert world.session.state is S.PARKED
        assert world.session.reconnection().close_reason is R.BANNED


async def test_a_parked_session_that_is_open_after_all_is_adopted_and_parked_no_more() -> None:
    async with World() as world:
        await with_a_parked_past(world)
        worker = world.workers.comes_back("shop", **holding(Stage.OPEN))
        await world.start()
        await world.until(S.OPEN)
        assert world.session.worker is worker
        assert remembered.decode(world.store.rows["shop"].memory, now()).parked is False


@pytest.mark.parametrize("stage", Stage)
async def test_with_a_memory_that_cannot_be_read_no_worker_is_adopted_and_nothing_is_overwritten(
    stage: Stage,
) -> None:
    async with World() as world:
        await with_a_past(world)
        world.store.rows["shop"] = msgspec.structs.replace(
            world.store.rows["shop"], memory=b"{torn"
        )
        worker = world.workers.comes_back("shop", **holding(stage))
        await world.start()
        await world.until(S.QUARANTINED)
        await asyncio.sleep(HOUR)
        assert [refused for refused, _ in world.workers.refused] == [worker.id]
        assert not worker.alive
        assert world.workers.attempts == []
        await world.close()
        assert world.store.rows["shop"].memory == b"{torn"


async def test_a_session_that_is_not_wanted_adopts_nobody() -> None:
    async with World() as world:
        worker = await _unwanted(world)
        await world.start()
        await asyncio.sleep(MINUTE)
        assert world.session.state is S.STOPPED
        assert world.session.worker is None
        assert world.workers.expects("shop"), "the fleet sees it off"
        assert worker.alive


async def test_the_fleet_sees_off_whom_no_wanted_session_claims_and_keeps_the_others() -> None:
    async with World() as world:
        unwanted = await _unwanted(world)
        await world.store.create_session("kept", wanted=True)  # type: ignore[arg-type]
        world.store.rows["kept"] = msgspec.structs.replace(world.store.rows["kept"], epoch=1)
        deleted = world.workers.comes_back("deleted", **holding(Stage.OPEN))
        kept = world.workers.comes_back("kept", **holding(Stage.OPEN))
        gate = Gate(GateConfig(), world.dependencies.rng)
        fleet = Fleet(world.dependencies, gate, Feed(world.store, [], 10))  # type: ignore[arg-type]
        await fleet.open()
        await asyncio.sleep(1)
        assert [worker.alive for worker in (unwanted, deleted, kept)] == [False, False, True]
        assert {session.id: session.state for session in fleet.sessions()} == {
            "shop": S.STOPPED,
            "kept": S.OPEN,
        }
        await fleet.close(detach=True)
        assert kept.alive, "and leaves them to its own successor"
        kept.end(Exit(status=0))


async def test_a_worker_that_ends_before_it_calls_is_replaced() -> None:
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)
        await world.crash(workers_live=True)
        world.come_back(after=2.0)
        world.workers.last.later(1.0, lambda: world.workers.made[0].end(Exit(signal=9)))
        await world.start()
        await world.until(S.OPEN)
        assert len(world.workers.made) == 2
        assert world.store.rows["shop"].epoch == 2


@pytest.mark.parametrize("stage", Stage)
async def test_a_worker_that_ends_after_its_call_and_before_it_is_adopted_is_replaced(
    stage: Stage,
) -> None:
    """Nobody is told of its end, as it had no owner yet."""
    async with World() as world:
        await with_a_past(world)
        worker = world.workers.comes_back("shop", **holding(stage))
        worker.end(Exit(signal=9))
        await world.start()
        await asyncio.sleep(5 * MINUTE)
        assert world.session.state is S.OPEN
        assert world.session.worker is not worker


@pytest.mark.parametrize("stage", Stage)
async def test_a_worker_that_ends_after_it_was_adopted_is_replaced(stage: Stage) -> None:
    async with World() as world:
        worker = await worker_returns(
            world, stage, closed=how_closed(R.SERVER_ERROR) if stage is Stage.IDLE else None
        )
        await world.until(S.WAITING if stage is Stage.IDLE else SHOWN_AS[stage])
        worker.end(Exit(signal=9))
        await asyncio.sleep(0.01)
        await world.until(S.OPEN, within=10)
        assert world.session.worker is world.workers.made[1]


@pytest.mark.parametrize("parked", [True, False])
async def test_a_reunion_that_fails_leaves_the_session_where_it_was(parked: bool) -> None:
    """The worker cannot be ended: a process that hangs in the disk outlives a SIGKILL for a
    while.
    """
    async with World() as world:
        await (with_a_parked_past(world) if parked else with_a_past(world))
        world.workers.comes_back("shop", **holding(Stage.IDLE))
        world.workers.reunion_error = TimeoutError()
        await world.start()
        await asyncio.sleep(MINUTE)
        for worker in world.workers.alive[:-1] if not parked else world.workers.alive:
            worker.assigned = False
            worker.end(Exit(signal=9))
        await asyncio.sleep(MINUTE)
        assert world.session.state is (S.PARKED if parked else S.OPEN)
        assert bool(world.workers.attempts) is not parked, "a banned number does not log in"
        world.workers.breaches.clear()  # the one that could not be ended was given up


async def test_a_refused_worker_that_cannot_be_ended_does_not_unpark_the_session() -> None:
    async with World() as world:
        await with_a_parked_past(world)
        worker = world.workers.comes_back("shop", **holding(Stage.IDLE))
        worker.unkillable = True
        await world.start()
        await asyncio.sleep(MINUTE)
        worker.end(Exit(signal=9))
        assert world.session.state is S.PARKED
        assert world.workers.attempts == []


async def _unwanted(world: World) -> FakeWorker:
    """A session that was stopped, whose worker has come back."""
    row = await world.store.create_session(world.id, wanted=False)
    world.store.rows[world.id] = msgspec.structs.replace(row, epoch=1)
    return world.workers.comes_back("shop", **holding(Stage.OPEN))
