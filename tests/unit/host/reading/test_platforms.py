"""macOS and Windows, by what their tools print."""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest

import scripts.optimize_system as optimize_system
from supervisor.host.needs.requirements import Severity
from supervisor.host.tuning.platforms import (
    ForeignLimit,
    Platform,
    diagnose_foreign,
    foreign_lines,
    parse_dynamic_ports,
    parse_launchctl_limit,
    parse_macos_sysctl,
    platform_of,
)

MACOS_SYSCTL = "kern.maxfiles: 245760\nkern.maxfilesperproc: 122880\n"
LAUNCHCTL = """\tcpu         unlimited      unlimited
\tfilesize    unlimited      unlimited
\tdata        unlimited      unlimited
\tstack       8372224        67092480
\tcore        0              unlimited
\trss         unlimited      unlimited
\tmemlock     unlimited      unlimited
\tmaxproc     2784           4176
\tmaxfiles    256            unlimited
"""
NETSH = """
Protocol tcp Dynamic Port Range
---------------------------------
Start Port      : 49152
Number of Ports : 16384

"""
NETSH_PORTUGUESE = """
Protocolo tcp Intervalo de Portas Dinâmicas
---------------------------------
Porta Inicial           : 49152
Número de Portas : 16384
"""


def macos(command: Sequence[str]) -> str:
    return {"sysctl": MACOS_SYSCTL, "launchctl": LAUNCHCTL}[command[0]]


def broken(command: Sequence[str]) -> str:
    raise OSError(f"{command[0]} is not there")


def test_platforms_are_known_by_name() -> None:
    names = ("linux", "darwin", "win32", "cygwin", "freebsd14")
    assert [platform_of(name) for name in names] == [
        "linux",
        "macos",
        "windows",
        "windows",
        "other",
    ]


def test_a_limit_without_end_is_valid_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(optimize_system, "platform_of", lambda: Platform.MACOS)
    endless = ForeignLimit(
        name="x", current=math.inf, wanted=1, severity=None, why="", what_to_do=""
    )
    monkeypatch.setattr(optimize_system, "diagnose_foreign", lambda platform, sessions: [endless])
    assert optimize_system.main(["--json", "--report-dir", str(tmp_path)]) == 0
    printed = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert printed["limits"][0]["current"] == "unlimited"


def test_what_macos_prints() -> None:
    assert parse_macos_sysctl(MACOS_SYSCTL) == {
        "kern.maxfiles": 245760,
        "kern.maxfilesperproc": 122880,
    }
    assert parse_launchctl_limit(LAUNCHCTL)["maxfiles"] == (256, float("inf"))
    assert parse_macos_sysctl("sysctl: unknown oid 'kern.maxfiles'\n") == {}


def test_macos_is_diagnosed_and_told_the_commands() -> None:
    limits = {limit.name: limit for limit in diagnose_foreign(Platform.MACOS, 500, macos)}
    assert limits["kern.maxfiles"].severity is None
    assert limits["launchctl maxfiles (soft)"].severity is Severity.CRITICAL
    assert "launchctl limit maxfiles 65536" in limits["launchctl maxfiles (soft)"].what_to_do
    more = {limit.name: limit for limit in diagnose_foreign(Platform.MACOS, 10_000, macos)}
    assert more["kern.maxfiles"].severity is Severity.WARNING
    assert "changes nothing" in foreign_lines(list(limits.values()), Platform.MACOS)[-1]


@pytest.mark.parametrize("text", [NETSH, NETSH_PORTUGUESE])
def test_windows_is_diagnosed_in_any_language(text: str) -> None:
    assert parse_dynamic_ports(text) == 16384
    (limit,) = diagnose_foreign(Platform.WINDOWS, 500, lambda command: text)
    assert limit.severity is None
    (limit,) = diagnose_foreign(Platform.WINDOWS, 10_000, lambda command: text)
    assert limit.severity is Severity.WARNING


@pytest.mark.parametrize("platform", [Platform.MACOS, Platform.WINDOWS])
def test_a_tool_that_fails_or_prints_something_else_is_told(platform: Platform) -> None:
    for execute in (broken, lambda command: "what?\n"):
        for limit in diagnose_foreign(platform, 500, execute):
            assert (limit.current, limit.severity) == (None, None)
            assert limit.what_to_do
    assert "not there" in diagnose_foreign(platform, 500, broken)[0].what_to_do
