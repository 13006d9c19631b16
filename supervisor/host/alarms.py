"""Seed 000's alert limits over a reading: what is above its limit, in words. Pure."""

from dataclasses import dataclass

from supervisor.host.lookout import Reading
from supervisor.host.numbers import number, whole


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertLimits:
    """Above which an alarm is raised (at the limit it is not): fractions of 1, connections, and waiting processes."""

    cpu_fraction: float = number("cpu_alert") / 100
    memory_fraction: float = number("memory_alert") / 100
    descriptors_fraction: float = number("descriptors_alert") / 100
    websockets: int = whole("websockets_alert")
    load: float = number("load_alert")


def alarms(reading: Reading, limits: AlertLimits) -> dict[str, str]:
    """What is above its limit, by name, in words. What could not be read raises nothing: the reading's notes tell of it."""
    host, found = reading.host, {}
    memory = host.used_memory_bytes / host.total_memory_bytes if host.total_memory_bytes else 0.0
    for name, fraction, most in (
        ("cpu", host.cpu_fraction, limits.cpu_fraction),
        ("memory", memory, limits.memory_fraction),
    ):
        if fraction > most:
            found[name] = f"{name} is {percent(fraction)}, above {percent(most)}"
    for name, whose, used, limit in _descriptors(reading):
        if used is not None and limit and used / limit > limits.descriptors_fraction:
            share = f"{used} of {limit} descriptors are open ({percent(used / limit)})"
            found[name] = f"{whose}: {share}, above {percent(limits.descriptors_fraction)}"
    websockets = reading.connections.websockets if reading.connections else 0
    if websockets > limits.websockets:
        found["websockets"] = f"{websockets} WebSocket connections, above {limits.websockets}"
    if host.load_1 > limits.load:
        found["load"] = f"load is {host.load_1:.2f}, above {limits.load:g}"
    return found


def percent(fraction: float) -> str:
    """Without a fraction unless it tells something: 95%, 80.1%."""
    return f"{round(fraction * 100, 1):g}%"


def _descriptors(reading: Reading) -> list[tuple[str, str, int | None, int | None]]:
    """Whose descriptors have a limit: the host's, and the supervisor's own, which ends first as a rule."""
    counted = [("descriptors", "the host", reading.host.open_descriptors, reading.host.max_descriptors)]
    if own := reading.supervisor:
        counted.append(("supervisor_descriptors", "the supervisor", own.process.descriptors, own.open_files.soft))
    return counted
