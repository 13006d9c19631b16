"""What the last readings were: the tuning guide's history of 100, statistics over it, the alarms
seen, and all that as a JSON document.
"""

import math
import platform
import statistics
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from supervisor.host.numbers import whole
from supervisor.host.reading.alarms import AlertLimits, Severity, alarms, judge
from supervisor.host.reading.documents import document
from supervisor.host.reading.host_sampler import Reading

FORMAT: Final = 1
"""Of the document; a change that breaks its readers gets the next number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """A figure over the readings of the history that had it.

    `p95`: at most 5 of 100 readings were above.
    """

    readings: int
    min: float
    mean: float
    max: float
    p95: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ActiveAlarm:
    """A figure that is above its limit."""

    name: str
    message: str
    severity: Severity
    value: float
    limit: float


@dataclass(slots=True, kw_only=True)
class SeenAlarm:
    """An alarm, from when to when it was seen (seconds since 1970), in how many readings, and in
    its last words.
    """

    name: str
    message: str
    first_at: float
    last_at: float
    readings: int = 1


@dataclass(slots=True)
class ResourceMonitor:
    """Remembers the last readings; of the alarms it forgets none."""

    limits: AlertLimits = field(default_factory=AlertLimits)
    most: int = whole("history")
    seen: dict[str, SeenAlarm] = field(default_factory=dict)
    notes: dict[str, None] = field(default_factory=dict)
    count: int = 0
    """Of all readings, also those forgotten."""
    active: dict[str, str] = field(default_factory=dict)
    """The alarms of the last reading, by name."""
    readings: deque[Reading] = field(init=False)

    def __post_init__(self) -> None:
        self.readings = deque(maxlen=self.most)

    def add(self, reading: Reading) -> dict[str, str]:
        """Remember a reading; its alarms, by name."""
        self.count += 1
        self.readings.append(reading)
        self.notes |= dict.fromkeys(reading.notes)
        self.active = alarms(reading, self.limits)
        for name, words in self.active.items():
            known = self.seen.setdefault(
                name,
                SeenAlarm(
                    name=name, message=words, first_at=reading.at, last_at=reading.at, readings=0
                ),
            )
            known.message, known.last_at, known.readings = words, reading.at, known.readings + 1
        return self.active

    def statistics(self) -> dict[str, Statistics]:
        """Each figure over the history; one that was never readable is not in it."""
        rows = [figures(reading) for reading in self.readings]
        names = dict.fromkeys(name for row in rows for name in row)
        columns = {
            name: [value for row in rows if (value := row.get(name)) is not None] for name in names
        }
        return {name: measure(values) for name, values in columns.items() if values}

    def document(self, interval_seconds: float, ended_at: float) -> dict[str, Any]:
        """All of it, for programs; times are ISO 8601, UTC."""
        began = self.readings[0].at if self.readings else ended_at
        return {
            "format": FORMAT,
            "host": {"name": platform.node(), "system": platform.platform()},
            "oldestReadingAt": iso(began),
            "endedAt": iso(ended_at),
            "intervalSeconds": interval_seconds,
            "readingsTaken": self.count,
            "limits": document(self.limits),
            "statistics": {name: document(one) for name, one in self.statistics().items()},
            "alarms": [
                document(seen) | {"firstAt": iso(seen.first_at), "lastAt": iso(seen.last_at)}
                for seen in self.seen.values()
            ],
            "notes": list(self.notes),
            "readings": [reading_document(reading, self.limits) for reading in self.readings],
        }


def reading_document(reading: Reading, limits: AlertLimits) -> dict[str, Any]:
    """One reading with its alarms, for programs."""
    shown: dict[str, Any] = document(reading)
    active = [
        document(
            ActiveAlarm(
                name=name,
                message=one.message,
                severity=one.severity,
                value=one.value,
                limit=one.limit,
            )
        )
        for name, one in judge(reading, limits).items()
        if one.above
    ]
    return (
        {"at": iso(reading.at)}
        | {name: part for name, part in shown.items() if name != "at"}
        | {"alarms": active}
    )


def figures(reading: Reading) -> Mapping[str, float | None]:
    """The figures of a reading that statistics are made of. None: not readable."""
    host, connections, workers, own = (
        reading.host,
        reading.connections,
        reading.workers,
        reading.supervisor,
    )
    return {
        "cpuFraction": host.cpu_fraction,
        "load1": host.load_1,
        "memoryFraction": host.used_memory_bytes / host.total_memory_bytes,
        "availableMemoryBytes": host.available_memory_bytes,
        "swapUsedBytes": host.swap_used_bytes,
        "openDescriptors": host.open_descriptors,
        "networkInBytesPerSecond": host.network_in_bytes_per_second,
        "networkOutBytesPerSecond": host.network_out_bytes_per_second,
        "networkInPacketsPerSecond": host.network_in_packets_per_second,
        "networkOutPacketsPerSecond": host.network_out_packets_per_second,
        "connections": connections.total if connections else None,
        "websockets": connections.websockets if connections else None,
        "workers": workers.count if workers else None,
        "workersPssSumBytes": workers.pss_sum_bytes if workers else None,
        "workersPssMedianBytes": workers.pss_median_bytes if workers else None,
        "supervisorDescriptors": own.process.descriptors if own else None,
        "supervisorPssBytes": own.process.pss_bytes if own else None,
    }


def measure(values: Sequence[float]) -> Statistics:
    """The statistics of some values, at least one.

    The 95th percentile is one of the values (nearest rank).
    """
    ordered = sorted(values)
    return Statistics(
        readings=len(ordered),
        min=ordered[0],
        mean=statistics.fmean(ordered),
        max=ordered[-1],
        p95=ordered[math.ceil(0.95 * len(ordered)) - 1],
    )


def iso(at: float) -> str:
    """Seconds since 1970 as ISO 8601 in UTC, to the millisecond."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
