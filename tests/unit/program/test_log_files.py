"""Logs by kind: rotated, read backwards, private, and no disk can stop or steer anybody."""

import json
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs

from supervisor.process import log_files
from supervisor.process.log_files import LogFile, newest_first


@pytest.fixture(autouse=True)
def _logging() -> None:
    """The unit tests' log is switched off; here it is what is tested."""
    structlog.reset_defaults()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "audit.log"


@pytest.fixture
def file(path: Path) -> Iterator[LogFile]:
    found = LogFile(path)
    yield found
    found.close()


def numbers(path: Path) -> list[int]:
    return [line["n"] for line in newest_first(path)]


def test_lines_are_read_backwards_through_rotated_files_of_which_few_are_kept(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_files, "MOST_BYTES", 1000)
    file = LogFile(path)
    for n in range(1000):
        file.write({"n": n})
    file.close()
    files = sorted(path.parent.iterdir())
    assert [one.name for one in files] == ["audit.log", *(f"audit.log.{n}" for n in range(1, 5))]
    assert all(one.stat().st_size <= 1000 for one in files)
    assert all(one.stat().st_mode & 0o777 == 0o600 for one in files)
    assert path.parent.stat().st_mode & 0o777 == 0o700
    found = numbers(path)
    assert found == list(range(999, 999 - len(found), -1))
    assert len(found) > 300


def test_what_was_written_before_a_restart_is_gone_on_with(path: Path) -> None:
    for n in (1, 2):
        file = LogFile(path)
        file.write({"n": n})
        file.close()
    assert numbers(path) == [2, 1]


def test_nothing_steers_a_terminal_or_makes_a_line_of_its_own(path: Path, file: LogFile) -> None:
    nasty = 'a\n{"n": 99}\r\x1b[2J\x7f\x9b31m\u202e\u2028é\ud800'
    file.write({"n": 1, "text": nasty})
    file.close()
    raw = path.read_bytes()
    assert raw.count(b"\n") == 1
    assert all(32 <= byte < 127 for byte in raw.rstrip(b"\n"))
    (line,) = newest_first(path)
    assert line["text"] == nasty


def test_half_a_line_of_a_full_disk_hides_no_other(path: Path, file: LogFile) -> None:
    file.write({"n": 1})
    file.close()
    with path.open("a") as opened:
        opened.write('{"n": 2, "te\n[3]\n{"n": 4}\n\xff\n')
    assert numbers(path) == [4, 1]


def test_half_a_line_at_the_end_swallows_none_that_is_written_after_it(path: Path) -> None:
    path.parent.mkdir(mode=0o700)
    path.write_text('{"n": 1}\n{"n": 2, "te')
    for n in (3, 4):
        file = LogFile(path)
        file.write({"n": n})
        file.close()
    assert numbers(path) == [4, 3, 1]
    assert path.read_bytes().count(b"\n") == 4


def test_a_disk_that_fails_is_told_once_and_again_when_it_works(path: Path) -> None:
    path.mkdir(parents=True)  # as good as full: it cannot be opened
    with capture_logs() as lines:
        file = LogFile(path)
        for n in range(50):
            file.write({"n": n})
        file.close()
        assert [line["action"] for line in lines] == ["log_file_failed"]
    path.rmdir()
    with capture_logs() as lines:
        file = LogFile(path)
        file.write({"n": 1})
        file.close()
    assert lines == []
    assert numbers(path) == [1]


def test_it_works_again_in_the_same_life(path: Path) -> None:
    path.mkdir(parents=True)
    with capture_logs() as lines:
        file = LogFile(path)
        file.write({"n": 1})
        _until(lambda: any(line["action"] == "log_file_failed" for line in lines))
        path.rmdir()
        file.write({"n": 2})
        file.close()
    assert [line["action"] for line in lines] == ["log_file_failed", "log_file_written"]
    assert numbers(path) == [2]


def test_a_file_that_somebody_took_away_is_made_anew(path: Path, file: LogFile) -> None:
    file.write({"n": 1})
    _until(lambda: path.exists() and path.stat().st_size > 0)
    path.unlink()
    file.write({"n": 2})
    file.close()
    assert numbers(path) == [2]


def test_a_file_that_is_taken_away_from_a_full_disk_is_made_anew(path: Path) -> None:
    file = LogFile(path)
    with capture_logs() as lines:
        file.write({"n": 1})
        _until(lambda: path.exists() and path.stat().st_size > 0)
        assert file._file.stream is not None
        file._file.stream.close()
        file._file.stream = open("/dev/full", "a", encoding="ascii")  # noqa: SIM115
        file.write({"n": 2})
        _until(lambda: any(line["action"] == "log_file_failed" for line in lines))
        path.unlink()
        file.write({"n": 3})
        file.close()
    assert numbers(path) == [3]
    assert [line["action"] for line in lines] == ["log_file_failed", "log_file_written"]


def test_what_goes_wrong_with_a_line_costs_that_line_alone(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    really = log_files._Rotated.emit

    def emit(self: log_files._Rotated, record: logging.LogRecord) -> None:
        if record.msg == '{"n":1}':
            raise RuntimeError("nobody has thought of this")
        really(self, record)

    monkeypatch.setattr(log_files._Rotated, "emit", emit)
    with capture_logs() as lines:
        file = LogFile(path)
        for n in (1, 2):
            file.write({"n": n})
        file.close()
    assert numbers(path) == [2]
    assert lines[0]["action"] == "log_file_failed"


def test_a_disk_that_hangs_costs_lines_and_nobodys_time(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_files, "MOST_WAITING", 10)
    monkeypatch.setattr(log_files, "CLOSE_SECONDS", 0.1)
    hangs, reached = threading.Event(), threading.Event()
    really = os.open

    def slow(*given: object) -> int:
        reached.set()
        hangs.wait()
        return really(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(log_files.os, "open", slow)
    with capture_logs() as lines:
        file = LogFile(path)
        file.write({"n": 0})
        reached.wait()
        for n in range(1, 100):
            file.write({"n": n})
        assert [line["action"] for line in lines] == ["log_file_stuck"]
        file.close()
        hangs.set()
        _until(lambda: len(numbers(path)) == 11)
        file.write({"n": 100})
        file.close()
    assert lines[-1]["action"] == "log_file_dropped"
    assert lines[-1]["lines"] == 89


def test_where_nothing_was_written_nothing_is_read(path: Path) -> None:
    assert list(newest_first(path)) == []


def test_a_line_is_json(path: Path, file: LogFile) -> None:
    file.write({"n": 1, "none": None, "path": path})
    file.close()
    assert json.loads(path.read_text()) == {"n": 1, "none": None, "path": str(path)}


def _until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)
