"""Running something in a directory of its own, until it is over or stopped; the directory is kept
when something broke.
"""

import argparse
import asyncio
import random
import shutil
import signal
import tempfile
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

from scripts.chaos.report import Report
from scripts.lab import LabError, unless_stopped

Play = Callable[[Path, AsyncExitStack], Awaitable[bool]]


async def run(play: Play, report: Report, title: str, again: str) -> int:
    """Play it, judge, end it all; the exit status. `again` is the command that plays the same."""
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    directory = Path(tempfile.mkdtemp(prefix="wasup-chaos-"))
    report.console.print(f"{title}, in {directory}\nAgain: {again}")
    outcome = None
    try:
        async with AsyncExitStack() as stack:
            outcome = await unless_stopped(stopped, play(directory, stack))
    except* LabError as errors:
        report.console.print(f"It could not go on: {_first(errors)}", style="bold red")
    if outcome == (True,):
        shutil.rmtree(directory)
        report.console.print("Every invariant held.", style="bold green")
        return 0
    report.verdict()
    report.console.print(f"What was written is in {directory}. Again: {again}")
    return 130 if stopped.is_set() else 1


def above_zero(text: str) -> int:
    """A count, as an argument."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number above 0")
    return int(text)


def new_seed() -> int:
    """One that nobody has asked for."""
    return random.SystemRandom().randrange(1_000_000)


def _first(error: BaseException) -> BaseException:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error
