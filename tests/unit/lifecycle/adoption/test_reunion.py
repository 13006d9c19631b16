"""What is asked of a session while the return of its worker is awaited."""

import asyncio

import msgspec
import pytest

from sessions.lifecycle.inbox import Command
from sessions.model import CloseReason as R
from sessions.model import SessionState as S
from tests.fakes import World, closes
from tests.unit.lifecycle.adoption.pasts import HOUR, MINUTE, Stage, holding, with_a_parked_past

pytestmark = [
    pytest.mark.looptime(noop_cycles=6),
    pytest.mark.usefixtures("no_tasks_left", "wall_clock_in_step"),
]


@pytest.mark.parametrize(
    "arrived", [False, True], ids=["before it calls", "in the moment in which it calls"]
)
@pytest.mark.parametrize("command", [Command.STOP, Command.RETIRE])
async def test_a_stop_during_the_reunion_ends_the_worker(command: Command, arrived: bool) -> None:
    async with World() as world:
        await _awaits_a_reunion(world, arrived)
        assert await world.ask(command) is None
        await asyncio.sleep(1)
        assert world.workers.alive == []
        assert world.gate.unfinished == []
        assert world.store.rows["shop"].wanted is (command is Command.RETIRE)


async def test_a_stop_and_a_start_during_the_reunion_begin_anew() -> None:
    async with World() as world:
        await _awaits_a_reunion(world)
        assert await world.ask(Command.STOP) is None
        assert await world.ask(Command.START) is None
        await world.until(S.OPEN)
        assert not world.workers.made[0].alive
        assert world.session.worker is world.workers.made[1]


@pytest.mark.parametrize("command", [Command.START, Command.FORCE])
async def test_a_start_or_force_during_the_reunion_does_not_disturb_it(command: Command) -> None:
    async with World() as world:
        await _awaits_a_reunion(world)
        assert await world.ask(command) is None
        await world.until(S.OPEN)
        assert len(world.workers.made) == 1
        assert len(world.workers.attempts) == 1


async def test_a_force_during_the_reunion_cuts_the_wait_short_that_is_found_then() -> None:
    async with World() as world:
        await _waits_for_its_breaker(world)
        await world.crash(workers_live=True)
        world.come_back(after=1.0)
        await world.start()
        await asyncio.sleep(0.1)
        assert await world.ask(Command.FORCE) is None
        await world.until(S.OPEN, within=5)


async def test_a_replacement_during_the_reunion_is_refused() -> None:
    async with World() as world:
        await _awaits_a_reunion(world)
        assert await world.ask(Command.REPLACE) is not None
        await world.until(S.OPEN)
        assert len(world.workers.made) == 1


@pytest.mark.parametrize(
    "arrived", [False, True], ids=["before it calls", "in the moment in which it calls"]
)
async def test_a_leave_during_the_reunion_leaves_the_worker_to_the_next(arrived: bool) -> None:
    async with World() as world:
        await _awaits_a_reunion(world, arrived)
        worker = world.workers.last
        await world.leave()
        await asyncio.sleep(1)
        assert worker.alive, "its session is open: it goes from one supervisor to the next"
        world.come_back()
        await world.start()
        await world.until(S.OPEN)
        assert world.workers.made == [worker]
        assert len(world.workers.attempts) == 1


@pytest.mark.parametrize("command", [Command.RETIRE, Command.LEAVE])
async def test_what_is_remembered_is_not_lost_when_the_supervisor_stops_during_the_reunion(
    command: Command,
) -> None:
    async with World() as world:
        await _waits_for_its_breaker(world)
        before = world.session.reconnection()
        await world.crash(workers_live=True)
        world.come_back(after=5.0)
        await world.start()
        await asyncio.sleep(1.0)
        await world.ask(command)
        await world.crash()
        await world.start()
        await world.until(S.WAITING, S.CONNECTING, S.OPEN)
        assert world.session.reconnection().next_attempt_at == before.next_attempt_at
        assert len(world.workers.attempts) == 5, "the wait goes on, whatever became of the worker"


@pytest.mark.parametrize("command", [Command.RETIRE, Command.LEAVE, Command.RESET_BREAKER])
async def test_a_memory_that_cannot_be_read_is_not_overwritten_during_the_reunion_either(
    command: Command,
) -> None:
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)
        await world.crash(workers_live=True)
        world.store.rows["shop"] = msgspec.structs.replace(
            world.store.rows["shop"], memory=b"{torn"
        )
        world.come_back(after=5.0)
        await world.start()
        await asyncio.sleep(1.0)
        await world.ask(command)
        assert world.store.rows["shop"].memory == b"{torn"


@pytest.mark.parametrize("command", [Command.RETIRE, Command.LEAVE])
async def test_a_parked_session_is_still_parked_when_the_supervisor_stops_during_the_reunion(
    command: Command,
) -> None:
    async with World() as world:
        await with_a_parked_past(world)
        worker = world.workers.comes_back("shop", **holding(Stage.IDLE))
        world.workers.calls(worker, after=5.0)
        await world.start()
        await asyncio.sleep(1.0)
        await world.ask(command)
        await world.crash()
        await world.start()
        await asyncio.sleep(HOUR)
        assert world.session.state is S.PARKED
        assert world.workers.attempts == [], (
            "a banned number does not log in because a supervisor was stopped twice"
        )


async def _awaits_a_reunion(world: World, arrived: bool = False) -> None:
    """An open session whose supervisor was killed; its worker calls the next one in a second, or
    has called in this instant.
    """
    await world.start()
    await world.until(S.OPEN)
    await world.crash(workers_live=True)
    await asyncio.sleep(MINUTE)
    world.come_back(after=0.0 if arrived else 1.0)
    await world.start()
    if arrived:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    else:
        await asyncio.sleep(0.5)
    assert world.session.state is S.STARTING


async def _waits_for_its_breaker(world: World) -> None:
    world.workers.plan.extend([closes(R.CONNECTION_LOST)] * 5)
    await world.start()
    await asyncio.sleep(2 * MINUTE)
    assert world.session.reconnection().breaker.state == "open"
