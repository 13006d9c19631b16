"""Performance monitoring: the fleet's figures against the thresholds of seed 002. Alerts on edges only."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from sessions.model import SessionId, SessionState
from sessions.ports import Publish
from sessions.snapshot import Performance
from supervisor.fleet import Fleet


class SystemPerformance(msgspec.Struct, frozen=True, rename="camel"):
    """Seed 002's system figures: bytes and fractions of 1."""

    total_memory: int
    used_memory: int
    cpu_usage: float
    active_connections: int
    error_rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Above which an alert is raised: fractions of 1, and milliseconds."""

    memory: float = 0.8
    cpu: float = 0.9
    error_rate: float = 0.1
    response_time_ms: float = 5000.0


Alarm = tuple[SessionId | None, str]
"""What an alert is about: a session or the host, and the alert's name."""


def assess(
    system: SystemPerformance, sessions: Mapping[SessionId, Performance], thresholds: Thresholds
) -> dict[Alarm, str]:
    """What is above its threshold now, and in which words. Pure."""
    figures = {
        "memory": (system.used_memory / system.total_memory, thresholds.memory),
        "cpu": (system.cpu_usage, thresholds.cpu),
        "error_rate": (system.error_rate, thresholds.error_rate),
    }
    alarms: dict[Alarm, str] = {
        (None, name): f"{name} is {value:.0%}, above {limit:.0%}"
        for name, (value, limit) in figures.items()
        if value > limit
    }
    for session, performance in sessions.items():
        average = performance.average_response_time
        if average is not None and average > thresholds.response_time_ms:
            alarms[session, "response_time"] = (
                f"round trips take {average:.0f} ms, above {thresholds.response_time_ms:.0f} ms"
            )
    return alarms


def system_performance(fleet: Fleet) -> SystemPerformance:
    """The fleet's and the host's figures now."""
    sample = fleet.host.sample(asyncio.get_running_loop().time())
    failed, total = fleet.outcomes()
    return SystemPerformance(
        total_memory=sample.total_memory_bytes,
        used_memory=sample.used_memory_bytes,
        cpu_usage=sample.cpu_fraction,
        active_connections=sum(session.state is SessionState.OPEN for session in fleet.sessions()),
        error_rate=failed / total if total else 0.0,
    )


async def monitor(fleet: Fleet, thresholds: Thresholds, interval_seconds: float, publish: Publish) -> None:
    """Look at the figures for ever; an alert when one crosses its threshold, and one when it is back."""
    raised: dict[Alarm, str] = {}
    while True:
        await asyncio.sleep(interval_seconds)
        sessions = {session.id: session.performance() for session in fleet.sessions()}
        alarms = assess(system_performance(fleet), sessions, thresholds)
        for (session, name), words in alarms.items():
            if (session, name) not in raised:
                publish(session, "alert", {"name": name, "message": words})
        for (session, name), words in raised.items():
            if (session, name) not in alarms:
                publish(session, "alert", {"name": name, "message": f"no more: {words}"})
        raised = alarms
