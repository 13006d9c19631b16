"""What the session's actor makes of flapping, of a day with too many logins, and of a policy that
is reloaded while it lives.
"""

import asyncio

import pytest

from sessions.lifecycle.dependencies import SessionConfig
from sessions.model import CloseReason as R
from sessions.model import SessionState as S
from sessions.policy import Config, overridden
from sessions.workers import wire
from tests.fakes import FakeWorker, World, closes

pytestmark = [
    pytest.mark.looptime(noop_cycles=6),
    pytest.mark.usefixtures("no_tasks_left", "wall_clock_in_step"),
]

STABLE = 61.0
HOUR = 3600.0


def turned_away(worker: FakeWorker, attempt: int) -> None:
    """The login is on the wire, and then it closes."""
    worker.later(
        0.05, lambda: worker.report(wire.State(worker.session, attempt=attempt, stage="login"))
    )
    closes(R.CONNECTION_LOST)(worker, attempt)


def _wait(world: World) -> float:
    """When the next try is due, in seconds from now."""
    return max(
        0.0, (world.session._actor.core.next_attempt_at or 0.0) - asyncio.get_running_loop().time()
    )


async def test_a_session_that_drops_again_and_again_is_slowed() -> None:
    async with World() as world:
        await world.start()
        rules = []
        for _ in range(6):
            await world.until(S.OPEN, within=60)
            await asyncio.sleep(STABLE)
            world.workers.last.drop(R.CONNECTION_LOST)
            await world.until(S.WAITING)
            rules.append(world.session.reconnection().rule)
        assert rules[:3] == ["first try, almost at once"] * 3
        assert [rule and rule.split(",")[0] for rule in rules[3:]] == [
            f"flapping: {drops} drops within an hour" for drops in (4, 5, 6)
        ]
        await world.until(S.OPEN, within=60)


async def test_a_day_with_too_many_logins_is_told_and_then_slowed_until_it_is_over() -> None:
    async with World(SessionConfig(policy=Config(daily_logins=5), breaker_threshold=1000)) as world:
        world.workers.otherwise = turned_away
        await world.start()
        await asyncio.sleep(300)
        alerts = [
            data["message"]
            for _, kind, data in world.events
            if kind == "alert" and data["name"] == "reconnect_budget"
        ]
        assert [words.split(" logins")[0] for words in alerts] == ["4 of 5", "All 5"]
        assert len(world.workers.attempts) == 5
        assert (
            world.session.reconnection().rule
            == "daily budget of 5 logins used up: one try per 900 s"
        )
        await asyncio.sleep(HOUR)
        assert 8 <= len(world.workers.attempts) <= 10


async def test_the_day_goes_on_after_a_restart_of_the_supervisor() -> None:
    async with World(SessionConfig(policy=Config(daily_logins=5), breaker_threshold=1000)) as world:
        world.workers.otherwise = turned_away
        await world.start()
        await asyncio.sleep(300)
        await world.crash()
        await world.start()
        await asyncio.sleep(300)
        assert len(world.workers.attempts) == 5


async def test_a_reloaded_policy_holds_from_the_next_close_on_and_changes_no_wait_that_is_planned() -> (
    None
):
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)
        world.workers.last.drop(R.REPLACED)
        await world.until(S.WAITING)
        planned = _wait(world)
        assert planned >= 29
        worker = world.workers.last
        world.session.follow(Config(rules=overridden("[replaced]\ntries = 1\n")))
        await asyncio.sleep(1)
        assert _wait(world) == pytest.approx(planned - 1, abs=0.1)
        await world.until(S.OPEN, within=60)
        assert world.workers.last is worker, "no worker was restarted"
        world.workers.last.drop(R.REPLACED)
        await world.until(S.PARKED)
        assert world.session.reconnection().rule == "parked after 1 try"


async def test_a_session_that_is_gone_is_told_of_no_policy() -> None:
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)
    world.session.follow(Config())
    assert world.session._actor.core.inbox.empty()


async def test_a_try_that_reaches_no_server_is_none_of_the_days_logins() -> None:
    async with World(SessionConfig(policy=Config(daily_logins=5), breaker_threshold=1000)) as world:
        world.workers.otherwise = closes(R.CONNECTION_LOST)
        await world.start()
        await asyncio.sleep(300)
        assert len(world.workers.attempts) > 5
        assert world.session.budget().used == 0
