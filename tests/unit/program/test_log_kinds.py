"""The logs by kind: which of them are written, and what is in them."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from supervisor.process import log_kinds, streams
from supervisor.process.log_kinds import KINDS, written
from supervisor.settings import Settings

ALL = frozenset(KINDS)


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    yield
    structlog.reset_defaults()


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_reconnection_is_in_reconnect_log_and_found_by_its_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_kinds, "is_kept", lambda: True)
    with written(tmp_path, ALL, "json", "error", []) as files:
        assert set(files) == {"performance", "reconnect", "requests"}
        log = structlog.get_logger("session")
        log.info("reconnect: attempt 2 in 4.0 s", action="reconnect_planned", attempt=2)
        log.info("reconnected: open again after 4.2 s", action="reconnected")
        log.info("something else", action="state")
    found = lines(tmp_path / "logs" / "reconnect.log")
    assert [line["action"] for line in found] == ["reconnect_planned", "reconnected"]
    assert all("reconnect" in str(line["event"]) for line in found)
    assert not (tmp_path / "logs" / "supervisor.log").exists()


def test_where_nobody_keeps_the_log_it_is_kept_in_supervisor_log_without_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_kinds, "is_kept", lambda: False)
    with written(tmp_path, ALL, "human", "info", ["hunter2hunter2"]):
        structlog.get_logger().info("a line with hunter2hunter2", action="told")
        structlog.get_logger().debug("not of that level", action="told")
    (line,) = lines(tmp_path / "logs" / "supervisor.log")
    assert line["event"] == "a line with (hidden)"
    assert (tmp_path / "logs" / "supervisor.log").stat().st_mode & 0o777 == 0o600


def test_none_of_them_is_written_where_none_is_wanted(tmp_path: Path) -> None:
    with written(tmp_path, Settings(log_files="none").log_kinds, "json", "info", []) as files:
        assert files == {}
        structlog.get_logger().info("reconnected", action="reconnected")
    assert list(tmp_path.iterdir()) == []


def test_the_default_is_all_of_them() -> None:
    assert Settings().log_kinds == ALL


@pytest.mark.parametrize("given", ["", "request", "requests;reconnect", "none,requests"])
def test_a_kind_that_there_is_not_is_refused(given: str) -> None:
    with pytest.raises(ValueError, match="log_files"):
        Settings(log_files=given)


def test_a_log_is_kept_by_a_file_by_pm2_or_by_the_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in (streams.PM2, streams.JOURNAL):
        monkeypatch.delenv(name, raising=False)
    reading, writing = os.pipe()
    file = os.open(tmp_path / "log", os.O_WRONLY | os.O_CREAT)
    try:
        assert not streams.is_kept(writing)
        assert streams.is_kept(file)
        status = os.fstat(writing)
        monkeypatch.setenv(streams.JOURNAL, f"{status.st_dev}:{status.st_ino}")
        assert streams.is_kept(writing)
        monkeypatch.setenv(streams.JOURNAL, "8:1234567")  # of whoever has started a terminal
        assert not streams.is_kept(writing)
        monkeypatch.setenv(streams.PM2, "0")
        assert streams.is_kept(writing)
    finally:
        for descriptor in (reading, writing, file):
            os.close(descriptor)
