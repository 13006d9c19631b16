"""The real monitor script: under the project's Python and as a plain file, with a terminal and
without one.
"""

import errno
import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import pytest

from scripts.lab.processes import ROOT
from scripts.monitor_websocket_resources import CannotWrite, Monitoring, parse
from supervisor.process.lock import DirectoryLock

SCRIPT = ROOT / "scripts" / "monitor_websocket_resources.py"
PATIENCE_SECONDS = 30.0


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WHATSAPP_")}
    return kept | {"WHATSAPP_DATA_DIR": str(tmp_path / "data")}


@pytest.fixture
def watching(tmp_path: Path, environment: dict[str, str]) -> Iterator[Any]:
    """Starts the script in a working directory of its own; what still runs at the end is ended."""
    (tmp_path / "here").mkdir()
    started: list[subprocess.Popen[str]] = []

    def start(*arguments: str, **more: Any) -> "subprocess.Popen[str]":
        options: dict[str, Any] = {
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
        } | more
        process = subprocess.Popen(
            [sys.executable, str(SCRIPT), *arguments],
            cwd=tmp_path / "here",
            env=environment,
            **options,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def reports(tmp_path: Path) -> list[Path]:
    return sorted((tmp_path / "here").glob("websocket_monitoring_*.json"))


def next_line(stream: IO[str] | None) -> str:
    assert stream is not None
    ready, _, _ = select.select([stream], [], [], PATIENCE_SECONDS)
    assert ready, "nothing was said"
    return stream.readline()


def test_once_is_one_picture_and_no_report(watching: Any, tmp_path: Path) -> None:
    said, trouble = (process := watching("--once")).communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, trouble) == (0, "")
    for words in (
        "CPU",
        "Load",
        "Memory",
        "Descriptors",
        "Network",
        "WebSocket",
        "no supervisor runs in",
    ):
        assert words in said
    assert reports(tmp_path) == []


@pytest.mark.parametrize("arguments", [("--once",), ("--once", "--json")])
def test_what_cannot_be_shown_is_told_in_one_line(
    watching: Any, arguments: tuple[str, ...]
) -> None:
    with Path("/dev/full").open("w") as full:
        _, trouble = (process := watching(*arguments, stdout=full)).communicate(
            timeout=PATIENCE_SECONDS
        )
    assert process.returncode == 1
    assert (
        trouble
        == "monitor_websocket_resources.py: nothing can be shown (No space left on device).\n"
    )


def test_once_as_json_is_json_and_nothing_else(watching: Any) -> None:
    said, trouble = (process := watching("--once", "--json")).communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, trouble) == (0, "")
    told = json.loads(said)
    used, _, most = Path("/proc/sys/fs/file-nr").read_text().split()
    assert told["host"]["openDescriptors"] == pytest.approx(int(used), rel=0.5)
    assert told["host"]["maxDescriptors"] in (int(most), None)
    assert told["supervisor"] is None
    assert told["workers"]["count"] == 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", told["at"])


def test_real_connections_are_counted_and_raise_the_alarm(watching: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(12)]
        accepted = [server.accept()[0] for _ in clients]
        arguments = ("--once", "--json", "--port", str(port), "--max-websockets", "11")
        said, _ = watching(*arguments).communicate(timeout=PATIENCE_SECONDS)
        for end in (*clients, *accepted):
            end.close()
    told = json.loads(said)
    assert told["connections"]["websockets"] == 12
    assert told["connections"]["byPort"][str(port)] == 24
    (alarm,) = [alarm for alarm in told["alarms"] if alarm["name"] == "websockets"]
    assert (alarm["message"], alarm["value"], alarm["limit"]) == (
        "12 WebSocket connections, above 11",
        12,
        11,
    )


def test_the_supervisor_of_the_data_directory_is_found(
    watching: Any, environment: dict[str, str]
) -> None:
    data = Path(environment["WHATSAPP_DATA_DIR"])
    data.mkdir()
    with DirectoryLock(data, "127.0.0.1:4001"):  # this process plays it
        said, _ = watching("--once", "--json").communicate(timeout=PATIENCE_SECONDS)
    own = json.loads(said)["supervisor"]
    assert own["process"]["pid"] == os.getpid()
    assert own["process"]["descriptors"] > 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_with_a_report(
    watching: Any, tmp_path: Path, number: signal.Signals
) -> None:
    process = watching("0.1")
    lines = [next_line(process.stdout) for _ in range(3)]
    process.send_signal(number)
    said, told = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0
    assert all(
        re.search(r"cpu .*, load .*, memory .*, descriptors .*, tcp .*, websockets ", line)
        for line in lines
    )
    (file,) = reports(tmp_path)
    assert re.fullmatch(r"websocket_monitoring_\d{8}_\d{6}\.json", file.name)
    assert f"The report is in {file.name}" in told
    report = json.loads(file.read_text())
    assert report["readingsTaken"] == len(report["readings"]) >= 3
    assert report["statistics"]["cpuFraction"]["readings"] == report["readingsTaken"]
    assert report["intervalSeconds"] == 0.1
    assert "CPU in use" in said
    assert file.with_suffix(".txt").read_text() in said


def test_a_stream_of_json_has_an_object_in_each_line(watching: Any) -> None:
    process = watching("0.1", "--json")
    told = [json.loads(next_line(process.stdout)) for _ in range(2)]
    assert told[0]["at"] < told[1]["at"]
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_SECONDS) == 0


def test_when_nobody_reads_any_more_the_report_is_still_written(
    watching: Any, tmp_path: Path
) -> None:
    process = watching("0.1")
    next_line(process.stdout)
    process.stdout.close()
    process.stdout = None
    assert process.wait(PATIENCE_SECONDS) == 0
    assert "nothing can be shown any more (Broken pipe)" in process.stderr.read()
    assert len(reports(tmp_path)) == 1


def test_on_a_terminal_it_is_a_live_picture(watching: Any, tmp_path: Path) -> None:
    """In a real pseudo-terminal: the picture is drawn again and again, and the terminal is given
    back at the end.
    """
    master, slave = pty.openpty()
    process = watching("0.2", stdout=slave, stdin=slave)
    os.close(slave)
    shown = b""
    until = time.monotonic() + PATIENCE_SECONDS
    while shown.count(b"reading ") < 2:
        assert time.monotonic() < until, shown
        if select.select([master], [], [], 1.0)[0]:
            shown += os.read(master, 65_536)
    process.send_signal(signal.SIGINT)
    while b"\x1b[?1049l" not in shown:  # back from the alternate screen
        assert time.monotonic() < until, shown
        if select.select([master], [], [], 1.0)[0]:
            shown += os.read(master, 65_536)
    _, told = process.communicate(timeout=PATIENCE_SECONDS)
    os.close(master)
    assert process.returncode == 0
    assert "The report is in" in told
    assert b"\x1b[?1049h" in shown
    assert "CPU" in shown.decode(errors="replace")


def test_a_terminal_that_is_closed_does_not_cost_the_report(watching: Any, tmp_path: Path) -> None:
    master, slave = pty.openpty()
    process = watching("0.2", stdout=slave, stdin=slave)
    os.close(slave)
    until, shown = time.monotonic() + PATIENCE_SECONDS, b""
    while b"reading " not in shown:
        assert time.monotonic() < until, shown
        if select.select([master], [], [], 1.0)[0]:
            shown += os.read(master, 65_536)
    os.close(master)
    assert process.wait(PATIENCE_SECONDS) == 0
    assert len(reports(tmp_path)) == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("0",), "'0' is not a positive number"),
        (("-5",), "-5"),
        (("five",), "'five' is not a positive number"),
        (("nan",), "'nan' is not a positive number"),
        (("inf",), "'inf' is not a positive number"),
        (("1e9",), "more than a day"),
        (("--port", "0"), "'0' is not a port"),
        (("--port", "65536"), "'65536' is not a port"),
        (("--max-load", "x"), "'x' is not a positive number"),
        (("--max-websockets", "1.5"), "not a whole number"),
        (("--output-dir", "/nonexistent"), "/nonexistent is no directory"),
    ],
)
def test_what_cannot_be_used_is_told_in_one_line(
    watching: Any, arguments: tuple[str, ...], words: str
) -> None:
    said, trouble = (process := watching(*arguments)).communicate(timeout=PATIENCE_SECONDS)
    assert (process.returncode, said) == (2, "")
    assert words in trouble
    assert "Traceback" not in trouble


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WHATSAPP_API_PORT", "http"),
        ("WHATSAPP_API_PORT", "70000"),
        ("WHATSAPP_WEB_SOCKET_URL", "ws://x:y"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named(
    watching: Any, environment: dict[str, str], name: str, value: str
) -> None:
    environment[name] = value
    _, trouble = (process := watching("--once")).communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 2
    assert name in trouble
    assert "Traceback" not in trouble


def test_a_report_that_cannot_be_written_is_told(watching: Any) -> None:
    """Its directory was removed meanwhile."""
    process = watching("0.1")
    next_line(process.stdout)
    here = Path(os.readlink(f"/proc/{process.pid}/cwd"))
    here.rmdir()
    process.send_signal(signal.SIGTERM)
    _, trouble = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 1
    assert "the report cannot be written" in trouble
    assert "Traceback" not in trouble


def test_two_reports_of_one_second_have_two_names(watching: Any, tmp_path: Path) -> None:
    first, second = watching("0.1"), watching("0.1")
    for process in (first, second):
        next_line(process.stdout)
    for process in (first, second):
        process.send_signal(signal.SIGTERM)
    for process in (first, second):
        assert process.wait(PATIENCE_SECONDS) == 0
    assert len(reports(tmp_path)) == 2


def test_a_full_disk_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    given = parse(["--data-dir", str(tmp_path), "--output-dir", str(tmp_path)], {})
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(CannotWrite, match=r"cannot be written into .*: No space left on device"):
        Monitoring(given).write(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_ports_given_by_hand_replace_the_usual_ones() -> None:
    assert parse(["--once"], {}).ports == {443, 4001, 8000}
    assert parse(
        ["--once"], {"WHATSAPP_API_PORT": "5001", "WHATSAPP_WEB_SOCKET_URL": ""}
    ).ports == {443, 5001, 8000}
    assert parse(
        ["--once", "--port", "9000", "--port", "9001"], {"WHATSAPP_API_PORT": "x"}
    ).ports == {9000, 9001}
    assert parse(["--once"], {}).interval == 5
