"""Frames of an old attempt, an old worker or another session change nothing."""

import asyncio

import pytest

from sessions.model import CloseReason as R
from sessions.model import SessionState as S
from sessions.workers import wire
from sessions.workers.worker_process import Exit
from tests.fakes import CREDS, World, closes, dies

pytestmark = [
    pytest.mark.looptime(noop_cycles=6),
    pytest.mark.usefixtures("no_tasks_left", "wall_clock_in_step"),
]


async def test_late_frames_of_an_old_attempt_are_ignored() -> None:
    async with World() as world:
        world.workers.plan.append(closes(R.CONNECTION_LOST))
        await world.start()
        await world.until(S.OPEN, within=10)
        worker, before = world.workers.last, len(world.events)
        worker.report(wire.Qr("shop", attempt=1, qr="OLD"))
        worker.report(wire.Opened("shop", attempt=1, jid="1@s.whatsapp.net"))
        worker.report(
            wire.Closed(
                "shop",
                attempt=1,
                code=401,
                message="old",
                data=None,
                registered=True,
                reason=R.LOGGED_OUT,
            )
        )
        await asyncio.sleep(1)
        assert world.session.state is S.OPEN
        assert len(world.events) == before


async def test_late_frames_of_an_old_worker_are_ignored() -> None:
    async with World() as world:
        world.workers.plan.append(dies())
        await world.start()
        await world.until(S.OPEN, within=10)
        old, attempt = world.workers.made[0], world.workers.attempts[-1][1]
        assert old.owner is not None
        old.owner.on_frame(
            old,
            wire.Closed(
                "shop",
                attempt=attempt,
                code=401,
                message="old",
                data=None,
                registered=True,
                reason=R.LOGGED_OUT,
            ),
        )
        old.owner.on_worker_end(old, Exit(signal=9))
        await asyncio.sleep(1)
        assert world.session.state is S.OPEN


async def test_a_worker_that_speaks_of_another_session_is_killed() -> None:
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)
        world.workers.last.report(wire.State("another", attempt=1, stage="login"))
        await asyncio.sleep(0.01)
        assert world.workers.made[0].killed
        await world.until(S.OPEN)


async def test_key_writes_of_an_old_worker_are_refused() -> None:
    async with World() as world:
        world.workers.plan.append(dies())
        await world.start()
        await world.until(S.OPEN, within=10)
        old, new = world.workers.made
        entry = wire.KeyEntry("creds", "creds", CREDS)  # type: ignore[arg-type]
        old.lives = True  # a process that was thought to be dead
        assert old.owner is not None
        old.owner.on_frame(old, wire.KeysSet("shop", epoch=1, seq=1, entries=[entry]))
        new.report(wire.KeysSet("shop", epoch=2, seq=7, entries=[]))
        await asyncio.sleep(0.01)
        old.lives = False
        assert old.sent[-1] == wire.KeysAck("shop", seq=1, ok=False, error="stale_epoch")
        assert new.sent[-1] == wire.KeysAck("shop", seq=7, ok=True)
        assert world.store.auth == {}
