"""The supervisor restarts, and every session goes on from where it was."""

import asyncio

import pytest

from sessions.lifecycle.inbox import Command
from sessions.model import CloseReason as R
from sessions.model import SessionState as S
from tests.fakes import World, closes
from tests.unit.lifecycle.session.stories import HOUR, MINUTE

pytestmark = [
    pytest.mark.looptime(noop_cycles=6),
    pytest.mark.usefixtures("no_tasks_left", "wall_clock_in_step"),
]


@pytest.mark.parametrize("how", ["retires", "crashes"])
async def test_a_wait_goes_on_after_a_restart(how: str) -> None:
    async with World() as world:
        world.workers.plan.extend([closes(R.CONNECTION_LOST)] * 5)
        await world.start()
        await asyncio.sleep(2 * MINUTE)
        due = world.session.reconnection().next_attempt_at
        assert world.session.reconnection().breaker.state == "open"
        await (world.close() if how == "retires" else world.crash())
        await asyncio.sleep(MINUTE)
        await world.start()
        await world.until(S.WAITING)
        shown = world.session.reconnection()
        assert shown.next_attempt_at == due
        assert (shown.failures, shown.breaker.state, shown.close_reason) == (
            5,
            "open",
            R.CONNECTION_LOST,
        )
        await asyncio.sleep(6 * MINUTE)
        assert len(world.workers.attempts) == 5
        await world.until(S.OPEN, within=5 * MINUTE)


@pytest.mark.parametrize("how", ["retires", "crashes"])
@pytest.mark.parametrize("reason", [R.LOGGED_OUT, R.BANNED, R.QR_EXPIRED, R.TEMPORARILY_BANNED])
async def test_parked_stays_parked_after_a_restart(how: str, reason: R) -> None:
    async with World() as world:
        world.workers.plan.append(closes(reason))
        await world.start()
        await world.until(S.PARKED)
        shown = world.session.reconnection()
        await (world.close() if how == "retires" else world.crash())
        await world.start()
        await world.until(S.PARKED)
        again = world.session.reconnection()
        assert (again.close_reason, again.human_action) == (shown.close_reason, shown.human_action)
        assert again.next_attempt_at == shown.next_attempt_at
        await asyncio.sleep(23 * HOUR)
        assert world.session.state is S.PARKED
        assert len(world.workers.attempts) == 1
        await asyncio.sleep(2 * HOUR)
        assert len(world.workers.attempts) == (2 if reason is R.TEMPORARILY_BANNED else 1)


async def test_an_open_session_comes_back_after_a_crash_of_the_supervisor_with_a_higher_epoch() -> (
    None
):
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)
        await world.crash()
        await world.start()
        await world.until(S.OPEN, within=5)
        assert world.store.rows["shop"].epoch == 2


async def test_a_stopped_session_stays_stopped_after_a_restart() -> None:
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)
        await world.ask(Command.STOP)
        await world.close()
        await world.start()
        await asyncio.sleep(HOUR)
        assert world.session.state is S.STOPPED
