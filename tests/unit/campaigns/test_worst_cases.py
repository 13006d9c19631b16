"""What a session does when what is around it does its worst: a worker that nothing ends, no
processes, an error in the mending.
"""

import asyncio
import errno
import os
from typing import Any

import pytest

from sessions.lifecycle.actor import Actor
from sessions.lifecycle.actor.adoption import Adoption
from sessions.lifecycle.inbox import Command
from sessions.lifecycle.session import ASK_SECONDS
from sessions.model import CloseReason as R
from sessions.model import SessionNotFound, SpawnRefused, Unanswered, WasupError
from sessions.model import SessionState as S
from sessions.policy import ClosePolicy
from sessions.workers.worker_process import Exit
from tests.fakes import LADDER, World, closes, says_nothing

pytestmark = [
    pytest.mark.looptime(noop_cycles=6),
    pytest.mark.usefixtures("no_tasks_left", "wall_clock_in_step"),
]

MINUTE = 60.0
HOUR = 3600.0


async def _open(world: World) -> None:
    world.paired()
    await world.start()
    await world.until(S.OPEN)


def refusal(number: int) -> SpawnRefused:
    return SpawnRefused(OSError(number, os.strerror(number)))


# --- a worker that not even SIGKILL ends ----------------------------------------------------------


async def test_a_session_whose_worker_cannot_be_ended_is_stopped_in_bounded_time_and_says_so() -> (
    None
):
    async with World() as world:
        await _open(world)
        stuck = world.workers.last
        stuck.unkillable = True
        async with asyncio.timeout(LADDER.total_seconds + 1):
            assert await world.ask(Command.STOP) is None
        assert (world.session.state, world.session.worker) == (S.STOPPED, None)
        assert f"process {stuck.pid}) cannot be ended" in world.session.reconnection().human_action
        stuck.end(Exit(signal=9))
        assert "cannot be ended" not in world.session.reconnection().human_action


async def test_it_gets_no_other_worker_until_that_one_has_ended_and_is_open_again_then() -> None:
    async with World() as world:
        await _open(world)
        stuck = world.workers.last
        stuck.unkillable = True
        await world.ask(Command.STOP)
        for command in (
            Command.START,
            Command.FORCE,
            Command.RESET_BREAKER,
            Command.STOP,
            Command.START,
        ):
            await world.ask(command)
            await asyncio.sleep(HOUR)
        assert len(world.workers.made) == 1, "it may still have the session's socket"
        assert world.session.state is S.STARTING
        assert str(stuck.pid) in world.session.reconnection().human_action
        stuck.end(Exit(signal=9))
        await world.until(S.OPEN)
        assert world.session.reconnection().human_action == "Nothing."


@pytest.mark.parametrize("command", [Command.RETIRE, Command.LEAVE])
async def test_it_can_be_deleted_and_the_supervisor_can_stop(command: Command) -> None:
    async with World() as world:
        await _open(world)
        stuck = world.workers.last
        stuck.unkillable = True
        async with asyncio.timeout(LADDER.total_seconds + 1):
            await world.session.ask(command)
        with pytest.raises(SessionNotFound):
            await world.session.ask(Command.START)
        stuck.unkillable = False
        stuck.end(Exit(signal=9))


async def test_one_that_hangs_and_cannot_be_killed_is_not_shown_as_open() -> None:
    async with World() as world:
        await _open(world)
        stuck = world.workers.last
        stuck.unkillable = True
        world.workers.probe = "hangs"
        world.workers.last_beat_at = asyncio.get_running_loop().time()
        await world.until(S.WAITING, S.STARTING, within=2 * MINUTE)
        shown = world.session.reconnection()
        assert shown.close_reason is R.WORKER_HUNG
        assert shown.close_message == "The worker process cannot be ended, not even by SIGKILL."
        await asyncio.sleep(HOUR)
        assert len(world.workers.made) == 1
        world.workers.probe, world.workers.last_beat_at = "ok", None
        stuck.end(Exit(signal=9))
        await world.until(S.OPEN, within=15 * MINUTE)


async def test_its_successor_is_not_given_the_session() -> None:
    async with World() as world:
        await _open(world)
        stuck = world.workers.last
        stuck.unkillable = True
        await world.ask(Command.REPLACE)
        await world.until(S.WAITING, S.STARTING, within=2 * MINUTE)
        await asyncio.sleep(HOUR)
        assert [worker.assigned for worker in world.workers.made] == [True, False]
        assert world.gate.unfinished == []
        stuck.end(Exit(signal=9))
        await world.until(S.OPEN)


async def test_the_session_of_a_returning_worker_that_cannot_be_ended_waits_for_it() -> None:
    async with World() as world:
        world.paired()
        await world.store.create_session(world.id, True)
        stuck = world.workers.comes_back("shop", epoch=9, attempt=1, stage="open")
        stuck.unkillable = True  # and its epoch is not the session's: it is refused
        await world.start()
        await asyncio.sleep(HOUR)
        assert len(world.workers.made) == 1
        assert str(stuck.pid) in world.session.reconnection().human_action
        stuck.end(Exit(signal=9))
        await world.until(S.OPEN)


# --- a machine that refuses new processes ---------------------------------------------------------


@pytest.mark.parametrize(
    "number", [errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENOENT, errno.EIO]
)
async def test_a_refused_process_is_a_worker_that_ended_and_is_told_in_words(number: int) -> None:
    async with World() as world:
        world.workers.startup_error = refusal(number)
        await world.start()
        await world.until(S.WAITING)
        shown = world.session.reconnection()
        assert shown.close_reason is R.WORKER_EXITED
        assert errno.errorcode[number] in (shown.close_message or "")
        assert shown.human_action.startswith(
            f"This machine refuses new processes ({errno.errorcode[number]}): "
        )
        await asyncio.sleep(HOUR)
        assert world.workers.startups <= 45, (
            "the crash budget, and not the pace of an error of our own"
        )
        assert world.alerts("session_error") == []
        world.workers.startup_error = None
        await world.until(S.OPEN, within=11 * MINUTE)


# --- an error in the mending of an error ----------------------------------------------------------


class Broken:
    """An actor's mending, that fails for as long as it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.error: BaseException | None = RuntimeError("a bug in the mending")
        mend = Actor._start_over

        async def fails(actor: Actor, why: str, tell: bool = True) -> None:
            if self.error is not None:
                raise self.error
            await mend(actor, why, tell)

        monkeypatch.setattr(Actor, "_start_over", fails)


def _upset(
    world: World, monkeypatch: pytest.MonkeyPatch, error: BaseException | None = None
) -> None:
    """The next thing that the actor does fails, once."""
    reset = ClosePolicy.reset

    def fails(*_: object) -> Any:
        monkeypatch.setattr(ClosePolicy, "reset", reset)
        raise error or RuntimeError("a bug")

    monkeypatch.setattr(ClosePolicy, "reset", fails)


async def test_an_actor_that_fails_in_its_mending_is_followed_by_another_and_never_by_two_workers(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with World() as world:
        await _open(world)
        broken = Broken(monkeypatch)
        _upset(world, monkeypatch)
        assert await world.ask(Command.RESET_BREAKER) is not None
        broken.error = None
        await world.until_true(lambda: len(world.workers.attempts) == 2)
        await world.until(S.OPEN)
        assert not world.workers.made[0].lives
        assert world.session.view().jid is not None, "what it knew is known"


async def test_who_asks_meanwhile_is_answered(monkeypatch: pytest.MonkeyPatch) -> None:
    async with World() as world:
        await _open(world)
        Broken(monkeypatch)
        _upset(world, monkeypatch)
        world.workers.last.stop_seconds = 5.0
        asked = [asyncio.create_task(world.ask(Command.RESET_BREAKER)) for _ in range(2)]
        await asyncio.sleep(1.0)
        late = await world.ask(Command.START)
        assert isinstance(late, Unanswered)
        first, second = await asyncio.gather(*asked)
        assert type(first) is WasupError
        assert isinstance(second, Unanswered)
        monkeypatch.undo()
        await asyncio.sleep(0)
        await world.until(S.OPEN)


async def test_a_wait_that_somebody_else_calls_off_ends_no_actor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with World() as world:
        await _open(world)
        _upset(world, monkeypatch, asyncio.CancelledError())
        await world.ask(Command.RESET_BREAKER)
        await world.until(S.WAITING)
        await world.until(S.OPEN)


async def test_a_session_that_hangs_answers_within_a_minute_and_does_it_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with World() as world:
        await _open(world)
        going_on = asyncio.Event()
        terminate = world.workers.terminate_returning

        async def hangs(session: str) -> None:
            await going_on.wait()
            await terminate(session)

        monkeypatch.setattr(world.workers, "terminate_returning", hangs)
        began = asyncio.get_running_loop().time()
        assert isinstance(await world.ask(Command.STOP), Unanswered)
        assert asyncio.get_running_loop().time() - began == pytest.approx(ASK_SECONDS, abs=1)
        going_on.set()
        await world.until(S.STOPPED)


async def test_one_that_fails_again_and_again_does_so_at_a_pace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with World() as world:
        Broken(monkeypatch)
        made: list[float] = []
        resume = Adoption.resume

        async def fails(_: Adoption) -> None:
            made.append(asyncio.get_running_loop().time())
            raise RuntimeError("a bug")

        monkeypatch.setattr(Adoption, "resume", fails)
        await world.start()
        await asyncio.sleep(HOUR)
        assert 10 <= len(made) <= 40, "later and later, but within five minutes or so"
        monkeypatch.setattr(Adoption, "resume", resume)
        await world.until(S.OPEN, within=6 * MINUTE)


# --- a store that is away -------------------------------------------------------------------------


async def test_a_session_without_worker_adds_a_handful_of_events_however_long_the_store_is_away() -> (
    None
):
    async with World() as world:
        await world.store.create_session(world.id, True)
        world.store.failing = True
        await world.start()
        await asyncio.sleep(HOUR)
        assert world.session.state is S.WAITING
        assert len(world.events) <= 3, [kind for _, kind, _ in world.events]
        assert world.alerts("session_error") == [], "the store's own alert tells it for all"
        world.store.failing = False
        await world.until(S.OPEN, within=15)


async def test_a_store_that_fails_one_session_alone_is_told_once() -> None:
    async with World() as world:
        await world.store.create_session(world.id, True)
        world.store.failing, world.store.known = True, False
        await world.start()
        await asyncio.sleep(HOUR)
        assert len(world.alerts("session_error")) == 1
        world.store.failing = False
        await world.until(S.OPEN, within=15)


async def test_an_error_of_our_own_that_lasts_is_told_less_and_less_often(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with World() as world:

        async def fails(*_: object) -> int:
            raise RuntimeError("a bug")

        monkeypatch.setattr(world.store, "raise_epoch", fails)
        await world.start()
        await asyncio.sleep(HOUR)
        assert 10 <= len(world.alerts("session_error")) <= 40
        monkeypatch.undo()
        await world.until(S.OPEN, within=6 * MINUTE)


async def test_a_replacement_closes_no_socket_while_the_store_cannot_write() -> None:
    async with World() as world:
        await _open(world)
        world.gate.shut = True
        await world.ask(Command.REPLACE)
        await asyncio.sleep(MINUTE)
        assert len(world.gate.waiting) == 1
        world.store.failing = True
        world.gate.open()
        await asyncio.sleep(HOUR)
        assert world.session.state is S.OPEN
        assert world.session.worker is world.workers.made[0]
        assert not world.workers.made[1].lives
        assert len(world.alerts("replacement_failed")) == 1
        world.store.failing = False


# --- what an operator asks for --------------------------------------------------------------------


async def test_a_reset_of_the_breaker_cuts_no_wait_but_the_breakers() -> None:
    """A 440: another one uses the number, and the server is given time.

    Resets are no way round that.
    """
    async with World() as world:
        world.workers.otherwise = closes(R.REPLACED)
        await world.start()
        for _ in range(60):
            await world.ask(Command.RESET_BREAKER)
            await asyncio.sleep(10)
        undisturbed = World()
        undisturbed.workers.otherwise = closes(R.REPLACED)
        async with undisturbed:
            await undisturbed.start()
            await asyncio.sleep(600)
            assert len(world.workers.attempts) == len(undisturbed.workers.attempts)


async def test_behind_the_breaker_stands_the_wait_that_the_policy_wants() -> None:
    async with World() as world:
        world.workers.plan.extend([closes(R.CONNECTION_LOST)] * 4 + [closes(R.RATE_LIMITED)])
        await world.start()
        await world.until_true(lambda: world.session.reconnection().close_reason is R.RATE_LIMITED)
        breaker = world.session.reconnection().breaker
        assert breaker.state == "open"
        tries = len(world.workers.attempts)
        await world.ask(Command.RESET_BREAKER)
        await asyncio.sleep(1.0)
        assert len(world.workers.attempts) == tries, "a 429 is the server's, not the breaker's"
        await world.until(S.OPEN, within=10 * MINUTE)


async def test_a_logout_that_was_put_off_does_not_wait_behind_the_breaker() -> None:
    async with World() as world:
        await _open(world)
        world.workers.obeys_close = False
        assert await world.ask(Command.LOGOUT) is None
        world.workers.plan.extend([closes(R.CONNECTION_LOST)] * 5)
        world.workers.last.drop(R.CONNECTION_LOST)
        world.workers.obeys_close = True
        await world.until_true(
            lambda: world.session.reconnection().breaker.state == "open", within=5 * MINUTE
        )
        await world.until(S.STOPPED, within=90)
        assert world.session.reconnection().close_reason is R.OWN_LOGOUT


async def test_hung_and_silent_is_noticed_whatever_hangs() -> None:
    async with World() as world:
        world.workers.plan.append(says_nothing())
        await world.start()
        await world.until(S.OPEN, within=2 * MINUTE)
