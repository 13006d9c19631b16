"""`make bench`: what wasup costs and how fast it heals, measured on this machine against the stand-in, plain Baileys beside it.

Real supervisors at their default settings, real workers, real Baileys; only WhatsApp is played. Four parts, one after the other:
blackhole, start, weight, kill (`--only` chooses). Nothing passes or fails here: the figures are printed as they are.
"""

import argparse
import asyncio
import json
import math
import os
import platform
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import psutil

from scripts.lab import LabError, Process, StandIn, Supervisor, eventually, pair
from scripts.lab.processes import NODE, ROOT
from sessions.health import FIRST_CHECK_SECONDS
from supervisor.settings import ENV_FILE, Settings

DEFAULTS: Final = Settings.model_construct()
PROBE_INTERVAL: Final = DEFAULTS.health_check_interval / 1000
PROBE_DEADLINE: Final = DEFAULTS.response_time_threshold / 1000
STABLE_AFTER: Final = DEFAULTS.stable_after / 1000

PROBE_PHASES: Final = (0.5, 7.5, 14.5, 21.5, 28.5)
"""Seconds after a probe at which a session of wasup is blackholed: the first waits longest, nearly the worst there is."""
KEEP_ALIVE_SECONDS: Final = 30.0
KEEP_ALIVE_PHASES: Final = (5.0, 15.0, 25.0)
"""The same for plain Baileys, whose own keep-alive ticks so far apart."""
FLEET: Final = 20
STARTS: Final = 3
KILLS: Final = 5
SETTLE_SECONDS: Final = 10
IDLE_SECONDS: Final = 30
"""One probe interval, so that each session is probed once in it."""
HEAL_SECONDS: Final = 180.0
"""What has not healed by then is an error."""
TAKES_SECONDS: Final = {"blackhole": 105, "start": 25, "weight": 50, "kill": 10}
PARTS: Final = tuple(TAKES_SECONDS)
FLEET_PARTS: Final = ("start", "weight", "kill")
MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table: what was measured, and every sample of it."""

    part: str
    what: str
    unit: str
    samples: list[float]


@dataclass(slots=True)
class Report:
    """What was measured so far."""

    figures: list[Figure] = field(default_factory=list)
    remarks: list[tuple[str, str]] = field(default_factory=list)

    def add(self, part: str, what: str, unit: str, samples: Iterable[float]) -> None:
        """Add a line."""
        self.figures.append(Figure(part, what, unit, [round(sample, 3) for sample in samples]))

    def remark(self, part: str, text: str) -> None:
        """Add a sentence below a part's lines."""
        self.remarks.append((part, text))

    def table(self) -> str:
        """All of it, for people."""
        width = max((len(figure.what) for figure in self.figures), default=0)
        lines = [f"{'':{width}}  {'n':>3} {'median':>9} {'least':>9} {'most':>9}"]
        for part in dict.fromkeys(figure.part for figure in self.figures):
            lines += ["", part]
            for figure in (figure for figure in self.figures if figure.part == part):
                shown = (statistics.median(figure.samples), min(figure.samples), max(figure.samples))
                numbers = " ".join(f"{number:9.2f}" for number in shown)
                lines.append(f"{figure.what:{width}}  {len(figure.samples):3} {numbers} {figure.unit}")
            lines += [f"  {text}" for of, text in self.remarks if of == part]
        return "\n".join(lines)

    def as_json(self, machine: dict[str, Any]) -> str:
        """All of it, for programs."""
        figures = [
            {
                "part": figure.part,
                "what": figure.what,
                "unit": figure.unit,
                "median": statistics.median(figure.samples),
                "samples": figure.samples,
            }
            for figure in self.figures
        ]
        remarks = [{"part": part, "text": text} for part, text in self.remarks]
        return json.dumps({"machine": machine, "figures": figures, "remarks": remarks}, indent=2) + "\n"


@dataclass(slots=True)
class Bench:
    """The parts on the table."""

    directory: Path
    standin: StandIn
    stack: AsyncExitStack
    report: Report
    began: float = field(default_factory=time.monotonic)

    def tell(self, text: str) -> None:
        """Show how far it is."""
        print(f"[{time.monotonic() - self.began:5.0f} s] {text}", flush=True)

    async def supervisor(self, name: str) -> Supervisor:
        """A supervisor at its default settings: only its data directory, a free port and the stand-in are given."""
        supervisor = Supervisor(self.directory / name, self.standin.environment())
        self.stack.push_async_callback(supervisor.close)
        return await supervisor.start()


async def opened(supervisor: Supervisor, sessions: Iterable[str], after: int) -> dict[str, list[Any]]:
    """Wait until each session opens after an event number; its state events until then. Long polls: they cost next to nothing."""
    states: dict[str, list[Any]] = {session: [] for session in sessions}
    waiting = set(states)
    try:
        async with asyncio.timeout(HEAL_SECONDS):
            while waiting:
                for event in (await supervisor.get(f"/events?after={after}&wait=5"))["events"]:
                    after = event["n"]
                    if event["type"] == "state" and event["session"] in waiting:
                        states[event["session"]].append(event)
                        if event["data"]["state"] == "open":
                            waiting.discard(event["session"])
    except TimeoutError:
        raise LabError(f"not open within {HEAL_SECONDS:g} s: {', '.join(sorted(waiting))}") from None
    return states


async def paired(bench: Bench, supervisor: Supervisor, sessions: Sequence[str]) -> None:
    """Pair the sessions, and see it in the event log: it shows an event a moment after the state, and is counted from later."""
    await pair(supervisor, bench.standin, *sessions)
    await opened(supervisor, sessions, after=0)


def seconds(event: Any) -> float:
    """When an event of the supervisor was."""
    return float(event["timeMs"]) / 1000


# --- blackhole ------------------------------------------------------------------------------------------------------------


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
                raise LabError(f"plain Baileys ended with status {self.process.status}:\n{self.process.tail()}")
            lines = [
                json.loads(line)
                for line in self.process.output.read_text().splitlines(keepends=True)
                if line[-1] == "\n"
            ]
            times = [line["time_ms"] / 1000 for line in lines if (line["session"], line["event"]) == (session, event)]
            return [time for time in times if time > after]

        return (await eventually(look, seconds=HEAL_SECONDS, what=f"{event} of {session} in plain Baileys"))[0]


async def blackhole(bench: Bench) -> None:
    """Open connections die without a word, at different phases of the probes that should find out."""
    ours = [f"wasup-{number}" for number in range(1, len(PROBE_PHASES) + 1)]
    theirs = [f"plain-{number}" for number in range(1, len(KEEP_ALIVE_PHASES) + 1)]
    bench.tell(f"blackhole: pairing {len(ours)} sessions of wasup and {len(theirs)} of plain Baileys")
    supervisor = await bench.supervisor("blackhole")
    plain = await PlainBaileys.start(bench, theirs)
    async with asyncio.TaskGroup() as group:
        plainly = [
            group.create_task(blackhole_plain(bench, plain, *each))
            for each in zip(theirs, KEEP_ALIVE_PHASES, strict=True)
        ]
        await paired(bench, supervisor, ours)
        bench.tell(f"blackhole: all open; wasup's are struck when they have been so for {STABLE_AFTER:g} s")
        healed = [
            group.create_task(blackhole_wasup(bench, supervisor, *each))
            for each in zip(ours, PROBE_PHASES, strict=True)
        ]
    await supervisor.stop()
    await plain.process.end()
    add, library = bench.report.add, f"plain Baileys {baileys_version()}"
    add("blackhole", "wasup: fault to noticed (leaves open)", "s", [task.result().noticed for task in healed])
    add("blackhole", "wasup: fault to open again", "s", [task.result().open_again for task in healed])
    add("blackhole", f"{library}: fault to its close event", "s", [task.result().noticed for task in plainly])
    add("blackhole", f"{library}: fault to open again", "s", [task.result().open_again for task in plainly])
    worst, bound = max(task.result().noticed for task in healed), PROBE_INTERVAL + PROBE_DEADLINE
    bench.report.remark(
        "blackhole",
        f"Struck {', '.join(f'{phase:g}' for phase in PROBE_PHASES)} s after a probe; "
        f"plain Baileys {', '.join(f'{phase:g}' for phase in KEEP_ALIVE_PHASES)} s after a tick of its keep-alive.",
    )
    bench.report.remark(
        "blackhole",
        f"The bound of {bound:g} s (probe interval {PROBE_INTERVAL:g} s + its deadline {PROBE_DEADLINE:g} s) "
        f"{'held' if worst <= bound else 'DID NOT HOLD'}: noticed within {worst:.2f} s at most.",
    )


async def blackhole_wasup(bench: Bench, supervisor: Supervisor, session: str, phase: float) -> Healed:
    """Strike one session of the supervisor so long after a probe."""
    since = seconds((await supervisor.events("state", session))[-1])
    await sleep_until(phase_after(since + FIRST_CHECK_SECONDS, PROBE_INTERVAL, phase, since + STABLE_AFTER))
    after = await supervisor.last_event()
    fault = await strike(bench, session)
    states = (await opened(supervisor, [session], after))[session]
    healed = Healed(seconds(states[0]) - fault, seconds(states[-1]) - fault)
    bench.tell(f"blackhole: {session}, struck {phase:g} s after a probe: noticed after {healed.noticed:.1f} s")
    return healed


async def blackhole_plain(bench: Bench, plain: PlainBaileys, session: str, phase: float) -> Healed:
    """Strike one socket of plain Baileys so long after a tick of its keep-alive, which begins at the login."""
    await plain.said(session, "open")
    login = (await bench.standin.log("login", session=session))[-1]["time_ms"] / 1000
    await sleep_until(phase_after(login, KEEP_ALIVE_SECONDS, phase, time.time()))
    fault = await strike(bench, session)
    closed = await plain.said(session, "close", fault)
    healed = Healed(closed - fault, await plain.said(session, "open", closed) - fault)
    bench.tell(f"blackhole: {session}, struck {phase:g} s after a keep-alive: closed after {healed.noticed:.1f} s")
    return healed


async def strike(bench: Bench, session: str) -> float:
    """Blackhole it; the stand-in's time of it."""
    await bench.standin.fault("blackhole", session)
    fault = (await bench.standin.log("fault", session=session))[-1]
    if fault["connections"] != 1:
        raise LabError(f"{session} had {fault['connections']} connections, not one, when it was to be struck")
    return float(fault["time_ms"]) / 1000


def phase_after(anchor: float, interval: float, phase: float, earliest: float) -> float:
    """The first time from `earliest` on that lies `phase` after a tick of a clock that began at `anchor`."""
    return anchor + phase + interval * max(0, math.ceil((earliest - anchor - phase) / interval))


async def sleep_until(when: float) -> None:
    """Sleep until a wall-clock time."""
    await asyncio.sleep(max(0.0, when - time.time()))


# --- a fleet: start, weight, kill -------------------------------------------------------------------------------------------


async def fleet(bench: Bench, parts: Sequence[str]) -> None:
    """The parts that need nothing but a fleet of open sessions share one."""
    sessions = [f"fleet-{number:02}" for number in range(1, (KILLS if parts == ["kill"] else FLEET) + 1)]
    bench.tell(f"{', '.join(parts)}: pairing {len(sessions)} sessions")
    supervisor = await bench.supervisor("fleet")
    await paired(bench, supervisor, sessions)
    # Paired workers have made their keys and are heavier than those of a daily start: all that follows begins with one.
    rounds = [await start(bench, supervisor, sessions) for _ in range(STARTS if "start" in parts else 1)]
    if "start" in parts:
        report_starts(bench, rounds)
    if "weight" in parts:
        await weight(bench, supervisor)
    if "kill" in parts:
        await kill(bench, supervisor, sessions[:KILLS])
    await supervisor.stop()


@dataclass(frozen=True, slots=True)
class Start:
    """A start of the whole fleet: seconds until the first and until all were open, and the logins' peak in any second."""

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
    logins = [entry["time_ms"] for entry in await bench.standin.log("login", after=entries[-1]["n"])]
    peak = max(sum(1 for other in logins if login <= other < login + 1000) for login in logins)
    bench.tell(f"start: {len(sessions)} sessions open {max(opens):.1f} s after the supervisor's start")
    return Start(min(opens), max(opens), peak)


def report_starts(bench: Bench, rounds: Sequence[Start]) -> None:
    """The figures of the starts."""
    add, rate, burst = bench.report.add, DEFAULTS.gate_rate, DEFAULTS.gate_burst
    add("start", "supervisor started to first session open", "s", [each.first_open for each in rounds])
    add("start", f"supervisor started to all {FLEET} sessions open", "s", [each.all_open for each in rounds])
    add("start", "logins in the busiest second (the server's log)", "logins", [each.peak for each in rounds])
    bench.report.remark(
        "start",
        f"The gate lets {burst + rate:g} through in any second at most (burst {burst} + {rate:g}/s); "
        f"{FLEET} logins take it {max(0.0, (FLEET - burst) / rate):g} s at least.",
    )


async def weight(bench: Bench, supervisor: Supervisor) -> None:
    """Memory and CPU while nothing happens."""
    bench.tell(f"weight: {SETTLE_SECONDS} s to settle, then {IDLE_SECONDS} idle seconds")
    await asyncio.sleep(SETTLE_SECONDS)
    assert supervisor.process is not None, "it was started"
    own = psutil.Process(supervisor.process.pid)
    views = (await supervisor.get("/sessions"))["sessions"]
    workers = [psutil.Process(view["performance"]["workerPid"]) for view in views]
    before = cpu_seconds(own), sum(map(cpu_seconds, workers))
    await asyncio.sleep(IDLE_SECONDS)
    after = cpu_seconds(own), sum(map(cpu_seconds, workers))
    add, memory = bench.report.add, [worker.memory_full_info() for worker in workers]
    supervisors = own.memory_full_info()
    add("weight", "worker: RSS", "MiB", [each.rss / MIB for each in memory])
    add("weight", "worker: PSS (its share of shared pages)", "MiB", [each.pss / MIB for each in memory])
    add("weight", f"supervisor of {len(workers)} sessions: RSS", "MiB", [supervisors.rss / MIB])
    add("weight", f"supervisor of {len(workers)} sessions: PSS", "MiB", [supervisors.pss / MIB])
    total = supervisors.pss + sum(each.pss for each in memory)
    add("weight", f"supervisor and {len(workers)} workers together: PSS", "MiB", [total / MIB])
    add("weight", f"supervisor: CPU in {IDLE_SECONDS} idle seconds", "s", [after[0] - before[0]])
    add("weight", f"all {len(workers)} workers: CPU in {IDLE_SECONDS} idle seconds", "s", [after[1] - before[1]])


def cpu_seconds(process: psutil.Process) -> float:
    """What it has used, in user and kernel."""
    times = process.cpu_times()
    return float(times.user + times.system)


async def kill(bench: Bench, supervisor: Supervisor, sessions: Sequence[str]) -> None:
    """Kill -9 one worker after the other, of a different session each time: the waits grow with a session's own crashes."""
    bench.tell(f"kill: {len(sessions)} workers are killed with -9")
    whole, noticed, waited, rest = [], [], [], []
    for session in sessions:
        pid = (await supervisor.session(session))["performance"]["workerPid"]
        after = await supervisor.last_event()
        killed = time.time()
        os.kill(pid, signal.SIGKILL)
        left, *_, last = states = (await opened(supervisor, [session], after))[session]
        spawned = next(event for event in states if event["data"]["state"] == "starting")
        whole.append(seconds(last) - killed)
        noticed.append(seconds(left) - killed)
        waited.append(seconds(spawned) - seconds(left))
        rest.append(seconds(last) - seconds(spawned))
    bench.report.add("kill", "worker killed (-9) to open again, in all", "s", whole)
    bench.report.add("kill", "of it: until noticed", "s", noticed)
    bench.report.add("kill", "of it: the policy's wait after a first crash", "s", waited)
    bench.report.add("kill", "of it: new worker spawned to open", "s", rest)


# --- the whole --------------------------------------------------------------------------------------------------------------


async def measure(bench: Bench, only: Sequence[str]) -> None:
    """All parts that were asked for."""
    if "blackhole" in only:
        await blackhole(bench)
    if of_fleet := [part for part in FLEET_PARTS if part in only]:
        await fleet(bench, of_fleet)
    overlaps = len(await bench.standin.log("overlap"))
    bench.report.remark(bench.report.figures[-1].part, f"Two logins of one device at a time, in all parts: {overlaps}.")


async def run(only: Sequence[str], json_file: Path | None) -> int:
    """Start what is needed, measure, print, end it all; the exit status."""
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    machine, report = this_machine(), Report()
    print(f"This machine: {machine_words(machine)}.", flush=True)
    print(
        f"Parts: {', '.join(only)}. It takes about {sum(TAKES_SECONDS[part] for part in only)} s; Ctrl-C ends it.",
        flush=True,
    )
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wasup-bench-")))
        standin = await StandIn.start(directory / "standin")
        stack.push_async_callback(standin.close)
        error = await unless(stopped, measure(Bench(directory, standin, stack, report), only))
    machine["loadAverageAtEnd"] = os.getloadavg()[0]
    if report.figures:
        print(f"\n{report.table()}\n\nMeasured on this machine only: {machine_words(machine)}.")
    if json_file is not None:
        json_file.write_text(report.as_json(machine))
    if error is not None:
        print(f"\nNot all was measured: {error}", file=sys.stderr)
    return 130 if stopped.is_set() else int(error is not None)


async def unless(stopped: asyncio.Event, work: Awaitable[None]) -> str | None:
    """Do the work unless it is stopped; why it was not done, in words."""
    task, stop = asyncio.ensure_future(work), asyncio.ensure_future(stopped.wait())
    await asyncio.wait([task, stop], return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    interrupted = not task.done()
    task.cancel()
    await asyncio.wait([task])
    if interrupted:
        return "it was interrupted."
    return first_lab_error(task.exception())


def first_lab_error(error: BaseException | None) -> str | None:
    """What went wrong in the laboratory, in words; any other error is ours and raised."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if error is not None and not isinstance(error, LabError):
        raise error
    return None if error is None else str(error)


def this_machine() -> dict[str, Any]:
    """What the figures are worth."""
    return {
        "cores": os.cpu_count(),
        "memoryGiB": round(psutil.virtual_memory().total / MIB / 1024),
        "python": platform.python_version(),
        "baileys": baileys_version(),
        "loadAverageAtStart": os.getloadavg()[0],
    }


def machine_words(machine: dict[str, Any]) -> str:
    """The same, in words."""
    end = machine.get("loadAverageAtEnd")
    load = f"{machine['loadAverageAtStart']:.1f} before" + ("" if end is None else f", {end:.1f} after")
    return f"{machine['cores']} cores, {machine['memoryGiB']} GiB, load average {load}"


def baileys_version() -> str:
    """The version that both sides use."""
    package = json.loads((ROOT / "scripts" / "standin" / "package.json").read_text())
    return str(package["dependencies"]["@whiskeysockets/baileys"])


def parts(text: str) -> list[str]:
    """Names of parts, in the order in which they are measured."""
    asked = [name.strip() for name in text.split(",")]
    if unknown := [name for name in asked if name not in PARTS]:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)!r} is no part; there are {', '.join(PARTS)}")
    return [part for part in PARTS if part in asked]


def main() -> int:
    """Entry of `make bench`."""
    parser = argparse.ArgumentParser(prog="python -m scripts.bench", description="Measure wasup on this machine.")
    parser.add_argument("--only", type=parts, default=list(PARTS), metavar="PART,...", help=f"of {', '.join(PARTS)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample there, too")
    given = parser.parse_args()
    if given.json is not None and not given.json.parent.is_dir():
        parser.error(f"{given.json}: there is no such directory")
    if (ROOT / ENV_FILE).exists():
        parser.error(
            f"{ENV_FILE} would change the default settings, which are what is measured: move it away meanwhile"
        )
    return asyncio.run(run(given.only, given.json))


if __name__ == "__main__":
    sys.exit(main())
