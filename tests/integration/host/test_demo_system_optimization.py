"""The tour of the host: it changes nothing on this machine, and it notices when what it promises
does not hold.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from scripts import demo_system_optimization as demo
from scripts.lab.processes import ROOT
from supervisor.host.reading.processes import OPEN_FILES, ProcessLimit
from supervisor.host.tuning.optimizer import SystemOptimizer

SCRIPT = ROOT / "scripts" / "demo_system_optimization.py"
WRITTEN = (
    "etc/sysctl.d",
    "etc/security/limits.d",
    "etc/security/limits.conf",
    "var/lib/wasup",
    "etc/systemd",
)


def of_this_machine() -> Mapping[str, object]:
    """Everything that the real optimizer would write, as it is on this machine now; and what the
    kernel has.
    """
    places = {
        name: demo.fingerprint(Path("/") / name) for name in WRITTEN if (Path("/") / name).exists()
    }
    return {**places, "somaxconn": Path("/proc/sys/net/core/somaxconn").read_text()}


def a_host(root: Path) -> Path:
    """Files as a host has them: a foreign setting, a link, a secret."""
    for name, content in {
        "etc/sysctl.conf": "net.core.somaxconn = 128\n",
        "etc/sysctl.d/10-network.conf": "net.ipv4.tcp_fin_timeout = 60\n",
        "etc/security/limits.conf": "* soft nofile 1024\n",
        "etc/security/limits.d/20-nproc.conf": "* soft nproc 4096\n",
        "etc/security/opasswd": "ana:1:2:secret\n",
        "usr/lib/sysctl.d/50-default.conf": "kernel.sysrq = 16\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(content)
    (root / "etc/sysctl.d/99-sysctl.conf").symlink_to("../sysctl.conf")
    (root / "etc/sysctl.d/gone.conf").symlink_to("nowhere")
    return root


def test_the_copy_has_what_decides_and_no_secrets(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    assert demo.copy_files(copy, a_host(tmp_path / "host")) == 6
    assert (copy / "etc/sysctl.d/99-sysctl.conf").read_text() == "net.core.somaxconn = 128\n"
    assert not (copy / "etc/security/opasswd").exists()


def test_it_is_applied_and_rolled_back_in_the_copy_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = of_this_machine()
    demo.apply_in_a_copy(tmp_path / "copy", 500)
    assert of_this_machine() == before
    told = capsys.readouterr().out
    assert "99-websocket-optimizations.conf written" in told
    assert "nothing to do" in told
    assert "every byte, mode and owner" in told


def test_a_rollback_that_leaves_something_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = SystemOptimizer.rollback

    def careless(self: SystemOptimizer) -> object:
        result = real(self)
        (tmp_path / "copy" / "etc" / "left").write_text("")
        return result

    monkeypatch.setattr(SystemOptimizer, "rollback", careless)
    with pytest.raises(demo.DidNotHold, match="not what it was"):
        demo.apply_in_a_copy(tmp_path / "copy", 500)


@pytest.mark.parametrize("change", ["content", "mode", "new"])
def test_a_fingerprint_sees_every_change(change: str, tmp_path: Path) -> None:
    file = a_host(tmp_path / "host") / "etc/sysctl.conf"
    before = demo.fingerprint(tmp_path)
    match change:
        case "content":
            file.write_text("net.core.somaxconn = 129\n")
        case "mode":
            file.chmod(0o600)
        case _:
            file.with_name("new").mkdir()
    assert demo.fingerprint(tmp_path) != before


async def test_the_readings_see_the_connections_come_and_go(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(demo, "BETWEEN_SECONDS", 0.01)
    await demo.watch(150)
    counts = [
        line.split("websockets ")[1].split(",")[0]
        for line in capsys.readouterr().out.splitlines()
        if "cpu" in line
    ]
    assert counts == ["0", "150", "150", "150", "0"]


async def test_connections_that_are_not_counted_are_noticed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(demo, "BETWEEN_SECONDS", 0.01)
    real = asyncio.open_connection
    opened = []

    async def another(host: str, port: int) -> object:
        if not opened:
            server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
            opened.append(server)
        return await real(host, opened[0].sockets[0].getsockname()[1])

    monkeypatch.setattr(asyncio, "open_connection", another)
    with pytest.raises(demo.DidNotHold, match="were counted"):
        await demo.watch(5)
    opened[0].close()
    await opened[0].wait_closed()


def test_the_capacity_says_that_its_figures_are_assumed() -> None:
    told = "\n".join(demo.capacity_lines(500))
    assert "what a session costs is assumed here" in told
    assert "`" not in told, "names of the JSON are no words for people"
    assert "memory" in told
    assert "open files" in told


def test_the_whole_tour_ends_by_itself_and_changes_nothing(tmp_path: Path) -> None:
    before = of_this_machine()
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    ended = subprocess.run(
        [sys.executable, SCRIPT, "--connections", "50"],
        capture_output=True,
        text=True,
        env=environment,
        cwd=tmp_path,
        timeout=120,
    )
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr
    assert [f"=== {n} of 6" in ended.stdout for n in range(1, 7)] == [True] * 6
    assert of_this_machine() == before
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ended_early_it_leaves_nothing_behind(number: signal.Signals, tmp_path: Path) -> None:
    tour = subprocess.Popen(
        [sys.executable, "-u", SCRIPT],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )
    assert tour.stdout is not None
    for line in tour.stdout:
        if "=== 3" in line:
            break
    tour.send_signal(number)
    _, told = tour.communicate(timeout=60)
    assert tour.returncode == 130, told
    assert "Traceback" not in told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "wrong", [["--sessions", "0"], ["--sessions", "many"], ["--connections", "-1"], ["--else"]]
)
def test_used_wrongly_it_says_so(wrong: list[str]) -> None:
    ended = subprocess.run(
        [sys.executable, SCRIPT, *wrong], capture_output=True, text=True, timeout=60
    )
    assert ended.returncode == 2
    assert "usage" in ended.stderr


async def test_more_connections_than_descriptors_are_told_before_any_is_opened(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(
        demo, "process_limits", lambda _: {OPEN_FILES: ProcessLimit(soft=463, hard=None)}
    )
    with pytest.raises(
        demo.DidNotHold, match="200 connections need 464 descriptors, and a process may open 463"
    ):
        await demo.watch(200)
