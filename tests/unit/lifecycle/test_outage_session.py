"""What a session tells the gate, and what it does when an outage covers it: nothing is charged, no
wait is planned, canaries are short.
"""

import asyncio

import pytest

from sessions.lifecycle.inbox import Command
from sessions.model import CloseReason as R
from sessions.model import SessionState as S
from sessions.policy import COVERED
from tests.fakes import World, closes, opens, says_nothing, shows_qr

pytestmark = [pytest.mark.looptime, pytest.mark.usefixtures("no_tasks_left", "wall_clock_in_step")]


def _told(world: World, *kinds: str) -> list[tuple[str, object]]:
    return [said for said in world.gate.told if said[0] in kinds]


async def test_the_gate_is_told_who_is_open_who_closes_and_who_leaves() -> None:
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)
        assert world.gate.told[0] == ("registered", "direct")
        assert _told(world, "opened") == [("opened", None)]
        world.workers.plan.append(closes(R.ATTEMPT_TIMED_OUT))
        world.workers.alive[0].drop(R.CONNECTION_LOST)
        await world.until(S.WAITING)
        await world.until(S.CONNECTING)
        await world.until(S.OPEN)
        assert _told(world, "closed") == [
            ("closed", (R.CONNECTION_LOST, True)),
            ("closed", (R.ATTEMPT_TIMED_OUT, False)),
        ]
        await world.ask(Command.STOP)
        assert world.gate.told[-1] == ("left", None)
        await world.ask(Command.START)
        await world.until(S.OPEN)
        assert _told(world, "registered", "left")[-1] == ("registered", "direct"), "it is back"


@pytest.mark.parametrize("reason", [R.LOGGED_OUT, R.BANNED, R.TEMPORARILY_BANNED])
async def test_who_is_parked_is_not_part_of_the_fleet(reason: R) -> None:
    async with World() as world:
        world.workers.otherwise = closes(reason)
        await world.start()
        await world.until(S.PARKED)
        assert _told(world, "closed", "left") == [("closed", (reason, False)), ("left", None)]


async def test_a_close_that_an_outage_covers_charges_nothing_and_goes_to_the_gate_at_once() -> None:
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)
        world.gate.outage = world.gate.shut = True
        began = asyncio.get_running_loop().time()
        world.workers.alive[0].drop(R.CONNECTION_LOST)
        assert await world.until(S.HELD) - began < 0.1
        for _ in range(20):
            world.workers.plan.append(closes(R.CONNECTION_LOST))
            await asyncio.sleep(0.01)  # it asks in a task of its own
            world.gate.grant_first()
            await world.until(S.CONNECTING)
            await world.until(S.HELD)
        shown = world.session.reconnection()
        assert (shown.failures, shown.breaker.failures, shown.breaker.state) == (0, 0, "closed")
        assert shown.rule == "outage: held with the fleet, nobody is charged"
        assert shown.close_reason is R.CONNECTION_LOST
        world.gate.open()
        await world.until(S.OPEN)


async def test_what_an_outage_cannot_cause_is_charged_in_an_outage_too() -> None:
    async with World() as world:
        world.gate.outage = True
        world.workers.plan.append(closes(R.UNKNOWN_FAILURE))
        await world.start()
        await world.until(S.WAITING)
        assert world.session.reconnection().failures == 1


async def test_an_uncharge_takes_back_what_was_charged_and_cuts_the_wait_short() -> None:
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)
        world.workers.plan.extend([closes(R.CONNECTION_LOST)] * 5)
        world.workers.alive[0].drop(R.CONNECTION_LOST)
        await world.until_true(lambda: world.session.reconnection().breaker.state == "open")
        await world.until(S.WAITING)
        world.gate.shut = True
        began = asyncio.get_running_loop().time()
        world.gate.uncharge(world.id)
        assert await world.until(S.HELD) - began < 0.1, (
            "it waits with the others, not for its breaker"
        )
        shown = world.session.reconnection()
        assert (shown.failures, shown.breaker.failures, shown.breaker.state) == (0, 0, "closed")
        world.gate.open()
        await world.until(S.OPEN)


async def test_an_uncharge_leaves_alone_who_closed_for_another_reason_who_is_open_and_who_rests() -> (
    None
):
    async with World() as world:
        world.workers.plan.append(closes(R.REPLACED))
        await world.start()
        await world.until(S.WAITING)
        due = world.session.reconnection().next_attempt_at
        world.gate.uncharge(world.id)
        await asyncio.sleep(1)
        assert (world.session.state, world.session.reconnection().next_attempt_at) == (
            S.WAITING,
            due,
        )
        await world.until(S.OPEN, within=120)
        world.gate.uncharge(world.id)
        await asyncio.sleep(1)
        assert world.session.state is S.OPEN
        await world.ask(Command.STOP)
        world.gate.uncharge(world.id)
        await asyncio.sleep(1)
        assert world.session.state is S.STOPPED


async def test_the_close_that_shows_an_outage_is_uncharged_with_those_before_it() -> None:
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)
        world.workers.plan.extend([closes(R.CONNECTION_LOST)] * 3)
        world.workers.alive[0].drop(R.CONNECTION_LOST)
        await world.until_true(lambda: world.session.reconnection().failures == 2)
        world.gate.reveals = True
        await world.until_true(lambda: world.session.reconnection().rule == COVERED)
        world.gate.reveals = False
        shown = world.session.reconnection()
        assert (shown.failures, shown.breaker.failures) == (0, 0)
        incident = world.session.incident()
        assert incident is not None
        assert [close.covered for close in incident.closes] == [True, True, True]
        await world.until(S.OPEN)


async def test_a_breaker_that_an_outage_had_opened_does_not_put_off_the_close_that_shows_it() -> (
    None
):
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)
        world.workers.plan.extend([closes(R.CONNECTION_LOST)] * 6)
        world.workers.alive[0].drop(R.CONNECTION_LOST)
        await world.until_true(lambda: world.session.reconnection().breaker.state == "open")
        await world.until(S.WAITING)
        world.gate.reveals = True
        await world.ask(Command.FORCE)
        await world.until_true(lambda: world.session.reconnection().rule == COVERED)
        world.gate.reveals, began = False, asyncio.get_running_loop().time()
        assert world.session.reconnection().breaker.state == "closed"
        assert await world.until(S.CONNECTING) - began < 1.0
        await world.until(S.OPEN)


async def test_a_canary_that_takes_too_long_is_ended_as_timed_out() -> None:
    async with World() as world:
        world.gate.outage, world.gate.deadline_seconds = True, 5.0
        world.workers.plan.append(says_nothing())
        await world.start()
        began = await world.until(S.CONNECTING)
        ended = await world.until(S.WAITING)
        assert ended - began == pytest.approx(5.0, abs=0.1)
        assert world.session.reconnection().close_reason is R.ATTEMPT_TIMED_OUT
        await world.until(S.OPEN)
        assert [permit.succeeded for permit in world.gate.permits] == [False, True]


async def test_a_canary_whose_login_is_on_the_wire_may_take_as_long_as_any_attempt() -> None:
    async with World() as world:
        world.gate.outage, world.gate.deadline_seconds = True, 5.0
        world.workers.plan.append(opens(after=9.0))  # on the wire after 4.5 s
        await world.start()
        began = await world.until(S.CONNECTING)
        assert await world.until(S.OPEN) - began == pytest.approx(9.0, abs=0.1)
        assert [permit.succeeded for permit in world.gate.permits] == [True]


async def test_who_is_told_405_first_waits_alone() -> None:
    async with World() as world:
        world.gate.concerns_all = False
        world.workers.plan.append(closes(R.CLIENT_OUTDATED))
        await world.start()
        began = await world.until(S.WAITING)
        assert world.gate.holds == ["client_outdated"]
        await world.until(S.OPEN, within=2000)
        assert asyncio.get_running_loop().time() - began >= 60, "at a pace of its own, not at once"


async def test_a_canary_that_shows_a_qr_or_is_open_has_no_deadline_any_more() -> None:
    async with World() as world:
        world.gate.deadline_seconds = 5.0
        world.workers.plan.append(shows_qr(expires_after=40.0))
        world.workers.otherwise = opens()
        await world.start()
        await world.until(S.QR)
        await asyncio.sleep(30)
        assert world.session.state is S.QR
        await world.until(S.PARKED, within=200)
        await world.ask(Command.START)
        await world.until(S.OPEN)
        await asyncio.sleep(30)
        assert world.session.state is S.OPEN


async def test_an_open_session_that_is_adopted_is_told_as_open() -> None:
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)
        await world.leave()
        world.gate.told.clear()
        world.come_back()
        await world.start()
        await world.until(S.OPEN)
        assert world.gate.told == [("registered", "direct"), ("opened", None)]
