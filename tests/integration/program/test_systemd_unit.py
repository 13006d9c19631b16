"""The systemd unit: systemd itself reads it without a word, and it says what the supervisor and its
workers need.
"""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from scripts.lab.processes import ROOT
from sessions.workers.worker_process import StopLadder
from supervisor.cli.common.exits import EXIT_CONFIG
from supervisor.host.needs.session_costs import descriptors_needed
from supervisor.host.numbers import whole
from supervisor.settings import Settings, variable

UNIT = ROOT / "scripts" / "wasup.service"
OTHERS = (
    "sysinit.target",
    "basic.target",
    "shutdown.target",
    "multi-user.target",
    "network-online.target",
)
"""What the unit, or systemd for it, refers to; a root without them makes systemd complain of
those.
"""

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None,
    reason="systemd-analyze is not installed here (Debian: apt install systemd)",
)


def verify(root: Path, text: str) -> str:
    """What systemd has to say about such a unit, in a root file system where wasup is installed;
    empty: nothing.
    """
    units = root / "etc" / "systemd" / "system"
    python = root / "opt" / "wasup" / ".venv" / "bin" / "python"
    for directory in (units, python.parent):
        directory.mkdir(parents=True)
    python.write_text("#!/bin/sh\n")
    python.chmod(0o755)
    for name in OTHERS:
        (units / name).write_text(f"[Unit]\nDescription={name}\n")
    (units / UNIT.name).write_text(text)
    command = [
        "systemd-analyze",
        "verify",
        "--man=no",
        f"--root={root}",
        f"/etc/systemd/system/{UNIT.name}",
    ]
    # its status is 0 for most complaints
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    return (
        ended.stdout
        + ended.stderr
        + ("" if ended.returncode == 0 else f"exit status {ended.returncode}")
    )


def values(key: str) -> list[str]:
    """What a key of the unit is set to, each time it is."""
    return re.findall(rf"^{key}=(.*)$", UNIT.read_text(encoding="utf-8"), re.MULTILINE)


@needs_systemd
def test_systemd_has_nothing_to_say_against_the_unit(tmp_path: Path) -> None:
    assert verify(tmp_path, UNIT.read_text(encoding="utf-8")) == ""


@needs_systemd
@pytest.mark.parametrize(
    ("right", "wrong"),
    [
        ("KillMode=process", "KillMode=proces"),
        ("LimitNOFILE=65536", "LimitNOFILE=many"),
        ("OOMPolicy=continue", "OomPolicy=continue"),
        ("/opt/wasup/.venv/bin/python -m", "/opt/elsewhere/bin/python -m"),
        ("@clock", "@clocks"),
    ],
)
def test_and_it_would_say_so_if_it_had(right: str, wrong: str, tmp_path: Path) -> None:
    text = UNIT.read_text(encoding="utf-8")
    assert right in text
    assert verify(tmp_path, text.replace(right, wrong)) != ""


@needs_systemd
def test_the_unit_may_do_little(tmp_path: Path) -> None:
    """systemd's own judgement, from 0 (nothing) to 10 (everything); its word for less than 2.5 is
    OK.
    """
    copy = tmp_path / UNIT.name
    copy.write_bytes(UNIT.read_bytes())
    command = [
        "systemd-analyze",
        "security",
        "--offline=true",
        "--no-pager",
        "--threshold=25",
        str(copy),
    ]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if "unrecognized option" in ended.stderr:
        pytest.skip("this systemd cannot judge a file (it is older than 250)")
    assert ended.returncode == 0, ended.stdout[-500:] + ended.stderr


def test_workers_outlive_their_supervisor() -> None:
    """systemd must signal the supervisor alone, and the supervisor must then leave them; an OOM
    kill of one is not the end of all.
    """
    assert values("KillMode") == ["process"]
    assert "WHATSAPP_SHUTDOWN=detach" in values("Environment")
    assert values("OOMPolicy") == ["continue"]


def test_systemd_is_more_patient_than_the_supervisors_own_ladder() -> None:
    assert int(values("TimeoutStopSec")[0]) > StopLadder().total_seconds


def test_it_comes_back_before_the_workers_give_up_and_does_not_repeat_what_only_a_human_can_mend() -> (
    None
):
    assert values("Restart") == ["always"]
    assert values("StartLimitIntervalSec") == ["0"], "systemd must not give up"
    assert int(values("RestartSec")[0]) * 1000 < Settings.model_construct().adoption_window / 10
    assert values("RestartPreventExitStatus") == [str(EXIT_CONFIG)]


def test_its_limits_are_the_seeds_and_enough_for_as_many_sessions_as_it_says() -> None:
    assert int(values("LimitNOFILE")[0]) == whole("nofile")
    (promised,) = re.findall(r"enough for ([\d,]+) sessions", UNIT.read_text(encoding="utf-8"))
    assert descriptors_needed(int(promised.replace(",", ""))) <= whole("nofile")
    assert values("TasksMax") == values("LimitNPROC") == ["infinity"]


@pytest.mark.parametrize(
    "key",
    [
        "MemoryDenyWriteExecute",
        "PrivateUsers",
        "PrivateNetwork",
        "PrivatePIDs",
        "ProcSubset",
        "NoExecPaths",
    ],
)
def test_no_hardening_that_breaks_node_or_the_adoption(key: str) -> None:
    assert values(key) == []


def test_it_sets_settings_that_exist() -> None:
    known = {variable(name) for name in Settings.model_fields}
    assert {line.partition("=")[0] for line in values("Environment")} <= known
