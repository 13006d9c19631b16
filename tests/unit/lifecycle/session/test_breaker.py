"""The breaker as a session meets it: it opens, lets a trial through, and is reset."""

import asyncio

import pytest

from sessions.lifecycle.inbox import Command
from sessions.model import CloseReason as R
from sessions.model import SessionState as S
from tests.fakes import World, closes, opens
from tests.unit.lifecycle.session.stories import MINUTE, STABLE, now

pytestmark = [
    pytest.mark.looptime(noop_cycles=6),
    pytest.mark.usefixtures("no_tasks_left", "wall_clock_in_step"),
]


async def test_the_breaker_opens_at_its_threshold_and_lets_one_trial_through_after_its_timeout() -> (
    None
):
    async with World() as world:
        world.workers.otherwise = closes(R.CONNECTION_LOST)
        await world.start()
        await world.until_true(lambda: world.session.reconnection().breaker.state == "open")
        assert len(world.workers.attempts) == 5
        opened = now()
        await asyncio.sleep(30 * MINUTE)
        trials = [at - opened for at, _ in world.workers.attempts[5:]]
        assert trials == pytest.approx([600, 1200, 1800][: len(trials)], abs=2)
        assert 2 <= len(trials) <= 3
        world.workers.otherwise = opens()
        await world.until(S.OPEN, within=11 * MINUTE)
        assert world.session.reconnection().breaker.state == "closed"


async def test_one_failure_after_a_trial_before_a_stable_minute_opens_the_breaker_again() -> None:
    async with World() as world:
        world.workers.plan.extend([closes(R.CONNECTION_LOST)] * 5)
        await world.start()
        await world.until(S.OPEN, within=15 * MINUTE)
        world.workers.last.drop(R.CONNECTION_LOST)
        await world.until(S.WAITING)
        assert world.session.reconnection().breaker.state == "open"
        await world.until(S.OPEN, within=11 * MINUTE)
        await asyncio.sleep(STABLE)
        world.workers.last.drop(R.CONNECTION_LOST)
        await world.until(S.WAITING)
        assert world.session.reconnection().breaker.state == "closed"


async def test_a_reset_of_the_breaker_lets_it_try_at_once() -> None:
    async with World() as world:
        world.workers.plan.extend([closes(R.CONNECTION_LOST)] * 5)
        await world.start()
        await asyncio.sleep(2 * MINUTE)
        assert world.session.reconnection().breaker.state == "open"
        assert world.session.reconnection().next_attempt_at is not None
        assert await world.ask(Command.RESET_BREAKER) is None
        await world.until(S.OPEN, within=1)
        assert world.session.reconnection().breaker.failures == 0


async def test_a_force_lets_one_attempt_through_an_open_breaker() -> None:
    async with World() as world:
        world.workers.plan.extend([closes(R.CONNECTION_LOST)] * 6)
        await world.start()
        await asyncio.sleep(2 * MINUTE)
        assert len(world.workers.attempts) == 5
        assert await world.ask(Command.FORCE) is None
        await asyncio.sleep(1)
        assert len(world.workers.attempts) == 6
        assert world.gate.permits[-1].urgent
        assert world.session.reconnection().breaker.state == "open", "that one failed too"
        await asyncio.sleep(2 * MINUTE)
        assert len(world.workers.attempts) == 6, (
            "one attempt, and then the breaker's time-out again"
        )


async def test_a_reset_after_a_stop_and_a_start_lets_it_try_at_once() -> None:
    async with World() as world:
        world.workers.plan.extend([closes(R.CONNECTION_LOST)] * 5)
        await world.start()
        await asyncio.sleep(2 * MINUTE)
        assert world.session.reconnection().breaker.state == "open"
        assert await world.ask(Command.STOP) is None
        assert await world.ask(Command.START) is None
        await world.until(S.WAITING)
        assert await world.ask(Command.RESET_BREAKER) is None
        await world.until(S.OPEN, within=1)
