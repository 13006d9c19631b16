"""How soon a connection that dies without a word is noticed: wasup at its defaults, and plain
Baileys beside it in the same minutes.
"""

import asyncio
import json
import math
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from scripts.bench.stage import (
    DEFAULTS,
    HEAL_SECONDS,
    Bench,
    baileys_version,
    opened,
    paired,
    seconds,
)
from scripts.lab import LabError, Process, Supervisor, eventually
from scripts.lab.processes import NODE, ROOT
from sessions.lifecycle.health import EARLY, FIRST_CHECK_SECONDS

PROBE_INTERVAL: Final = DEFAULTS.health_check_interval / 1000 * EARLY
PROBE_DEADLINE: Final = DEFAULTS.probe_timeout_ms / 1000
STABLE_AFTER: Final = DEFAULTS.stable_after / 1000

PROBE_PHASES: Final = (0.1, 7.0, 14.0, 21.0, 28.0)
"""Seconds after a probe at which a session of wasup is blackholed: the first waits longest, nearly
the worst there is.
"""
KEEP_ALIVE_SECONDS: Final = 30.0
KEEP_ALIVE_PHASES: Final = (5.0, 15.0, 25.0)
"""Seconds after a tick of plain Baileys' keep-alive at which its session is blackholed."""


@dataclass(frozen=True, slots=True)
class Healed:
    """Seconds from a fault until it was noticed, and until the session was open again."""

    noticed: float
    open_again: float


@dataclass(slots=True)
class PlainBaileys:
    """scripts/standin/plain-baileys.js as a process."""

    process: Process

    @classmethod
    async def start(cls, bench: Bench, sessions: Sequence[str]) -> "PlainBaileys":
        """Start it; it pairs its sessions by itself."""
        script, standin = ROOT / "scripts" / "standin" / "plain-baileys.js", bench.standin
        command = [NODE, str(script), standin.url, standin.admin, standin.root_key, *sessions]
        process = await Process.start(command, os.environ, bench.directory / "plain-baileys.out")
        bench.stack.push_async_callback(process.end)
        return cls(process)

    async def said(self, session: str, event: str, after: float = 0.0) -> float:
        """Wait until it says so of a session after a time; when it was."""

        async def look() -> list[float]:
            if self.process.status is not None:
                raise LabError(
                    f"plain Baileys ended with status {self.process.status}:\n{self.process.tail()}"
                )
            lines = [
                json.loads(line)
                for line in self.process.output.read_text().splitlines(keepends=True)
                if line[-1] == "\n"
            ]
            times = [
                line["time_ms"] / 1000
                for line in lines
                if (line["session"], line["event"]) == (session, event)
            ]
            return [time for time in times if time > after]

        return (
            await eventually(
                look, seconds=HEAL_SECONDS, what=f"{event} of {session} in plain Baileys"
            )
        )[0]


async def blackhole(bench: Bench) -> None:
    """Open connections die without a word, at different phases of the probes that should find
    out.
    """
    ours = [f"wasup-{number}" for number in range(1, len(PROBE_PHASES) + 1)]
    theirs = [f"plain-{number}" for number in range(1, len(KEEP_ALIVE_PHASES) + 1)]
    bench.tell(
        f"blackhole: pairing {len(ours)} sessions of wasup and {len(theirs)} of plain Baileys"
    )
    supervisor = await bench.supervisor("blackhole")
    plain = await PlainBaileys.start(bench, theirs)
    async with asyncio.TaskGroup() as group:
        plainly = [
            group.create_task(blackhole_plain(bench, plain, *each))
            for each in zip(theirs, KEEP_ALIVE_PHASES, strict=True)
        ]
        await paired(bench, supervisor, ours)
        bench.tell(
            f"blackhole: all open; wasup's are struck when they have been so for {STABLE_AFTER:g} s"
        )
        healed = [
            group.create_task(blackhole_wasup(bench, supervisor, *each))
            for each in zip(ours, PROBE_PHASES, strict=True)
        ]
    await supervisor.stop()
    await plain.process.end()
    add, library = bench.report.add, f"plain Baileys {baileys_version()}"
    add(
        "blackhole",
        "wasup: fault to noticed (leaves open)",
        "s",
        [task.result().noticed for task in healed],
    )
    add(
        "blackhole",
        "wasup: fault to open again",
        "s",
        [task.result().open_again for task in healed],
    )
    add(
        "blackhole",
        f"{library}: fault to its close event",
        "s",
        [task.result().noticed for task in plainly],
    )
    add(
        "blackhole",
        f"{library}: fault to open again",
        "s",
        [task.result().open_again for task in plainly],
    )
    worst, bound = max(task.result().noticed for task in healed), PROBE_INTERVAL + PROBE_DEADLINE
    bench.report.remark(
        "blackhole",
        f"Struck {', '.join(f'{phase:g}' for phase in PROBE_PHASES)} s after a probe; plain Baileys"
        f" {', '.join(f'{phase:g}' for phase in KEEP_ALIVE_PHASES)} s after a tick of its"
        " keep-alive.",
    )
    bench.report.remark(
        "blackhole",
        f"The bound of {bound:g} s (probe interval {PROBE_INTERVAL:g} s + its deadline"
        f" {PROBE_DEADLINE:g} s) {'held' if worst <= bound else 'DID NOT HOLD'}: noticed within"
        f" {worst:.2f} s at most.",
    )


async def blackhole_wasup(
    bench: Bench, supervisor: Supervisor, session: str, phase: float
) -> Healed:
    """Strike one session of the supervisor so long after a probe."""
    since = seconds((await supervisor.events("session.state", session))[-1])
    await sleep_until(
        phase_after(since + FIRST_CHECK_SECONDS, PROBE_INTERVAL, phase, since + STABLE_AFTER)
    )
    after = await supervisor.last_event()
    fault = await strike(bench, session)
    states = (await opened(supervisor, [session], after))[session]
    healed = Healed(seconds(states[0]) - fault, seconds(states[-1]) - fault)
    bench.tell(
        f"blackhole: {session}, struck {phase:g} s after a probe: noticed after"
        f" {healed.noticed:.1f} s"
    )
    return healed


async def blackhole_plain(bench: Bench, plain: PlainBaileys, session: str, phase: float) -> Healed:
    """Strike one socket of plain Baileys so long after a tick of its keep-alive, which begins at
    the login.
    """
    await plain.said(session, "open")
    login = (await bench.standin.log("login", session=session))[-1]["time_ms"] / 1000
    await sleep_until(phase_after(login, KEEP_ALIVE_SECONDS, phase, time.time()))
    fault = await strike(bench, session)
    closed = await plain.said(session, "close", fault)
    healed = Healed(closed - fault, await plain.said(session, "open", closed) - fault)
    bench.tell(
        f"blackhole: {session}, struck {phase:g} s after a keep-alive: closed after"
        f" {healed.noticed:.1f} s"
    )
    return healed


async def strike(bench: Bench, session: str) -> float:
    """Blackhole it; the stand-in's time of it."""
    await bench.standin.fault("blackhole", session)
    fault = (await bench.standin.log("fault", session=session))[-1]
    if fault["connections"] != 1:
        raise LabError(
            f"{session} had {fault['connections']} connections, not one, when it was to be struck"
        )
    return float(fault["time_ms"]) / 1000


def phase_after(anchor: float, interval: float, phase: float, earliest: float) -> float:
    """The first time from `earliest` on that lies `phase` after a tick of a clock that began at
    `anchor`.
    """
    return anchor + phase + interval * max(0, math.ceil((earliest - anchor - phase) / interval))


async def sleep_until(when: float) -> None:
    """Sleep until a wall-clock time."""
    await asyncio.sleep(max(0.0, when - time.time()))
