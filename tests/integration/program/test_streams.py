"""A process whose output nobody can take ends with the status that it meant; Python would make it
120.
"""

import subprocess
import sys
from pathlib import Path

import pytest

from scripts.lab.processes import ROOT

FULL = Path("/dev/full")
WRITES_AND_ENDS = """
import sys
from supervisor.process.streams import keep_exit_status
keep_exit_status()
sys.stdout.write("lost")
sys.exit({status})
"""


def status_of(*command: str, stdout: Path = FULL) -> int:
    with stdout.open("w") as out:
        return subprocess.run(
            command, stdout=out, stderr=subprocess.DEVNULL, cwd=ROOT, timeout=60
        ).returncode


@pytest.mark.parametrize("status", [0, 1, 78])
def test_the_status_is_kept(status: int) -> None:
    assert status_of(sys.executable, "-c", WRITES_AND_ENDS.format(status=status)) == status


def test_python_alone_would_not_keep_it() -> None:
    bare = WRITES_AND_ENDS.replace("keep_exit_status()", "pass").format(status=0)
    assert status_of(sys.executable, "-c", bare) == 120, "or all this is not needed any more"


@pytest.mark.parametrize(
    ("arguments", "status"), [(["--version"], 1), (["nonsense"], 2), (["sessions", "list"], 3)]
)
def test_a_command_that_cannot_say_what_it_has_to_say_has_not_done_it(
    arguments: list[str], status: int
) -> None:
    assert status_of(sys.executable, "-m", "supervisor", *arguments) == status


def test_a_command_on_a_full_disk_ends_with_a_sentence() -> None:
    command = [sys.executable, "-m", "supervisor", "--version"]
    with FULL.open("w") as out:
        done = subprocess.run(
            command, stdout=out, stderr=subprocess.PIPE, text=True, cwd=ROOT, timeout=60
        )
    assert (done.returncode, done.stderr) == (
        1,
        "No space left on device. The disk is full: free space, or choose another place.\n",
    )


def test_streams_that_are_gone_are_no_trouble() -> None:
    gone = "import os, sys; os.close(1); os.close(2); sys.stdout = None\n"
    quiet = WRITES_AND_ENDS.replace('sys.stdout.write("lost")', "").format(status=3)
    assert status_of(sys.executable, "-c", gone + quiet) == 3
