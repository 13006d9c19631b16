"""`python -m scripts.bench`: parts, one after the other: connections, blackhole, start, weight,
adopt, kill, readers (`--only` chooses).

Real supervisors at their default settings, real workers, real Baileys; only WhatsApp is played.
Nothing passes or fails here: the figures are printed as they are.
"""

import argparse
import asyncio
import os
import platform
import signal
import sys
import tempfile
from collections.abc import Awaitable, Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import psutil

from scripts.bench import connections
from scripts.bench.blackhole import blackhole
from scripts.bench.fleet import MIB, fleet
from scripts.bench.kill import kill
from scripts.bench.maintenance import maintenance
from scripts.bench.readers import readers
from scripts.bench.report import Report
from scripts.bench.stage import Bench, baileys_version
from scripts.lab import LabError, StandIn, unless_stopped
from scripts.lab.processes import ROOT
from supervisor.places.installation import ENV_FILE

TAKES_SECONDS: Final = {
    "connections": 10,
    "blackhole": 105,
    "start": 25,
    "weight": 50,
    "adopt": 15,
    "kill": 35,
    "readers": 45,
    "maintenance": 300,
}
PARTS: Final = tuple(TAKES_SECONDS)
USUAL: Final = tuple(part for part in PARTS if part != "maintenance")
"""Unless others are asked for."""
FLEET_PARTS: Final = ("start", "weight", "adopt")


async def measure(bench: Bench, only: Sequence[str]) -> None:
    """All parts that were asked for."""
    if "connections" in only:
        await asyncio.to_thread(connections.measure, bench.report)
        if len(only) == 1:
            return  # nobody has logged in
    if "blackhole" in only:
        await blackhole(bench)
    if of_fleet := [part for part in FLEET_PARTS if part in only]:
        await fleet(bench, of_fleet)
    if "kill" in only:
        await kill(bench)
    if "readers" in only:
        await readers(bench)
    if "maintenance" in only:
        await maintenance(bench)
    overlaps = len(await bench.standin.log("overlap"))
    bench.report.remark(
        bench.report.figures[-1].part,
        f"Two logins of one device at a time, in all parts: {overlaps}.",
    )


async def run(only: Sequence[str], json_file: Path | None) -> int:
    """Start what is needed, measure, print, end it all; the exit status."""
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    machine, report = this_machine(), Report()
    print(f"This machine: {machine_words(machine)}.", flush=True)
    print(
        f"Parts: {', '.join(only)}. It takes about {sum(TAKES_SECONDS[part] for part in only)} s;"
        " Ctrl-C ends it.",
        flush=True,
    )
    async with AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="wasup-bench-")))
        standin = await StandIn.start(directory / "standin")
        stack.push_async_callback(standin.close)
        error = await failure(stopped, measure(Bench(directory, standin, stack, report), only))
    machine["loadAverageAtEnd"] = os.getloadavg()[0]
    if report.figures:
        print(f"\n{report.table()}\n\nMeasured on this machine only: {machine_words(machine)}.")
    if json_file is not None:
        json_file.write_text(report.as_json(machine))
    if error is not None:
        print(f"\nNot all was measured: {error}", file=sys.stderr)
    return 130 if stopped.is_set() else int(error is not None)


async def failure(stopped: asyncio.Event, work: Awaitable[None]) -> str | None:
    """Do the work unless it is stopped; why it was not done, in words."""
    error: BaseException | None = None
    try:
        if await unless_stopped(stopped, work) is None:
            return "it was interrupted."
    except* LabError as errors:
        error = errors
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
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
    """What `machine` says, in words."""
    end = machine.get("loadAverageAtEnd")
    load = f"{machine['loadAverageAtStart']:.1f} before" + (
        "" if end is None else f", {end:.1f} after"
    )
    return f"{machine['cores']} cores, {machine['memoryGiB']} GiB, load average {load}"


def parts(text: str) -> list[str]:
    """Names of parts, in the order in which they are measured."""
    asked = [name.strip() for name in text.split(",")]
    if unknown := [name for name in asked if name not in PARTS]:
        raise argparse.ArgumentTypeError(
            f"{', '.join(unknown)!r} is no part; there are {', '.join(PARTS)}"
        )
    return [part for part in PARTS if part in asked]


def main() -> int:
    """Entry of `make bench`."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.bench", description="Measure wasup on this machine."
    )
    parser.add_argument(
        "--only", type=parts, default=list(USUAL), metavar="PART,...", help=f"of {', '.join(PARTS)}"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample there, too")
    given = parser.parse_args()
    if given.json is not None and not given.json.parent.is_dir():
        parser.error(f"{given.json}: there is no such directory")
    if (ROOT / ENV_FILE).exists():
        parser.error(
            f"{ENV_FILE} would change the default settings, which are what is measured: move it"
            " away meanwhile"
        )
    return asyncio.run(run(given.only, given.json))


if __name__ == "__main__":
    sys.exit(main())
