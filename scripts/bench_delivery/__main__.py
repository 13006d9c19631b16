"""`python -m scripts.bench_delivery`: parts, one after the other: speed, neighbours, story.

`--only` chooses; `--faster 10` shortens the story's times.

Real supervisors, real HTTP on loopback; nobody logs in. The story fails when a promise is broken;
the figures are printed as they are.
"""

import argparse
import asyncio
import os
import signal
import sys
import tempfile
from pathlib import Path
from typing import Final

from scripts.bench.__main__ import failure, machine_words, this_machine
from scripts.bench.report import Report
from scripts.bench_delivery import neighbours, speed
from scripts.bench_delivery.story import Story, play
from scripts.lab import Supervisor
from scripts.lab.receiver import receiver

PARTS: Final = ("speed", "neighbours", "story")


async def measure(directory: Path, report: Report, given: argparse.Namespace) -> None:
    """All parts that were asked for."""
    if "speed" in given.only:
        await speed.measure(directory, report)
    if "neighbours" in given.only:
        await neighbours.measure(directory, report)
    if "story" in given.only:
        await story(directory, report, Story.whole(given.faster, given.events))


async def story(directory: Path, report: Report, told: Story) -> None:
    """Play it with a receiver and a supervisor of its own."""
    supervisor = Supervisor(directory / "story", {})
    try:
        async with receiver() as found:
            await supervisor.start()
            outcome = await play(told, supervisor, found, lambda text: print(text, flush=True))
    finally:
        await supervisor.close()
    part, minutes = "story", sum(act.seconds for act in told.acts) / 60
    report.add(
        part, f"events of {told.sessions} sessions, in {minutes:.1f} min", "", [outcome.events]
    )
    report.add(part, "requests that they took", "", [outcome.requests])
    report.add(part, "accepted more than once (the same id)", "", [outcome.repeated])
    report.add(part, "accepted late, and said so", "", [outcome.late])
    report.add(
        part, "all had arrived, after the receiver worked again", "s", [outcome.drained_seconds]
    )
    report.remark(
        part,
        "Every event arrived, in its session's order, verified by the public library; the"
        " supervisor was killed with -9 three times meanwhile.",
    )


async def run(given: argparse.Namespace) -> int:
    """Measure, print, end it all; the exit status."""
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    machine, report = this_machine(), Report()
    print(f"This machine: {machine_words(machine)}. Parts: {', '.join(given.only)}.", flush=True)
    with tempfile.TemporaryDirectory(prefix="wasup-bench-") as directory:
        error = await failure(stopped, measure(Path(directory), report, given))
    machine["loadAverageAtEnd"] = os.getloadavg()[0]
    if report.figures:
        print(f"\n{report.table()}\n\nMeasured on this machine only: {machine_words(machine)}.")
    if given.json is not None:
        given.json.write_text(report.as_json(machine))
    if error is not None:
        print(f"\nNot all was measured, or a promise was broken: {error}", file=sys.stderr)
    return 130 if stopped.is_set() else int(error is not None)


def _parts(text: str) -> list[str]:
    asked = [name.strip() for name in text.split(",")]
    if unknown := [name for name in asked if name not in PARTS]:
        raise argparse.ArgumentTypeError(
            f"{', '.join(unknown)!r} is no part; there are {', '.join(PARTS)}"
        )
    return [part for part in PARTS if part in asked]


def _factor(text: str) -> float:
    value = float(text)
    if not 1 <= value <= 1000:
        raise argparse.ArgumentTypeError(f"{text!r}: it accepts 1 to 1000")
    return value


def main() -> int:
    """Entry of `make bench-delivery`."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.bench_delivery", description="Measure how webhooks deliver."
    )
    parser.add_argument(
        "--only",
        type=_parts,
        default=list(PARTS),
        metavar="PART,...",
        help=f"of {', '.join(PARTS)}",
    )
    parser.add_argument(
        "--faster", type=_factor, default=1.0, help="the story's 18 minutes, divided by that"
    )
    parser.add_argument("--events", type=int, default=20_000, help="of the story")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every sample there, too")
    given = parser.parse_args()
    if given.json is not None and not given.json.parent.is_dir():
        parser.error(f"{given.json}: there is no such directory")
    return asyncio.run(run(given))


if __name__ == "__main__":
    sys.exit(main())
