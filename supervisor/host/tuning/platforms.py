"""What can be done on which system: Linux everything, macOS diagnosis and the commands, Windows
diagnosis only (as the tuning guide has it).

The parsers take text, so that recorded output tests them everywhere. Nothing here imports what only
Linux has.
"""

import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, TypeVar

from supervisor.host.needs.requirements import Severity, limit_text, limit_value, ports_wanted
from supervisor.host.needs.session_costs import (
    descriptors_needed,
    descriptors_wanted,
    system_descriptors_needed,
)

COMMAND_SECONDS: Final = 10.0
"""How long a command may take that only prints a value."""

T = TypeVar("T")
Run = Callable[[Sequence[str]], str]
"""Runs a command and gives its output. Raises OSError when it cannot, or fails."""


class Platform(StrEnum):
    """The systems that the guide names."""

    LINUX = "linux"
    MACOS = "macos"
    WINDOWS = "windows"
    OTHER = "other"


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignLimit:
    """A limit of a system that is not Linux.

    `current` is None if it could not be read; `what_to_do` then says why.
    """

    name: str
    current: float | None
    wanted: float
    severity: Severity | None
    why: str
    what_to_do: str


def platform_of(name: str = sys.platform) -> Platform:
    """The platform of a `sys.platform`."""
    if name.startswith("linux"):
        return Platform.LINUX
    if name == "darwin":
        return Platform.MACOS
    return Platform.WINDOWS if name in ("win32", "cygwin") else Platform.OTHER


def run(command: Sequence[str]) -> str:
    """A command's output. Raises OSError with what it said."""
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        raise OSError(
            f"`{' '.join(command)}` did not answer within {COMMAND_SECONDS:.0f} s"
        ) from None
    if done.returncode:
        raise OSError(f"`{' '.join(command)}` failed: {done.stderr.strip() or done.returncode}")
    return done.stdout


def diagnose_foreign(platform: Platform, sessions: int, execute: Run = run) -> list[ForeignLimit]:
    """The findings on macOS or Windows. Raises ValueError for another platform."""
    if platform is Platform.MACOS:
        return _macos(sessions, execute)
    if platform is Platform.WINDOWS:
        return _windows(sessions, execute)
    raise ValueError(f"{platform} has no diagnosis here")


# ---- macOS


def parse_macos_sysctl(text: str) -> dict[str, int]:
    """`sysctl kern.maxfiles kern.maxfilesperproc`: name, colon, value.

    Other lines are passed over.
    """
    found = re.findall(r"^([\w.]+)\s*[:=]\s*(\d+)\s*$", text, re.MULTILINE)
    return {name: int(value) for name, value in found}


def parse_launchctl_limit(text: str) -> dict[str, tuple[float, float]]:
    """`launchctl limit`: name, soft, hard. Other lines are passed over."""
    found = re.findall(r"^\s*(\w+)\s+(unlimited|\d+)\s+(unlimited|\d+)\s*$", text, re.MULTILINE)
    return {name: (limit_value(soft), limit_value(hard)) for name, soft, hard in found}


def _macos(sessions: int, execute: Run) -> list[ForeignLimit]:
    per_process, system = descriptors_wanted(sessions), system_descriptors_needed(sessions)
    values, trouble = _read(
        lambda: parse_macos_sysctl(execute(("sysctl", "kern.maxfiles", "kern.maxfilesperproc")))
    )
    launched, launch_trouble = _read(lambda: parse_launchctl_limit(execute(("launchctl", "limit"))))
    needed = descriptors_needed(sessions)
    soft = launched["maxfiles"][0] if launched and "maxfiles" in launched else None
    return [
        _foreign(
            "kern.maxfiles",
            (values or {}).get("kern.maxfiles"),
            system,
            needed,
            "descriptors of the whole system",
            trouble or f"`sudo sysctl -w kern.maxfiles={system}`; it counts until the next boot",
        ),
        _foreign(
            "kern.maxfilesperproc",
            (values or {}).get("kern.maxfilesperproc"),
            per_process,
            needed,
            "descriptors of one process",
            trouble
            or f"`sudo sysctl -w kern.maxfilesperproc={per_process}`; it counts until the next "
            "boot",
        ),
        _foreign(
            "launchctl maxfiles (soft)",
            soft,
            per_process,
            needed,
            "descriptors of what launchd starts, and so of every login",
            launch_trouble
            or f"`sudo launchctl limit maxfiles {per_process} {per_process}`, then log in again; "
            "for good, a LaunchDaemon that runs it",
        ),
    ]


# ---- Windows


def parse_dynamic_ports(text: str) -> int:
    """`netsh int ipv4 show dynamicport tcp`: the last number is how many ports there are, whatever
    the language. Raises ValueError.
    """
    numbers = re.findall(r":\s*(\d+)\s*$", text, re.MULTILINE)
    if len(numbers) < 2:
        raise ValueError("no start and number of ports in what netsh says")
    return int(numbers[-1])


def _windows(sessions: int, execute: Run) -> list[ForeignLimit]:
    ports, trouble = _read(
        lambda: parse_dynamic_ports(execute(("netsh", "int", "ipv4", "show", "dynamicport", "tcp")))
    )
    wanted = ports_wanted(sessions)
    return [
        _foreign(
            "dynamic TCP ports",
            ports,
            wanted,
            sessions,
            "ports for outgoing connections; a process of Windows has no limit of descriptors that"
            " would be in the way",
            trouble
            or "as administrator: `netsh int ipv4 set dynamicport tcp start=10240 "
            f"num={max(wanted, 55_296)}`",
        )
    ]


def _read(read: Callable[[], T]) -> tuple[T | None, str]:
    try:
        return read(), ""
    except (OSError, ValueError) as error:
        return None, f"not known: {error}"


def _foreign(
    name: str, current: float | None, wanted: float, needed: float, why: str, what_to_do: str
) -> ForeignLimit:
    severity = None
    if current is not None and current < wanted:
        severity = Severity.CRITICAL if current < needed else Severity.WARNING
    told = what_to_do if severity or current is None else ""
    return ForeignLimit(
        name=name, current=current, wanted=wanted, severity=severity, why=why, what_to_do=told
    )


def foreign_lines(limits: Sequence[ForeignLimit], platform: Platform) -> list[str]:
    """The findings as text."""
    lines = []
    for limit in limits:
        now = "not known" if limit.current is None else limit_text(limit.current)
        verdict = limit.severity or ("ok" if limit.current is not None else "unknown")
        lines.append(
            f"{limit.name}: {now}, wanted at least {limit_text(limit.wanted)} ({verdict}):"
            f" {limit.why}"
        )
        if limit.what_to_do:
            lines.append(f"  -> {limit.what_to_do}")
    if platform is Platform.MACOS:
        lines.append(
            "On macOS this script changes nothing: the commands above are what there is to do."
        )
    if platform is Platform.WINDOWS:
        lines.append("On Windows this is diagnosis only.")
    return lines
