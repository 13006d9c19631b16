"""The store fails, or our own code does: no session is lost, and none logs in that must not."""

import asyncio

import pytest

from sessions.lifecycle.actor.core import Core
from sessions.lifecycle.inbox import Command
from sessions.model import CloseReason as R
from sessions.model import SessionState as S
from sessions.model import StoreUnavailable
from sessions.policy import ClosePolicy
from sessions.views.session_view import Reconnection
from tests.fakes import World, closes
from tests.unit.lifecycle.session.stories import DAY, HOUR, MINUTE, bring_to

pytestmark = [
    pytest.mark.looptime(noop_cycles=6),
    pytest.mark.usefixtures("no_tasks_left", "wall_clock_in_step"),
]


async def test_a_session_that_the_store_failed_tries_again_and_comes_up_when_the_disk_is_back() -> (
    None
):
    async with World() as world:
        await world.start()
        world.store.failing = True
        await asyncio.sleep(MINUTE)
        assert world.session.state is not S.OPEN
        assert world.workers.attempts == []
        world.store.failing = False
        await world.until(S.OPEN, within=30)


async def test_an_open_session_stays_open_while_the_store_fails() -> None:
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)
        world.store.failing = True
        assert isinstance(await world.ask(Command.STOP), StoreUnavailable)
        await asyncio.sleep(HOUR)
        world.store.failing = False
        assert world.session.state is S.OPEN
        assert len(world.workers.attempts) == 1, "the store's hint promises: sessions stay open"


async def test_a_stop_that_the_store_cannot_write_leaves_a_parked_session_parked() -> None:
    async with World() as world:
        world.workers.plan.append(closes(R.BANNED))
        await world.start()
        await world.until(S.PARKED)
        world.store.failing = True
        assert isinstance(await world.ask(Command.STOP), StoreUnavailable)
        world.store.failing = False
        await asyncio.sleep(HOUR)
        assert world.session.state is S.PARKED
        assert len(world.workers.attempts) == 1, (
            "a banned number must not log in because a disk was full"
        )


@pytest.mark.parametrize("error", [RuntimeError("a bug"), StoreUnavailable("The disk is full.")])
async def test_an_error_of_our_own_never_starts_a_parked_session(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with World() as world:
        await bring_to(world, S.PARKED)

        def fails(*_: object) -> None:
            raise error

        monkeypatch.setattr(ClosePolicy, "reset", fails)
        async with asyncio.timeout(DAY):
            await world.ask(Command.RESET_BREAKER)
        await asyncio.sleep(DAY)
        assert world.session.state is S.PARKED
        assert len(world.workers.attempts) == 1, (
            "a banned number does not log in because we have a bug"
        )
        monkeypatch.undo()


async def test_a_ban_is_remembered_although_we_fail_to_tell_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)
        failed = asyncio.Event()

        def fails_of_a_ban(core: Core) -> Reconnection:
            if core.state is S.PARKED:
                failed.set()
                raise RuntimeError("a bug")
            return reconnection(core)

        reconnection = Core.reconnection
        monkeypatch.setattr(Core, "reconnection", fails_of_a_ban)
        world.workers.last.drop(R.TEMPORARILY_BANNED)
        await asyncio.wait_for(failed.wait(), MINUTE)
        await asyncio.sleep(1)
        monkeypatch.undo()
        await world.crash()
        await world.start()
        await asyncio.sleep(MINUTE)
        assert world.session.state is S.PARKED
        assert len(world.workers.attempts) == 1, "a banned number does not log in"


async def test_an_error_of_our_own_is_told_and_the_session_tries_again_in_a_while(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)

        def fails(*_: object) -> None:
            raise RuntimeError("a bug")

        monkeypatch.setattr(ClosePolicy, "reset", fails)
        await world.ask(Command.RESET_BREAKER)
        monkeypatch.undo()
        await world.until(S.WAITING)
        assert len(world.alerts("session_error")) == 1
        assert not world.workers.made[0].alive
        await world.until(S.OPEN, within=15)
