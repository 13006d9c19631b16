"""What the host has: kernel values, limits of this process, control groups, memory, clock.

Reads and judges nothing. Linux only.

The directories are parameters, so that a test, or a look into a container from outside, can hand in
others.
"""

import ctypes
import math
import os
import resource
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from supervisor.host.needs.requirements import TABLE, THP_NAMES, Kind, limit_text, mebibytes
from supervisor.host.needs.session_costs import MIB
from supervisor.host.reading.control_groups import group_memory, group_tasks

CAP_SYS_RESOURCE: Final = 24
"""The bit of the capability without which no process may raise a hard limit
(linux/capability.h).
"""
SYSTEMD_TASKS_FRACTION: Final = 0.15
"""DefaultTasksMax of systemd (systemd-system.conf): 15 % of the least of pid_max, threads-max and
the root group's pids.max.
"""
STA_UNSYNC: Final = 0x40
"""The bit of the kernel's clock state that says: nobody disciplines this clock (linux/timex.h)."""
TIMEX_BYTES: Final = 256
"""Larger than any `struct timex`; its third long is the offset, the fifth word the state."""


@dataclass(frozen=True, slots=True)
class Fact:
    """A value, and how an operator would see it (`sysctl`, `ulimit`)."""

    value: float
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that was read. A name is either in `values` or, with the reason, in `missing`."""

    values: Mapping[str, Fact] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    live: bool = True
    """False: the tree is an image, whose kernel does not run."""
    container: str | None = None
    """What kind of container this is, if it is one."""
    read_only: frozenset[str] = frozenset()
    """Kernel values that not even root can write here, as containers have it."""
    may_raise_limits: bool = True
    """Root may raise hard limits here: CAP_SYS_RESOURCE is not kept from it, and it is the
    machine's root, not that of a user namespace.
    """
    systemd: bool = False
    """systemd is the init system here."""


def read_facts(
    proc: Path = Path("/proc"), sys: Path = Path("/sys"), root: Path = Path("/")
) -> Facts:
    """The facts of the running host."""
    facts = _Collected()
    systemd = (root / "run/systemd/system").is_dir()
    _read_sysctls(facts, proc / "sys")
    _read_own_limits(facts)
    _read_control_groups(facts, proc, sys / "fs/cgroup")
    _read_memory(facts, proc / "meminfo")
    facts.add(
        "transparent_hugepages",
        lambda: _transparent_hugepages(sys / "kernel/mm/transparent_hugepage/enabled"),
    )
    facts.add("time_sync", lambda: _time_sync(root))
    if systemd:
        facts.add("systemd_default_tasks", lambda: _systemd_default_tasks(facts.values))
    else:
        facts.missing["systemd_default_tasks"] = "systemd is not the init system here"
    return Facts(
        values=facts.values,
        missing=facts.missing,
        container=_container(root, proc),
        read_only=frozenset(name for name in facts.values if _read_only(name, proc / "sys")),
        may_raise_limits=_root_has_capability(proc / "self", CAP_SYS_RESOURCE),
        systemd=systemd,
    )


def image_facts() -> Facts:
    """Of a tree that does not run nothing can be read but its files."""
    return Facts(missing={row.name: "an image has no running kernel" for row in TABLE}, live=False)


def sysctl_path(key: str, proc_sys: Path = Path("/proc/sys")) -> Path:
    """The file of a kernel value. None of our keys has a dot inside a part."""
    return proc_sys / key.replace(".", "/")


def read_sysctl(key: str, proc_sys: Path = Path("/proc/sys")) -> str:
    """A kernel value as `sysctl` shows it, with single spaces. Raises OSError."""
    return " ".join(sysctl_path(key, proc_sys).read_text().split())


class _Collected:
    """Facts on their way.

    A fact that cannot be read is told with its reason; it never stops the others.
    """

    def __init__(self) -> None:
        self.values: dict[str, Fact] = {}
        self.missing: dict[str, str] = {}

    def add(self, name: str, read: Callable[[], Fact]) -> None:
        try:
            self.values[name] = read()
        except FileNotFoundError:
            self.missing[name] = "this kernel (or this container's network) does not have it"
        except OSError as error:
            self.missing[name] = f"cannot be read: {error.strerror}"
        except ValueError as error:
            self.missing[name] = f"cannot be understood: {error}"


def _read_sysctls(facts: _Collected, proc_sys: Path) -> None:
    for row in TABLE:
        if row.kind is Kind.SYSCTL:

            def read(name: str = row.name, parse: Callable[[str], float] = row.parse) -> Fact:
                text = read_sysctl(name, proc_sys)
                return Fact(parse(text), text)

            facts.add(row.name, read)


def _read_own_limits(facts: _Collected) -> None:
    for name, which in (("nofile", resource.RLIMIT_NOFILE), ("nproc", resource.RLIMIT_NPROC)):
        for side, value in zip(("soft", "hard"), resource.getrlimit(which), strict=True):
            limit = math.inf if value == resource.RLIM_INFINITY else value
            facts.values[f"{name}_{side}"] = Fact(limit, limit_text(limit))


# ---- control groups, both versions


def _read_control_groups(facts: _Collected, proc: Path, mount: Path) -> None:
    tasks, memory = group_tasks(proc, mount), group_memory(proc, mount)
    limits = {
        "cgroup_pids": tasks.limit if tasks else math.inf,
        "cgroup_memory": memory.limit_bytes if memory else math.inf,
    }
    facts.values.update({name: Fact(limit, limit_text(limit)) for name, limit in limits.items()})


# ---- memory


def _read_memory(facts: _Collected, meminfo: Path) -> None:
    """Memory is the machine's, or the control group's where that is less."""

    def kibibytes() -> dict[str, int]:
        lines = (line.split() for line in meminfo.read_text().splitlines())
        return {words[0].rstrip(":"): int(words[1]) for words in lines if len(words) >= 2}

    def memory() -> Fact:
        group = facts.values.get("cgroup_memory", Fact(math.inf, ""))
        total = min(_need(kibibytes(), "MemTotal") * 1024, group.value)
        return Fact(total, mebibytes(total))

    def swap_used() -> Fact:
        total, free = _need(kibibytes(), "SwapTotal"), _need(kibibytes(), "SwapFree")
        if not total:
            return Fact(0, "no swap")
        used = 100 * (total - free) / total
        return Fact(used, f"{used:.0f} % of {total * 1024 / MIB:,.0f} MiB")

    facts.add("memory", memory)
    facts.add("swap_used", swap_used)


def _need(kibibytes: Mapping[str, int], name: str) -> int:
    if name not in kibibytes:
        raise ValueError(f"/proc/meminfo has no {name}")
    return kibibytes[name]


def _transparent_hugepages(file: Path) -> Fact:
    text = file.read_text()
    chosen = text[text.index("[") + 1 : text.index("]")]
    return Fact(THP_NAMES.index(chosen), chosen)


# ---- the clock


def _time_sync(root: Path) -> Fact:
    """The kernel knows whether somebody disciplines its clock; where it may not be asked,
    systemd-timesyncd's note will do.
    """
    state = _clock_state()
    if state is None:
        synchronised = (root / "run/systemd/timesync/synchronized").exists()
        return Fact(
            int(synchronised), "synchronised" if synchronised else "not known to be synchronised"
        )
    return Fact(
        int(not state & STA_UNSYNC), "not synchronised" if state & STA_UNSYNC else "synchronised"
    )


def _clock_state() -> int | None:
    """The `status` of adjtimex(2), which changes nothing when `modes` is 0.

    None: it may not be called (seccomp) or is not there.
    """
    buffer = (ctypes.c_long * (TIMEX_BYTES // ctypes.sizeof(ctypes.c_long)))()
    try:
        adjtimex = ctypes.CDLL(None, use_errno=True).adjtimex
    except AttributeError:
        return None
    if adjtimex(ctypes.byref(buffer)) < 0:
        return None
    # struct timex: int modes (padded to a long), long offset, freq, maxerror, esterror, then int
    # status.
    return int(ctypes.c_int(buffer[5] & 0xFFFFFFFF).value)


# ---- what stands around


def _systemd_default_tasks(values: Mapping[str, Fact]) -> Fact:
    tasks = min(
        values[name].value for name in ("kernel.pid_max", "kernel.threads-max") if name in values
    )
    value = int(SYSTEMD_TASKS_FRACTION * tasks)
    return Fact(value, str(value))


def _container(root: Path, proc: Path) -> str | None:
    """What a container's makers leave in it. A guess, used only for advice."""
    named = root / "run/systemd/container"
    if named.is_file():
        return named.read_text().strip() or "container"
    for file, name in (("run/.containerenv", "podman"), (".dockerenv", "docker")):
        if (root / file).exists():
            return name
    groups = (proc / "self/cgroup").read_text()
    return next((name for name in ("docker", "kubepods", "lxc") if f"/{name}" in groups), None)


def _read_only(name: str, proc_sys: Path) -> bool:
    """Mounted read-only; or of another namespace, which access(2) tells root before the write
    fails.
    """
    file = sysctl_path(name, proc_sys)
    if "." not in name or not file.exists():
        return False
    return bool(os.statvfs(file).f_flag & os.ST_RDONLY) or (
        os.geteuid() == 0 and not os.access(file, os.W_OK)
    )


def _root_has_capability(process: Path, bit: int) -> bool:
    """By the bounding set: what a login, or `sudo`, has there, whoever we are.

    In a user namespace it does not count for limits.
    """
    namespace = process / "uid_map"
    if namespace.exists() and namespace.read_text().split()[2:] != [str(2**32 - 1)]:
        return False
    for line in (process / "status").read_text().splitlines():
        if line.startswith("CapBnd:"):
            return bool(int(line.split()[1], 16) >> bit & 1)
    return False
