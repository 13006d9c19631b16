"""What the host has and uses: the only place that samples it.

Whoever wants figures (alerts, API, reports, scripts) has them from here.

In a container, or a unit with limits, memory and CPU are what its control groups leave of the
machine's.
"""

import os
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple, Protocol

import psutil

from supervisor.host.reading.control_groups import GroupCpu, GroupMemory, group_cpu, group_memory

SAMPLE_SECONDS: Final = 1.0
FILE_NR: Final = Path("/proc/sys/fs/file-nr")
INTERFACES: Final = Path("/sys/class/net")
SNMP: Final = Path("/proc/net/snmp")
NO_LIMIT: Final = 1 << 62
"""A kernel without a limit of open files says 2^63-1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostSample:
    """The host, cheaply: memory and swap in bytes; CPU as a fraction, and rates, over the window
    that ends now.
    """

    total_memory_bytes: int
    """The machine's, or the control group's limit where that is less."""
    used_memory_bytes: int
    """All that is not available."""
    available_memory_bytes: int
    """Without swapping, and without coming to the end of the machine or of a control group."""
    swap_total_bytes: int
    swap_used_bytes: int
    cpu_fraction: float
    """Of all cores of the machine, or of the control group's quota where that is used up
    further.
    """
    cores: int
    """Of the machine; its load is to be seen beside them."""
    usable_cores: float
    """As the control group's quota and the processors that this process may run on allow."""
    load_1: float
    load_5: float
    load_15: float
    open_descriptors: int | None
    """Of the whole system. None: not told here (not Linux)."""
    max_descriptors: int | None
    """fs.file-max. None: not told here, or there is no limit."""
    network_in_bytes_per_second: float
    network_out_bytes_per_second: float
    network_in_packets_per_second: float
    network_out_packets_per_second: float
    tcp_resent_fraction: float | None = None
    """Of the TCP segments that were sent in the window, those that were sent again: what the
    network has lost. None: not told here, or nothing was sent.
    """
    window_seconds: float = 0.0
    """Over how long the CPU's share and the rates are taken; 0: there is nothing to compare with
    yet.
    """


class Traffic(NamedTuple):
    """What an interface has carried since it came up."""

    in_bytes: int
    out_bytes: int
    in_packets: int
    out_packets: int


class Segments(NamedTuple):
    """TCP segments that this network namespace has sent since it is there; those that it has sent
    again are among them.
    """

    sent: int
    again: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Counters:
    """What the kernel counts since boot, at one moment; a rate needs two of them."""

    at_seconds: float
    busy_seconds: float
    """CPU time in use, of all cores."""
    all_seconds: float
    """CPU time in use and idle, of all cores."""
    traffic: Mapping[str, Traffic]
    segments: Segments | None = None
    """None: not told here (not Linux)."""
    group: GroupCpu | None = None
    """The control group with a quota, if there is one."""


class Sampler(Protocol):
    """Whoever samples the host."""

    def sample(self, now: float) -> HostSample:
        """The host now, or a second ago. `now`: seconds of a monotonic clock."""


class Host:
    """The sampler of one who is alone with it: CPU and rates are those since his last sample.

    Between two samples lies at least a second: over less, a share of CPU time is noise. Threads may
    share it.
    `least_seconds`: for a caller that wants another pace.
    """

    def __init__(
        self, least_seconds: float = SAMPLE_SECONDS, count: Callable[[], Counters] | None = None
    ) -> None:
        self._least_seconds = least_seconds
        self._count = count or count_now
        self._before = self._count()  # from here on there is something to compare with
        self._taken_at = float("-inf")
        self._last: HostSample | None = None
        self._lock = threading.Lock()

    def sample(self, now: float) -> HostSample:
        """A sample that is at most a second old. `now`: seconds of a monotonic clock."""
        with self._lock:
            if self._last is None or not 0 <= now - self._taken_at < self._least_seconds:
                # below 0: another clock
                counters = self._count()
                self._last = _sample(self._before, counters)
                self._before, self._taken_at = counters, now
            return self._last


class WindowedHost:
    """The sampler of many: CPU and rates are those of the same last seconds, whoever asks and how
    often.

    One task counts on a schedule (`count`); nobody who asks moves the window. Threads may share it.
    """

    def __init__(self, window_seconds: float, count: Callable[[], Counters] | None = None) -> None:
        self._window_seconds = window_seconds
        self._count = count or count_now
        self._counts = deque([self._count()])
        self._taken_at = float("-inf")
        self._last: HostSample | None = None
        self._lock = threading.Lock()

    def count(self) -> None:
        """Count once more, and forget what is older than the window."""
        counted = self._count()
        with self._lock:
            self._counts.append(counted)
            while (
                len(self._counts) > 2
                and self._counts[1].at_seconds <= counted.at_seconds - self._window_seconds
            ):
                self._counts.popleft()
            self._last = None

    def sample(self, now: float) -> HostSample:
        """Memory, load and descriptors now, or a second ago; CPU and rates of the window."""
        with self._lock:
            if self._last is None or not 0 <= now - self._taken_at < SAMPLE_SECONDS:
                # below 0: another clock
                self._last, self._taken_at = _sample(self._counts[0], self._counts[-1]), now
            return self._last


def count_now() -> Counters:
    """The kernel's counters now."""
    times = psutil.cpu_times()
    # A guest's time is in user's already; waiting for a disk is idle (psutil's and top's own
    # reckoning).
    doubled = getattr(times, "guest", 0.0) + getattr(times, "guest_nice", 0.0)
    idle = times.idle + getattr(times, "iowait", 0.0)
    every = sum(times) - doubled
    carried = psutil.net_io_counters(pernic=True, nowrap=False)
    counted = counted_interfaces(carried)
    return Counters(
        at_seconds=time.monotonic(),
        busy_seconds=every - idle,
        all_seconds=every,
        traffic={
            name: Traffic(one.bytes_recv, one.bytes_sent, one.packets_recv, one.packets_sent)
            for name, one in carried.items()
            if name in counted
        },
        segments=read_segments(),
        group=group_cpu(),
    )


def counted_interfaces(
    names: Mapping[str, object], interfaces: Path = INTERFACES
) -> frozenset[str]:
    """Those through which traffic leaves the host: real devices; where there are none (a
    container), all but the loopback.

    Bridges, bonds and tunnels carry what a device carries once more, and would be counted twice.
    """
    devices = frozenset(name for name in names if (interfaces / name / "device").exists())
    return devices or frozenset(name for name in names if not _is_loopback(name))


def cpu_fraction(before: Counters, after: Counters) -> float:
    """The share of all cores, or of the control group's quota if that is more, that was in use
    between two counts; 0 if no time has passed.
    """
    machine = _share(
        after.busy_seconds - before.busy_seconds, after.all_seconds - before.all_seconds
    )
    if before.group is None or after.group is None:
        return machine
    used, used_before = after.group.used_seconds, before.group.used_seconds
    if used is None or used_before is None:
        return machine
    return max(
        machine,
        _share(used - used_before, after.group.cores * (after.at_seconds - before.at_seconds)),
    )


def memory_bytes(
    machine_total: int, machine_available: int, group: GroupMemory | None
) -> tuple[int, int]:
    """How much there is in all, and how much of it is available, of the machine or the control
    group. Pure.
    """
    if group is None or group.limit_bytes >= machine_total:
        return machine_total, machine_available
    return group.limit_bytes, min(machine_available, group.available_bytes)


def usable_cores(group: GroupCpu | None) -> float:
    """How many cores this process may keep busy."""
    allowed = (
        len(os.sched_getaffinity(0))
        if hasattr(os, "sched_getaffinity")
        else psutil.cpu_count() or 1
    )
    return float(allowed) if group is None else min(float(allowed), group.cores)


def traffic_per_second(before: Counters, after: Counters) -> tuple[float, float, float, float]:
    """Bytes in and out, packets in and out, a second.

    An interface that is new, gone or was reset between two counts counts as silent.
    """
    seconds = after.at_seconds - before.at_seconds
    if seconds <= 0:
        return 0.0, 0.0, 0.0, 0.0
    sums = [0, 0, 0, 0]
    for name in before.traffic.keys() & after.traffic.keys():
        for place, (old, new) in enumerate(
            zip(before.traffic[name], after.traffic[name], strict=True)
        ):
            sums[place] += max(0, new - old)
    in_bytes, out_bytes, in_packets, out_packets = (total / seconds for total in sums)
    return in_bytes, out_bytes, in_packets, out_packets


def read_segments(file: Path = SNMP) -> Segments | None:
    """What TCP has sent, and sent again, since boot. None: not Linux, or hidden."""
    try:
        names, values = (
            line.split() for line in file.read_text().splitlines() if line.startswith("Tcp:")
        )
    except (OSError, ValueError):
        return None  # not told here, and said as such
    counted = dict(zip(names, values, strict=True))
    return Segments(int(counted["OutSegs"]), int(counted["RetransSegs"]))


def resent_fraction(before: Counters, after: Counters) -> float | None:
    """The share of the segments between two counts that were sent again; None: none was sent."""
    if before.segments is None or after.segments is None:
        return None
    sent = after.segments.sent - before.segments.sent
    again = max(0, after.segments.again - before.segments.again)
    return min(1.0, again / sent) if sent > 0 else None


def read_descriptors(file: Path = FILE_NR) -> tuple[int | None, int | None]:
    """Open descriptors of the whole system, and how many there may be (None: no limit).

    None, None: not Linux, or hidden.
    """
    try:
        used, _, most = file.read_text().split()
    except OSError:
        return None, None  # not told here, and said as such
    return int(used), int(most) if int(most) < NO_LIMIT else None


def _sample(before: Counters, after: Counters) -> HostSample:
    memory, swap = psutil.virtual_memory(), psutil.swap_memory()
    total, available = memory_bytes(memory.total, memory.available, group_memory())
    load_1, load_5, load_15 = psutil.getloadavg()
    open_descriptors, max_descriptors = read_descriptors()
    in_bytes, out_bytes, in_packets, out_packets = traffic_per_second(before, after)
    return HostSample(
        total_memory_bytes=total,
        used_memory_bytes=total - available,
        available_memory_bytes=available,
        swap_total_bytes=swap.total,
        swap_used_bytes=swap.used,
        cpu_fraction=cpu_fraction(before, after),
        cores=psutil.cpu_count() or 1,
        usable_cores=usable_cores(after.group),
        load_1=load_1,
        load_5=load_5,
        load_15=load_15,
        open_descriptors=open_descriptors,
        max_descriptors=max_descriptors,
        network_in_bytes_per_second=in_bytes,
        network_out_bytes_per_second=out_bytes,
        network_in_packets_per_second=in_packets,
        network_out_packets_per_second=out_packets,
        tcp_resent_fraction=resent_fraction(before, after),
        window_seconds=round(after.at_seconds - before.at_seconds, 1),
    )


def _share(part: float, whole: float) -> float:
    return min(1.0, max(0.0, part / whole)) if whole > 0 else 0.0


def _is_loopback(name: str) -> bool:
    return name.rstrip("0123456789") == "lo" or name.startswith("Loopback")
