"""A worker is adopted in each stage of its attempt, and what nobody has judged is judged."""

import asyncio

import pytest

from sessions.model import CloseReason as R
from sessions.model import SessionState as S
from sessions.workers import wire
from tests.fakes import JID, World, closes, opens
from tests.unit.lifecycle.adoption.pasts import (
    HOUR,
    MINUTE,
    SHOWN_AS,
    Stage,
    how_closed,
    now,
    worker_returns,
)

pytestmark = [
    pytest.mark.looptime(noop_cycles=6),
    pytest.mark.usefixtures("no_tasks_left", "wall_clock_in_step"),
]


LIVE = [Stage.CONNECTING, Stage.LOGIN, Stage.PAIRED, Stage.QR, Stage.OPEN]


@pytest.mark.parametrize("stage", LIVE)
async def test_a_worker_is_adopted_as_it_is_and_nothing_is_begun_anew(stage: Stage) -> None:
    async with World() as world:
        worker = await worker_returns(world, stage)
        await world.until(SHOWN_AS[stage])
        assert world.session.worker is worker
        assert world.workers.startups == 0
        assert world.workers.attempts == []
        assert worker.sent == [], "not a word: no assignment, no order to connect"
        assert world.store.rows["shop"].epoch == 1
        (adopted,) = [data for _, kind, data in world.events if kind == "session.adopted"]
        assert adopted == {"worker": worker.id, "pid": worker.pid, "stage": stage.value}
        states = [data["state"] for _, kind, data in world.events if kind == "session.state"]
        assert states == ["starting", SHOWN_AS[stage].value], "what is passed through is not shown"


@pytest.mark.parametrize("stage", [Stage.CONNECTING, Stage.LOGIN, Stage.PAIRED, Stage.QR])
async def test_an_adopted_attempt_goes_on_to_its_end(stage: Stage) -> None:
    async with World() as world:
        worker = await worker_returns(world, stage)
        await world.until(SHOWN_AS[stage])
        worker.report(wire.Opened("shop", attempt=7, jid=JID, name="Shop"))
        await world.until(S.OPEN)
        worker.drop(R.CONNECTION_LOST)
        await world.until(S.WAITING)
        await world.until(S.OPEN, within=10)
        assert world.workers.attempts[0][1] == 8, "numbers go on where the predecessor stopped"
        assert world.workers.made == [worker]


@pytest.mark.parametrize(("stage", "login_sent", "waits"), [
    (Stage.CONNECTING, False, True),
    (Stage.LOGIN, True, True),
    (Stage.PAIRED, True, True),
    (Stage.QR, True, False),
    (Stage.OPEN, True, False),
])  # fmt: skip
async def test_an_adopted_attempt_has_its_ticket(
    stage: Stage, login_sent: bool, waits: bool
) -> None:
    async with World() as world:
        worker = await worker_returns(world, stage)
        await world.until(SHOWN_AS[stage])
        (permit,) = world.gate.permits
        assert permit.has_landed is login_sent
        assert (permit.succeeded is None) is waits, (
            "who waits for a phone, or is in, holds up nobody"
        )
        worker.report(wire.State("shop", attempt=7, stage="login"))
        worker.report(wire.Opened("shop", attempt=7, jid=JID))
        await asyncio.sleep(0.01)
        assert (permit.has_landed, permit.succeeded) == (True, True)


async def test_an_adopted_qr_is_shown_and_can_be_scanned() -> None:
    async with World() as world:
        worker = await worker_returns(world, Stage.QR)
        await world.until(S.QR)
        assert world.session.qr().qr == "QR-TEXT"
        worker.report(wire.Qr("shop", attempt=7, qr="NEXT"))
        worker.report(wire.State("shop", attempt=7, stage="paired"))
        await world.until(S.CONNECTING)
        worker.drop(R.RESTART_REQUIRED)
        await world.until(S.OPEN, within=5)
        assert world.workers.made == [worker]


@pytest.mark.parametrize(
    ("stage", "seconds"), [(Stage.CONNECTING, 40), (Stage.PAIRED, 40), (Stage.QR, 70)]
)
async def test_an_adopted_worker_that_never_reports_is_taken_for_hung(
    stage: Stage, seconds: float
) -> None:
    async with World() as world:
        worker = await worker_returns(world, stage)
        adopted = await world.until(SHOWN_AS[stage])
        await world.until(S.WAITING, S.STARTING, within=100)
        assert now() - adopted == pytest.approx(seconds, abs=0.1)
        assert worker.killed
        await world.until(S.OPEN)


async def test_an_idle_worker_that_has_not_tried_yet_tries_now() -> None:
    async with World() as world:
        worker = await worker_returns(world, Stage.IDLE, attempt=0)
        await world.until(S.OPEN)
        assert world.workers.made == [worker]
        assert [attempt for _, attempt in world.workers.attempts] == [1]
        assert len(world.gate.permits) == 1


async def test_a_close_that_nobody_has_judged_is_judged_by_the_successor() -> None:
    async with World() as world:
        worker = await worker_returns(world, Stage.IDLE, closed=how_closed(R.SERVER_ERROR))
        await world.until(S.WAITING)
        shown = world.session.reconnection()
        assert (shown.close_reason, shown.failures, shown.breaker.failures) == (
            R.SERVER_ERROR,
            1,
            1,
        )
        assert shown.next_attempt_at is not None
        await world.until(S.OPEN, within=10)
        assert world.workers.made == [worker]
        assert world.workers.attempts[0][1] == 8


async def test_a_ban_that_nobody_has_judged_parks_and_nobody_logs_in() -> None:
    async with World() as world:
        worker = await worker_returns(world, Stage.IDLE, closed=how_closed(R.BANNED))
        await world.until(S.PARKED)
        await asyncio.sleep(HOUR)
        assert world.workers.attempts == []
        assert not worker.alive
        assert len(world.alerts("parked")) == 1


async def test_an_unlinking_that_nobody_has_judged_archives() -> None:
    async with World() as world:
        await worker_returns(world, Stage.IDLE, closed=how_closed(R.LOGGED_OUT))
        await world.until(S.PARKED)
        assert [reason for _, reason in await world.store.archived("shop")] == ["logged_out"]


async def test_our_own_logout_that_nobody_has_judged_stops_the_session() -> None:
    async with World() as world:
        await worker_returns(world, Stage.IDLE, closed=how_closed(R.OWN_LOGOUT))
        await world.until_true(lambda: not world.store.rows["shop"].wanted)
        await world.until(S.STOPPED)
        assert world.workers.alive == []


async def test_a_close_that_was_judged_is_not_judged_again_and_the_wait_goes_on() -> None:
    async with World() as world:
        world.workers.plan.extend([closes(R.CONNECTION_LOST)] * 5)
        await world.start()
        await asyncio.sleep(2 * MINUTE)
        before = world.session.reconnection()
        assert before.breaker.state == "open"
        await world.crash(workers_live=True)
        await asyncio.sleep(MINUTE)
        world.come_back()
        await world.start()
        await world.until(S.WAITING)
        after = world.session.reconnection()
        assert (after.next_attempt_at, after.failures) == (before.next_attempt_at, 5)
        assert after.breaker == before.breaker
        assert world.session.worker is world.workers.made[0]
        await asyncio.sleep(6 * MINUTE)
        assert len(world.workers.attempts) == 5
        await world.until(S.OPEN, within=5 * MINUTE)
        assert len(world.workers.made) == 1


async def test_a_close_whose_judgement_was_not_saved_before_the_crash_is_judged_again() -> None:
    async with World() as world:
        world.workers.plan.append(opens())
        await world.start()
        await world.until(S.OPEN)
        await asyncio.sleep(2 * MINUTE)
        worker, saved = world.workers.last, world.store.rows["shop"]
        worker.drop(R.TEMPORARILY_BANNED, {"expire": "7200"})
        await asyncio.sleep(0)
        await world.crash(workers_live=True)
        world.store.rows["shop"] = saved
        assert worker.alive
        world.come_back()
        await world.start()
        await world.until(S.PARKED)
        shown = world.session.reconnection()
        assert shown.close_reason is R.TEMPORARILY_BANNED
        assert shown.next_attempt_at is not None
        await asyncio.sleep(HOUR)
        assert len(world.workers.attempts) == 1


@pytest.mark.parametrize(("open_for", "stable"), [(5.0, False), (100.0, True)])
async def test_what_closed_while_no_supervisor_was_there_had_been_open(
    open_for: float, stable: bool
) -> None:
    async with World() as world:
        world.paired()
        await world.start()
        await world.until(S.OPEN)
        await asyncio.sleep(open_for)
        await world.crash(workers_live=True)
        world.workers.last.drop(R.CONNECTION_LOST)
        world.come_back()
        world.gate.told.clear()
        await world.start()
        await world.until(S.OPEN)
        assert ("closed", (R.CONNECTION_LOST, True)) in world.gate.told
        (incident,) = world.store.records.incidents
        (close,) = incident.closes
        assert (close.was_open, close.was_stable) == (True, stable)


async def test_an_attempt_that_failed_while_no_supervisor_was_there_is_a_failed_one() -> None:
    async with World() as world:
        world.paired()
        await world.start()
        await world.until(S.OPEN)
        world.workers.plan.append(closes(R.CONNECTION_LOST, after=5.0))
        world.workers.last.drop(R.CONNECTION_LOST)
        await world.until(S.CONNECTING)
        await world.crash(workers_live=True)
        await asyncio.sleep(10)
        world.come_back()
        world.gate.told.clear()
        await world.start()
        await world.until(S.OPEN, within=60)
        assert ("closed", (R.CONNECTION_LOST, False)) in world.gate.told
        (incident,) = world.store.records.incidents
        assert [close.was_open for close in incident.closes] == [True, False]
