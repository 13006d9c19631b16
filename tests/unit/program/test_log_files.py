"""A log file of a subject of its own: rotated, for our user alone, and never in anybody's way."""

import json
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from supervisor.process import log_files
from supervisor.process.log_files import LogFile


@pytest.fixture
def told(_quiet: None) -> Iterator[list[Any]]:
    structlog.reset_defaults()
    with structlog.testing.capture_logs() as lines:
        yield lines


def lines(file: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_a_line_is_json_and_the_file_is_for_our_user_alone(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "websocket.log")
    assert not file.path.exists(), "most installations never have one"
    file.write("info", "admitted", client="a", reason=None)
    file.write("debug", "handshake", client="a")
    file.close()
    (line,) = lines(file.path)
    assert line.pop("timestamp")
    assert line == {"level": "info", "event": "admitted", "client": "a"}
    assert stat.S_IMODE(file.path.stat().st_mode) == 0o600


def test_it_is_put_aside_when_it_is_full_and_so_many_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_files, "MAX_BYTES", 1000)
    file = LogFile(tmp_path / "websocket.log", "debug")
    for number in range(200):
        file.write("debug", "handshake", number=number)
    file.close()
    kept = sorted(tmp_path.iterdir())
    assert len(kept) == 1 + log_files.BACKUPS
    assert all(one.stat().st_size <= 1000 for one in kept)
    assert all(stat.S_IMODE(one.stat().st_mode) == 0o600 for one in kept)
    assert lines(file.path)[-1]["number"] == 199


def test_what_cannot_be_written_is_told_once_and_harms_nobody(
    tmp_path: Path, told: list[Any]
) -> None:
    file = LogFile(tmp_path / "away" / "websocket.log")
    for _ in range(20):
        file.write("info", "admitted")
    file.close()
    assert [line["action"] for line in told] == ["log_lost"]
    assert "No such file" in told[0]["event"]


def test_lines_that_come_faster_than_the_disk_takes_them_are_dropped_and_nobody_waits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, told: list[Any]
) -> None:
    monkeypatch.setattr(log_files, "MOST_WAITING", 1)
    monkeypatch.setattr(log_files.LogFile, "_write", lambda _: None)  # a disk that hangs
    monkeypatch.setattr(log_files, "CLOSE_SECONDS", 0.01)
    file = LogFile(tmp_path / "websocket.log")
    for _ in range(20):
        file.write("info", "admitted")
    file.close()
    assert [line["action"] for line in told] == ["log_lost"]
    assert "faster" in told[0]["event"]
