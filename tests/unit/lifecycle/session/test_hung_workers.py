"""A worker that hangs is noticed and replaced; a session that hears nothing gets a new socket."""

import asyncio

import pytest

from sessions.lifecycle.inbox import Command
from sessions.model import CloseReason as R
from sessions.model import SessionState as S
from tests.fakes import World, says_nothing, shows_qr
from tests.unit.lifecycle.session.stories import HOUR, MINUTE, STABLE, now

pytestmark = [
    pytest.mark.looptime(noop_cycles=6),
    pytest.mark.usefixtures("no_tasks_left", "wall_clock_in_step"),
]


async def test_a_worker_that_never_reports_its_attempt_is_killed_and_replaced() -> None:
    async with World() as world:
        world.workers.plan.append(says_nothing())
        await world.start()
        began = await world.until(S.CONNECTING)
        await world.until(S.OPEN, within=60)
        assert world.workers.made[0].killed
        assert world.times(S.WAITING)[0] - began == pytest.approx(40.0, abs=0.1), (
            "30 s of its own deadline, 10 s of grace"
        )
        assert world.session.reconnection().close_reason is R.WORKER_HUNG


async def test_a_worker_that_hangs_while_it_shows_a_qr_is_noticed_too() -> None:
    async with World() as world:
        world.workers.plan.append(shows_qr(expires_after=None))
        await world.start()
        await world.until(S.QR)
        await asyncio.sleep(15 * MINUTE)  # Baileys' own refs are used up after less than three
        assert world.session.state is not S.QR, (
            "no deadline, no probe, no heartbeat: it would show a dead QR for ever"
        )


async def test_an_open_session_whose_worker_answers_no_probe_gets_a_new_worker() -> None:
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)
        world.workers.probe = "hangs"
        await world.until(S.WAITING, within=60)
        world.workers.probe = "ok"
        await world.until(S.OPEN)
        assert world.workers.made[0].killed
        assert world.session.reconnection().close_reason is R.WORKER_HUNG


async def test_an_open_session_whose_worker_has_no_heartbeat_gets_a_new_worker() -> None:
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)
        world.workers.last_beat_at = now()
        await world.until(S.WAITING, within=60)
        world.workers.last_beat_at = None
        await world.until(S.OPEN)
        assert world.workers.made[0].killed


async def test_a_worker_that_does_not_close_its_socket_when_told_to_is_killed() -> None:
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)
        world.workers.obeys_close = False
        assert await world.ask(Command.FORCE) is None
        await world.until(S.STARTING, within=15)
        await world.until(S.OPEN)
        assert world.workers.made[0].killed


async def test_a_probe_without_an_answer_and_without_a_byte_is_a_lost_connection() -> None:
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)
        await asyncio.sleep(STABLE)
        world.workers.probe = "silent"
        await world.until(S.WAITING, within=60)
        world.workers.probe = "ok"
        await world.until(S.OPEN)
        assert len(world.workers.made) == 1
        assert world.session.reconnection().close_reason is R.CONNECTION_LOST


async def test_a_deaf_session_gets_a_new_socket_then_a_new_worker_then_is_left_alone() -> None:
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)
        world.workers.probe = "deaf"
        await asyncio.sleep(5 * MINUTE)
        assert world.session.state is S.OPEN
        assert len(world.workers.attempts) == 3
        assert [worker.killed for worker in world.workers.made] == [True, False]
        deaf_messages = [
            data["message"]
            for _, kind, data in world.events
            if kind == "alert" and data["name"] == "deaf"
        ]
        assert deaf_messages[:3] == [
            "reconnect the socket",
            "kill the worker",
            "leave it and alert",
        ]
        await asyncio.sleep(6 * HOUR)
        assert len(world.workers.attempts) == 5, "six hours later there is a new budget"
        assert world.session.reconnection().breaker.failures == 0


async def test_a_deaf_session_that_is_left_alone_does_not_flood_the_event_log() -> None:
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)
        world.workers.probe = "deaf"
        await asyncio.sleep(5 * MINUTE)
        before = len(world.alerts("deaf"))
        await asyncio.sleep(HOUR)
        assert len(world.alerts("deaf")) - before <= HOUR / 30, "no more often than it is probed"
