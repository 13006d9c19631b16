"""What an operator asks of a session, and what it answers."""

import asyncio
import gc

import pytest

from sessions.lifecycle.attempt import ShownQr
from sessions.lifecycle.inbox import Command
from sessions.model import CloseReason as R
from sessions.model import Refused, SessionNotFound
from sessions.model import SessionState as S
from sessions.workers import wire
from tests.fakes import World, closes, opens, shows_qr
from tests.unit.lifecycle.session.stories import DAY, bring_to

pytestmark = [
    pytest.mark.looptime(noop_cycles=6),
    pytest.mark.usefixtures("no_tasks_left", "wall_clock_in_step"),
]


async def test_a_force_on_an_open_session_reconnects_it_without_blame() -> None:
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)
        assert await world.ask(Command.FORCE) is None
        await world.until(S.CONNECTING, within=1)
        await world.until(S.OPEN, within=1)
        assert len(world.workers.made) == 1
        assert world.session.reconnection().failures == 0


async def test_a_force_cuts_a_wait_short_and_goes_to_the_head_of_the_gate() -> None:
    async with World() as world:
        world.workers.plan.extend([closes(R.SERVER_ERROR)] * 4)
        await world.start()
        await world.until_true(lambda: len(world.workers.attempts) == 4)
        await world.until(S.WAITING)
        assert await world.ask(Command.FORCE) is None
        await world.until(S.OPEN, within=1)
        assert [permit.urgent for permit in world.gate.permits] == [False] * 4 + [True]


async def test_a_force_moves_a_held_session_to_the_head_of_the_gate() -> None:
    async with World() as world:
        world.gate.shut = True
        await world.start()
        await world.until(S.HELD)
        assert await world.ask(Command.FORCE) is None
        await asyncio.sleep(0.01)
        assert [permit.urgent for permit, _ in world.gate.waiting] == [True]
        world.gate.open()
        await world.until(S.OPEN)


async def test_two_forces_in_one_instant_leave_no_step_behind_that_was_never_run() -> None:
    async with World() as world:
        world.gate.shut = True
        await world.start()
        await world.until(S.HELD)
        await asyncio.sleep(0.01)
        await asyncio.gather(world.ask(Command.FORCE), world.ask(Command.FORCE))
        gc.collect()  # "coroutine ... was never awaited" is an error here
        assert len(world.gate.waiting) <= 1
        world.gate.open()
        await world.until(S.OPEN)


async def test_a_ticket_that_is_on_its_way_when_a_force_comes_is_used_and_no_second_one_is_asked_for() -> (
    None
):
    async with World() as world:
        world.gate.shut = True
        await world.start()
        await world.until(S.HELD)
        await asyncio.sleep(0.01)
        forcing = asyncio.create_task(world.ask(Command.FORCE))
        world.gate.grant_first()
        await forcing
        await world.until(S.OPEN)
        assert len(world.gate.permits) == 1
        assert world.gate.waiting == []


async def test_a_force_while_the_worker_comes_up_goes_to_the_head_of_the_gate() -> None:
    async with World() as world:
        world.gate.shut = True
        await world.start()
        await world.until(S.STARTING)
        assert await world.ask(Command.FORCE) is None
        await world.until(S.HELD)
        await asyncio.sleep(0.01)
        assert [permit.urgent for permit, _ in world.gate.waiting] == [True]
        world.gate.open()
        await world.until(S.OPEN)


async def test_a_force_is_used_up_by_its_attempt_or_by_a_stop() -> None:
    async with World() as world:
        world.gate.shut = True
        await world.start()
        await world.until(S.HELD)
        await world.ask(Command.FORCE)
        await world.ask(Command.STOP)
        world.gate.open()
        await world.ask(Command.START)
        await world.until(S.OPEN)
        assert not world.gate.permits[-1].urgent, "yesterday's force does not jump today's queue"


async def test_a_force_that_cannot_help_is_refused_with_a_reason_and_a_way_out() -> None:
    async with World() as world:
        await world.start(wanted=False)
        stopped = await world.ask(Command.FORCE)
        world.workers.otherwise = shows_qr()
        await world.ask(Command.START)
        await world.until(S.QR)
        qr = await world.ask(Command.FORCE)
        assert isinstance(stopped, Refused)
        assert isinstance(qr, Refused)
        assert (stopped.code, qr.code) == ("stopped", "qr")
        assert "start" in stopped.hint
        assert "QR" in qr.hint
        for refusal in (stopped, qr):
            assert "{id}" not in refusal.hint
        assert world.session.state is S.QR


@pytest.mark.parametrize(
    "state", [S.STARTING, S.HELD, S.CONNECTING, S.QR, S.OPEN, S.WAITING, S.PARKED, S.QUARANTINED]
)
async def test_a_stop_in_any_state_ends_stopped_without_worker_or_ticket_and_a_start_brings_it_back(
    state: S,
) -> None:
    async with World() as world:
        await bring_to(world, state)
        assert await world.ask(Command.STOP) is None
        assert world.session.state is S.STOPPED
        assert world.workers.alive == []
        assert world.gate.unfinished == []
        assert world.gate.waiting == []
        attempts = len(world.workers.attempts)
        await asyncio.sleep(DAY)
        assert world.session.state is S.STOPPED
        assert len(world.workers.attempts) == attempts
        assert world.session.reconnection().next_attempt_at is None
        world.gate.open()
        world.workers.plan.clear()
        world.workers.otherwise = opens()
        world.paired()
        assert await world.ask(Command.START) is None
        await world.until(S.OPEN)


@pytest.mark.parametrize(
    "state", [S.STARTING, S.HELD, S.CONNECTING, S.QR, S.OPEN, S.WAITING, S.PARKED, S.QUARANTINED]
)
async def test_a_retired_session_lets_go_of_all_and_stays_wanted(state: S) -> None:
    async with World() as world:
        await bring_to(world, state)
        assert await world.ask(Command.RETIRE) is None
        assert world.workers.alive == []
        assert world.gate.unfinished == []
        assert world.store.rows["shop"].wanted is True
        assert isinstance(await world.ask(Command.START), SessionNotFound)


async def test_a_worker_that_comes_up_in_the_moment_of_retirement_is_not_left_behind() -> None:
    async with World() as world:
        await world.start()
        world.workers.held = asyncio.get_running_loop().create_future()
        await world.until(S.STARTING)
        await asyncio.sleep(0.01)
        retiring = asyncio.create_task(world.ask(Command.RETIRE))
        world.workers.held.set_result(None)
        await retiring
        await asyncio.sleep(1)
        assert world.workers.alive == []


async def test_a_ticket_that_is_granted_in_the_moment_of_retirement_is_given_back() -> None:
    async with World() as world:
        world.gate.shut = True
        await world.start()
        await world.until(S.HELD)
        await asyncio.sleep(0.01)
        retiring = asyncio.create_task(world.ask(Command.RETIRE))
        world.gate.open()
        await retiring
        await asyncio.sleep(1)
        assert world.gate.unfinished == []


async def test_sending_and_pairing_are_refused_when_they_cannot_work() -> None:
    async with World() as world:
        await world.start(wanted=False)
        with pytest.raises(Refused, match="stopped"):
            await world.session.send_text("15550000009", "hello")
        with pytest.raises(Refused, match="stopped"):
            await world.session.pairing_code("15550000002")
        with pytest.raises(Refused, match="stopped"):
            world.session.qr()
        world.workers.plan.append(shows_qr())
        await world.ask(Command.START)
        await world.until(S.QR)
        assert world.session.qr().qr == "QR-TEXT"
        assert await world.session.pairing_code("15550000002") == "ABCD1234"


async def test_a_qr_that_whatsapp_retires_is_served_no_more_and_the_next_one_is_told() -> None:
    async with World() as world:
        world.workers.plan.append(shows_qr(expires_after=None))
        await world.start()
        await world.until(S.QR)
        worker = world.workers.last
        worker.report(
            wire.Qr(
                "shop", attempt=1, qr="OLD", qr_number=1, renewed=False, pairing_code="OLDCODE1"
            )
        )
        await asyncio.sleep(0.1)
        worker.report(wire.State("shop", attempt=1, stage="qr_retired"))
        await asyncio.sleep(0.1)
        with pytest.raises(Refused, match="renewing its QR") as refused:
            world.session.qr()
        assert (world.session.state, refused.value.code) == (S.QR, "no_qr")
        for _ in range(2):  # told again, it is no further event
            worker.report(
                wire.Qr(
                    "shop", attempt=1, qr="NEW", qr_number=2, renewed=True, pairing_code="NEWCODE1"
                )
            )
        await asyncio.sleep(0.1)
        assert world.session.qr() == ShownQr("NEW", 2, "NEWCODE1")
        told = [
            (kind, data)
            for _, kind, data in world.events
            if kind in {"session.qr", "session.pairing_code"}
        ]
        assert told == [
            ("session.qr", {"qr": "QR-TEXT", "number": 0, "renewed": False}),
            ("session.qr", {"qr": "OLD", "number": 1, "renewed": False}),
            ("session.pairing_code", {"code": "OLDCODE1", "renewed": False}),
            ("session.qr", {"qr": "NEW", "number": 2, "renewed": True}),
            ("session.pairing_code", {"code": "NEWCODE1", "renewed": True}),
        ]


async def test_a_worker_that_waits_for_the_store_to_take_the_new_secret_is_not_hung() -> None:
    async with World() as world:
        world.workers.plan.append(shows_qr(expires_after=None))
        await world.start()
        await world.until(S.QR)
        for _ in range(10):
            world.workers.last.report(wire.State("shop", attempt=1, stage="qr_retired"))
            await asyncio.sleep(20)
        assert (world.session.state, len(world.workers.made)) == (S.QR, 1)


async def test_a_passkey_that_is_asked_for_parks_and_shows_no_further_qr_until_a_human_starts_it() -> (
    None
):
    async with World() as world:
        world.workers.plan.append(closes(R.PASSKEY_REQUIRED))
        await world.start()
        await world.until(S.PARKED)
        await asyncio.sleep(DAY)
        assert (world.session.state, len(world.workers.attempts)) == (S.PARKED, 1)
        assert "passkey" in world.session.reconnection().human_action
        refusal = await world.ask(Command.FORCE)
        assert isinstance(refusal, Refused)
        assert refusal.code == "passkey_required"
        world.workers.plan.append(shows_qr())
        await world.ask(Command.START)
        await world.until(S.QR)


async def test_a_sent_text_is_counted_and_its_id_given() -> None:
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)
        assert await world.session.send_text("15550000009", "hello") == "3EB0"
        assert world.session.performance().messages_processed == 1


async def test_a_pairing_asks_for_a_restart_and_opens() -> None:
    async with World() as world:
        world.workers.plan.append(shows_qr())
        await world.start()
        await world.until(S.QR)
        assert world.gate.unfinished == [], "who waits for a phone holds up nobody"
        worker = world.workers.last
        worker.report(wire.State("shop", attempt=1, stage="paired"))
        await world.until(S.CONNECTING)
        worker.drop(R.RESTART_REQUIRED)
        await world.until(S.OPEN, within=5)
        assert len(world.workers.made) == 1
