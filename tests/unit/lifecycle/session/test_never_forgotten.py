"""Whatever befalls a session, it always knows what it waits for, and no two workers own it."""

import asyncio
import random

import pytest

from sessions.lifecycle.dependencies import SessionConfig
from sessions.lifecycle.inbox import Command
from sessions.model import CloseReason as R
from sessions.model import SessionState as S
from sessions.model import WorkerGone
from sessions.workers.limits import Excess, Severity
from sessions.workers.worker_process import Exit
from tests.fakes import Outcome, World, closes, dies, opens, says_nothing, shows_qr
from tests.unit.lifecycle.session.stories import MINUTE

pytestmark = [
    pytest.mark.looptime(noop_cycles=6),
    pytest.mark.usefixtures("no_tasks_left", "wall_clock_in_step"),
]


class Chaos:
    """Throws anything at a session and looks after each step whether it still knows what it waits
    for.
    """

    def __init__(self, world: World, rng: random.Random) -> None:
        self.world = world
        self.rng = rng
        self.asked: set[asyncio.Task[object]] = set()

    async def step(self) -> None:
        world, rng = self.world, self.rng
        acts = [
            self._drop,
            self._end_worker,
            self._ask,
            self._toggle_gate,
            self._toggle_store,
            self._probe,
            self._startup,
            self._exceed,
            self._say,
        ]
        for _ in range(rng.choice([1, 1, 1, 2, 3])):  # several in one instant, too
            rng.choice([*acts, self._drop, self._ask])()
        world.workers.otherwise = self._outcome()
        if rng.random() < 0.1:
            await self.next_supervisor()
        await asyncio.sleep(rng.choice([0.0, 0.0, 0.01, 0.1, 0.4, 3.0, 45.0, 700.0]))
        self.look()

    async def next_supervisor(self) -> None:
        """The supervisor dies or stops, alone or with its workers; the next one comes, and those
        that live call it, sooner or later.
        """
        world, rng = self.world, self.rng
        match rng.choice(["dies with its workers", "dies", "dies", "stops", "leaves", "leaves"]):
            case "dies with its workers":
                await world.crash()
            case "dies":
                await world.crash(workers_live=True)
            case "stops":
                await world.close()
            case "leaves":
                await world.leave()
        for task in self.asked:  # who has asked a supervisor that is gone gets no answer
            task.cancel()
        await asyncio.gather(*self.asked, return_exceptions=True)
        self.asked.clear()
        await asyncio.sleep(rng.choice([0.0, 0.3, 20.0]))
        world.come_back(after=rng.choice([0.0, 0.0, 0.2, 5.0]))
        if rng.random() < 0.25:
            self._end_worker()  # after its call, perhaps, and before anybody owns it
        await world.start()

    def look(self) -> None:
        world, state = self.world, self.world.session.state
        shown = world.session.view().reconnection
        assert world.breaches == []
        if state is S.WAITING:
            assert shown.next_attempt_at is not None
        owned = [worker for worker in world.workers.alive if worker.assigned and not worker.killed]
        assert len(owned) <= 1

    async def heal(self) -> None:
        """Everything is well again; nothing may stay behind."""
        world = self.world
        world.store.failing = False
        world.workers.startup_error = None
        world.workers.probe = "ok"
        world.workers.obeys_close = True
        world.workers.otherwise = opens()
        world.workers.plan.clear()
        world.gate.open()
        await asyncio.gather(*self.asked)
        self.asked.clear()
        # the longest wait is the tail's 990 s; then the hung ones have to be noticed
        await asyncio.sleep(30 * MINUTE)
        assert world.session.state in {S.OPEN, S.PARKED, S.STOPPED}, "forgotten"
        if world.session.state is S.OPEN:
            assert [worker.socket is not None for worker in world.workers.alive] == [True]
            assert [worker.unacknowledged for worker in world.workers.alive] == [{}]
        else:
            assert world.workers.alive == []
        assert world.gate.unfinished == []
        assert world.gate.waiting == []
        if world.session.state is not S.OPEN:
            await world.ask(Command.START)
            await world.until(S.OPEN, within=20 * MINUTE)

    def _outcome(self) -> Outcome:
        rng = self.rng
        reason = rng.choice([reason for reason in R if reason not in {R.REQUESTED, R.OWN_LOGOUT}])
        return rng.choice(
            [
                opens(),
                opens(5.0),
                closes(reason),
                closes(reason),
                dies(),
                says_nothing(),
                shows_qr(),
                shows_qr(0.2),
            ]
        )

    def _drop(self) -> None:
        for worker in self.world.workers.alive:
            worker.drop(self.rng.choice([reason for reason in R if reason is not R.OWN_LOGOUT]))

    def _end_worker(self) -> None:
        for worker in self.world.workers.alive:
            worker.end(Exit(signal=9))

    def _ask(self) -> None:
        commands = [
            command for command in Command if command not in {Command.RETIRE, Command.LEAVE}
        ]
        task = asyncio.create_task(self.world.ask(self.rng.choice([*commands, Command.START])))
        self.asked.add(task)

    def _exceed(self) -> None:
        for worker in self.world.workers.alive:
            if worker.owner is not None:
                severity = self.rng.choice([Severity.REPLACE, Severity.REPLACE, Severity.KILL])
                worker.owner.on_excess(worker, Excess(severity, "It is above a limit."))

    def _say(self) -> None:
        for worker in self.world.workers.alive:
            if worker.socket is not None:
                worker.says("hello")

    def _toggle_gate(self) -> None:
        if self.world.gate.shut:
            self.world.gate.open()
        else:
            self.world.gate.shut = self.rng.random() < 0.5

    def _toggle_store(self) -> None:
        self.world.store.failing = self.rng.random() < 0.3

    def _probe(self) -> None:
        self.world.workers.probe = self.rng.choice(["ok", "ok", "silent", "deaf", "hangs"])
        self.world.workers.obeys_close = self.rng.random() < 0.8

    def _startup(self) -> None:
        self.world.workers.startup_error = WorkerGone("no") if self.rng.random() < 0.2 else None


@pytest.mark.parametrize("seed", range(8))
async def test_whatever_befalls_it_a_session_is_never_forgotten_and_never_owned_twice(
    seed: int,
) -> None:
    rng = random.Random(seed)
    async with World(SessionConfig(), seed) as world:
        await world.start()
        chaos = Chaos(world, rng)
        for number in range(250):
            await chaos.step()
            if number % 25 == 24:
                await chaos.heal()
                await chaos.next_supervisor()
        await chaos.heal()
        delivered = [data["id"] for _, kind, data in world.events if kind == "message.received"]
        assert len(delivered) == len(world.delivered)
        assert {"stopped", "waiting", "open"} <= {
            data["state"] for _, kind, data in world.events if kind == "session.state"
        }
        assert len([kind for _, kind, _ in world.events if kind == "session.adopted"]) >= 2
