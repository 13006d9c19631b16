"""What the monitor saw, for people: statistics of each figure, the alarms, the notes. Pure."""

from collections.abc import Mapping
from typing import Any, Final

from supervisor.host.reading.alarms import percent

WORDS: Final[Mapping[str, str]] = {
    "cpuFraction": "CPU in use",
    "load1": "load of a minute",
    "memoryFraction": "memory in use",
    "availableMemoryBytes": "memory available",
    "swapUsedBytes": "swap in use",
    "openDescriptors": "open descriptors of the host",
    "networkInBytesPerSecond": "network in, a second",
    "networkOutBytesPerSecond": "network out, a second",
    "networkInPacketsPerSecond": "packets in, a second",
    "networkOutPacketsPerSecond": "packets out, a second",
    "connections": "TCP connections",
    "websockets": "WebSocket connections",
    "workers": "workers",
    "workersPssSumBytes": "PSS of all workers",
    "workersPssMedianBytes": "PSS of a worker, median",
    "supervisorDescriptors": "open descriptors of the supervisor",
    "supervisorPssBytes": "PSS of the supervisor",
}
"""A figure that is not here is shown by its own name."""
COLUMNS: Final = ("min", "mean", "p95", "max")


def report_text(document: Mapping[str, Any]) -> str:
    """The report beside the JSON one, made of the same document."""
    host = document["host"]
    lines = [
        f"WebSocket resources of {host['name']}, {host['system']}",
        f"{document['oldestReadingAt']} to {document['endedAt']}: "
        f"the last {len(document['readings'])} of {document['readingsTaken']} readings,"
        f" every {document['intervalSeconds']:g} s",
        "",
        f"{'':36}" + "".join(f"{column:>12}" for column in COLUMNS),
    ]
    for name, statistics in document["statistics"].items():
        values = "".join(f"{_shown(name, statistics[column]):>12}" for column in COLUMNS)
        lines.append(f"{WORDS.get(name, name):36}{values}")
    lines.append("")
    alarms = [
        f"ALARM {seen['message']} ({seen['readings']} readings,"
        f" {seen['firstAt']} to {seen['lastAt']})"
        for seen in document["alarms"]
    ]
    lines += alarms or ["No alarm."]
    lines += [f"Note: {note}." for note in document["notes"]]
    return "\n".join(lines) + "\n"


def size(count_bytes: float) -> str:
    """Bytes for people."""
    value, units = count_bytes, ["B", "KiB", "MiB", "GiB", "TiB"]
    while value >= 1024 and len(units) > 1:
        value, units = value / 1024, units[1:]
    whole = units[0] in {"B", "KiB"} or value >= 100
    return f"{value:.0f} {units[0]}" if whole else f"{value:.1f} {units[0]}"


def _shown(name: str, value: float) -> str:
    if "Bytes" in name:
        return size(value)
    return percent(value) if name.endswith("Fraction") else f"{round(value, 2):g}"
