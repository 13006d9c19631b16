"""`python -m scripts.chaos`: a campaign of faults.

The seed decides what is thrown; the same command throws it again.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from scripts.chaos import playing
from scripts.chaos.campaign import Campaign
from scripts.chaos.plan import BY_NAME, FAULTS, plan
from scripts.chaos.report import Report
from scripts.chaos.stage import Stage
from scripts.chaos.traffic import Traffic
from scripts.lab.processes import ROOT
from supervisor.places.installation import ENV_FILE

STEPS: Final = 300
SESSIONS: Final = 8


async def run(given: argparse.Namespace) -> int:
    """Run the campaign; the exit status."""
    report = Report()

    async def play(directory: Path, stack: AsyncExitStack) -> bool:
        return await campaign(given, directory, stack, report)

    title = f"Seed {given.seed}: {given.steps} steps, {given.sessions} sessions"
    return await playing.run(play, report, title, replay(given).format(steps=given.steps))


async def campaign(
    given: argparse.Namespace, directory: Path, stack: AsyncExitStack, report: Report
) -> bool:
    """All of it; whether every invariant held. Raises LabError."""
    stage = await Stage.set(directory, given.sessions, stack, ways=True)
    traffic = Traffic(stage)
    async with asyncio.TaskGroup() as group:
        writing = group.create_task(traffic.run())
        steps = plan(given.seed, given.steps, given.sessions, given.only)
        running = await Campaign.begin(
            stage, traffic, report, steps, replay(given), given.keep_going
        )
        well = await running.run()
        writing.cancel()
    return await running.end() and well


def replay(given: argparse.Namespace) -> str:
    """The command that throws the same again; `{steps}` is to be filled in."""
    only = f" --only {','.join(given.only)}" if given.only else ""
    return (
        f"python -m scripts.chaos --seed {given.seed} --sessions {given.sessions} --steps"
        f" {{steps}}{only}"
    )


def faults(text: str) -> list[str]:
    """Names of faults."""
    asked = [name.strip() for name in text.split(",") if name.strip()]
    if unknown := [name for name in asked if name not in BY_NAME]:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)!r} is no fault; --list shows them")
    return asked


def show_faults() -> None:
    """The table of faults."""
    for fault in FAULTS:
        print(f"{fault.name:18} {fault.weight}  {fault.about}\n{'':21} {fault.promise}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry of `make chaos`."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.chaos", description="Throw faults at wasup, and see what holds."
    )
    parser.add_argument(
        "--steps", type=playing.above_zero, default=STEPS, help=f"how many faults (default {STEPS})"
    )
    parser.add_argument(
        "--seed",
        type=int,
        default=playing.new_seed(),
        help="decides all of the plan (default: a new one)",
    )
    parser.add_argument(
        "--sessions",
        type=playing.above_zero,
        default=SESSIONS,
        help=f"how many (default {SESSIONS})",
    )
    parser.add_argument(
        "--only", type=faults, default=[], metavar="FAULT,...", help="only these faults"
    )
    parser.add_argument("--keep-going", action="store_true", help="go on after an invariant broke")
    parser.add_argument(
        "--list", action="store_true", help="show the faults, with their weights, and end"
    )
    given = parser.parse_args(arguments)
    if given.list:
        show_faults()
        return 0
    if given.only and not any(given.sessions >= BY_NAME[name].fewest for name in given.only):
        parser.error(f"{', '.join(given.only)}: not in a fleet of {given.sessions}")
    if (ROOT / ENV_FILE).exists():
        parser.error(
            f"{ENV_FILE} would change the settings that the invariants count on: move it away"
            " meanwhile"
        )
    return asyncio.run(run(given))


if __name__ == "__main__":
    sys.exit(main())
