"""One supervisor for a data directory."""

import errno
import fcntl
import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from supervisor.process.lock import FILE_NAME, DirectoryLock, Locked, holder

ROOT = Path(__file__).resolve().parents[3]
HOLD = """
import sys, time
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from supervisor.process.lock import DirectoryLock
with DirectoryLock(Path(sys.argv[2]), "127.0.0.1:4001"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_second_is_refused_and_told_who_holds_it(tmp_path: Path) -> None:
    with (
        DirectoryLock(tmp_path, "127.0.0.1:4001"),
        pytest.raises(Locked) as caught,
        DirectoryLock(tmp_path, "other"),
    ):
        pass
    assert str(tmp_path) in str(caught.value)
    assert f'"pid": {os.getpid()}' in str(caught.value)
    assert "127.0.0.1:4001" in str(caught.value)


def test_it_is_the_lock_of_every_version(tmp_path: Path) -> None:
    """0.1.0 locks `supervisor.lock`: by another name an upgrade would run beside it, and log every
    number in twice.
    """
    with (tmp_path / "supervisor.lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(Locked), DirectoryLock(tmp_path, "127.0.0.1:4001"):
            pass


def test_a_command_that_holds_it_is_named(tmp_path: Path) -> None:
    with (
        DirectoryLock(tmp_path, command="wasup store rotate"),
        pytest.raises(
            Locked,
            match=(
                r"held by `wasup store rotate` \(pid \d+, since .*Z\): try again when that has"
                r" ended"
            ),
        ) as caught,
        DirectoryLock(tmp_path, "127.0.0.1:4001"),
    ):
        pass
    assert "supervisor" not in str(caught.value)


def test_it_is_free_again_afterwards_and_notes_the_new_holder(tmp_path: Path) -> None:
    with DirectoryLock(tmp_path, "a very long description of the first one"):
        pass
    with DirectoryLock(tmp_path, "second"):
        note = json.loads((tmp_path / FILE_NAME).read_text())
    assert note["api"] == "second"


def test_it_is_told_who_holds_the_directory_and_where_its_api_listens(tmp_path: Path) -> None:
    assert holder(tmp_path) is None, "there is no lock yet"
    with DirectoryLock(tmp_path, "a very long description of what is being started") as lock:
        before = holder(tmp_path)
        lock.note("http://127.0.0.1:4001")
        note = holder(tmp_path)
    assert before is not None
    assert before["api"].startswith("a very long")
    assert note is not None
    assert (str(note["pid"]), note["api"]) == (str(os.getpid()), "http://127.0.0.1:4001")
    assert note["since"] == before["since"]
    assert set(note) == {"pid", "since", "api"}
    assert holder(tmp_path) is None, "the note is still there, but nobody holds it"
    assert json.loads((tmp_path / FILE_NAME).read_text())["api"] == "http://127.0.0.1:4001"


def test_who_looks_takes_no_lock_away_and_leaves_none_behind(tmp_path: Path) -> None:
    with DirectoryLock(tmp_path, "x"):
        assert holder(tmp_path) is not None
        with pytest.raises(Locked), DirectoryLock(tmp_path, "y"):
            pass
    assert holder(tmp_path) is None
    with DirectoryLock(tmp_path, "z"):
        assert holder(tmp_path) is not None


def test_a_holder_that_has_not_written_yet_is_a_holder_all_the_same(tmp_path: Path) -> None:
    with DirectoryLock(tmp_path, "x"):
        (tmp_path / FILE_NAME).write_text("")
        assert holder(tmp_path) == {}


def test_the_file_is_the_owners_own(tmp_path: Path) -> None:
    with DirectoryLock(tmp_path, "x"):
        assert stat.S_IMODE((tmp_path / FILE_NAME).stat().st_mode) == 0o600


def test_a_holder_that_is_killed_lets_go(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(ROOT), str(tmp_path)], stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(Locked, match=f'"pid": {process.pid}'), DirectoryLock(tmp_path, "x"):
            pass
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=10)
        if process.stdout is not None:
            process.stdout.close()
    with DirectoryLock(tmp_path, "x"):
        pass


def test_a_child_does_not_inherit_it(tmp_path: Path) -> None:
    code = "import time; print(flush=True); time.sleep(60)"
    with DirectoryLock(tmp_path, "x"):
        child = subprocess.Popen(
            [sys.executable, "-c", code], close_fds=False, stdout=subprocess.PIPE
        )
    try:
        assert child.stdout is not None
        child.stdout.readline()  # close-on-exec has been carried out
        with DirectoryLock(tmp_path, "y"):
            pass
    finally:
        child.kill()
        child.wait(timeout=10)
        if child.stdout is not None:
            child.stdout.close()


def test_where_nothing_can_be_written_that_is_said_and_a_look_is_possible(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file system that became read-only under a running supervisor, or where a dead one lies."""
    opened = os.open

    def read_only(path: Path, flags: int, *mode: int) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR):
            raise OSError(errno.EROFS, "Read-only file system", str(path))
        return opened(path, flags, *mode)

    with DirectoryLock(tmp_path, "http://127.0.0.1:4001"):
        monkeypatch.setattr(os, "open", read_only)
        assert (holder(tmp_path) or {})["api"] == "http://127.0.0.1:4001"
    assert holder(tmp_path) is None
    with pytest.raises(
        OSError, match=f"^The data directory {tmp_path} cannot be written: Read-only file system.$"
    ):
        DirectoryLock(tmp_path, "y").__enter__()
