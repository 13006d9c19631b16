"""A worker of an earlier supervisor comes back: what is adopted, where its session then stands, and
what is lost (nothing).
"""

import asyncio
import itertools
from typing import Any

import msgspec
import pytest

from sessions.lifecycle import adoption, remembered
from sessions.lifecycle.inbox import Command
from sessions.lifecycle.machine import Signal, step
from sessions.model import CloseReason as R
from sessions.model import SessionState as S
from sessions.workers import wire
from sessions.workers.worker_process import Exit
from supervisor.fleet.feed import Feed
from supervisor.fleet.fleet import Fleet
from supervisor.gate.gate import Gate, GateConfig
from tests.fakes import JID, FakeWorker, World, closes, opens, says_nothing, shows_qr

pytestmark = [
    pytest.mark.looptime(noop_cycles=6),
    pytest.mark.usefixtures("no_tasks_left", "wall_clock_in_step"),
]

MINUTE = 60.0
HOUR = 3600.0
Stage = wire.Stage
LIVE = [Stage.CONNECTING, Stage.LOGIN, Stage.PAIRED, Stage.QR, Stage.OPEN]


def _now() -> float:
    return asyncio.get_running_loop().time()


def _closed(reason: R, data: dict[str, str] | None = None) -> wire.HowClosed:
    return wire.HowClosed(code=500, message="closed", data=data, registered=True, reason=reason)


def _held(
    stage: Stage, epoch: int = 1, attempt: int = 7, closed: wire.HowClosed | None = None
) -> dict[str, Any]:
    shown: dict[Stage, dict[str, Any]] = {
        Stage.QR: {"qr": "QR-TEXT"},
        Stage.OPEN: {"jid": JID, "name": "Shop", "open_for_ms": 20_000.0},
        Stage.IDLE: {"closed": closed},
    }
    return {"epoch": epoch, "attempt": attempt, "stage": stage, **shown.get(stage, {})}


async def _returns(world: World, stage: Stage, **other: Any) -> FakeWorker:
    """The session is at epoch 1, and a worker of an earlier supervisor holds it like that.

    The next supervisor has just begun.
    """
    await _with_a_past(world)
    worker = world.workers.comes_back("shop", **(_held(stage) | other))
    await world.start()
    return worker


async def _with_a_past(world: World) -> None:
    world.paired()
    row = await world.store.create_session(world.id, wanted=True)
    world.store.rows[world.id] = msgspec.structs.replace(row, epoch=1, jid=JID)


# --- the table ------------------------------------------------------------------------------------


SHOWN_AS = {
    Stage.IDLE: S.STARTING,
    Stage.CONNECTING: S.CONNECTING,
    Stage.LOGIN: S.CONNECTING,
    Stage.PAIRED: S.CONNECTING,
    Stage.QR: S.QR,
    Stage.OPEN: S.OPEN,
}


@pytest.mark.parametrize("stage", Stage)
def test_the_way_to_every_stage_is_a_legal_one_and_ends_where_the_session_then_stands(
    stage: Stage,
) -> None:
    state = step(S.STOPPED, Signal.START)
    for signal in adoption.SIGNALS[stage]:
        state = step(state, signal)
    assert state is SHOWN_AS[stage]


def test_a_login_is_on_the_wire_from_the_stage_of_that_name_on() -> None:
    assert set(Stage) - adoption.LOGIN_SENT == {Stage.IDLE, Stage.CONNECTING}


@pytest.mark.parametrize(
    ("stage", "parked", "readable"), list(itertools.product(Stage, [False, True], [False, True]))
)
def test_only_a_worker_of_the_stores_own_epoch_is_adopted(
    stage: Stage, parked: bool, readable: bool
) -> None:
    held = wire.Held(session="shop", **_held(stage, epoch=4))
    for epoch in (3, 5):
        refusal = adoption.refusal(held, epoch, parked, readable)
        assert refusal is not None
        assert f"epoch {epoch}" in refusal
    may_be_adopted = readable and (stage is Stage.OPEN or not parked)
    assert (adoption.refusal(held, 4, parked, readable) is None) is may_be_adopted


CLOSED = _closed(R.SERVER_ERROR)


@pytest.mark.parametrize(
    ("held", "judged", "unjudged"),
    [
        (_held(Stage.IDLE, 1, 7, CLOSED), None, True),
        (_held(Stage.IDLE, 1, 7, CLOSED), (1, 6), True),
        (_held(Stage.IDLE, 2, 7, CLOSED), (1, 7), True),
        (_held(Stage.IDLE, 1, 7, CLOSED), (1, 7), False),
        (_held(Stage.IDLE, 1, 0), None, False),
        (_held(Stage.IDLE, 1, 7), None, False),
        (_held(Stage.OPEN, 1, 7) | {"closed": CLOSED}, None, False),
    ],
)
def test_a_close_is_judged_unless_it_was(
    held: dict[str, Any], judged: tuple[int, int] | None, unjudged: bool
) -> None:
    assert adoption.unjudged(wire.Held(session="shop", **held), judged) is unjudged


# --- each stage -----------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", LIVE)
async def test_a_worker_is_adopted_as_it_is_and_nothing_is_begun_anew(stage: Stage) -> None:
    async with World() as world:
        worker = await _returns(world, stage)
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
        worker = await _returns(world, stage)
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
        worker = await _returns(world, stage)
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
        worker = await _returns(world, Stage.QR)
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
        worker = await _returns(world, stage)
        adopted = await world.until(SHOWN_AS[stage])
        await world.until(S.WAITING, S.STARTING, within=100)
        assert _now() - adopted == pytest.approx(seconds, abs=0.1)
        assert worker.killed
        await world.until(S.OPEN)


async def test_an_idle_worker_that_has_not_tried_yet_tries_now() -> None:
    async with World() as world:
        worker = await _returns(world, Stage.IDLE, attempt=0)
        await world.until(S.OPEN)
        assert world.workers.made == [worker]
        assert [attempt for _, attempt in world.workers.attempts] == [1]
        assert len(world.gate.permits) == 1


async def test_a_close_that_nobody_has_judged_is_judged_by_the_successor() -> None:
    async with World() as world:
        worker = await _returns(world, Stage.IDLE, closed=_closed(R.SERVER_ERROR))
        await world.until(S.WAITING)
        shown = world.session.reconnection()
        assert (shown.close_reason, shown.failures, shown.breaker.failures) == (
            R.SERVER_ERROR,
            1,
            1,
        )
        assert shown.next_attempt is not None
        await world.until(S.OPEN, within=10)
        assert world.workers.made == [worker]
        assert world.workers.attempts[0][1] == 8


async def test_a_ban_that_nobody_has_judged_parks_and_nobody_logs_in() -> None:
    async with World() as world:
        worker = await _returns(world, Stage.IDLE, closed=_closed(R.BANNED))
        await world.until(S.PARKED)
        await asyncio.sleep(HOUR)
        assert world.workers.attempts == []
        assert not worker.alive
        assert len(world.alerts("parked")) == 1


async def test_an_unlinking_that_nobody_has_judged_archives() -> None:
    async with World() as world:
        await _returns(world, Stage.IDLE, closed=_closed(R.LOGGED_OUT))
        await world.until(S.PARKED)
        assert [reason for _, reason in await world.store.archived("shop")] == ["logged_out"]


async def test_our_own_logout_that_nobody_has_judged_stops_the_session() -> None:
    async with World() as world:
        await _returns(world, Stage.IDLE, closed=_closed(R.OWN_LOGOUT))
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
        assert (after.next_attempt, after.failures) == (before.next_attempt, 5)
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
        assert shown.next_attempt is not None
        await asyncio.sleep(HOUR)
        assert len(world.workers.attempts) == 1


# --- who is refused -------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", Stage)
async def test_a_worker_of_another_epoch_is_refused_and_ended_before_another_is_given_the_session(
    stage: Stage,
) -> None:
    async with World() as world:
        worker = await _returns(world, stage, epoch=3)
        await world.until(S.OPEN)
        assert world.workers.refused == [
            (worker.id, "it is of epoch 3, and the session is at epoch 1")
        ]
        assert not worker.alive
        assert world.session.worker is world.workers.made[1]


@pytest.mark.parametrize("stage", [Stage.IDLE, Stage.CONNECTING, Stage.QR])
async def test_a_worker_of_a_parked_session_is_refused_and_the_session_stays_parked(
    stage: Stage,
) -> None:
    async with World() as world:
        await _parked(world)
        worker = world.workers.comes_back("shop", **_held(stage))
        await world.start()
        await world.until(S.PARKED)
        await asyncio.sleep(HOUR)
        assert world.workers.refused == [(worker.id, "its session is parked")]
        assert world.workers.attempts == []
        assert world.session.state is S.PARKED
        assert world.session.reconnection().close_reason is R.BANNED


async def test_a_parked_session_that_is_open_after_all_is_adopted_and_parked_no_more() -> None:
    async with World() as world:
        await _parked(world)
        worker = world.workers.comes_back("shop", **_held(Stage.OPEN))
        await world.start()
        await world.until(S.OPEN)
        assert world.session.worker is worker
        assert remembered.decode(world.store.rows["shop"].memory, _now()).parked is False


@pytest.mark.parametrize("stage", Stage)
async def test_with_a_memory_that_cannot_be_read_no_worker_is_adopted_and_nothing_is_overwritten(
    stage: Stage,
) -> None:
    async with World() as world:
        await _with_a_past(world)
        world.store.rows["shop"] = msgspec.structs.replace(
            world.store.rows["shop"], memory=b"{torn"
        )
        worker = world.workers.comes_back("shop", **_held(stage))
        await world.start()
        await world.until(S.QUARANTINED)
        await asyncio.sleep(HOUR)
        assert [refused for refused, _ in world.workers.refused] == [worker.id]
        assert not worker.alive
        assert world.workers.attempts == []
        await world.close()
        assert world.store.rows["shop"].memory == b"{torn"


async def test_a_session_that_is_not_wanted_adopts_nobody() -> None:
    async with World() as world:
        worker = await _unwanted(world)
        await world.start()
        await asyncio.sleep(MINUTE)
        assert world.session.state is S.STOPPED
        assert world.session.worker is None
        assert world.workers.expects("shop"), "the fleet sees it off"
        assert worker.alive


async def test_the_fleet_sees_off_whom_no_wanted_session_claims_and_keeps_the_others() -> None:
    async with World() as world:
        unwanted = await _unwanted(world)
        await world.store.create_session("kept", wanted=True)  # type: ignore[arg-type]
        world.store.rows["kept"] = msgspec.structs.replace(world.store.rows["kept"], epoch=1)
        deleted = world.workers.comes_back("deleted", **_held(Stage.OPEN))
        kept = world.workers.comes_back("kept", **_held(Stage.OPEN))
        gate = Gate(GateConfig(), world.dependencies.rng)
        fleet = Fleet(world.dependencies, gate, Feed(world.store, [], 10))  # type: ignore[arg-type]
        await fleet.open()
        await asyncio.sleep(1)
        assert [worker.alive for worker in (unwanted, deleted, kept)] == [False, False, True]
        assert {session.id: session.state for session in fleet.sessions()} == {
            "shop": S.STOPPED,
            "kept": S.OPEN,
        }
        await fleet.close(detach=True)
        assert kept.alive, "and leaves them to its own successor"
        kept.end(Exit(status=0))


async def test_a_worker_that_ends_before_it_calls_is_replaced() -> None:
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)
        await world.crash(workers_live=True)
        world.come_back(after=2.0)
        world.workers.last.later(1.0, lambda: world.workers.made[0].end(Exit(signal=9)))
        await world.start()
        await world.until(S.OPEN)
        assert len(world.workers.made) == 2
        assert world.store.rows["shop"].epoch == 2


@pytest.mark.parametrize("stage", Stage)
async def test_a_worker_that_ends_after_its_call_and_before_it_is_adopted_is_replaced(
    stage: Stage,
) -> None:
    """Nobody is told of its end, as it had no owner yet."""
    async with World() as world:
        await _with_a_past(world)
        worker = world.workers.comes_back("shop", **_held(stage))
        worker.end(Exit(signal=9))
        await world.start()
        await asyncio.sleep(5 * MINUTE)
        assert world.session.state is S.OPEN
        assert world.session.worker is not worker


@pytest.mark.parametrize("stage", Stage)
async def test_a_worker_that_ends_after_it_was_adopted_is_replaced(stage: Stage) -> None:
    async with World() as world:
        worker = await _returns(
            world, stage, closed=_closed(R.SERVER_ERROR) if stage is Stage.IDLE else None
        )
        await world.until(S.WAITING if stage is Stage.IDLE else SHOWN_AS[stage])
        worker.end(Exit(signal=9))
        await asyncio.sleep(0.01)
        await world.until(S.OPEN, within=10)
        assert world.session.worker is world.workers.made[1]


@pytest.mark.parametrize("parked", [True, False])
async def test_a_reunion_that_fails_leaves_the_session_where_it_was(parked: bool) -> None:
    """The worker cannot be ended: a process that hangs in the disk outlives a SIGKILL for a
    while.
    """
    async with World() as world:
        await (_parked(world) if parked else _with_a_past(world))
        world.workers.comes_back("shop", **_held(Stage.IDLE))
        world.workers.reunion_error = TimeoutError()
        await world.start()
        await asyncio.sleep(MINUTE)
        for worker in world.workers.alive[:-1] if not parked else world.workers.alive:
            worker.assigned = False
            worker.end(Exit(signal=9))
        await asyncio.sleep(MINUTE)
        assert world.session.state is (S.PARKED if parked else S.OPEN)
        assert bool(world.workers.attempts) is not parked, "a banned number does not log in"
        world.workers.breaches.clear()  # the one that could not be ended was given up


async def test_a_refused_worker_that_cannot_be_ended_does_not_unpark_the_session() -> None:
    async with World() as world:
        await _parked(world)
        worker = world.workers.comes_back("shop", **_held(Stage.IDLE))
        worker.unkillable = True
        await world.start()
        await asyncio.sleep(MINUTE)
        worker.end(Exit(signal=9))
        assert world.session.state is S.PARKED
        assert world.workers.attempts == []


# --- an open session is adopted -------------------------------------------------------------------


async def test_an_adopted_open_session_keeps_its_uptime_and_its_name() -> None:
    async with World() as world:
        await _returns(world, Stage.OPEN, open_for_ms=3 * HOUR * 1000)
        await world.until(S.OPEN)
        await asyncio.sleep(MINUTE)
        figures = world.session.performance()
        assert figures.connection_uptime == pytest.approx((3 * HOUR + MINUTE) * 1000, abs=100)
        assert figures.reconnect_count == 0, "it is no reconnect"
        assert (world.session.view().jid, world.session.view().name) == (JID, "Shop")
        assert world.store.rows["shop"].name == "Shop"


@pytest.mark.parametrize(("open_for", "rest"), [(20.0, 40.0), (59.0, 1.0), (3 * HOUR, 0.0)])
async def test_it_needs_only_the_rest_of_the_stable_period(open_for: float, rest: float) -> None:
    async with World() as world:
        await _with_failures(world, 3)
        world.workers.comes_back("shop", **_held(Stage.OPEN) | {"open_for_ms": open_for * 1000})
        await world.start()
        await world.until(S.OPEN)
        if rest:
            await asyncio.sleep(rest - 0.5)
            assert world.session.reconnection().failures == 3
        await asyncio.sleep(1.0)
        assert world.session.reconnection().failures == 0


async def test_its_health_is_watched() -> None:
    async with World() as world:
        worker = await _returns(world, Stage.OPEN)
        await world.until(S.OPEN)
        world.workers.probe = "hangs"
        await world.until(S.WAITING, S.STARTING, within=60)
        world.workers.probe = "ok"
        await world.until(S.OPEN)
        assert worker.killed


async def test_the_trial_of_a_breaker_that_came_through_while_nobody_looked_has_closed_it_on_probation() -> (
    None
):
    async with World() as world:
        world.workers.plan.extend([closes(R.CONNECTION_LOST)] * 5)
        world.workers.otherwise = opens(after=5.0)
        await world.start()
        await world.until_true(
            lambda: world.session.reconnection().breaker.state == "half-open", within=HOUR
        )
        await world.crash(workers_live=True)
        await asyncio.sleep(10.0)  # it opens
        world.come_back()
        await world.start()
        await world.until(S.OPEN)
        assert len(world.workers.made) == 1
        assert world.session.reconnection().breaker.state == "closed"
        world.workers.last.drop(R.CONNECTION_LOST)
        await world.until(S.WAITING)
        assert world.session.reconnection().breaker.state == "open", (
            "one more failure before a stable minute"
        )


async def test_a_trial_that_is_adopted_while_it_is_under_way_is_still_the_trial() -> None:
    async with World() as world:
        world.workers.plan.extend([closes(R.CONNECTION_LOST)] * 5)
        world.workers.otherwise = closes(R.CONNECTION_LOST, after=5.0)
        await world.start()
        await world.until_true(
            lambda: world.session.reconnection().breaker.state == "half-open", within=HOUR
        )
        await world.crash(workers_live=True)
        world.come_back()
        await world.start()
        await world.until(S.CONNECTING)
        assert world.session.reconnection().breaker.state == "half-open"
        await world.until(S.WAITING)
        assert world.session.reconnection().breaker.state == "open"
        await asyncio.sleep(9 * MINUTE)
        assert len(world.workers.attempts) == 6


# --- asked while the reunion is awaited -----------------------------------------------------------


@pytest.mark.parametrize(
    "arrived", [False, True], ids=["before it calls", "in the moment in which it calls"]
)
@pytest.mark.parametrize("command", [Command.STOP, Command.RETIRE])
async def test_a_stop_during_the_reunion_ends_the_worker(command: Command, arrived: bool) -> None:
    async with World() as world:
        await _awaits_a_reunion(world, arrived)
        assert await world.ask(command) is None
        await asyncio.sleep(1)
        assert world.workers.alive == []
        assert world.gate.unfinished == []
        assert world.store.rows["shop"].wanted is (command is Command.RETIRE)


async def test_a_stop_and_a_start_during_the_reunion_begin_anew() -> None:
    async with World() as world:
        await _awaits_a_reunion(world)
        assert await world.ask(Command.STOP) is None
        assert await world.ask(Command.START) is None
        await world.until(S.OPEN)
        assert not world.workers.made[0].alive
        assert world.session.worker is world.workers.made[1]


@pytest.mark.parametrize("command", [Command.START, Command.FORCE])
async def test_a_start_or_force_during_the_reunion_does_not_disturb_it(command: Command) -> None:
    async with World() as world:
        await _awaits_a_reunion(world)
        assert await world.ask(command) is None
        await world.until(S.OPEN)
        assert len(world.workers.made) == 1
        assert len(world.workers.attempts) == 1


async def test_a_force_during_the_reunion_cuts_the_wait_short_that_is_found_then() -> None:
    async with World() as world:
        await _waits_for_its_breaker(world)
        await world.crash(workers_live=True)
        world.come_back(after=1.0)
        await world.start()
        await asyncio.sleep(0.1)
        assert await world.ask(Command.FORCE) is None
        await world.until(S.OPEN, within=5)


async def test_a_replacement_during_the_reunion_is_refused() -> None:
    async with World() as world:
        await _awaits_a_reunion(world)
        assert await world.ask(Command.REPLACE) is not None
        await world.until(S.OPEN)
        assert len(world.workers.made) == 1


@pytest.mark.parametrize(
    "arrived", [False, True], ids=["before it calls", "in the moment in which it calls"]
)
async def test_a_leave_during_the_reunion_leaves_the_worker_to_the_next(arrived: bool) -> None:
    async with World() as world:
        await _awaits_a_reunion(world, arrived)
        worker = world.workers.last
        await world.leave()
        await asyncio.sleep(1)
        assert worker.alive, "its session is open: it goes from one supervisor to the next"
        world.come_back()
        await world.start()
        await world.until(S.OPEN)
        assert world.workers.made == [worker]
        assert len(world.workers.attempts) == 1


@pytest.mark.parametrize("command", [Command.RETIRE, Command.LEAVE])
async def test_what_is_remembered_is_not_lost_when_the_supervisor_stops_during_the_reunion(
    command: Command,
) -> None:
    async with World() as world:
        await _waits_for_its_breaker(world)
        before = world.session.reconnection()
        await world.crash(workers_live=True)
        world.come_back(after=5.0)
        await world.start()
        await asyncio.sleep(1.0)
        await world.ask(command)
        await world.crash()
        await world.start()
        await world.until(S.WAITING, S.CONNECTING, S.OPEN)
        assert world.session.reconnection().next_attempt == before.next_attempt
        assert len(world.workers.attempts) == 5, "the wait goes on, whatever became of the worker"


@pytest.mark.parametrize("command", [Command.RETIRE, Command.LEAVE, Command.RESET_BREAKER])
async def test_a_memory_that_cannot_be_read_is_not_overwritten_during_the_reunion_either(
    command: Command,
) -> None:
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)
        await world.crash(workers_live=True)
        world.store.rows["shop"] = msgspec.structs.replace(
            world.store.rows["shop"], memory=b"{torn"
        )
        world.come_back(after=5.0)
        await world.start()
        await asyncio.sleep(1.0)
        await world.ask(command)
        assert world.store.rows["shop"].memory == b"{torn"


@pytest.mark.parametrize("command", [Command.RETIRE, Command.LEAVE])
async def test_a_parked_session_is_still_parked_when_the_supervisor_stops_during_the_reunion(
    command: Command,
) -> None:
    async with World() as world:
        await _parked(world)
        worker = world.workers.comes_back("shop", **_held(Stage.IDLE))
        world.workers.calls(worker, after=5.0)
        await world.start()
        await asyncio.sleep(1.0)
        await world.ask(command)
        await world.crash()
        await world.start()
        await asyncio.sleep(HOUR)
        assert world.session.state is S.PARKED
        assert world.workers.attempts == [], (
            "a banned number does not log in because a supervisor was stopped twice"
        )


# --- leaving --------------------------------------------------------------------------------------


async def test_who_leaves_leaves_the_worker_its_socket_and_all_that_is_remembered() -> None:
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)
        worker = world.workers.last
        sent = len([frame for frame in worker.sent if not isinstance(frame, wire.Probe)])
        assert await world.ask(Command.LEAVE) is None
        await asyncio.sleep(HOUR)
        assert worker.alive
        assert worker.socket == 1
        assert len([frame for frame in worker.sent if not isinstance(frame, wire.Probe)]) == sent, (
            "not one order"
        )
        assert world.store.rows["shop"].wanted is True
        world.workers.live_on()
        world.come_back()
        await world.start()
        await world.until(S.OPEN)
        assert world.workers.made == [worker]
        assert len(world.workers.attempts) == 1


@pytest.mark.parametrize(
    "state", [S.STARTING, S.HELD, S.CONNECTING, S.QR, S.OPEN, S.WAITING, S.PARKED, S.STOPPED]
)
async def test_a_session_that_is_left_in_any_state_goes_on_from_there(state: S) -> None:
    async with World() as world:
        await _bring_to(world, state)
        before = world.session.reconnection()
        attempts, made = len(world.workers.attempts), len(world.workers.made)
        await world.leave()
        await asyncio.sleep(0.5)
        world.come_back(after=0.5)
        await world.start()
        await asyncio.sleep(1.0)
        after = world.session.reconnection()
        assert after.next_attempt == before.next_attempt
        if state is not S.STARTING:
            assert (world.session.state, len(world.workers.made)) == (state, made)
        assert len(world.workers.attempts) == attempts
        world.gate.open()
        world.workers.otherwise = opens()
        if state in {S.PARKED, S.STOPPED}:
            await world.ask(Command.START)
        if state in {S.QR, S.CONNECTING}:
            world.workers.last.drop(R.RESTART_REQUIRED)
            world.workers.plan.clear()
        await world.until(S.OPEN, within=15 * MINUTE)
        assert len(world.workers.made) <= made + 1


async def test_who_leaves_while_a_successor_warms_up_leaves_one_worker() -> None:
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)
        world.gate.shut = True
        assert await world.ask(Command.REPLACE) is None
        await asyncio.sleep(1)
        assert len(world.workers.alive) == 2
        await world.leave()
        await asyncio.sleep(0.1)
        assert world.workers.alive == [world.workers.made[0]]
        assert world.gate.waiting == []
        world.come_back()
        world.gate.shut = False
        await world.start()
        await world.until(S.OPEN)
        assert world.session.worker is world.workers.made[0]


# --- the whole story ------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["is killed", "leaves"])
async def test_a_supervisor_goes_its_successor_adopts_and_every_message_is_delivered_once(
    how: str,
) -> None:
    async with World() as world:
        world.paired()
        await world.start()
        await world.until(S.OPEN)
        worker = world.workers.last
        for text in ("one", "two"):
            worker.says(text)
        await asyncio.sleep(0.1)
        assert worker.unacknowledged == {}
        acks = [frame for frame in worker.sent if isinstance(frame, wire.EventsAck)]
        worker.line_down = True  # what comes now is delivered, and its acknowledgement lost
        worker.says("three")
        await asyncio.sleep(0.1)
        await (world.crash(workers_live=True) if how == "is killed" else world.leave())
        worker.line_down = False
        worker.says("four")
        await asyncio.sleep(20.0)
        assert [event.text for event in worker.unacknowledged.values()] == ["three", "four"]
        world.come_back(after=0.3)
        await world.start()
        worker.later(0.3, lambda: worker.says("five"))
        await world.until(S.OPEN)
        await asyncio.sleep(0.1)
        assert [data["text"] for _, kind, data in world.events if kind == "message.received"] == [
            "one",
            "two",
            "three",
            "four",
            "five",
        ]
        assert worker.unacknowledged == {}
        again = [frame for frame in worker.sent if isinstance(frame, wire.EventsAck)][len(acks) :]
        assert [frame.seq for frame in again] == [3, 4, 5]
        assert world.session.performance().messages_processed == 2, (
            "what was delivered before is not counted twice"
        )
        assert world.workers.made == [worker]
        assert len(world.workers.attempts) == 1, "WhatsApp has seen one login"
        assert world.store.rows["shop"].epoch == 1


async def test_a_session_is_handed_on_ten_times_and_whatsapp_sees_one_login() -> None:
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)
        opened = _now()
        for number in range(10):
            await (world.crash(workers_live=True) if number % 2 else world.leave())
            await asyncio.sleep(7.0)
            world.come_back(after=0.2)
            await world.start()
            await world.until(S.OPEN)
        assert len(world.workers.attempts) == 1
        assert world.session.performance().connection_uptime == pytest.approx(
            (_now() - opened) * 1000, abs=500
        )
        await asyncio.sleep(MINUTE)
        assert world.session.reconnection().failures == 0


# --- how a session comes to have a past -----------------------------------------------------------


async def _parked(world: World) -> None:
    """A banned session at epoch 1, as its store has it; no supervisor runs."""
    world.workers.plan.append(closes(R.BANNED))
    world.paired()
    await world.start()
    await world.until(S.PARKED)
    await world.crash()
    world.workers.attempts.clear()
    world.workers.made.clear()
    world.gate.permits.clear()


async def _with_failures(world: World, failures: int) -> None:
    """A session at epoch 1 that has just failed so often; no supervisor runs."""
    world.workers.plan.extend([closes(R.CONNECTION_LOST)] * failures)
    world.workers.otherwise = says_nothing()
    await world.start()
    await world.until_true(lambda: len(world.workers.attempts) == failures + 1)
    await world.crash()
    world.workers.otherwise = opens()


async def _unwanted(world: World) -> FakeWorker:
    """A session that was stopped, whose worker has come back."""
    row = await world.store.create_session(world.id, wanted=False)
    world.store.rows[world.id] = msgspec.structs.replace(row, epoch=1)
    return world.workers.comes_back("shop", **_held(Stage.OPEN))


async def _awaits_a_reunion(world: World, arrived: bool = False) -> None:
    """An open session whose supervisor was killed; its worker calls the next one in a second, or
    has called in this instant.
    """
    await world.start()
    await world.until(S.OPEN)
    await world.crash(workers_live=True)
    await asyncio.sleep(MINUTE)
    world.come_back(after=0.0 if arrived else 1.0)
    await world.start()
    if arrived:
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    else:
        await asyncio.sleep(0.5)
    assert world.session.state is S.STARTING


async def _waits_for_its_breaker(world: World) -> None:
    world.workers.plan.extend([closes(R.CONNECTION_LOST)] * 5)
    await world.start()
    await asyncio.sleep(2 * MINUTE)
    assert world.session.reconnection().breaker.state == "open"


async def _bring_to(world: World, state: S) -> None:
    match state:
        case S.STARTING:
            world.workers.startup_seconds = 5.0
        case S.HELD:
            world.gate.shut = True
        case S.CONNECTING:
            world.workers.plan.append(says_nothing())
        case S.QR:
            world.workers.plan.append(shows_qr())
        case S.WAITING:
            world.workers.plan.extend([closes(R.CONNECTION_LOST)] * 5)
        case S.PARKED:
            world.workers.plan.append(closes(R.BANNED))
        case _:
            pass
    await world.start(wanted=state is not S.STOPPED)
    await world.until(state)
    if state is S.WAITING:
        await asyncio.sleep(2 * MINUTE)


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
