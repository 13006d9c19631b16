"""What the control groups of this process leave it of the machine's memory and CPU: those of a
container or a systemd unit. Judges nothing.

Both versions (cgroups(7)); the groups above count as well. The directories are parameters, so that
a test can hand in others.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
MOUNT: Final = Path("/sys/fs/cgroup")
UNLIMITED_FROM: Final = 2**62
"""Version 1 has no word for "no limit": it shows the largest multiple of a page that fits into 63
bits.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupMemory:
    """The smallest limit among the groups, and what is left where the least is left."""

    limit_bytes: int
    available_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupCpu:
    """The cores that a group may keep busy (its quota), and the CPU time that it has used since it
    was made. None: not told.
    """

    cores: float
    used_seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupTasks:
    """How many processes and threads a group may have, and how many it has. None: not told."""

    limit: int
    used: int | None


def group_memory(proc: Path = PROC, mount: Path = MOUNT) -> GroupMemory | None:
    """None: no group limits it.

    Files that nobody has read lately are not in use: the kernel drops them before it kills anybody.
    """
    found = [
        memory
        for group, newer in _groups("memory", proc, mount)
        if (memory := _memory(group, newer)) is not None
    ]
    if not found:
        return None
    return GroupMemory(
        limit_bytes=min(memory.limit_bytes for memory in found),
        available_bytes=min(memory.available_bytes for memory in found),
    )


def group_cpu(proc: Path = PROC, mount: Path = MOUNT) -> GroupCpu | None:
    """Of the group with the smallest quota. None: no group has one."""
    found = [
        cpu
        for group, newer in _groups("cpu", proc, mount)
        if (cpu := _cpu(group, newer)) is not None
    ]
    return min(found, key=lambda cpu: cpu.cores, default=None)


def group_tasks(proc: Path = PROC, mount: Path = MOUNT) -> GroupTasks | None:
    """Of the group with the smallest limit. None: no group has one."""
    found = [
        GroupTasks(limit=limit, used=_number(_text(group / "pids.current")))
        for group, _ in _groups("pids", proc, mount)
        if (limit := _number(_text(group / "pids.max"))) is not None
    ]
    return min(found, key=lambda tasks: tasks.limit, default=None)


def _memory(group: Path, newer: bool) -> GroupMemory | None:
    limit = _number(_text(group / ("memory.max" if newer else "memory.limit_in_bytes")))
    used = _number(_text(group / ("memory.current" if newer else "memory.usage_in_bytes")))
    if limit is None or limit >= UNLIMITED_FROM or used is None:
        return None
    idle = _keyed(group / "memory.stat", "inactive_file" if newer else "total_inactive_file") or 0
    return GroupMemory(limit_bytes=limit, available_bytes=max(0, limit - max(0, used - idle)))


def _cpu(group: Path, newer: bool) -> GroupCpu | None:
    if newer:
        quota, _, period = _text(group / "cpu.max").partition(" ")
        used, unit_seconds = _keyed(group / "cpu.stat", "usage_usec"), 1e-6
    else:
        quota, period = _text(group / "cpu.cfs_quota_us"), _text(group / "cpu.cfs_period_us")
        used, unit_seconds = (
            _number(_text(group / "cpuacct.usage")),
            1e-9,
        )  # it is there where both are mounted together
    allowed, every = _number(quota), _number(period)
    if not allowed or not every:
        return None  # "max" or -1: no limit
    return GroupCpu(
        cores=allowed / every, used_seconds=None if used is None else used * unit_seconds
    )


def _groups(controller: str, proc: Path, mount: Path) -> Iterator[tuple[Path, bool]]:
    """The directories of this process's group and of those above it; whether they are of version
    2.
    """
    for line in _text(proc / "self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            # Beside hierarchies of version 1, that of version 2 is mounted one level down.
            yield from (
                (group, True) for group in _upwards(_first_of(mount / "unified", mount), path)
            )
        elif controller in controllers.split(","):
            yield from (
                (group, False)
                for group in _upwards(_first_of(mount / controllers, mount / controller), path)
            )


def _upwards(tree: Path, path: str) -> Iterator[Path]:
    # Inside a container of version 1 the path is the machine's and is not there: the tree's top is
    # then the container's own group.
    group = tree / path.lstrip("/")
    for directory in (group, *group.parents):
        yield directory
        if directory == tree:
            return


def _first_of(directory: Path, otherwise: Path) -> Path:
    return directory if directory.is_dir() else otherwise


def _text(file: Path) -> str:
    """Empty where there is no such file, or it is hidden: then it limits nothing that we could know
    of.
    """
    try:
        return file.read_text().strip()
    except OSError:
        return ""


def _number(text: str) -> int | None:
    return int(text) if text.isdecimal() else None


def _keyed(file: Path, key: str) -> int | None:
    """A line's number, as in `inactive_file 4096`."""
    lines = (line.partition(" ") for line in _text(file).splitlines())
    return next((_number(value) for name, _, value in lines if name == key), None)
