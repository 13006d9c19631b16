"""The shortened script in real time: real Baileys, real supervisors and their workers.

All is counted in the stand-in's own log.
"""

import asyncio
import contextlib
import math
import os
import statistics
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from scripts.bench.stage import DEFAULTS
from scripts.bench_reconnect.measuring import BACK_SHARE, GATE, ORACLE, OURS, Figures
from scripts.lab import LabError, Process, StandIn, Supervisor, eventually, pair
from scripts.lab.processes import NODE, ROOT
from supervisor.gate.bucket import TokenBucket

STABLE_SECONDS: Final = DEFAULTS.stable_after / 1000 + 2
DROPS_APART_SECONDS: Final = 0.5
PAIRED_SECONDS: Final = 120.0
SETTLE_SECONDS: Final = 1.0
CLOCK_SLACK: Final = 0.25
"""A bucket may be short of this share of a token: our timer and the server's log may differ by
50 ms.
"""


class Side(Protocol):
    """A fleet of real sessions."""

    async def begin(self, sessions: Sequence[str]) -> None:
        """Pair them, and see them open."""

    async def restart(self) -> None:
        """Deploy anew."""


@dataclass(slots=True)
class OurSide:
    """A supervisor at its default settings, which leaves its workers to its successor (as under
    pm2).
    """

    supervisor: Supervisor
    standin: StandIn

    async def begin(self, sessions: Sequence[str]) -> None:
        """See Side."""
        await self.supervisor.start()
        await pair(self.supervisor, self.standin, *sessions)

    async def restart(self) -> None:
        """See Side."""
        await self.supervisor.stop()
        await self.supervisor.start()


@dataclass(slots=True)
class TheirSide:
    """rival-baileys.js with a strategy."""

    strategy: str
    standin: StandIn
    directory: Path
    stack: AsyncExitStack
    sessions: list[str] = field(default_factory=list)
    process: Process | None = None

    async def begin(self, sessions: Sequence[str]) -> None:
        """See Side."""
        self.sessions = list(sessions)
        self.directory.mkdir()
        await self._start()
        self.stack.push_async_callback(self._end)

    async def restart(self) -> None:
        """See Side."""
        await self._end()
        await self._start()

    async def _start(self) -> None:
        script, standin = ROOT / "scripts" / "standin" / "rival-baileys.js", self.standin
        doors = [standin.url, standin.admin, standin.root_key]
        command = [NODE, str(script), self.strategy, str(self.directory), *doors, *self.sessions]
        self.process = await Process.start(command, os.environ, self.directory.with_suffix(".out"))

    async def _end(self) -> None:
        if self.process is not None:
            await self.process.end()


@dataclass(frozen=True, slots=True)
class RealScenario:
    """`fault_seconds`: how long it lasts; `patience_seconds`: how long the fleet may then take."""

    key: str
    name: str
    fault_seconds: float
    patience_seconds: float
    act: Callable[["Stage", "RealScenario"], Awaitable[None]]


@dataclass(slots=True)
class Stage:
    """A side under test and the stand-in it talks to."""

    standin: StandIn
    side: Side
    sessions: list[str]


async def _drops(stage: Stage, scenario: RealScenario) -> None:
    for session in stage.sessions:
        await stage.standin.fault("drop", session)
        await asyncio.sleep(DROPS_APART_SECONDS)


async def _outage(stage: Stage, scenario: RealScenario) -> None:
    await stage.standin.fault("refuse", seconds=scenario.fault_seconds)
    await stage.standin.fault("drop", how="reset")
    await asyncio.sleep(scenario.fault_seconds)


async def _restart(stage: Stage, scenario: RealScenario) -> None:
    await stage.side.restart()
    await asyncio.sleep(SETTLE_SECONDS)


REAL_SCRIPT: Final = (
    RealScenario("real-drops", "single drops, real Baileys", 0.0, 30.0, _drops),
    RealScenario("real-outage-10s", "10 s outage of everybody, real Baileys", 10.0, 60.0, _outage),
    RealScenario("real-outage-60s", "60 s outage of everybody, real Baileys", 60.0, 90.0, _outage),
    RealScenario("real-restart", "supervisor restart, real Baileys", 0.0, 60.0, _restart),
)


async def measure_real(strategy: str, sessions: int, directory: Path) -> list[Figures]:
    """Every scenario, one after the other, under one strategy. Raises LabError."""
    names = [f"{strategy}-{number:02}" for number in range(sessions)]
    async with AsyncExitStack() as stack:
        standin = await StandIn.start(directory / f"standin-{strategy}")
        stack.push_async_callback(standin.close)
        side: Side
        if strategy == OURS:
            settings = standin.environment() | {"WHATSAPP_SHUTDOWN": "detach"}
            supervisor = Supervisor(directory / strategy, settings)
            stack.push_async_callback(_close, supervisor)
            side = OurSide(supervisor, standin)
        else:
            side = TheirSide(strategy, standin, directory / strategy, stack)
        stage = Stage(standin, side, names)
        await side.begin(names)
        await _all_open(stage, PAIRED_SECONDS)
        return [await _measure(strategy, stage, scenario) for scenario in REAL_SCRIPT]


def lower_bounds(sessions: int) -> list[Figures]:
    """What an oracle would need after the outages, on a network without round trips."""
    bounds = []
    for scenario in REAL_SCRIPT:
        if scenario.fault_seconds:
            waits = [
                max(0.0, (place - GATE.burst + 1) / GATE.rate_per_second)
                for place in range(sessions)
            ]
            downs = [scenario.fault_seconds + wait for wait in waits]
            back, peak = (
                waits[math.ceil(BACK_SHARE * sessions) - 1],
                sum(wait < 1 for wait in waits),
            )
            total, median = round(sum(downs), 1), round(statistics.median(downs), 3)
            bounds.append(
                Figures(
                    ORACLE,
                    scenario.key,
                    sessions,
                    total,
                    sessions,
                    sessions,
                    peak,
                    median,
                    round(back, 1),
                    0,
                    False,
                )
            )
    return bounds


async def _close(supervisor: Supervisor) -> None:
    if supervisor.process is not None:
        await supervisor.kill()
    await supervisor.close()


async def _measure(strategy: str, stage: Stage, scenario: RealScenario) -> Figures:
    await asyncio.sleep(STABLE_SECONDS)
    after, began = await stage.standin.last_entry(), time.time()
    await scenario.act(stage, scenario)
    ended = began + scenario.fault_seconds if scenario.fault_seconds else time.time()
    with contextlib.suppress(LabError):  # the figures say who is still down
        await _all_open(stage, scenario.patience_seconds)
    return _figures(strategy, scenario, stage, await stage.standin.log(after=after), ended)


async def _all_open(stage: Stage, seconds: float) -> None:
    async def count() -> int:
        state = await stage.standin.call("GET", "/state")
        return sum(connection["stage"] == "open" for connection in state["connections"])

    await eventually(
        count,
        lambda seen: seen == len(stage.sessions),
        seconds,
        "all sessions being open at the stand-in",
    )


def _figures(
    strategy: str, scenario: RealScenario, stage: Stage, log: list[dict[str, Any]], ended: float
) -> Figures:
    down_since: dict[str, float] = {}
    downs: list[float] = []
    back_at = ended if scenario.fault_seconds == 0 else None
    for entry in log:
        session, at = entry.get("session"), entry["time_ms"] / 1000
        if session not in stage.sessions:
            continue
        if entry["event"] == "logout":
            down_since.setdefault(session, at)
        elif entry["event"] == "open" and session in down_since:
            downs.append(at - down_since.pop(session))
            if at >= ended and len(down_since) <= (1 - BACK_SHARE) * len(stage.sessions):
                back_at = at
    attempts = [
        entry["time_ms"] / 1000 for entry in log if entry["event"] in {"connected", "refused"}
    ]
    downs += [time.time() - since for since in down_since.values()]
    return Figures(
        strategy=strategy,
        scenario=scenario.key,
        sessions=len(stage.sessions),
        down_session_seconds=round(sum(downs), 1),
        logins=len(attempts),
        seen=Counter(entry["event"] for entry in log)["login"],
        peak_per_second=max(
            (sum(at <= other < at + 1 for other in attempts) for at in attempts), default=0
        ),
        median_down_seconds=round(statistics.median(downs), 3) if downs else None,
        back_seconds=None if down_since or back_at is None else round(back_at - ended, 1),
        never_back=len(down_since),
        above_bucket=_above_bucket(
            [entry["time_ms"] / 1000 for entry in log if entry["event"] == "login"]
        ),
    )


def _above_bucket(logins: Sequence[float]) -> bool:
    """Whether more logins came than the gate's rate and burst allow; the stand-in's clock is read
    in milliseconds.
    """
    bucket, above = TokenBucket.full(GATE.rate_per_second, GATE.burst, 0.0), False
    for at in logins:
        above |= bucket.available(at) < 1 - CLOCK_SLACK
        bucket.take(at)
    return above
