"""A command of wasup's own, in a process that yields to everybody: copying and reading a gigabyte
must keep neither the supervisor's loop nor the sessions from anything.
"""

import asyncio
import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Final, NamedTuple

import psutil

from supervisor.places.installation import folder

ROOT: Final = Path(__file__).resolve().parents[3]
NICEST: Final = 19
SAID_CHARACTERS: Final = 600
"""Of what it says on stderr, the end."""


class Ended(NamedTuple):
    """How it ended; what it said, and what went wrong."""

    status: int
    output: bytes
    trouble: str


async def wasup(*arguments: str) -> Ended:
    """Carry a command out, with the settings of this process. Raises OSError."""
    return await gentle(
        sys.executable, "-m", "supervisor", "--directory", str(folder()), *arguments
    )


async def gentle(*command: str, given: bytes = b"") -> Ended:
    """Carry a command out; whoever calls this off ends it. `given`: on its stdin.

    Raises OSError.
    """
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=subprocess.PIPE if given else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env=os.environ | {"NO_COLOR": "1"},
        start_new_session=True,  # Ctrl-C is for the supervisor
    )
    try:
        _be_nice(process.pid)
        output, said = await process.communicate(given or None)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    lines = said.decode(errors="replace").splitlines()
    # what a command logs on the way (JSON) is in its own log's form, and not its last word
    told = " ".join(line.strip() for line in lines if not line.startswith("{"))
    last = lines[-1] if lines else f"it ended with {process.returncode}"
    trouble = (told or last)[-SAID_CHARACTERS:]
    return Ended(process.returncode, output, trouble)


def _be_nice(pid: int) -> None:
    """What is not allowed here is done without."""
    with contextlib.suppress(psutil.Error, OSError):
        process = psutil.Process(pid)
        process.nice(NICEST)
        process.ionice(psutil.IOPRIO_CLASS_IDLE)
