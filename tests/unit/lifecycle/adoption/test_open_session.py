"""An open session is adopted with its uptime, its health and its breaker."""

import asyncio

import pytest

from sessions.model import CloseReason as R
from sessions.model import SessionState as S
from tests.fakes import JID, World, closes, opens, says_nothing
from tests.unit.lifecycle.adoption.pasts import HOUR, MINUTE, Stage, holding, worker_returns

pytestmark = [
    pytest.mark.looptime(noop_cycles=6),
    pytest.mark.usefixtures("no_tasks_left", "wall_clock_in_step"),
]


async def test_an_adopted_open_session_keeps_its_uptime_and_its_name() -> None:
    async with World() as world:
        await worker_returns(world, Stage.OPEN, open_for_ms=3 * HOUR * 1000)
        await world.until(S.OPEN)
        await asyncio.sleep(MINUTE)
        figures = world.session.performance()
        assert figures.connection_uptime == pytest.approx((3 * HOUR + MINUTE) * 1000, abs=100)
        assert figures.reconnect_count == 0, "it is no reconnect"
        assert (world.session.view().jid, world.session.view().name) == (JID, "Shop")
        assert world.store.rows["shop"].name == "Shop"


@pytest.mark.parametrize(("open_for", "rest"), [(20.0, 40.0), (59.0, 1.0), (3 * HOUR, 0.0)])
async def test_it_needs_only_the_rest_of_the_stable_period(open_for: float, rest: float) -> None:
    async with World() as world:
        await _with_failures(world, 3)
        world.workers.comes_back("shop", **holding(Stage.OPEN) | {"open_for_ms": open_for * 1000})
        await world.start()
        await world.until(S.OPEN)
        if rest:
            await asyncio.sleep(rest - 0.5)
            assert world.session.reconnection().failures == 3
        await asyncio.sleep(1.0)
        assert world.session.reconnection().failures == 0


async def test_its_health_is_watched() -> None:
    async with World() as world:
        worker = await worker_returns(world, Stage.OPEN)
        await world.until(S.OPEN)
        world.workers.probe = "hangs"
        await world.until(S.WAITING, S.STARTING, within=60)
        world.workers.probe = "ok"
        await world.until(S.OPEN)
        assert worker.killed


async def test_the_trial_of_a_breaker_that_came_through_while_nobody_looked_has_closed_it_on_probation() -> (
    None
):
    async with World() as world:
        world.workers.plan.extend([closes(R.CONNECTION_LOST)] * 5)
        world.workers.otherwise = opens(after=5.0)
        await world.start()
        await world.until_true(
            lambda: world.session.reconnection().breaker.state == "half-open", within=HOUR
        )
        await world.crash(workers_live=True)
        await asyncio.sleep(10.0)  # it opens
        world.come_back()
        await world.start()
        await world.until(S.OPEN)
        assert len(world.workers.made) == 1
        assert world.session.reconnection().breaker.state == "closed"
        world.workers.last.drop(R.CONNECTION_LOST)
        await world.until(S.WAITING)
        assert world.session.reconnection().breaker.state == "open", (
            "one more failure before a stable minute"
        )


async def test_a_trial_that_is_adopted_while_it_is_under_way_is_still_the_trial() -> None:
    async with World() as world:
        world.workers.plan.extend([closes(R.CONNECTION_LOST)] * 5)
        world.workers.otherwise = closes(R.CONNECTION_LOST, after=5.0)
        await world.start()
        await world.until_true(
            lambda: world.session.reconnection().breaker.state == "half-open", within=HOUR
        )
        await world.crash(workers_live=True)
        world.come_back()
        await world.start()
        await world.until(S.CONNECTING)
        assert world.session.reconnection().breaker.state == "half-open"
        await world.until(S.WAITING)
        assert world.session.reconnection().breaker.state == "open"
        await asyncio.sleep(9 * MINUTE)
        assert len(world.workers.attempts) == 6


async def _with_failures(world: World, failures: int) -> None:
    """A session at epoch 1 that has just failed so often; no supervisor runs."""
    world.workers.plan.extend([closes(R.CONNECTION_LOST)] * failures)
    world.workers.otherwise = says_nothing()
    await world.start()
    await world.until_true(lambda: len(world.workers.attempts) == failures + 1)
    await world.crash()
    world.workers.otherwise = opens()
