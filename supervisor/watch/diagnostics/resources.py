"""The machine: limits, memory, CPU, network, disks, clock.

All figures come from the one sampler of the host; what is too much is decided where the alerts are.
"""

import asyncio
import errno
import os
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

import msgspec

from sessions.workers.worker_process import started_at_ticks
from supervisor.alerts.channels.alerts_file import AlertsFile, BadAlertsFile, read_alerts_file
from supervisor.alerts.judging.thresholds import Thresholds
from supervisor.host.needs.facts import read_facts
from supervisor.host.needs.process_limits import LimitFinding, describe_limits
from supervisor.host.needs.session_costs import MIB, memory_needed_bytes
from supervisor.host.reading.alarms import AlertLimits, judge
from supervisor.host.reading.disks import DiskReading, Disks
from supervisor.host.reading.host_sampler import Reading
from supervisor.host.reading.processes import OPEN_FILES
from supervisor.host.reading.readings import SAMPLE_SECONDS
from supervisor.process.daemon_threads import in_thread
from supervisor.watch.diagnostics.doctor import NotChecked, Subject
from supervisor.watch.diagnostics.results import (
    ConnectionUsage,
    CpuUsage,
    Issue,
    MemoryUsage,
    NetworkUsage,
    ResourceUsage,
    Severity,
)

LEAST_ROOM_BYTES: Final = 64 * MIB
"""With less, the next day's events and logs do not fit, however small the disk is."""
TRIED_BYTES: Final = 64 * 1024
"""Written, and removed, to see whether the data directory takes anything: a quota, a limit and a
read-only file system are no figure of the disk's.
"""
LOST_PERCENT: Final = 5.0
"""Of TCP segments; WhatsApp's connections begin to be cut at about so many."""
FUTURE_SECONDS: Final = 60.0
"""What was written later than now, by so much, was written by another clock."""
CLOCK_SECONDS: Final = 60.0
CLOCK_BROKEN_SECONDS: Final = 24 * 3600.0
"""Certificates are valid by the day: so far off, TLS fails."""


class ResourceStatus(msgspec.Struct, frozen=True, rename="camel"):
    """The limits of connections: of the process, and what is in use.

    `descriptor_limit` None: unlimited; `open_descriptors` None: not told here.
    """

    connections: ConnectionUsage
    open_descriptors: int | None
    descriptor_limit: int | None
    sessions: int
    issues: tuple[Issue, ...]


class MemoryAnalysis(msgspec.Struct, frozen=True, rename="camel"):
    """What the connections to WhatsApp weigh: each has a worker.

    None: none is weighed yet. `capacity`: how many more fit into what is available.
    """

    memory: MemoryUsage
    connections: int
    bytes_per_connection: int | None
    largest_bytes: int | None
    capacity: int | None
    issues: tuple[Issue, ...]


class NetworkStatus(msgspec.Struct, frozen=True, rename="camel"):
    """The network: bytes and packets a second, round trips, loss."""

    network: NetworkUsage
    in_bytes_per_second: float
    out_bytes_per_second: float
    in_packets_per_second: float
    out_packets_per_second: float
    issues: tuple[Issue, ...]


class ResourceDiagnosticService:
    """Looks at what a fleet uses up."""

    def __init__(self, subject: Subject) -> None:
        self._subject = subject

    async def usage(self) -> ResourceUsage:
        """What is in use."""
        subject = self._subject
        return resource_usage(await subject.host(), self._limits_of(2), subject.latency_ms)

    async def check_connection_limits(self) -> ResourceStatus:
        """How many connections there are, may be, and what the process's limits allow."""
        subject = self._subject
        reading = await subject.host()
        limits = self._limits_of(reading.host.cores)
        findings = await in_thread(self._process_limits)
        descriptors = next(one for one in findings if one.name == OPEN_FILES)
        own = reading.supervisor
        return ResourceStatus(
            connections=resource_usage(reading, limits, None).connections,
            open_descriptors=own.process.descriptors if own else None,
            descriptor_limit=descriptors.soft,
            sessions=subject.sessions,
            issues=tuple(_limit_issues(findings, of_a_supervisor=subject.supervisor is not None)),
        )

    async def analyze_memory_usage(self) -> MemoryAnalysis:
        """What a connection weighs, and how many more fit."""
        reading = await self._subject.host()
        limits = self._limits_of(reading.host.cores)
        workers, sample = reading.workers, reading.host
        each = workers.pss_median_bytes if workers else None
        return MemoryAnalysis(
            memory=resource_usage(reading, limits, None).memory,
            connections=workers.count if workers else 0,
            bytes_per_connection=each,
            largest_bytes=workers.pss_max_bytes if workers else None,
            capacity=sample.available_memory_bytes // each if each else None,
            issues=tuple(_alarms(reading, limits, "memory")),
        )

    async def check_network_resources(self) -> NetworkStatus:
        """What goes over the network, and how much of it is lost."""
        reading = await self._subject.host()
        sample = reading.host
        network = resource_usage(
            reading, self._limits_of(sample.cores), self._subject.latency_ms
        ).network
        return NetworkStatus(
            network=network,
            in_bytes_per_second=sample.network_in_bytes_per_second,
            out_bytes_per_second=sample.network_out_bytes_per_second,
            in_packets_per_second=sample.network_in_packets_per_second,
            out_packets_per_second=sample.network_out_packets_per_second,
            issues=tuple(_loss(network.packet_loss_percent)),
        )

    def _limits_of(self, cores: int) -> AlertLimits:
        return _thresholds(self._subject).of_host(cores, self._subject.sessions)

    def _process_limits(self) -> tuple[LimitFinding, ...]:
        """Of the supervisor, or of the process that would begin one.

        Raises NotChecked: it is another user's.
        """
        pid = self._subject.supervisor or os.getpid()
        try:
            return describe_limits(pid, max(1, self._subject.sessions)).findings
        except PermissionError:
            raise NotChecked(
                f"the limits of the supervisor (pid {pid}) are told only to its own user and to"
                " root: run `sudo wasup doctor`"
            ) from None


def resource_usage(
    reading: Reading, limits: AlertLimits, latency_ms: float | None
) -> ResourceUsage:
    """A reading as the figures of a diagnosis. Pure."""
    host = reading.host
    active = reading.connections.websockets if reading.connections else None
    lost = host.tcp_resent_fraction
    return ResourceUsage(
        memory=MemoryUsage(
            used_bytes=host.used_memory_bytes,
            available_bytes=host.available_memory_bytes,
            percent=_percent(host.used_memory_bytes, host.total_memory_bytes),
        ),
        cpu=CpuUsage(
            percent=round(100 * host.cpu_fraction, 1),
            load_average=(host.load_1, host.load_5, host.load_15),
        ),
        connections=ConnectionUsage(
            active=active,
            max_allowed=limits.websockets,
            percent=None if active is None else _percent(active, limits.websockets),
        ),
        network=NetworkUsage(
            bandwidth_bytes_per_second=round(
                host.network_in_bytes_per_second + host.network_out_bytes_per_second, 1
            ),
            latency_ms=latency_ms,
            packet_loss_percent=None if lost is None else round(100 * lost, 2),
        ),
    )


def _thresholds(subject: Subject) -> Thresholds:
    """By settings and the file of alerts; one that cannot be used is told of by the settings'
    check.
    """
    try:
        file = read_alerts_file(subject.settings.alerts_file)
    except BadAlertsFile:
        file = AlertsFile()
    return subject.settings.thresholds(file)


# --- checks ---------------------------------------------------------------------------------------


async def check_disks(subject: Subject) -> Iterable[Issue]:
    """Room and inodes where something is kept, and whether the data directory takes a file."""
    found = await in_thread(lambda: Disks(subject.directories).reading())
    limits = _thresholds(subject)
    issues = [issue for disk in found for issue in _disk(disk, limits.disk, limits.disk_critical)]
    if not any(issue.severity is Severity.CRITICAL for issue in issues):
        issues += await in_thread(lambda: list(_tried(subject.directory)))
    return issues


async def check_limits(subject: Subject) -> Iterable[Issue]:
    """Descriptors, processes and the other limits of the supervisor, or of this shell."""
    return (await ResourceDiagnosticService(subject).check_connection_limits()).issues


async def check_machine(subject: Subject) -> Iterable[Issue]:
    """Memory, CPU, load, descriptors of the host, and what the network loses."""
    if not subject.within:  # of a second in which nothing else is looked at
        await subject.host()
        await asyncio.sleep(SAMPLE_SECONDS)
    reading = await subject.host()
    limits = _thresholds(subject).of_host(reading.host.cores, subject.sessions)
    lost = reading.host.tcp_resent_fraction
    needed = memory_needed_bytes(subject.sessions)
    found = list(_alarms(reading, limits, *_MACHINE))
    if subject.supervisor is None and reading.host.available_memory_bytes < needed:
        found.append(
            Issue(
                "resource",
                Severity.HIGH,
                f"{subject.sessions} sessions need {_mib(needed)} of memory, and"
                f" {_mib(reading.host.available_memory_bytes)} are available.",
                "Give the machine more memory, or run fewer numbers on it.",
                ("memory",),
                ("free -m", "ps aux --sort=-rss | head"),
            )
        )
    return [*found, *_loss(None if lost is None else 100 * lost)]


async def check_clock(subject: Subject) -> Iterable[Issue]:
    """Whether the clock is disciplined, and whether anything was written in its future.

    Other clocks (WhatsApp's, the database's) are asked by the checks that speak with them.
    """
    found = await in_thread(lambda: list(_clock(subject)))
    return found


def clock_differs(ahead_seconds: float, whose: str) -> Iterator[Issue]:
    """Another clock says something else. `ahead_seconds`: of ours, before that one."""
    if abs(ahead_seconds) < CLOCK_SECONDS:
        return
    broken = abs(ahead_seconds) >= CLOCK_BROKEN_SECONDS
    yield _clock_issue(
        Severity.CRITICAL if broken else Severity.HIGH,
        f"This machine's clock is {_duration(abs(ahead_seconds))}"
        f" {'ahead of' if ahead_seconds > 0 else 'behind'} {whose}.",
    )


def _clock(subject: Subject) -> Iterator[Issue]:
    now = time.time()
    try:
        newest = max(
            (file.stat().st_mtime for file in subject.files() if file.exists()),
            default=float("-inf"),
        )
    except OSError:  # told by the check of permissions
        newest = float("-inf")
    stepped = _stepped_seconds(subject)
    if newest - now > FUTURE_SECONDS:
        yield _clock_issue(
            Severity.HIGH,
            f"Files in {subject.directory} were written {_duration(newest - now)} in the future:"
            " this machine's clock was set back, or was wrong then.",
        )
    elif stepped is not None and abs(stepped) > CLOCK_SECONDS:
        yield _clock_issue(
            Severity.MEDIUM,
            f"The clock was set {'forward' if stepped > 0 else 'back'} by"
            f" {_duration(abs(stepped))} since the supervisor began.",
        )
    synchronised = read_facts().values.get("time_sync")
    if synchronised is not None and not synchronised.value:
        yield _clock_issue(
            Severity.LOW, "Nobody keeps this machine's clock right (no NTP, as the kernel says)."
        )


def _clock_issue(severity: Severity, description: str) -> Issue:
    return Issue(
        "configuration",
        severity,
        description,
        "Let the clock be set by NTP; sessions, webhooks' signatures and tokens depend on it.",
        ("clock", "sessions", "webhooks", "tokens"),
        ("date -u", "timedatectl status", "sudo timedatectl set-ntp true"),
    )


def _stepped_seconds(subject: Subject) -> float | None:
    """By how much the wall clock has gone more than the monotonic one since the supervisor began,
    by the note in its lock. None: none runs.
    """
    if subject.supervisor is None or subject.since is None:
        return None
    ticks = started_at_ticks(subject.supervisor)
    if ticks is None:
        return None
    began = ticks / os.sysconf("SC_CLK_TCK")
    age_seconds = time.clock_gettime(time.CLOCK_BOOTTIME) - began
    stepped = time.time() - subject.since - age_seconds
    # A start may take seconds before the note is written: only more than that is a step.
    return stepped if abs(stepped) > CLOCK_SECONDS else 0.0


def _disk(disk: DiskReading, warning: float, critical: float) -> Iterator[Issue]:
    where = disk.directories[0]
    look = (f"df -h '{where}'", f"df -i '{where}'")
    if disk.problem is not None or disk.silent_seconds:
        why = disk.problem or f"it has not answered for {disk.silent_seconds:g} s"
        yield Issue(
            "resource",
            Severity.CRITICAL if disk.silent_seconds else Severity.HIGH,
            f"The file system of {disk.where} cannot be read: {why}.",
            "See whether the disk is mounted and answers.",
            ("disk", *disk.directories),
            (f"ls -ld '{where}'", f"findmnt -T '{where}'", "dmesg --level=err | tail"),
        )
        return
    room, inodes = disk.used_fraction or 0.0, disk.inodes_used_fraction or 0.0
    left = disk.available_bytes
    little = left is not None and left < LEAST_ROOM_BYTES
    if room > warning or little:
        severe = room > critical or little
        yield Issue(
            "resource",
            Severity.CRITICAL if severe else Severity.MEDIUM,
            f"The disk of {disk.where} is {room:.0%} full: {_mib(left or 0)} are left.",
            "Make room, or give it a larger disk: what comes in cannot be stored on a full one.",
            ("disk", *disk.directories),
            (*look, f"sudo du -xh --max-depth=2 '{_mount_of(Path(where))}' | sort -h | tail -20"),
        )
    if inodes > warning:
        yield Issue(
            "resource",
            Severity.CRITICAL if inodes > critical else Severity.MEDIUM,
            f"The file system of {disk.where} has used {inodes:.0%} of its inodes: it takes no"
            " further files soon, however much room is left.",
            "Remove what consists of many small files.",
            ("disk", *disk.directories),
            (*look, f"sudo du -x --inodes --max-depth=2 '{where}' | sort -n | tail -20"),
        )


def _tried(directory: Path) -> Iterator[Issue]:
    """Write a little, and remove it."""
    if not directory.is_dir() or not os.access(directory, os.W_OK | os.X_OK):
        return  # told by the check of permissions
    try:
        with tempfile.TemporaryFile(dir=directory) as file:
            file.write(b"\0" * TRIED_BYTES)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        if error.errno in {errno.EMFILE, errno.ENFILE}:
            return  # told by the check of limits
        yield Issue(
            "resource",
            Severity.CRITICAL,
            f"{directory} takes no {TRIED_BYTES // 1024} KiB: {error.strerror}.",
            "Make room there: a full disk, a quota, or a limit of file sizes is in the way.",
            ("disk", str(directory)),
            (f"df -h '{directory}'", f"df -i '{directory}'", "quota -s", "ulimit -f"),
        )


def _limit_issues(findings: Iterable[LimitFinding], of_a_supervisor: bool) -> Iterator[Issue]:
    for finding in findings:
        hard, wanted = finding.hard, finding.wanted
        raisable = not of_a_supervisor and finding.name == OPEN_FILES and wanted is not None
        if finding.enough or (raisable and (hard is None or hard >= (wanted or 0))):
            continue  # a supervisor raises its soft limit of descriptors at its start
        whose = "The supervisor's" if of_a_supervisor else "This shell's"
        yield Issue(
            "resource",
            Severity.CRITICAL if finding.name == OPEN_FILES else Severity.HIGH,
            f"{whose} limit is too low. {finding.words}.",
            finding.remedy.replace("`", ""),
            ("limits", finding.name),
            _pasted(finding.remedy) or (f"ulimit -Hn {wanted}",),
        )


def _pasted(remedy: str) -> tuple[str, ...]:
    """The commands that a remedy quotes."""
    return tuple(part for part in remedy.split("`")[1::2] if " " in part)


_MACHINE: Final = ("memory", "cpu", "load", "descriptors", "supervisor_descriptors", "websockets")
_REMEDIES: Final = {
    "memory": (
        "Give the machine more memory, or run fewer numbers on it.",
        ("free -m", "ps aux --sort=-rss | head", "wasup capacity"),
    ),
    "cpu": ("See what keeps it busy.", ("top -b -n 1 | head -20", "wasup capacity")),
    "load": ("See what waits for CPU or disk.", ("top -b -n 1 | head -20", "iostat -x 1 3")),
    "descriptors": (
        "Raise the system's limit of open files.",
        ("sudo .venv/bin/python scripts/optimize_system.py",),
    ),
    "supervisor_descriptors": ("Raise the supervisor's limit.", ("wasup capacity",)),
    "websockets": ("See whose connections they are.", ("ss -tnp state established | head -50",)),
}


def _alarms(reading: Reading, limits: AlertLimits, *names: str) -> Iterator[Issue]:
    for name, judged in judge(reading, limits).items():
        if name in names and judged.above:
            solution, commands = _REMEDIES[name]
            message = judged.message
            yield Issue(
                "resource",
                Severity.MEDIUM,
                f"{message[:1].upper()}{message[1:]}.",
                solution,
                (name,),
                commands,
            )


def _loss(percent: float | None) -> Iterator[Issue]:
    if percent is not None and percent > LOST_PERCENT:
        yield Issue(
            "connection",
            Severity.MEDIUM,
            f"{percent:.1f} % of the TCP segments had to be sent again: the network loses packets.",
            "See which way loses them: the machine's own network, or one proxy's.",
            ("network",),
            ("ss -ti | head -40", "mtr -rwc 20 web.whatsapp.com"),
        )


def _mount_of(directory: Path) -> Path:
    """Where the file system of a directory is mounted."""
    while not os.path.ismount(directory) and directory != directory.parent:
        directory = directory.parent
    return directory


def _percent(part: float, whole: float) -> float:
    return round(100 * part / whole, 1) if whole else 0.0


def _mib(size: float) -> str:
    return f"{size / MIB:,.0f} MiB"


def _duration(seconds: float) -> str:
    for name, length in (("days", 86_400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 1.5 * length:
            return f"{seconds / length:.0f} {name}"
    return f"{seconds:.0f} seconds"
