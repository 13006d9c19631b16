"""The fleet while its store fails: nothing is closed, made or lost half."""

import asyncio
from typing import Any

import pytest

from sessions.credentials.proxy import parse_proxy
from sessions.lifecycle.inbox import Command
from sessions.lifecycle.session import ASK_SECONDS
from sessions.model import CloseReason as R
from sessions.model import SessionId, SessionNotFound, StoreUnavailable, Unanswered
from sessions.model import SessionState as S
from sessions.workers.wire import Assign
from supervisor.fleet.feed import Feed
from supervisor.fleet.fleet import FAREWELL_SECONDS, Fleet
from supervisor.gate.gate import Gate, GateConfig
from tests.fakes import World, closes

pytestmark = [
    pytest.mark.looptime(noop_cycles=6),
    pytest.mark.usefixtures("no_tasks_left", "wall_clock_in_step"),
]
SHOP = SessionId("shop")


class Publishing(Feed):
    """A feed that keeps nothing."""

    def publish(self, *_event: object) -> None:
        return


async def _fleet(world: World) -> Fleet:
    """A fleet with one session, wanted and paired."""
    world.paired()
    await world.store.create_session(SHOP, wanted=True)
    gate = Gate(GateConfig(), world.dependencies.rng)
    fleet = Fleet(world.dependencies, gate, Publishing(world.store, [], 10))  # type: ignore[arg-type]
    await fleet.open()
    world.session = fleet.get(SHOP)
    return fleet


async def _close(world: World, fleet: Fleet) -> None:
    await fleet.close()
    world.session = None  # type: ignore[assignment]


async def test_a_session_that_cannot_be_deleted_now_stays_open() -> None:
    async with World() as world:
        fleet = await _fleet(world)
        await world.until(S.OPEN)
        worker = world.workers.last
        for purge in (False, True):
            world.store.failing = True
            with pytest.raises(StoreUnavailable):
                await fleet.delete(SHOP, purge)
            world.store.failing = False
            assert fleet.get(SHOP) is world.session
            assert (world.session.state, world.session.worker) == (S.OPEN, worker)
        assert len(world.workers.attempts) == 1
        await fleet.delete(SHOP, purge=False)
        assert worker.alive is False
        with pytest.raises(SessionNotFound):
            await fleet.delete(SHOP, purge=False)
        await _close(world, fleet)


async def test_a_deleted_session_is_restored_with_one_operation_of_the_store() -> None:
    """Were its row read by another one, that could fail, and the session would be stored and yet be
    nobody's.
    """
    async with World() as world:
        fleet = await _fleet(world)
        await world.until(S.OPEN)
        await fleet.delete(SHOP, purge=False)
        world.store.sessions = _unreadable  # type: ignore[method-assign]
        restored = await fleet.restore(SHOP, None, start=True)
        assert restored.reason == "deleted"
        world.session = fleet.get(SHOP)
        await world.until(S.OPEN)
        await _close(world, fleet)


async def test_a_deleted_session_is_restored_and_wanted_with_one_write(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with World() as world:
        fleet = await _fleet(world)
        await world.until(S.OPEN)
        for start in (False, True):
            await fleet.delete(SHOP, purge=False)
            with monkeypatch.context() as patch:
                patch.setattr(world.store, "set_wanted", _unreadable)
                await fleet.restore(SHOP, None, start=start)
            assert world.store.rows[SHOP].wanted is start
            assert (fleet.get(SHOP).state is S.STOPPED) is not start
        world.session = fleet.get(SHOP)
        await world.until(S.OPEN)
        await _close(world, fleet)


@pytest.mark.parametrize("purge", [False, True])
async def test_a_session_whose_deletion_was_answered_late_is_gone_when_that_shows(
    purge: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with World() as world:
        fleet = await _fleet(world)
        await world.until(S.OPEN)
        delete = world.store.delete_session

        async def too_late(session: SessionId, purge: bool) -> None:
            await delete(session, purge)
            raise StoreUnavailable("It did not answer; whether it was done is not known.")

        with monkeypatch.context() as patch:
            patch.setattr(world.store, "delete_session", too_late)
            with pytest.raises(StoreUnavailable):
                await fleet.delete(SHOP, purge)
        await asyncio.sleep(60)
        assert list(fleet.sessions()) == []
        with pytest.raises(SessionNotFound):
            fleet.get(SHOP)
        assert world.alerts("session_error") == []
        assert world.workers.alive == []
        await fleet.create(SHOP, start=False)
        await _close(world, fleet)


async def test_what_was_restored_is_the_row_that_the_session_has() -> None:
    async with World() as world:
        world.workers.plan.append(closes(R.LOGGED_OUT))
        fleet = await _fleet(world)
        await world.until(S.PARKED)
        await fleet.restore(SHOP, None, start=False)
        assert world.session.row().epoch == world.store.rows[SHOP].epoch
        await world.session.ask(Command.STOP)
        await _close(world, fleet)


async def _unreadable(*_: object) -> list[object]:
    raise StoreUnavailable("It cannot be read.")


# --- tasks that end unasked, and calls whose answer was lost --------------------------------------


async def test_a_session_whose_task_dies_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    async with World() as world:
        fleet = await _fleet(world)
        await world.until(S.OPEN)
        (task,) = [task for task in asyncio.all_tasks() if task.get_name() == f"session {SHOP}"]
        task.cancel()
        await asyncio.wait([task])
        await asyncio.sleep(0.1)
        assert fleet.get(SHOP) is not world.session
        assert not world.workers.made[0].lives, "never two for one session"
        world.session = fleet.get(SHOP)
        await world.until(S.OPEN)
        await fleet.delete(SHOP, purge=False)
        assert list(fleet.sessions()) == []
        await _close(world, fleet)


async def test_a_session_that_hangs_does_not_keep_the_fleet_from_closing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with World() as world:
        fleet = await _fleet(world)
        await world.until(S.OPEN)

        async def hangs(*_: object) -> None:
            await asyncio.get_running_loop().create_future()

        with monkeypatch.context() as patch:
            patch.setattr(world.workers, "terminate_returning", hangs)
            async with asyncio.timeout(ASK_SECONDS + 3 * FAREWELL_SECONDS):
                await _close(world, fleet)
        await world.workers.last.stop()


async def test_a_session_whose_deletion_was_not_answered_in_time_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with World() as world:
        fleet = await _fleet(world)
        await world.until(S.OPEN)
        going_on, terminate = asyncio.Event(), world.workers.terminate_returning

        async def hangs(session: str) -> None:
            await going_on.wait()
            await terminate(session)

        with monkeypatch.context() as patch:
            patch.setattr(world.workers, "terminate_returning", hangs)
            with pytest.raises(Unanswered):
                await fleet.delete(SHOP, purge=True)
            going_on.set()
            await asyncio.sleep(1)
        world.session = fleet.get(SHOP)
        await world.until(S.OPEN)
        assert len(world.workers.alive) == 1
        await _close(world, fleet)


@pytest.mark.parametrize("start", [True, False])
@pytest.mark.parametrize("before", [None, "socks5h://one.example:1080"])
async def test_a_creation_whose_answer_was_lost_is_made_what_the_next_call_asks_for(
    before: str | None, start: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session without its proxy does not go out."""
    async with World() as world:
        fleet = await _fleet(world)
        create, name = world.store.create_session, SessionId("second")

        async def unanswered(*given: Any) -> None:
            await create(*given)
            raise StoreUnavailable("It did not answer; whether it was done is not known.")

        with monkeypatch.context() as patch:
            patch.setattr(world.store, "create_session", unanswered)
            with pytest.raises(StoreUnavailable):
                await fleet.create(name, not start, parse_proxy(before) if before else None)
        created = await fleet.create(name, start, parse_proxy("socks5h://two.example:1080"))
        assert created.view().proxy == "socks5h://two.example:1080"
        assert created.view().wanted is start
        if start:
            await world.until_true(lambda: created.state is S.OPEN)
            (assigned,) = [
                f
                for w in world.workers.made
                for f in w.sent
                if isinstance(f, Assign) and f.session == name
            ]
            assert assigned.proxy == "socks5h://two.example:1080"
        await _close(world, fleet)
