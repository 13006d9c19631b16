"""A session opens, drops and comes back."""

import asyncio

import pytest

from sessions.lifecycle.inbox import Command
from sessions.model import CloseReason as R
from sessions.model import SessionState as S
from sessions.model import WorkerGone
from sessions.workers import wire
from sessions.workers.worker_process import Exit
from tests.fakes import World, closes, dies, says_nothing, shows_qr
from tests.unit.lifecycle.session.stories import HOUR, MINUTE, STABLE, now

pytestmark = [
    pytest.mark.looptime(noop_cycles=6),
    pytest.mark.usefixtures("no_tasks_left", "wall_clock_in_step"),
]


async def test_a_wanted_session_opens() -> None:
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)
        assert [data["state"] for _, kind, data in world.events if kind == "session.state"] == [
            "starting",
            "connecting",
            "open",
        ]
        assert world.session.view().jid == "15550000001:1@s.whatsapp.net"
        handshake = world.session.performance().handshake
        assert handshake is not None
        assert (handshake.upgrade_ms, handshake.handshake_ms, handshake.login_ms) == (25, 25, 50)
        (permit,) = world.gate.permits
        assert (permit.has_landed, permit.succeeded) == (True, True)
        assert world.workers.last.sent[0] == wire.Assign("shop", epoch=1, creds=wire.NULL)


async def test_a_session_that_is_not_wanted_stays_stopped() -> None:
    async with World() as world:
        await world.start(wanted=False)
        await asyncio.sleep(HOUR)
        assert world.session.state is S.STOPPED
        assert world.workers.startups == 0


async def test_a_stable_session_that_drops_is_back_almost_at_once_on_the_same_worker() -> None:
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)
        await asyncio.sleep(STABLE)
        world.workers.last.drop(R.CONNECTION_LOST)
        dropped = now()
        await world.until(S.WAITING)
        assert await world.until(S.OPEN, within=1) - dropped < 0.7
        assert len(world.workers.made) == 1
        assert world.session.performance().reconnect_count == 1


async def test_failures_back_off_and_are_forgotten_after_a_stable_minute() -> None:
    async with World() as world:
        world.workers.plan.extend([closes(R.CONNECTION_LOST)] * 4)
        await world.start()
        await world.until(S.OPEN, within=60)
        assert world.session.reconnection().failures == 4
        assert world.session.reconnection().attempts == 5
        waits = [
            b - a
            for (a, _), (b, _) in zip(
                world.workers.attempts, world.workers.attempts[1:], strict=False
            )
        ]
        for wait, ceiling in zip(waits, (2, 4, 8, 16), strict=True):
            assert 0.1 <= wait <= ceiling + 0.2
        await asyncio.sleep(STABLE)
        assert world.session.reconnection().failures == 0
        assert world.session.reconnection().attempts == 0


async def test_a_restart_after_pairing_goes_at_once_and_charges_nobody() -> None:
    async with World() as world:
        world.workers.plan.append(closes(R.RESTART_REQUIRED))
        await world.start()
        await world.until(S.OPEN, within=1)
        assert world.session.reconnection().breaker.failures == 0


async def test_a_worker_that_dies_is_replaced_and_the_breaker_not_charged() -> None:
    async with World() as world:
        world.workers.plan.extend([dies(), dies()])
        await world.start()
        await world.until(S.OPEN, within=30)
        assert len(world.workers.made) == 3
        assert world.session.reconnection().breaker.failures == 0
        assert world.session.reconnection().close_reason is R.WORKER_EXITED


async def test_a_worker_that_never_comes_up_is_tried_at_the_crash_budgets_pace() -> None:
    async with World() as world:
        world.workers.startup_error = WorkerGone("it ended before it said hello")
        await world.start()
        await asyncio.sleep(HOUR)
        assert 20 <= world.workers.startups <= 45, (
            "five in ten minutes, and one more when the window lets it"
        )
        world.workers.startup_error = None
        await world.until(S.OPEN, within=11 * MINUTE)


async def test_a_force_does_not_turn_a_worker_that_cannot_start_into_a_spinning_crash_loop() -> (
    None
):
    async with World() as world:
        world.workers.startup_error = WorkerGone("it ended before it said hello")
        await world.start()
        await world.until(S.WAITING)
        assert await world.ask(Command.FORCE) is None
        before = world.workers.startups
        await asyncio.sleep(MINUTE)
        assert world.workers.startups - before <= 6, (
            "the force lets one attempt through, not one in every instant"
        )


async def test_a_worker_that_is_gone_as_it_is_told_to_connect_counts_as_a_crash() -> None:
    async with World() as world:
        world.gate.shut = True
        await world.start()
        await world.until(S.HELD)
        worker = world.workers.last
        worker.line_down = True
        worker.later(0.5, lambda: worker.end(Exit(status=1)))
        world.gate.open()
        await world.until(S.OPEN, within=30)
        assert world.session.reconnection().close_reason is R.WORKER_EXITED
        assert world.alerts("session_error") == []


@pytest.mark.parametrize(
    "report",
    [
        wire.State("shop", attempt=1, stage="paired"),
        wire.State("shop", attempt=1, stage="qr_retired"),
        wire.Qr("shop", attempt=1, qr="AGAIN"),
        wire.Opened("shop", attempt=1, jid="15550000009:1@s.whatsapp.net"),
    ],
    ids=lambda report: getattr(report, "stage", type(report).__name__),
)
async def test_a_worker_that_pairs_or_opens_what_is_open_is_ended(report: wire.Up) -> None:
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)
        mad = world.workers.last
        mad.report(report)
        await asyncio.sleep(30)
        await world.until(S.OPEN)
        assert mad.killed
        assert world.session.reconnection().close_reason is R.WORKER_EXITED
        assert world.session.view().jid == "15550000001:1@s.whatsapp.net", (
            "whom it belongs to is not changed"
        )
        assert world.alerts("session_error") == [], "it is no error of this program"


async def test_a_worker_that_ends_in_any_state_is_replaced() -> None:
    for state in (S.HELD, S.CONNECTING, S.QR, S.OPEN, S.WAITING):
        async with World() as world:
            world.gate.shut = state is S.HELD
            if state is S.WAITING:
                world.workers.plan.append(closes(R.SERVER_ERROR))
            if state in {S.CONNECTING, S.QR}:
                world.workers.plan.append(shows_qr(None) if state is S.QR else says_nothing())
            await world.start()
            await world.until(state)
            world.workers.last.end(Exit(signal=9))
            await asyncio.sleep(0.01)
            world.gate.open()
            await world.until(S.OPEN, within=30)
            assert len(world.workers.made) == 2, state
