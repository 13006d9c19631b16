"""What a forecast needs of the host, put together from the readings and the facts: how much there
is of everything, and how much is in use.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from supervisor.host.needs.capacity import HostLimits, TaskLimit
from supervisor.host.needs.facts import Facts
from supervisor.host.needs.process_limits import Manager, StartedBy, how_to_raise
from supervisor.host.needs.session_costs import descriptors_wanted, user_tasks_needed
from supervisor.host.reading.alarms import AlertLimits
from supervisor.host.reading.control_groups import group_tasks
from supervisor.host.reading.processes import OPEN_FILES, PROC, PROCESSES
from supervisor.host.reading.readings import HostSample

OPTIMIZE: Final = "`sudo python3 scripts/optimize_system.py --sessions {sessions}`"
MORE_CORES: Final = "More cores, or fewer programs beside wasup."
MORE_OF_THE_CORES: Final = (
    "More of the machine's cores: CPUQuota= or AllowedCPUs= of the systemd unit, --cpus or"
    " --cpuset-cpus of Docker."
)
MORE_MEMORY: Final = "More memory, or a second host with a supervisor of its own."


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnUse:
    """What the supervisor and its workers have in use together, and the supervisor's own
    descriptors, now and at the most (None: no limit).

    `cpu_cores`: on average, so that asking does not change it.
    """

    cpu_cores: float
    tasks: int
    descriptors: int
    max_descriptors: int | None
    runs_as_root: bool
    started_by: StartedBy


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelUse:
    """What the kernel counts of the whole host. None: it does not say (or has no such thing)."""

    tasks: int | None
    tracked_connections: int | None
    group_tasks: int | None = None
    """Of the control group with the smallest limit of tasks, if there is one."""


def read_kernel_use(proc: Path = PROC) -> KernelUse:
    """The kernel's counts now."""
    grouped = group_tasks(proc)
    return KernelUse(
        tasks=_tasks(proc / "loadavg"),
        tracked_connections=_count(proc / "sys/net/netfilter/nf_conntrack_count"),
        group_tasks=grouped.used if grouped else None,
    )


def host_limits(
    sample: HostSample,
    facts: Facts,
    kernel: KernelUse,
    own: OwnUse,
    gate_rate_per_second: float,
    sessions: int,
    alerts: AlertLimits | None = None,
) -> HostLimits:
    """All limits.

    Pure. `sessions`: for how many the remedies are to be enough; `alerts`: where they begin (None:
    the guide's).
    """
    values = {name: fact.value for name, fact in facts.values.items()}
    grouped = (
        values.get("cgroup_memory", math.inf) <= sample.total_memory_bytes
    )  # then the sample's memory is the group's
    confined = sample.usable_cores < sample.cores
    return HostLimits(
        total_memory_bytes=sample.total_memory_bytes,
        used_memory_bytes=sample.used_memory_bytes,
        memory_remedy=(
            _group_remedy(own.started_by, "MemoryMax", "--memory", "bytes")
            if grouped
            else MORE_MEMORY
        ),
        cores=sample.usable_cores,
        cpu_remedy=MORE_OF_THE_CORES if confined else MORE_CORES,
        # Over minutes: who asks, keeps the CPU busy just then. The load is the machine's, also in a
        # container.
        used_cores=min(sample.usable_cores, own.cpu_cores if confined else sample.load_5),
        supervisor_descriptors=own.descriptors,
        supervisor_max_descriptors=own.max_descriptors,
        supervisor_remedy=how_to_raise(OPEN_FILES, descriptors_wanted(sessions), own.started_by),
        system_descriptors=sample.open_descriptors,
        system_max_descriptors=sample.max_descriptors,
        optimize=OPTIMIZE.format(sessions=sessions),
        tasks=tuple(_task_limits(values, kernel, own, sessions)),
        ports=_whole(values.get("net.ipv4.ip_local_port_range")),
        connections=_tracked(values, kernel, sessions),
        gate_rate_per_second=gate_rate_per_second,
        alerts=alerts or AlertLimits(),
    )


def _task_limits(
    values: dict[str, float], kernel: KernelUse, own: OwnUse, sessions: int
) -> list[TaskLimit]:
    found = []
    if kernel.tasks is not None:
        found += [
            _task(key, values[key], kernel.tasks, f"{key}: {OPTIMIZE.format(sessions=sessions)}.")
            for key in ("kernel.pid_max", "kernel.threads-max")
            if key in values
        ]
    if "nproc_soft" in values and not own.runs_as_root:
        remedy = how_to_raise(PROCESSES, user_tasks_needed(sessions), own.started_by)
        found.append(
            _task("processes of the user (ulimit -u)", values["nproc_soft"], own.tasks, remedy)
        )
    if "cgroup_pids" in values:
        remedy = _group_remedy(
            own.started_by, "TasksMax", "--pids-limit", str(user_tasks_needed(sessions))
        )
        found.append(
            _task(
                "tasks of the control group (pids.max)",
                values["cgroup_pids"],
                kernel.group_tasks or own.tasks,
                remedy,
            )
        )
    return found


def _group_remedy(started: StartedBy, setting: str, option: str, value: str) -> str:
    if started.manager is Manager.DOCKER:
        return (
            f"`docker run {option}` with a larger value ({value}); limits of a container are set at"
            " its start."
        )
    unit = started.unit or "the unit that wasup runs in (/proc/<pid>/cgroup names it)"
    return (
        f"`systemctl edit {unit}`: [Service] {setting}= with a larger value ({value}), then"
        " restart it."
    )


def _tracked(values: dict[str, float], kernel: KernelUse, sessions: int) -> TaskLimit | None:
    key = "net.netfilter.nf_conntrack_max"
    if key not in values or kernel.tracked_connections is None:
        return None
    remedy = f"{key}: {OPTIMIZE.format(sessions=sessions)}."
    return _task("tracked connections (conntrack)", values[key], kernel.tracked_connections, remedy)


def _task(name: str, maximum: float, used: int, remedy: str) -> TaskLimit:
    return TaskLimit(name=name, maximum=_whole(maximum), used=used, remedy=remedy)


def _whole(value: float | None) -> int | None:
    return None if value is None or math.isinf(value) else int(value)


def _tasks(loadavg: Path) -> int | None:
    """The fourth word is running/all: all threads of the host."""
    try:
        return int(loadavg.read_text().split()[3].partition("/")[2])
    except FileNotFoundError:
        return None


def _count(file: Path) -> int | None:
    try:
        return int(file.read_text())
    except FileNotFoundError:  # the kernel (or this container's network) tracks no connections
        return None
