"""Two supervisors on one data directory are found though no supervisor shows its descriptors."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from supervisor.watch.diagnostics import installation

HOLDER = """
import fcntl, sys
file = open(sys.argv[2], "r+")
fcntl.lockf(file, fcntl.LOCK_SH if sys.argv[3] == "read" else fcntl.LOCK_EX)
print("locked", flush=True)
sys.stdin.read()
"""


def holder(file: Path, name: str) -> "subprocess.Popen[str]":
    """A process called so, with a lock on the file."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, name, str(file), "read"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "locked\n"
    return process


def refuse(*_: object) -> str:
    raise PermissionError


@pytest.mark.parametrize(("name", "found"), [("supervisor", True), ("sqlite3", False)])
def test_a_supervisor_that_hides_its_descriptors_is_known_by_its_lock_on_the_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, found: bool
) -> None:
    database = tmp_path / "wasup.db-shm"
    database.touch()
    other = tmp_path / "other"
    other.mkdir()
    process = holder(database, name)
    monkeypatch.setattr(os, "readlink", refuse)
    try:
        assert (process.pid in set(installation._with_our_lock(tmp_path))) is found
        assert process.pid not in set(installation._with_our_lock(other))
    finally:
        process.communicate()
