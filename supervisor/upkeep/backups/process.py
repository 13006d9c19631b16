"""A command of wasup's own, in a process that yields to everybody: copying and reading a gigabyte
must keep neither the supervisor's loop nor the sessions from anything.
"""

import asyncio
import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final, NamedTuple

import psutil
import structlog

from supervisor.places.installation import folder

ROOT: Final = Path(__file__).resolve().parents[3]
NICEST: Final = 19
SAID_CHARACTERS: Final = 600
"""Of what it says on stderr, the end."""
KILLED_SECONDS: Final = 5.0
"""So long a killed one is waited for: one that hangs in a disk's call ends when the disk does."""
PASSED_ON: Final = ("PATH", "LANG", "LC_ALL", "TZ")
"""What a command inherits that is none of wasup's own: no setting, no secret."""

log = structlog.get_logger("upkeep")


class Ended(NamedTuple):
    """How it ended; what it said, and what went wrong."""

    status: int
    output: bytes
    trouble: str


async def wasup(*arguments: str) -> Ended:
    """Carry a command out, with the settings of this process. Raises OSError."""
    return await gentle(
        sys.executable,
        "-m",
        "supervisor",
        "--directory",
        str(folder()),
        *arguments,
        environment=os.environ,
    )


async def gentle(
    *command: str, given: bytes = b"", environment: Mapping[str, str] | None = None
) -> Ended:
    """Carry a command out; whoever calls this off ends it. `given`: on its stdin. `environment`:
    without it, nothing that is ours.

    Raises OSError.
    """
    if environment is None:
        environment = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=subprocess.PIPE if given else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env={**environment, "NO_COLOR": "1"},
        start_new_session=True,  # Ctrl-C is for the supervisor
    )
    try:
        _be_nice(process.pid)
        output, said = await process.communicate(given or None)
    finally:
        if process.returncode is None:
            await _killed(process)
    assert process.returncode is not None
    lines = said.decode(errors="replace").splitlines()
    # what a command logs on the way (JSON) is in its own log's form, and not its last word
    told = " ".join(line.strip() for line in lines if not line.startswith("{"))
    last = lines[-1] if lines else f"it ended with {process.returncode}"
    trouble = (told or last)[-SAID_CHARACTERS:]
    return Ended(process.returncode, output, trouble)


async def _killed(process: asyncio.subprocess.Process) -> None:
    process.kill()
    try:
        async with asyncio.timeout(KILLED_SECONDS):
            await process.wait()
    except TimeoutError:
        log.warning(
            "a killed command does not end: a disk that it works on does not answer",
            action="command_hangs",
            pid=process.pid,
        )


def _be_nice(pid: int) -> None:
    """What is not allowed here is done without."""
    with contextlib.suppress(psutil.Error, OSError):
        process = psutil.Process(pid)
        process.nice(NICEST)
        process.ionice(psutil.IOPRIO_CLASS_IDLE)
