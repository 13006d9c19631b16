"""What twenty sessions cost: starting them, keeping them, and taking them over from a supervisor
that was killed.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import psutil

from scripts.bench.stage import DEFAULTS, Bench, opened, paired, seconds
from scripts.lab import Supervisor

FLEET: Final = 20
STARTS: Final = 3
ADOPTIONS: Final = 3
SETTLE_SECONDS: Final = 10
IDLE_SECONDS: Final = 30
"""One probe interval, so that each session is probed once in it."""
MIB: Final = 1024 * 1024


async def fleet(bench: Bench, parts: Sequence[str]) -> None:
    """The parts that need nothing but a fleet of open sessions share one."""
    sessions = [f"fleet-{number:02}" for number in range(1, FLEET + 1)]
    bench.tell(f"{', '.join(parts)}: pairing {len(sessions)} sessions")
    supervisor = await bench.supervisor("fleet")
    await paired(bench, supervisor, sessions)
    # Paired workers have made their keys and are heavier than those of a daily start: all that
    # follows begins with one.
    rounds = [
        await start(bench, supervisor, sessions) for _ in range(STARTS if "start" in parts else 1)
    ]
    if "start" in parts:
        report_starts(bench, rounds)
    if "weight" in parts:
        await weight(bench, supervisor)
    if "adopt" in parts:
        await adopt(bench, supervisor, sessions)
    await supervisor.stop()


@dataclass(frozen=True, slots=True)
class Start:
    """A start of the whole fleet: seconds until the first and until all were open, and the logins'
    peak in any second.
    """

    first_open: float
    all_open: float
    peak: int


async def start(bench: Bench, supervisor: Supervisor, sessions: Sequence[str]) -> Start:
    """Stop the supervisor and start it again."""
    after = await supervisor.last_event()
    await supervisor.stop()
    entries = await bench.standin.log()
    began = time.time()
    await supervisor.start()
    states = await opened(supervisor, sessions, after)
    opens = [seconds(of_session[-1]) - began for of_session in states.values()]
    logins = [
        entry["time_ms"] for entry in await bench.standin.log("login", after=entries[-1]["n"])
    ]
    peak = max(sum(1 for other in logins if login <= other < login + 1000) for login in logins)
    bench.tell(
        f"start: {len(sessions)} sessions open {max(opens):.1f} s after the supervisor's start"
    )
    return Start(min(opens), max(opens), peak)


def report_starts(bench: Bench, rounds: Sequence[Start]) -> None:
    """The figures of the starts."""
    add, rate, burst = bench.report.add, DEFAULTS.gate_rate, DEFAULTS.gate_burst
    add(
        "start",
        "supervisor started to first session open",
        "s",
        [each.first_open for each in rounds],
    )
    add(
        "start",
        f"supervisor started to all {FLEET} sessions open",
        "s",
        [each.all_open for each in rounds],
    )
    add(
        "start",
        "logins in the busiest second (the server's log)",
        "logins",
        [each.peak for each in rounds],
    )
    bench.report.remark(
        "start",
        f"The gate lets {burst + rate:g} through in any second at most (burst {burst} +"
        f" {rate:g}/s), and begins empty: {FLEET} logins take it {FLEET / rate:g} s.",
    )


async def weight(bench: Bench, supervisor: Supervisor) -> None:
    """Memory and CPU while nothing happens."""
    bench.tell(f"weight: {SETTLE_SECONDS} s to settle, then {IDLE_SECONDS} idle seconds")
    await asyncio.sleep(SETTLE_SECONDS)
    assert supervisor.process is not None, "it was started"
    own = psutil.Process(supervisor.process.pid)
    views = (await supervisor.get("/sessions?limit=10000"))["sessions"]
    workers = [psutil.Process(view["performance"]["workerPid"]) for view in views]
    before = cpu_seconds(own), sum(map(cpu_seconds, workers))
    await asyncio.sleep(IDLE_SECONDS)
    after = cpu_seconds(own), sum(map(cpu_seconds, workers))
    add, memory = bench.report.add, [worker.memory_full_info() for worker in workers]
    supervisors = own.memory_full_info()
    add("weight", "worker: RSS", "MiB", [each.rss / MIB for each in memory])
    add(
        "weight",
        "worker: PSS (its share of shared pages)",
        "MiB",
        [each.pss / MIB for each in memory],
    )
    add("weight", f"supervisor of {len(workers)} sessions: RSS", "MiB", [supervisors.rss / MIB])
    add("weight", f"supervisor of {len(workers)} sessions: PSS", "MiB", [supervisors.pss / MIB])
    total = supervisors.pss + sum(each.pss for each in memory)
    add("weight", f"supervisor and {len(workers)} workers together: PSS", "MiB", [total / MIB])
    add("weight", f"supervisor: CPU in {IDLE_SECONDS} idle seconds", "s", [after[0] - before[0]])
    add(
        "weight",
        f"all {len(workers)} workers: CPU in {IDLE_SECONDS} idle seconds",
        "s",
        [after[1] - before[1]],
    )


def cpu_seconds(process: psutil.Process) -> float:
    """What it has used, in user and kernel."""
    times = process.cpu_times()
    return float(times.user + times.system)


async def adopt(bench: Bench, supervisor: Supervisor, sessions: Sequence[str]) -> None:
    """Kill -9 the supervisor, start it again, and wait until its successor has all sessions, with
    the sockets that they had.
    """
    bench.tell(
        f"adopt: the supervisor of {len(sessions)} sessions is killed with -9, {ADOPTIONS} times"
    )
    noticed_by_whatsapp = len(await bench.standin.log("login", "logout"))
    ready, adopted = [], []
    for _ in range(ADOPTIONS):
        after = await supervisor.last_event()
        await supervisor.kill()
        began = time.time()
        await supervisor.start()
        ready.append(time.time() - began)
        states = await opened(supervisor, sessions, after)
        adopted.append(max(seconds(of_session[-1]) for of_session in states.values()) - began)
    bench.report.add("adopt", "successor started to ready", "s", ready)
    bench.report.add(
        "adopt", f"successor started to all {len(sessions)} sessions adopted", "s", adopted
    )
    noticed = len(await bench.standin.log("login", "logout")) - noticed_by_whatsapp
    bench.report.remark("adopt", f"Logins and logouts that the server saw meanwhile: {noticed}.")
