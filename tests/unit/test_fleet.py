"""The fleet while its store fails: nothing is closed, made or lost half."""

import pytest

from sessions.events import Command
from sessions.model import CloseReason as R
from sessions.model import SessionId, SessionNotFound, StoreUnavailable
from sessions.model import SessionState as S
from supervisor.feed import Feed
from supervisor.fleet import Fleet
from supervisor.gate import Gate, GateConfig
from tests.fakes import FakeStore, World, closes

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
    gate = Gate(GateConfig(), world.around.dice)
    fleet = Fleet(world.around, gate, Publishing(world.store, [], 10))  # type: ignore[arg-type]
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
    """Were its row read by another one, that could fail, and the session would be stored and yet be nobody's."""
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


async def test_what_was_restored_is_the_row_that_the_session_has() -> None:
    async with World() as world:
        world.workers.plan.append(closes(R.LOGGED_OUT))
        fleet = await _fleet(world)
        await world.until(S.PARKED)
        await fleet.restore(SHOP, None, start=False)
        assert world.session.row().epoch == world.store.rows[SHOP].epoch
        await world.session.ask(Command.STOP)
        await _close(world, fleet)


async def _unreadable(_store: FakeStore | None = None) -> list[object]:
    raise StoreUnavailable("It cannot be read.")
