"""A worker is replaced: its successor is warm before the socket changes hands, and there are never
two. And what makes us do so: the limits.
"""

import asyncio
import errno
import itertools
import os
from typing import Any

import pytest

from sessions.forever import Forever
from sessions.lifecycle.actor.replacement import (
    IDLE_PATIENCE_SECONDS,
    IDLE_SECONDS,
    REPLACED_AGAIN_SECONDS,
)
from sessions.lifecycle.inbox import Command
from sessions.model import CloseReason as R
from sessions.model import Refused, StoreUnavailable, WorkerGone
from sessions.model import SessionState as S
from sessions.workers import limit_watch, wire
from sessions.workers.limit_watch import LOOK_SECONDS, LimitWatch, resident_bytes
from sessions.workers.limits import LATE_BEATS, Excess, Limits, Severity, judge
from sessions.workers.worker_process import Exit
from tests.fakes import FakeWorker, World, closes, says_nothing, shows_qr

pytestmark = [
    pytest.mark.looptime(noop_cycles=6),
    pytest.mark.usefixtures("no_tasks_left", "wall_clock_in_step"),
]

MINUTE = 60.0
HOUR = 3600.0
MIB = 2**20
TOO_HEAVY = Excess(Severity.REPLACE, "The worker weighs too much.")
FAR_TOO_HEAVY = Excess(Severity.KILL, "The worker weighs far too much.")


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _open(world: World) -> FakeWorker:
    world.paired()
    await world.start()
    await world.until(S.OPEN)
    return world.workers.last


# --- an open session ------------------------------------------------------------------------------


async def test_a_replacement_is_under_way_also_while_the_store_is_asked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A roll that looks just then would report a number that was not replaced, and go on with the
    next one beside it.
    """
    async with World() as world:
        old = await _open(world)
        asked, may_answer = asyncio.Event(), asyncio.Event()

        async def must_write() -> None:
            asked.set()
            await may_answer.wait()

        monkeypatch.setattr(world.store, "must_write", must_write)
        await world.ask(Command.REPLACE)
        await asked.wait()
        assert world.session.worker is old
        assert world.session.replacing
        may_answer.set()
        await world.until(S.CONNECTING)
        await world.until(S.OPEN)
        assert world.session.worker is not old
        assert not world.session.replacing


async def test_the_successor_is_warm_and_let_through_before_the_open_worker_is_stopped() -> None:
    async with World() as world:
        old = await _open(world)
        world.gate.shut = True
        assert await world.ask(Command.REPLACE) is None
        await asyncio.sleep(10 * MINUTE)
        assert world.session.state is S.OPEN
        assert world.session.worker is old
        new = world.workers.last
        assert new is not old
        assert new.sent == [], "it knows of nothing yet"
        assert old.alive
        world.gate.open()
        await world.until(S.CONNECTING)
        assert not old.alive
        await world.until(S.OPEN)
        assert world.session.worker is new
        assert new.sent[:2] == [
            wire.Assign("shop", epoch=2, creds=new.sent[0].creds),
            wire.Connect("shop", attempt=2),
        ]
        assert len(world.workers.made) == 2
        assert world.session.reconnection().failures == 0


async def test_there_are_never_two_sockets_however_long_the_old_worker_takes_to_close_its_own() -> (
    None
):
    async with World() as world:
        old = await _open(world)
        old.stop_seconds = 8.0
        assert await world.ask(Command.REPLACE) is None
        await asyncio.sleep(5.0)
        assert old.socket is not None
        assert len(world.workers.attempts) == 1, "the new one waits for the end of the old one"
        assert world.store.rows["shop"].epoch == 1, "whose last keys are still taken"
        await world.until(S.CONNECTING)
        assert not old.alive
        await world.until(S.OPEN)


async def test_what_the_old_worker_says_as_it_goes_is_no_close_of_the_new_one() -> None:
    async with World() as world:
        old = await _open(world)
        old.stop_seconds = 2.0
        await world.ask(Command.REPLACE)
        await asyncio.sleep(1.0)
        old.drop(R.REQUESTED)
        await world.until(S.CONNECTING)
        await world.until(S.OPEN)
        await asyncio.sleep(MINUTE)
        assert world.session.state is S.OPEN
        assert len(world.workers.attempts) == 2
        assert world.session.reconnection().close_reason is None


async def test_a_replacement_waits_for_a_quiet_moment() -> None:
    async with World() as world:
        old = await _open(world)
        old.says("hello")
        await asyncio.sleep(0.1)
        said = _now()
        await world.ask(Command.REPLACE)
        await world.until(S.CONNECTING)
        assert IDLE_SECONDS <= _now() - said < IDLE_SECONDS + 2.5


async def test_a_replacement_waits_for_a_text_that_is_under_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with World() as world:
        old = await _open(world)
        acked = asyncio.Event()

        async def slow(make: Any, _: float) -> wire.Replied:
            order = make(1)
            if isinstance(order, wire.Send):
                await acked.wait()
            return wire.Replied("shop", id=1, ok=True, result={"id": "3EB0"})

        monkeypatch.setattr(old, "request", slow)
        sending = asyncio.create_task(world.session.send_text("15550000009", "hello"))
        await asyncio.sleep(0)
        await world.ask(Command.REPLACE)
        await asyncio.sleep(30)
        assert world.session.worker is old
        acked.set()
        await sending
        await asyncio.sleep(2 * IDLE_SECONDS)
        assert world.session.worker is not old


async def test_a_number_that_is_never_quiet_is_replaced_all_the_same() -> None:
    async with World() as world:
        old = await _open(world)

        def chatter() -> None:
            if old.alive:
                old.says("and another thing")
                old.later(1.0, chatter)

        chatter()
        began = _now()
        await world.ask(Command.REPLACE)
        await asyncio.sleep(IDLE_PATIENCE_SECONDS - 2)
        assert world.session.worker is old
        await world.until(S.CONNECTING)
        assert _now() - began < IDLE_PATIENCE_SECONDS + 5
        await world.until(S.OPEN)
        delivered = [data["id"] for _, kind, data in world.events if kind == "message.received"]
        assert delivered == [f"3A{n + 1}" for n in range(len(delivered))], (
            "and none of its messages is lost"
        )


@pytest.mark.parametrize(
    "error",
    [
        WorkerGone("it ended before it said hello"),
        TimeoutError(),
        StoreUnavailable("full"),
        RuntimeError("bug"),
    ],
)
async def test_a_successor_that_cannot_be_started_leaves_the_session_open(error: Exception) -> None:
    async with World() as world:
        old = await _open(world)
        world.workers.startup_error = error
        await world.ask(Command.REPLACE)
        await asyncio.sleep(HOUR)
        assert world.session.state is S.OPEN
        assert world.session.worker is old
        assert len(world.workers.attempts) == 1
        assert len(world.alerts("replacement_failed")) == 1
        world.workers.startup_error = None
        assert await world.ask(Command.REPLACE) is None
        await world.until(S.CONNECTING)
        await world.until(S.OPEN)


async def test_a_successor_that_ends_while_it_waits_at_the_gate_costs_nobody_his_open_session() -> (
    None
):
    async with World() as world:
        old = await _open(world)
        world.gate.shut = True
        await world.ask(Command.REPLACE)
        await asyncio.sleep(1.0)
        successor = world.workers.last
        assert successor is not old
        successor.end(Exit(signal=9))
        world.gate.open()
        await asyncio.sleep(5 * MINUTE)
        assert world.session.state is S.OPEN, "it is never forgotten"
        assert world.session.worker is old
        assert len(world.alerts("replacement_failed")) == 1


async def test_a_session_whose_successor_cannot_log_in_goes_the_way_of_every_close() -> None:
    async with World() as world:
        await _open(world)
        world.workers.plan.append(closes(R.SERVER_ERROR))
        await world.ask(Command.REPLACE)
        await world.until(S.WAITING)
        assert world.session.reconnection().failures == 1
        await world.until(S.OPEN, within=10)
        assert len(world.workers.made) == 2


async def test_a_store_that_fails_as_the_socket_changes_hands_delays_and_forgets_nothing() -> None:
    async with World() as world:
        old = await _open(world)
        old.stop_seconds = 5.0
        await world.ask(Command.REPLACE)
        await asyncio.sleep(2.0)
        world.store.failing = True
        await world.until(S.WAITING)
        assert world.workers.alive == []
        await asyncio.sleep(MINUTE)
        assert len(world.workers.attempts) == 1, "nobody logs in while the store refuses"
        world.store.failing = False
        await world.until(S.OPEN, within=30)


async def test_credentials_that_cannot_be_read_as_the_socket_changes_hands_quarantine() -> None:
    async with World() as world:
        await _open(world)
        world.store.auth["shop", "creds", "creds"] = b"{torn"
        await world.ask(Command.REPLACE)
        await world.until(S.QUARANTINED)
        assert world.workers.alive == []
        assert world.gate.unfinished == []


@pytest.mark.parametrize("stage", ["warms up", "waits at the gate", "is ready"])
async def test_a_session_that_closes_meanwhile_comes_back_without_the_successor(stage: str) -> None:
    async with World() as world:
        old = await _open(world)
        await asyncio.sleep(2 * MINUTE)
        world.gate.shut = stage != "is ready"
        await world.ask(Command.REPLACE)
        await asyncio.sleep(0.1 if stage == "warms up" else 0.299 if stage == "is ready" else 1.0)
        world.gate.open()
        old.drop(R.CONNECTION_LOST)
        await world.until(S.OPEN, within=5)
        await asyncio.sleep(MINUTE)
        assert len(world.workers.alive) == 1
        assert world.session.state is S.OPEN
        assert world.gate.unfinished == []


@pytest.mark.parametrize("command", [Command.STOP, Command.FORCE, Command.LOGOUT, Command.RETIRE])
async def test_whatever_is_asked_meanwhile_leaves_no_successor_behind(command: Command) -> None:
    async with World() as world:
        await _open(world)
        world.gate.shut = True
        await world.ask(Command.REPLACE)
        await asyncio.sleep(1.0)
        assert await world.ask(command) is None
        world.gate.open()
        await asyncio.sleep(MINUTE)
        back = command is Command.FORCE
        assert [worker.socket is not None for worker in world.workers.alive] == [True] * back
        assert back or world.session.worker is None
        assert world.gate.waiting == []


# --- other states ---------------------------------------------------------------------------------


async def test_a_waiting_sessions_worker_is_stopped_and_its_wait_goes_on() -> None:
    async with World() as world:
        world.workers.plan.extend([closes(R.CONNECTION_LOST)] * 5)
        await world.start()
        await asyncio.sleep(2 * MINUTE)
        due = world.session.reconnection().next_attempt_at
        assert await world.ask(Command.REPLACE) is None
        assert world.workers.alive == []
        assert world.session.state is S.WAITING
        assert world.session.reconnection().next_attempt_at == due
        assert isinstance(await world.ask(Command.REPLACE), Refused), "it has none any more"
        await asyncio.sleep(7 * MINUTE)
        assert len(world.workers.attempts) == 5
        await world.until(S.OPEN, within=5 * MINUTE)
        assert len(world.workers.made) == 2


@pytest.mark.parametrize(
    "state", [S.STOPPED, S.STARTING, S.HELD, S.CONNECTING, S.QR, S.PARKED, S.QUARANTINED]
)
async def test_in_every_other_state_a_replacement_is_refused_and_changes_nothing(state: S) -> None:
    async with World() as world:
        match state:
            case S.STARTING:
                world.workers.startup_seconds = 5.0
            case S.HELD:
                world.gate.shut = True
            case S.CONNECTING:
                world.workers.plan.append(says_nothing())
            case S.QR:
                world.workers.plan.append(shows_qr())
            case S.PARKED:
                world.workers.plan.append(closes(R.BANNED))
            case S.QUARANTINED:
                world.paired(b"torn")
            case _:
                pass
        await world.start(wanted=state is not S.STOPPED)
        await world.until(state)
        refusal = await world.ask(Command.REPLACE)
        assert isinstance(refusal, Refused)
        assert refusal.code == "not_replaceable"
        assert refusal.hint
        assert world.session.state is state
        assert world.session.worker is (world.workers.last if world.workers.alive else None)


async def test_a_second_replacement_is_refused_while_the_first_is_under_way() -> None:
    async with World() as world:
        await _open(world)
        world.gate.shut = True
        assert await world.ask(Command.REPLACE) is None
        assert isinstance(await world.ask(Command.REPLACE), Refused)
        world.gate.open()
        await world.until(S.CONNECTING)
        await world.until(S.OPEN)
        assert len(world.workers.made) == 2


# --- a limit is exceeded --------------------------------------------------------------------------


async def test_an_open_session_above_the_soft_limit_is_replaced_and_the_operator_told_once() -> (
    None
):
    async with World() as world:
        old = await _open(world)
        world.gate.shut = True
        assert old.owner is not None
        for _ in range(5):  # it is looked at every few seconds
            old.owner.on_excess(old, TOO_HEAVY)
            await asyncio.sleep(LOOK_SECONDS)
        assert world.session.state is S.OPEN
        assert len(world.alerts("worker_replaced")) == 1
        world.gate.open()
        await world.until(S.CONNECTING)
        await world.until(S.OPEN)
        assert not old.alive
        assert len(world.workers.made) == 2
        old.owner.on_excess(old, FAR_TOO_HEAVY)
        await asyncio.sleep(1)
        assert world.session.state is S.OPEN, "it was of the old one"


async def test_a_worker_above_the_hard_limit_is_killed_and_replaced_at_once() -> None:
    async with World() as world:
        old = await _open(world)
        assert old.owner is not None
        old.owner.on_excess(old, FAR_TOO_HEAVY)
        await world.until(S.WAITING, S.STARTING)
        assert old.killed
        assert len(world.alerts("worker_killed")) == 1
        await world.until(S.OPEN, within=2)
        assert world.session.reconnection().close_reason is R.WORKER_EXITED


@pytest.mark.parametrize("state", [S.CONNECTING, S.QR, S.WAITING])
async def test_a_session_that_is_not_open_is_not_disturbed_by_the_soft_limit_but_by_the_hard_one(
    state: S,
) -> None:
    async with World() as world:
        outcomes = {
            S.CONNECTING: says_nothing(),
            S.QR: shows_qr(),
            S.WAITING: closes(R.SERVER_ERROR),
        }
        world.workers.plan.extend([outcomes[state]] * (4 if state is S.WAITING else 1))
        await world.start()
        if state is S.WAITING:
            await world.until_true(lambda: len(world.workers.attempts) == 4)
        await world.until(state)
        worker = world.workers.last
        assert worker.owner is not None
        worker.owner.on_excess(worker, TOO_HEAVY)
        await asyncio.sleep(0.1)
        assert world.session.state is state
        assert world.alerts("worker_replaced") == []
        worker.owner.on_excess(worker, FAR_TOO_HEAVY)
        await asyncio.sleep(0.1)
        assert worker.killed
        await world.until(S.OPEN, within=MINUTE)


async def test_a_replacement_that_fails_over_and_over_is_not_tried_at_every_look() -> None:
    async with World() as world:
        old = await _open(world)
        world.workers.startup_error = WorkerGone("no memory for another one")
        before = world.workers.startups
        for _ in range(200):
            if old.owner is not None:
                old.owner.on_excess(old, TOO_HEAVY)
            await asyncio.sleep(LOOK_SECONDS)
        assert world.session.state is S.OPEN
        assert 1 <= world.workers.startups - before <= 20, "in ten minutes"
        assert len(world.alerts("replacement_failed")) <= 20


async def test_a_successor_that_is_too_heavy_as_well_is_not_replaced_again_at_once() -> None:
    """Each replacement is a login: a limit that is too low must not log a number in over and
    over.
    """
    async with World() as world:
        await _open(world)
        for _ in range(round(4 * REPLACED_AGAIN_SECONDS / LOOK_SECONDS)):
            worker = world.workers.last
            if worker.owner is not None:
                worker.owner.on_excess(worker, TOO_HEAVY)
            await asyncio.sleep(LOOK_SECONDS)
        logins = [at for at, _ in world.workers.attempts]
        assert 3 <= len(logins) <= 6
        assert min(b - a for a, b in itertools.pairwise(logins[1:])) >= REPLACED_AGAIN_SECONDS - 1
        assert len(world.alerts("worker_replaced")) == len(logins) - 1
        assert world.session.state is S.OPEN


LIMITS = Limits(soft_bytes=400 * MIB, hard_bytes=800 * MIB, lag_ms=5000.0)


@pytest.mark.parametrize(("weight", "late", "severity", "words"), [
    (0, 0, None, ""),
    (400 * MIB, LATE_BEATS - 1, None, ""),
    (400 * MIB + 1, 0, Severity.REPLACE, "weighs 400 MiB, above the soft limit of 400 MiB"),
    (800 * MIB, 99, Severity.REPLACE, "soft limit"),
    (800 * MIB + 1, 0, Severity.KILL, "weighs 800 MiB, above the hard limit of 800 MiB"),
    (9000 * MIB, 99, Severity.KILL, "weighs 9000 MiB"),
    (0, LATE_BEATS, Severity.REPLACE, "late by more than 5000 ms, 3 heartbeats in a row"),
])  # fmt: skip
def test_the_worst_limit_that_is_exceeded_is_named(
    weight: int, late: int, severity: Severity | None, words: str
) -> None:
    excess = judge(weight, late, LIMITS)
    assert (excess.severity if excess else None) is severity
    assert excess is None or words in excess.words


class Weighed:
    """A worker to look at, and the owner who is told."""

    ids = itertools.count(1)

    def __init__(self) -> None:
        self.id = f"w{next(self.ids)}"
        self.pid = 4000 + int(self.id[1:])
        self.beat: wire.Beat | None = None
        self.beat_at = 0.0
        self.owner: Weighed | None = self
        self.told: list[Excess] = []

    def beats(self, lag_ms: float) -> None:
        self.beat_at += 5.0
        self.beat = wire.Beat(lag_ms=lag_ms, rss_bytes=1, heap_bytes=1)

    def on_excess(self, worker: object, excess: Excess) -> None:
        assert worker is self
        self.told.append(excess)


@pytest.fixture
def weights(monkeypatch: pytest.MonkeyPatch) -> dict[int, int]:
    """What each pid weighs."""
    weights: dict[int, int] = {}
    monkeypatch.setattr(limit_watch, "resident_bytes", lambda pid: weights.get(pid, 0))
    return weights


def _watch(*workers: Weighed) -> LimitWatch:
    return LimitWatch(LIMITS, lambda: workers)  # type: ignore[arg-type, return-value]


def test_each_owner_is_told_of_his_own_worker_at_every_look(weights: dict[int, int]) -> None:
    light, heavy, spare = Weighed(), Weighed(), Weighed()
    spare.owner = None
    watch = _watch(light, heavy, spare)
    weights |= {light.pid: 50 * MIB, heavy.pid: 500 * MIB, spare.pid: 900 * MIB}
    watch.look()
    watch.look()
    assert light.told == []
    assert [excess.severity for excess in heavy.told] == [Severity.REPLACE] * 2
    weights[heavy.pid] = 900 * MIB
    watch.look()
    assert heavy.told[-1].severity is Severity.KILL


@pytest.mark.usefixtures("weights")
def test_a_late_beat_counts_once_however_often_it_is_looked_at() -> None:
    worker = Weighed()
    watch = _watch(worker)
    for number in range(LATE_BEATS):
        assert worker.told == [], number
        worker.beats(lag_ms=6000)
        for _ in range(3 if number < LATE_BEATS - 1 else 1):
            watch.look()
    assert [excess.severity for excess in worker.told] == [Severity.REPLACE]


@pytest.mark.usefixtures("weights")
def test_a_beat_in_time_begins_the_count_anew() -> None:
    worker = Weighed()
    watch = _watch(worker)
    for lag in [6000, 6000, 4999, 6000, 6000, 0, 6000, 6000]:
        worker.beats(lag_ms=lag)
        watch.look()
    assert worker.told == []
    worker.beats(lag_ms=5001)
    watch.look()
    assert len(worker.told) == 1


@pytest.mark.usefixtures("weights")
def test_a_worker_that_has_not_said_how_late_it_is_is_not_late() -> None:
    worker = Weighed()
    watch = _watch(worker)
    for _ in range(9):
        watch.look()
    assert worker.told == []


async def test_it_is_looked_at_every_few_seconds(weights: dict[int, int]) -> None:
    worker = Weighed()
    weights[worker.pid] = 900 * MIB
    look = _watch(worker).look
    kept = Forever().keep("worker limits", look, every_seconds=LOOK_SECONDS, at_once=False)
    await asyncio.sleep(10 * LOOK_SECONDS + 0.1)
    await kept.close()
    assert len(worker.told) == 10


def test_without_a_descriptor_the_others_are_still_looked_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    unreadable, heavy = Weighed(), Weighed()

    def weigh(pid: int) -> int:
        if pid == unreadable.pid:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return 900 * MIB

    monkeypatch.setattr(limit_watch, "resident_bytes", weigh)
    with pytest.raises(OSError, match="Too many open files"):
        _watch(unreadable, heavy).look()
    assert unreadable.told == []
    assert [excess.severity for excess in heavy.told] == [Severity.KILL]


def test_memory_is_read_of_the_kernel_and_an_ended_process_weighs_nothing() -> None:

    assert resident_bytes(os.getpid()) > 10 * MIB
    assert resident_bytes(2**22 + 1) == 0
