"""The limits that a process really has, in words, and how to raise them under whatever started it;
and raising our own.

What the files of the host say is one thing; a process has what it was started with, and pm2,
systemd and Docker each give something of their own. So `/proc/<pid>/limits` is what counts. The
reading is done by processes.py.
"""

import enum
import os
import re
import resource
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from supervisor.host.needs.session_costs import (
    descriptors_enough,
    descriptors_wanted,
    user_tasks_needed,
)
from supervisor.host.reading.processes import (
    OPEN_FILES,
    PROC,
    PROCESSES,
    ProcessLimit,
    process_limits,
)

MOST_DESCRIPTORS: Final = 1_048_576
"""The kernel's default of fs.nr_open.

Docker may give a thousand times as many; whoever closes all that there could be takes minutes.
"""

UNLIMITED: Final[Mapping[str, str]] = {
    "Max address space": "Node reserves tens of GiB of addresses that it never uses",
    "Max data size": "a worker's heap counts",
    "Max file size": "the database and the logs grow",
    "Max cpu time": "the process is killed when it is used up, and a supervisor runs for months",
}
"""Limits that are to be unlimited, and why."""
ULIMIT: Final[Mapping[str, str]] = {
    OPEN_FILES: "n",
    PROCESSES: "u",
    **dict(zip(UNLIMITED, "vdft", strict=True)),
}
SYSTEMD: Final[Mapping[str, str]] = {
    OPEN_FILES: "LimitNOFILE",
    PROCESSES: "LimitNPROC",
    **dict(zip(UNLIMITED, ("LimitAS", "LimitDATA", "LimitFSIZE", "LimitCPU"), strict=True)),
}
DOCKER: Final[Mapping[str, str]] = {
    OPEN_FILES: "nofile",
    PROCESSES: "nproc",
    **dict(zip(UNLIMITED, ("as", "data", "fsize", "cpu"), strict=True)),
}
"""Docker's --ulimit knows no `as`; the advice says so."""


class Manager(enum.StrEnum):
    """What has started a process, and so decides its limits."""

    PM2 = "pm2"
    SYSTEMD = "systemd"
    DOCKER = "docker"
    SHELL = "shell"


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedBy:
    """Who has started a process.

    `unit`: the systemd unit that it runs in, if there is one (under pm2 that of pm2's daemon).
    """

    manager: Manager
    unit: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitFinding:
    """A limit that a process has, beside what is wanted.

    None: unlimited. `remedy`: empty where it is enough.
    """

    name: str
    soft: int | None
    hard: int | None
    wanted: int | None
    enough: bool
    words: str
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessLimits:
    """The limits of one process, for so many sessions."""

    pid: int
    sessions: int
    started_by: StartedBy
    findings: tuple[LimitFinding, ...]

    @property
    def enough(self) -> bool:
        """Whether no limit is in the way."""
        return all(finding.enough for finding in self.findings)


@dataclass(frozen=True, slots=True, kw_only=True)
class Raised:
    """What became of our own soft limit of descriptors.

    `problem`: why it was not raised, in words.
    """

    before: int
    after: int
    hard: int | None
    problem: str | None = None


def describe_limits(pid: int, sessions: int, proc: Path = PROC) -> ProcessLimits:
    """The limits that a process has, what is wanted for so many sessions, and how to raise those
    that are too low.

    Raises ProcessLookupError when it has ended, PermissionError when it is another user's.
    """
    limits = process_limits(pid, proc)
    started = started_by(pid, proc)
    findings = tuple(assess(limits, sessions, started, runs_as_root=_runs_as_root(pid, proc)))
    return ProcessLimits(pid=pid, sessions=sessions, started_by=started, findings=findings)


def assess(
    limits: Mapping[str, ProcessLimit],
    sessions: int,
    started: StartedBy,
    runs_as_root: bool = False,
) -> list[LimitFinding]:
    """The findings, the same limits each time.

    Pure. `runs_as_root`: then the kernel does not count its processes.
    """
    found = []
    for name, wanted in (
        (OPEN_FILES, descriptors_enough(sessions)),
        (PROCESSES, user_tasks_needed(sessions)),
    ):
        if name in limits:
            found.append(
                _finding(
                    name,
                    limits[name],
                    wanted,
                    sessions,
                    started,
                    name == PROCESSES and runs_as_root,
                )
            )
    found += [
        _finding(name, limits[name], None, sessions, started)
        for name in UNLIMITED
        if name in limits
    ]
    return found


def started_by(pid: int, proc: Path = PROC) -> StartedBy:
    """Who has started a process. Raises ProcessLookupError, PermissionError (another user's)."""
    try:
        folder = proc / str(pid)
        # Our own file may be root's (dumpable.py).
        variables = (
            os.environ if pid == os.getpid() else _variables((folder / "environ").read_bytes())
        )
        groups = (folder / "cgroup").read_text(encoding="utf-8", errors="replace")
        in_container = any(
            (folder / "root" / name).exists() for name in (".dockerenv", "run/.containerenv")
        )
    except FileNotFoundError:
        raise ProcessLookupError(f"There is no process {pid} (any more).") from None
    return judge_start(pid, variables, groups, in_container)


def judge_start(
    pid: int, variables: Mapping[str, str], control_groups: str, in_container: bool
) -> StartedBy:
    """Who has started a process, by its environment, its `/proc/<pid>/cgroup` and whether it lives
    in a container. Pure.

    INVOCATION_ID alone proves nothing: whatever a service starts inherits it, a terminal of a
    desktop among it.
    """
    unit = _unit(control_groups)
    if (
        in_container
        or "KUBERNETES_SERVICE_HOST" in variables
        or re.search(r"[/:-](docker|containerd|libpod|kubepods|crio)[-/]", control_groups)
    ):
        # pm2 in a container can give only what the container has
        return StartedBy(manager=Manager.DOCKER)
    if "pm_id" in variables:
        return StartedBy(manager=Manager.PM2, unit=unit)
    if unit is not None and (
        "INVOCATION_ID" in variables or variables.get("SYSTEMD_EXEC_PID") == str(pid)
    ):
        return StartedBy(manager=Manager.SYSTEMD, unit=unit)
    return StartedBy(manager=Manager.SHELL)


def raise_soft_descriptors() -> Raised:
    """Raise our own soft limit of descriptors to the hard one, as Go's runtime, nginx and Node do;
    never lowers it.

    The soft limit is low for the sake of select(), which knows the first 1,024 only; asyncio and
    uvloop use epoll. Children inherit it; a Node worker would raise it by itself anyway.
    """
    before, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = hard == resource.RLIM_INFINITY
    wanted = MOST_DESCRIPTORS if unlimited else min(hard, MOST_DESCRIPTORS)
    shown = None if unlimited else hard
    if before == resource.RLIM_INFINITY or before >= wanted:
        return Raised(before=before, after=before, hard=shown)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    except (OSError, ValueError) as error:  # a hard limit above fs.nr_open, a seccomp filter
        return Raised(
            before=before, after=before, hard=shown, problem=f"the kernel refuses {wanted}: {error}"
        )
    return Raised(before=before, after=wanted, hard=shown)


def how_to_raise(name: str, wanted: int | None, started: StartedBy) -> str:
    """What an operator does so that a limit is at least `wanted` (None: unlimited), in a sentence
    or two.
    """
    value = "unlimited" if wanted is None else str(wanted)
    infinity = "infinity" if wanted is None else str(wanted)
    match started.manager:
        case Manager.SYSTEMD:
            unit = started.unit or "wasup.service"
            return (
                f"`systemctl edit {unit}`: [Service] {SYSTEMD[name]}={infinity}; then `systemctl"
                f" restart {unit}`. Services do not read /etc/security/limits.d."
            )
        case Manager.PM2 if started.unit is not None:
            return (
                f"pm2 passes on what its own daemon has: `systemctl edit {started.unit}`: [Service]"
                f" {SYSTEMD[name]}={infinity}; then `systemctl restart {started.unit}`."
            )
        case Manager.PM2:
            return (
                "pm2 passes on what its daemon has had since it was first started: `pm2 save &&"
                f" pm2 kill`, then, from a shell with `ulimit -{ULIMIT[name]} {value}`, `pm2"
                " resurrect`."
            )
        case Manager.DOCKER if name == "Max address space":
            return (
                "Docker has no --ulimit for addresses: raise it for the Docker daemon (`systemctl"
                " edit docker`: LimitAS=infinity)."
            )
        case Manager.DOCKER:
            limit = "-1" if wanted is None else str(wanted)
            return (
                f"`docker run --ulimit {DOCKER[name]}={limit}:{limit}` (compose: `ulimits:"
                f" {{{DOCKER[name]}: {limit}}}`), and start it anew."
            )
        case Manager.SHELL:
            return (
                f"`ulimit -{ULIMIT[name]} {value}` in the shell that starts it; for good:"
                " scripts/optimize_system.py, then log in anew."
            )


def _finding(
    name: str,
    limit: ProcessLimit,
    wanted: int | None,
    sessions: int,
    started: StartedBy,
    uncounted: bool = False,
) -> LimitFinding:
    # The soft limit of descriptors is raised to the hard one at the start; of one that was not, the
    # hard one says what could be had.
    enough = uncounted or _at_least(limit.soft, wanted)
    what, soft = name.removeprefix("Max "), _shown(limit.soft)
    if wanted is None:
        words = f"{what}: {soft}" + (
            "" if enough else f"; it should be unlimited: {UNLIMITED[name]}"
        )
    else:
        words = f"{what}: {soft}; wanted for {sessions:,} sessions: {wanted:,}"
    if uncounted and not _at_least(limit.soft, wanted):
        words += "; not counted for root"
    remedy = "" if enough else _remedy(name, limit, wanted, sessions, started)
    return LimitFinding(
        name=name,
        soft=limit.soft,
        hard=limit.hard,
        wanted=wanted,
        enough=enough,
        words=words,
        remedy=remedy,
    )


def _remedy(
    name: str, limit: ProcessLimit, wanted: int | None, sessions: int, started: StartedBy
) -> str:
    if name == OPEN_FILES and _at_least(limit.hard, wanted):
        return (
            "Restart the supervisor: it raises its own limit to the hard one"
            f" ({_shown(limit.hard)}) at its start."
        )
    # Whoever raises it does so once: to the guide's figure, which will do for a fleet that grows.
    return how_to_raise(
        name, descriptors_wanted(sessions) if name == OPEN_FILES else wanted, started
    )


def _at_least(value: int | None, wanted: int | None) -> bool:
    return value is None or (wanted is not None and value >= wanted)


def _shown(value: int | None) -> str:
    return "unlimited" if value is None else f"{value:,}"


def _variables(environment: bytes) -> dict[str, str]:
    lines = (
        line.partition("=")
        for line in environment.decode(errors="replace").split("\0")
        if "=" in line
    )
    return {name: value for name, _, value in lines}


def _unit(control_groups: str) -> str | None:
    """The service that a process runs in: the last part of its path in systemd's own tree (cgroup
    v2, or `name=systemd` of v1).
    """
    for line in control_groups.splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers in {"", "name=systemd"} and path.endswith(".service"):
            return path.rpartition("/")[2]
    return None


def _runs_as_root(pid: int, proc: Path) -> bool:
    try:
        status = (proc / str(pid) / "status").read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        raise ProcessLookupError(f"There is no process {pid} (any more).") from None
    found = re.search(r"^Uid:\s+(\d+)", status, re.MULTILINE)
    return found is not None and found[1] == "0"


def own_limits(sessions: int) -> ProcessLimits:
    """The limits of this very process."""
    return describe_limits(os.getpid(), sessions)
