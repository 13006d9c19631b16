"""The fleets that are compared: other people's strategies, the oracle, and wasup's own parts."""

import asyncio
import itertools
import random
from typing import Final, Protocol

from scripts.bench_reconnect.strategies import Strategy
from scripts.simulation.fleet import Parts, SimulatedFleet
from scripts.simulation.server import Server
from sessions.lifecycle.actor.core import Core
from sessions.model import CloseReason as R
from sessions.policy import Decision
from sessions.workers.worker_process import Exit
from supervisor.gate.gate import GateConfig

BAILEYS_CONNECT_SECONDS: Final = 20.0
"""Baileys' own connectTimeoutMs; whatsmeow's is as long."""
START_SECONDS: Final = 1.0
"""From the start of a rival's process to its first connect: Node and Baileys take longer to
load.
"""


class Planner(Protocol):
    """When a session tries again."""

    def next_at(self, session: "Plain", now: float) -> float | None:
        """The time of its next attempt; None: never."""


class ByStrategy:
    """Waits as a strategy says."""

    def __init__(self, strategy: Strategy, rng: random.Random) -> None:
        self._strategy = strategy
        self._rng = rng

    def next_at(self, session: "Plain", now: float) -> float | None:
        """See Planner."""
        if session.opened_at is not None and now - session.opened_at >= self._strategy.calm_seconds:
            session.attempts = 0
        session.attempts += 1
        wait = self._strategy.wait(session.attempts, self._rng.random())
        return None if wait is None else now + wait


class Oracle:
    """Knows when the server returns, wastes nothing, and is held only by the bucket: the lower
    bound.
    """

    def __init__(self, returns_at: float, gate: GateConfig) -> None:
        # not in the very instant: what ends in it may end after us
        self._returns_at = returns_at + 0.001
        self._apart = 1 / gate.rate_per_second
        self._burst = gate.burst
        self._full_at = 0.0
        """When the bucket will be full again (the generic cell rate algorithm)."""

    def next_at(self, session: "Plain", now: float) -> float | None:
        """See Planner."""
        wanted = max(now, self._returns_at)
        at = max(wanted, self._full_at - (self._burst - 1) * self._apart)
        self._full_at = max(at, self._full_at) + self._apart
        return at


class Plain:
    """One session of such a fleet: it is told that it is closed, and connects again when its
    planner says so. Also the server's client.
    """

    egress = "direct"

    def __init__(self, session: str, fleet: "PlainFleet") -> None:
        self.session = session
        self.attempts = 0
        self.opened_at: float | None = None
        self.client: _Attempt | None = None
        self._fleet = fleet
        self._timer: asyncio.TimerHandle | None = None

    def connect(self) -> None:
        """Begin an attempt."""
        self._timer = None
        self.client = _Attempt(self)
        self._fleet.server.connect(self.client)

    def closed(self) -> None:
        """The attempt or the socket has ended."""
        self.client = None
        loop = asyncio.get_running_loop()
        at = self._fleet.planner.next_at(self, loop.time())
        self.opened_at = None
        if at is not None:
            self._timer = loop.call_at(at, self.connect)

    def stop(self) -> None:
        """The process ends."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self.client is not None:
            self._fleet.server.gone(self.client)
            self.client.ended = True
        self.client, self.attempts, self.opened_at = None, 0, None


class _Attempt:
    """One attempt of a plain session."""

    egress = "direct"

    def __init__(self, of: Plain) -> None:
        self.session = of.session
        self.ended = False
        self._of = of
        self._timeout = asyncio.get_running_loop().call_later(
            BAILEYS_CONNECT_SECONDS, self.on_close, R.ATTEMPT_TIMED_OUT
        )

    def on_login(self) -> None:
        """The login is on the wire."""

    def on_open(self) -> None:
        """It is accepted."""
        self._timeout.cancel()
        self._of.opened_at = asyncio.get_running_loop().time()

    def on_close(self, reason: R, data: dict[str, str] | None = None) -> None:
        """It has ended."""
        if not self.ended:
            self.ended = True
            self._timeout.cancel()
            self._of.closed()


class PlainFleet:
    """A fleet without a gate."""

    def __init__(
        self, sessions: list[str], server: Server, planner: Planner, restarts: bool
    ) -> None:
        """`restarts`: a deploy closes all sockets, and all connect again at once."""
        self.server = server
        self.planner = planner
        self._restarts = restarts
        self._sessions = {name: Plain(name, self) for name in sessions}

    async def begin(self) -> None:
        """All are open soon; how, is not measured."""
        for plain in self._sessions.values():
            plain.connect()

    def crash(self, session: str) -> None:
        """Lose the socket; in the others' favour no process has to be started anew."""
        client = self._sessions[session].client
        if client is not None:
            self.server.gone(client)
            client.on_close(R.CONNECTION_CLOSED)

    async def restart(self, down_seconds: float) -> None:
        """All sockets are closed; then all sessions are connected at once."""
        if not self._restarts:
            return
        for plain in self._sessions.values():
            plain.stop()
        await asyncio.sleep(down_seconds + START_SECONDS)
        for plain in self._sessions.values():
            plain.connect()


class Ours:
    """The real actors, policy, breaker, outage detector and gate."""

    def __init__(
        self, sessions: list[str], server: Server, rng: random.Random, gate: GateConfig
    ) -> None:
        parts = Parts(gate_config=gate)
        self.observer = Unwatched()
        self.fleet = SimulatedFleet(
            dict.fromkeys(sessions, "direct"), server, rng, self.observer, parts
        )

    async def begin(self) -> None:
        """Start all."""
        await self.fleet.pair()
        await self.fleet.begin()

    def crash(self, session: str) -> None:
        """Its worker dies."""
        for worker in self.fleet.workers.of(session):
            worker.end(Exit(signal=9))

    async def restart(self, down_seconds: float) -> None:
        """The workers live on."""
        await self.fleet.leave()
        await asyncio.sleep(down_seconds)
        await self.fleet.begin()


class Unwatched:
    """Lets the steps pass unobserved.

    `errors` are the program's own; with one of them every figure is worthless.
    """

    def __init__(self) -> None:
        self.errors: list[str] = []

    def stepped(self, core: Core) -> None:
        """Nothing."""

    def judged(self, session: str, reason: R, decision: Decision) -> None:
        """Nothing."""

    def uncharged(self, session: str) -> None:
        """Nothing."""

    def stable(self, session: str) -> None:
        """Nothing."""

    def failed(self, session: str, why: str) -> None:
        """An error of the program's own."""
        self.errors.append(f"{session}: {why}")

    def published(self, told: object) -> None:
        """Nothing."""

    def begun(self, fleet: SimulatedFleet) -> None:
        """Nothing."""


def numbered(count: int) -> list[str]:
    """So many session names."""
    return [f"s{number:04}" for number in itertools.islice(itertools.count(), count)]
