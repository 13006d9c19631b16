"""A supervisor's life in simulated time: real gate and real actors over played workers, store and
server; left, killed, begun again.
"""

import asyncio
import random
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final, Protocol

from scripts.simulation.server import Server
from scripts.simulation.workers import SimulatedWorkers
from sessions.lifecycle.actor import Actor
from sessions.lifecycle.actor.attempts import Attempts
from sessions.lifecycle.actor.core import Core
from sessions.lifecycle.actor.open_socket import OpenSocket
from sessions.lifecycle.attempt import Attempt
from sessions.lifecycle.dependencies import Dependencies, SessionConfig
from sessions.lifecycle.health import HealthConfig
from sessions.lifecycle.inbox import Asked, Command
from sessions.model import AlertChange, CloseReason, EventData, SessionId, WasupError
from sessions.policy import Close, Decision
from sessions.ports import Origin
from sessions.records.changes import Changes
from sessions.records.incidents import Span
from sessions.store import SessionRow
from sessions.workers.keys import KeyService
from sessions.workers.worker_process import Exit
from supervisor.gate.gate import Gate, GateConfig
from tests.fakes import CREDS, FakeStore

NEVER_SECONDS: Final = 1e9
"""Probes would be most of what happens; here the faults say when a socket is found dead
(sessions/lifecycle/health.py has its own tests).
"""
CALLS_SECONDS: Final = (0.05, 0.5)
"""Within so long a worker that has lived on calls the new supervisor (it looks every 0.25 s)."""
STORY: Final = "story"
"""Tasks of this name are the simulation's own; all others die with the supervisor."""

CONFIG: Final = SessionConfig(
    health=HealthConfig(interval_seconds=NEVER_SECONDS, heartbeat_timeout_seconds=NEVER_SECONDS)
)


class Observer(Protocol):
    """Whoever looks at what the actors do, step by step."""

    def stepped(self, core: Core) -> None:
        """An actor has dealt with an event."""

    def judged(self, session: str, reason: CloseReason, decision: Decision) -> None:
        """A close has been judged."""

    def uncharged(self, session: str) -> None:
        """What an outage had charged a session was taken back."""

    def stable(self, session: str) -> None:
        """A session has been open for the stable period."""

    def failed(self, session: str, why: str) -> None:
        """An error of the program's own has hit a session."""

    def published(self, told: EventData | AlertChange) -> None:
        """An event was shown."""

    def begun(self, fleet: "SimulatedFleet") -> None:
        """A supervisor has taken the fleet up."""


class WatchedAttempts(Attempts):
    """The real ones; the observer hears what is judged."""

    def __init__(self, core: Core, observer: Observer) -> None:
        super().__init__(core)
        self._observer = observer

    async def carry_out(self, close: Close, decision: Decision) -> None:
        """As the real one."""
        self._observer.judged(self._core.id, close.reason, decision)
        if decision.uncharges:
            self._observer.uncharged(self._core.id)
        await super().carry_out(close, decision)

    async def uncharge(self) -> bool:
        """As the real one."""
        taken_back = await super().uncharge()
        if taken_back:
            self._observer.uncharged(self._core.id)
        return taken_back


class WatchedSocket(OpenSocket):
    """The real one; the observer hears when it is stable."""

    def __init__(self, core: Core, attempts: Attempts, observer: Observer) -> None:
        super().__init__(core, attempts)
        self._observer = observer

    def on_stable(self, attempt: Attempt) -> None:
        """As the real one."""
        super().on_stable(attempt)
        self._observer.stable(self._core.id)


class WatchedActor(Actor):
    """The real actor, looked at after each of its steps."""

    def __init__(self, row: SessionRow, dependencies: Dependencies, observer: Observer) -> None:
        core = Core(row, dependencies)
        attempts = WatchedAttempts(core, observer)
        super().__init__(core, attempts, WatchedSocket(core, attempts, observer))
        self._observer = observer

    async def _guarded(self, work: Any) -> None:
        await super()._guarded(work)
        self._observer.stepped(self.core)

    async def _start_over(self, why: str, tell: bool = True) -> None:
        self._observer.failed(self.core.id, why)
        await super()._start_over(why, tell)


class EgressGate(Gate):
    """The real gate, told the simulation's egress of each session."""

    egress_of: Mapping[str, str]

    def registered(self, session: SessionId, egress: str, uncharge: Callable[[], None]) -> None:
        """As the gate does, by the simulation's books."""
        super().registered(session, self.egress_of[session], uncharge)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What the supervisor is made of. A mutation puts another class here."""

    gate: type[EgressGate] = EgressGate
    actor: type[WatchedActor] = WatchedActor
    gate_config: GateConfig = field(
        default_factory=lambda: GateConfig(egress_rate_per_second=3.0, egress_burst=6)
    )
    config: SessionConfig = CONFIG
    looks: bool = True
    """Whether it looks if WhatsApp can be reached (supervisor/gate/reachability.py)."""


class NoRecords:
    """Incidents are written nowhere here: nobody reads a million session-hours of them."""

    silent_since: float | None = None
    lasting: Mapping[str, Span] = MappingProxyType({})

    def save_incident(self, incident: Any) -> object:
        """Forget it."""
        return None

    def move(self, session: str, state: str, at: float) -> object:
        """Forget it."""
        return None


class SimulatedStore(FakeStore):
    """The store in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.records = NoRecords()  # type: ignore[assignment,unused-ignore]
        self.writes = deque(maxlen=1)  # type: ignore[assignment]


class SimulatedFleet:
    """Sessions, their workers and their supervisor, if it lives just now."""

    def __init__(
        self,
        sessions: Mapping[str, str],
        server: Server,
        rng: random.Random,
        observer: Observer,
        parts: Parts,
    ) -> None:
        """`sessions`: each one's egress."""
        self.store = SimulatedStore()
        self.workers = SimulatedWorkers(server, dict(sessions))
        self.actors: dict[str, WatchedActor] = {}
        self.gate: Gate | None = None
        self.alive = False
        self.events = 0
        """That the actors have dealt with."""
        self._egress_of = sessions
        self._server = server
        self._rng = rng
        self._observer = observer
        self._parts = parts
        self._tasks: list[asyncio.Task[None]] = []

    async def pair(self) -> None:
        """All sessions are wanted, and have credentials."""
        for session in self._egress_of:
            await self.store.create_session(SessionId(session), wanted=True)
            self.store.auth[session, "creds", "creds"] = CREDS

    # --- the supervisor's life --------------------------------------------------------------------

    async def begin(self) -> None:
        """A supervisor starts, and takes up what is there."""
        for worker in self.workers.alive:
            self.workers.calls(worker, self._rng.uniform(*CALLS_SECONDS))
        around = self._dependencies()
        self.alive = True
        self._observer.begun(self)
        for row in await self.store.sessions():
            self._run(row, around)

    async def leave(self) -> None:
        """It stops and leaves its workers, with their sockets, to its successor."""
        self.alive = False
        replies = [self._ask(actor, Command.LEAVE) for actor in self.actors.values()]
        await asyncio.gather(*replies, return_exceptions=True)
        await asyncio.gather(*self._tasks)
        if self.gate is not None:
            await self.gate.close()
        self._forget()

    async def die(self) -> None:
        """It is killed without a word. Its workers live on."""
        self.alive = False
        doomed = [task for task in asyncio.all_tasks() if task.get_name() != STORY]
        for task in doomed:
            task.cancel()
        await asyncio.gather(*doomed, return_exceptions=True)
        self._forget()

    async def lose_machine(self) -> None:
        """It is killed, and its workers with it."""
        await self.die()
        for worker in self.workers.alive:
            worker.end(Exit(signal=9))

    # --- operators --------------------------------------------------------------------------------

    async def ask(self, session: str, command: Command) -> bool:
        """An operator asks; whether it was done."""
        if not self.alive:
            return False
        try:
            await self._ask(self.actors[session], command)
        except WasupError:
            return False
        return True

    # --- inside -----------------------------------------------------------------------------------

    def _forget(self) -> None:
        self.workers.returning.clear()
        self.workers.live_on()
        self.actors, self._tasks, self.gate = {}, [], None

    def _run(self, row: SessionRow, around: Dependencies) -> None:
        actor = self._parts.actor(row, around, self._observer)
        self.actors[row.id] = actor
        self._tasks.append(asyncio.create_task(actor.run(), name=f"session {row.id}"))

    def _dependencies(self) -> Dependencies:
        prober = self._server if self._parts.looks else None
        gate = self._parts.gate(
            self._parts.gate_config, self._rng, publish=self._publish, prober=prober
        )
        gate.egress_of = self._egress_of
        self.gate = gate
        return Dependencies(
            config=self._parts.config,
            store=self.store,  # type: ignore[arg-type]
            keys=KeyService(self.store),  # type: ignore[arg-type]
            workers=self.workers,
            gate=gate,
            publish=self._publish,
            record=self._record,
            deliver=_deliver,
            rng=self._rng,
        )

    def _record(self, changes: Changes) -> None:
        self.store.commit(changes)
        if changes.event is not None:
            self._observer.published(changes.event)

    def _publish(self, _session: SessionId | None, told: EventData | AlertChange) -> None:
        self._observer.published(told)

    @staticmethod
    def _ask(actor: Actor, command: Command) -> "asyncio.Future[Any]":
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        actor.core.inbox.put_nowait(Asked(command, reply))
        return reply


def _deliver(session: SessionId, event: EventData, origin: Origin) -> "asyncio.Future[bool]":
    """No messages are played here."""
    raise NotImplementedError
