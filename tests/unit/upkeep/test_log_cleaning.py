"""Logs to which nobody writes any more go after so many days; nothing else does."""

import os
from pathlib import Path

import pytest

from sessions.model import SessionId
from supervisor.upkeep.jobs import JobFailed
from supervisor.upkeep.log_cleaning import LogDirectory

NOW, DAY = 1_800_000_000.0, 24 * 3600.0


def write(file: Path, days: float) -> None:
    file.write_bytes(b"x")
    os.utime(file, (NOW - days * DAY,) * 2)


def test_what_is_old_goes_with_the_logs_of_deleted_sessions_and_all_else_stays(
    tmp_path: Path,
) -> None:
    for name in (
        "worker-gone.log",
        "worker-gone.log.1",
        "worker-here.log.1",
        "supervisor.log.2.gz",
    ):
        write(tmp_path / name, 30.1)
    stays = {
        "worker-here.log",  # its worker may have had nothing to say for a month
        "audit.log",
        "audit.log.1",
        "spare-worker-w-1.log",
        "notes.txt",
        "wasup.db",
    }
    for name in stays:
        write(tmp_path / name, 400)
    write(tmp_path / "worker-young.log", 29.9)
    (tmp_path / "folder.log").mkdir()
    (tmp_path / "linked.log").symlink_to(tmp_path / "notes.txt")
    os.utime(tmp_path / "linked.log", (1, 1), follow_symlinks=False)
    words = LogDirectory(tmp_path, 30).clean({SessionId("here")}, NOW)
    assert words.startswith("4 logs that nobody had written to for 30 days were deleted")
    left = {file.name for file in tmp_path.iterdir()}
    assert left == stays | {"worker-young.log", "folder.log", "linked.log"}


def test_where_there_are_none_nothing_is_done(tmp_path: Path) -> None:
    assert LogDirectory(tmp_path / "logs", 30).clean(set(), NOW).startswith("0 logs")


def test_what_cannot_be_deleted_is_told_when_all_else_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "a.log", 40)
    write(tmp_path / "b.log", 40)
    unlink = Path.unlink

    def refused(path: Path) -> None:
        if path.name == "a.log":
            raise PermissionError(13, "Permission denied", str(path))
        unlink(path)

    monkeypatch.setattr(Path, "unlink", refused)
    with pytest.raises(JobFailed, match=r"1 old logs could not be deleted.*a\.log"):
        LogDirectory(tmp_path, 30).clean(set(), NOW)
    assert not (tmp_path / "b.log").exists()
