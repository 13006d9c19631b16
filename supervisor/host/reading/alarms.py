"""The tuning guide's alert limits over a reading: each figure beside its limit, in words, and which
are above it. Pure.
"""

from dataclasses import dataclass
from typing import Final, Literal

from supervisor.host.numbers import number, whole
from supervisor.host.reading.disks import DiskReading
from supervisor.host.reading.host_sampler import Reading

Severity = Literal["warning", "critical"]

DISK_SILENT_SECONDS: Final = 10.0
"""A file system that has not answered for so long hangs (a lost network mount, a dying disk)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertLimits:
    """Above which an alarm is raised (at the limit it is not): fractions of 1, connections, and
    waiting processes. `..._critical_fraction` None: it never is critical.
    """

    cpu_fraction: float = number("cpu_alert") / 100
    cpu_critical_fraction: float | None = None
    memory_fraction: float = number("memory_alert") / 100
    memory_critical_fraction: float | None = None
    descriptors_fraction: float = number("descriptors_alert") / 100
    websockets: int = whole("websockets_alert")
    load: float = number("load_alert")
    disk_fraction: float = 0.85
    disk_critical_fraction: float = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """A figure beside its limit.

    `words`: what it is now, without the limit; `limit_words`: the limit, in the same unit.
    """

    value: float
    limit: float
    words: str
    limit_words: str
    severity: Severity = "warning"

    @property
    def above(self) -> bool:
        """Whether it is an alarm."""
        return self.value > self.limit

    @property
    def message(self) -> str:
        """The figure and its limit, in a sentence."""
        return f"{self.words}, {'above' if self.above else 'not above'} {self.limit_words}"


def judge(reading: Reading, limits: AlertLimits) -> dict[str, Judged]:
    """Every figure that has a limit, by name.

    What could not be read is left out: the reading's notes tell of it.
    """
    host = reading.host
    critical = limits.cpu_critical_fraction
    found = {"cpu": _share("cpu is", host.cpu_fraction, limits.cpu_fraction, critical)}
    if host.total_memory_bytes:
        memory = host.used_memory_bytes / host.total_memory_bytes
        found["memory"] = _share(
            "memory is", memory, limits.memory_fraction, limits.memory_critical_fraction
        )
    for name, whose, used, most in _descriptors(reading):
        if used is not None and most:
            found[name] = Judged(
                value=used / most,
                limit=limits.descriptors_fraction,
                words=f"{whose}: {used} of {most} descriptors are open ({percent(used / most)})",
                limit_words=percent(limits.descriptors_fraction),
            )
    if reading.connections:
        found["websockets"] = Judged(
            value=reading.connections.websockets,
            limit=limits.websockets,
            words=f"{reading.connections.websockets} WebSocket connections",
            limit_words=f"{limits.websockets}",
        )
    found["load"] = Judged(
        value=host.load_1,
        limit=limits.load,
        words=f"load is {host.load_1:.2f}",
        limit_words=f"{limits.load:g}",
    )
    return found | _disks(reading.disks, limits)


def alarms(reading: Reading, limits: AlertLimits) -> dict[str, str]:
    """What is above its limit, by name, in words."""
    return {name: judged.message for name, judged in judge(reading, limits).items() if judged.above}


def percent(fraction: float) -> str:
    """Without a fraction unless it tells something: 95%, 80.1%."""
    return f"{round(fraction * 100, 1):g}%"


def _share(words: str, fraction: float, most: float, critical: float | None) -> Judged:
    is_critical = critical is not None and fraction > critical
    limit = critical if critical is not None and is_critical else most
    return Judged(
        value=fraction,
        limit=limit,
        words=f"{words} {percent(fraction)}",
        limit_words=percent(limit),
        severity="critical" if is_critical else "warning",
    )


def _disks(disks: tuple[DiskReading, ...], limits: AlertLimits) -> dict[str, Judged]:
    """The fullest file system by room and by inodes, and the one that has been silent longest."""
    found = {}
    rooms = [(disk.used_fraction, disk, "room") for disk in disks if disk.used_fraction is not None]
    inodes = [
        (disk.inodes_used_fraction, disk, "inodes")
        for disk in disks
        if disk.inodes_used_fraction is not None
    ]
    for name, parts in (("disk_space", rooms), ("disk_inodes", inodes)):
        if parts:
            fraction, fullest, what = max(parts, key=lambda part: part[0])
            critical = fraction > limits.disk_critical_fraction
            limit = limits.disk_critical_fraction if critical else limits.disk_fraction
            found[name] = Judged(
                value=fraction,
                limit=limit,
                words=(
                    f"{percent(fraction)} of the {what} of the file system of {fullest.where} is"
                    " used"
                ),
                limit_words=percent(limit),
                severity="critical" if critical else "warning",
            )
    if disks:
        silent = max(disks, key=lambda disk: disk.silent_seconds)
        found["disk_silent"] = Judged(
            value=silent.silent_seconds,
            limit=DISK_SILENT_SECONDS,
            words=(
                f"the file system of {silent.where} has not answered for"
                f" {silent.silent_seconds:.0f} s"
            ),
            limit_words=f"{DISK_SILENT_SECONDS:g} s",
            severity="critical",
        )
    return found


def _descriptors(reading: Reading) -> list[tuple[str, str, int | None, int | None]]:
    """Whose descriptors have a limit: the host's, and the supervisor's own, which ends first as a
    rule.
    """
    counted = [
        ("descriptors", "the host", reading.host.open_descriptors, reading.host.max_descriptors)
    ]
    if own := reading.supervisor:
        counted.append(
            (
                "supervisor_descriptors",
                "the supervisor",
                own.process.descriptors,
                own.open_files.soft,
            )
        )
    return counted
