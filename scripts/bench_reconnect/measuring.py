"""One strategy under one scenario, in simulated time: what it cost."""

import asyncio
import random
import statistics
from collections import deque
from dataclasses import asdict, dataclass
from typing import Any, Final

from scripts.bench_reconnect.contestants import ByStrategy, Oracle, Ours, PlainFleet, numbered
from scripts.bench_reconnect.script import BEGINS_SECONDS, SCRIPT, Contestant, Scenario
from scripts.bench_reconnect.strategies import RIVALS
from scripts.simulation.clock import simulate
from scripts.simulation.fleet import STORY
from scripts.simulation.server import Client, Server
from supervisor.gate.bucket import TokenBucket
from supervisor.gate.gate import GateConfig

GATE: Final = GateConfig()
"""The default settings' own rate and burst."""
OURS: Final = "wasup"
ORACLE: Final = "oracle"
NAMES: Final = {
    OURS: "wasup",
    ORACLE: "oracle (lower bound)",
    **{rival.key: rival.name for rival in RIVALS},
}
BACK_SHARE: Final = 0.99


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured from the fault's begin on.

    `logins`: attempts begun; `seen`: those of them whose login reached the server.

    `median_down_seconds`: of each single time without a connection. `back_seconds`: from the
    server's return until
    99 % were open; None: never while it was watched. `above_bucket`: whether
    the logins that the server saw ever went above the gate's rate and burst.
    """

    strategy: str
    scenario: str
    sessions: int
    down_session_seconds: float
    logins: int
    seen: int
    peak_per_second: int
    median_down_seconds: float | None
    back_seconds: float | None
    never_back: int
    above_bucket: bool

    def as_dict(self) -> dict[str, Any]:
        """The figures as JSON can hold them."""
        return asdict(self)


class Meter:
    """Counts what the server sees, from the fault's begin on."""

    def __init__(self, sessions: int, back_at: float) -> None:
        self.logins = self.seen = self.peak = 0
        self.downs: list[float] = []
        self.above_bucket = False
        self.back_at: float | None = None
        self.down_since: dict[str, float] = {}
        self._sessions = sessions
        self._server_back_at = back_at
        self._recent: deque[float] = deque()
        self._bucket = TokenBucket.full(GATE.rate_per_second, GATE.burst, 0.0)
        self._now = asyncio.get_running_loop().time

    def watch(self, what: str, client: Client) -> None:
        """Told by the server."""
        now = self._now()
        measured = now >= BEGINS_SECONDS
        match what:
            case "connect" if measured:
                self.logins += 1
                self._recent.append(now)
                while self._recent[0] <= now - 1:
                    self._recent.popleft()
                self.peak = max(self.peak, len(self._recent))
            case "login":
                self.above_bucket |= measured and self._bucket.available(now) < 0.99
                self._bucket.take(now)
                self.seen += measured
            case "close":
                self.down_since[client.session] = now
            case "open":
                since = self.down_since.pop(client.session, None)
                if since is not None:
                    self.downs.append(now - since)
                if now >= self._server_back_at and self.back_at is None and self._are_back():
                    self.back_at = now

    def _are_back(self) -> bool:
        return len(self.down_since) <= (1 - BACK_SHARE) * self._sessions


def measure(strategy: str, scenario: Scenario, sessions: int, seed: int) -> Figures:
    """Play it."""
    return simulate(_measure(strategy, scenario, sessions, seed))


def measure_one(job: tuple[str, str], sessions: int, seed: int) -> Figures:
    """`measure` of a strategy and a scenario by their keys, which another process can be given."""
    strategy, key = job
    return measure(
        strategy, next(scenario for scenario in SCRIPT if scenario.key == key), sessions, seed
    )


async def _measure(strategy: str, scenario: Scenario, sessions: int, seed: int) -> Figures:
    task = asyncio.current_task()
    assert task is not None, "this runs in one"
    task.set_name(STORY)
    loop, names = asyncio.get_running_loop(), numbered(sessions)
    back_at = BEGINS_SECONDS + scenario.server_back_after
    meter = Meter(sessions, back_at)
    server = Server(random.Random(seed), meter.watch)
    fleet = _contestant(strategy, names, server, back_at if scenario.outage else 0.0, seed)
    await fleet.begin()
    await asyncio.sleep(BEGINS_SECONDS - loop.time())
    assert len(server.open) == sessions, (
        f"{strategy}: only {len(server.open)} of {sessions} are open before anything is wrong"
    )
    meter.downs.clear()
    await scenario.act(server, fleet, names)
    await asyncio.sleep(back_at + scenario.watched_seconds - loop.time())
    assert not isinstance(fleet, Ours) or not fleet.observer.errors, fleet.observer.errors[:3]
    return _figures(strategy, scenario, sessions, meter, loop.time())


def _contestant(
    strategy: str, names: list[str], server: Server, returns_at: float, seed: int
) -> Contestant:
    if strategy == OURS:
        return Ours(names, server, random.Random(seed + 1), GATE)
    if strategy == ORACLE:
        return PlainFleet(names, server, Oracle(returns_at, GATE), restarts=False)
    rival = next(rival for rival in RIVALS if rival.key == strategy)
    return PlainFleet(names, server, ByStrategy(rival, random.Random(seed + 1)), restarts=True)


def _figures(strategy: str, scenario: Scenario, sessions: int, meter: Meter, now: float) -> Figures:
    downs = [*meter.downs, *(now - since for since in meter.down_since.values())]
    back_at = meter.back_at
    if not downs or (back_at is None and len(meter.down_since) <= (1 - BACK_SHARE) * sessions):
        back_at = BEGINS_SECONDS + scenario.server_back_after
    return Figures(
        strategy=strategy,
        scenario=scenario.key,
        sessions=sessions,
        down_session_seconds=round(sum(downs), 1),
        logins=meter.logins,
        seen=meter.seen,
        peak_per_second=meter.peak,
        median_down_seconds=round(statistics.median(downs), 3) if downs else None,
        back_seconds=None
        if back_at is None
        else round(back_at - BEGINS_SECONDS - scenario.server_back_after, 1),
        never_back=len(meter.down_since),
        above_bucket=meter.above_bucket,
    )
