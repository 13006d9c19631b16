"""A supervisor leaves its workers to its successor."""

import asyncio

import pytest

from sessions.lifecycle.inbox import Command
from sessions.model import CloseReason as R
from sessions.model import SessionState as S
from sessions.workers import wire
from tests.fakes import World, closes, opens, says_nothing, shows_qr
from tests.unit.lifecycle.adoption.pasts import HOUR, MINUTE

pytestmark = [
    pytest.mark.looptime(noop_cycles=6),
    pytest.mark.usefixtures("no_tasks_left", "wall_clock_in_step"),
]


async def test_who_leaves_leaves_the_worker_its_socket_and_all_that_is_remembered() -> None:
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)
        worker = world.workers.last
        sent = len([frame for frame in worker.sent if not isinstance(frame, wire.Probe)])
        assert await world.ask(Command.LEAVE) is None
        await asyncio.sleep(HOUR)
        assert worker.alive
        assert worker.socket == 1
        assert len([frame for frame in worker.sent if not isinstance(frame, wire.Probe)]) == sent, (
            "not one order"
        )
        assert world.store.rows["shop"].wanted is True
        world.workers.live_on()
        world.come_back()
        await world.start()
        await world.until(S.OPEN)
        assert world.workers.made == [worker]
        assert len(world.workers.attempts) == 1


@pytest.mark.parametrize(
    "state", [S.STARTING, S.HELD, S.CONNECTING, S.QR, S.OPEN, S.WAITING, S.PARKED, S.STOPPED]
)
async def test_a_session_that_is_left_in_any_state_goes_on_from_there(state: S) -> None:
    async with World() as world:
        await _bring_to(world, state)
        before = world.session.reconnection()
        attempts, made = len(world.workers.attempts), len(world.workers.made)
        await world.leave()
        await asyncio.sleep(0.5)
        world.come_back(after=0.5)
        await world.start()
        await asyncio.sleep(1.0)
        after = world.session.reconnection()
        assert after.next_attempt_at == before.next_attempt_at
        if state is not S.STARTING:
            assert (world.session.state, len(world.workers.made)) == (state, made)
        assert len(world.workers.attempts) == attempts
        world.gate.open()
        world.workers.otherwise = opens()
        if state in {S.PARKED, S.STOPPED}:
            await world.ask(Command.START)
        if state in {S.QR, S.CONNECTING}:
            world.workers.last.drop(R.RESTART_REQUIRED)
            world.workers.plan.clear()
        await world.until(S.OPEN, within=15 * MINUTE)
        assert len(world.workers.made) <= made + 1


async def test_who_leaves_while_a_successor_warms_up_leaves_one_worker() -> None:
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)
        world.gate.shut = True
        assert await world.ask(Command.REPLACE) is None
        await asyncio.sleep(1)
        assert len(world.workers.alive) == 2
        await world.leave()
        await asyncio.sleep(0.1)
        assert world.workers.alive == [world.workers.made[0]]
        assert world.gate.waiting == []
        world.come_back()
        world.gate.shut = False
        await world.start()
        await world.until(S.OPEN)
        assert world.session.worker is world.workers.made[0]


async def _bring_to(world: World, state: S) -> None:
    match state:
        case S.STARTING:
            world.workers.startup_seconds = 5.0
        case S.HELD:
            world.gate.shut = True
        case S.CONNECTING:
            world.workers.plan.append(says_nothing())
        case S.QR:
            world.workers.plan.append(shows_qr())
        case S.WAITING:
            world.workers.plan.extend([closes(R.CONNECTION_LOST)] * 5)
        case S.PARKED:
            world.workers.plan.append(closes(R.BANNED))
        case _:
            pass
    await world.start(wanted=state is not S.STOPPED)
    await world.until(state)
    if state is S.WAITING:
        await asyncio.sleep(2 * MINUTE)
