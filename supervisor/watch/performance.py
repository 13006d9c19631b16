"""Performance monitoring: the figures of fleet and host against their thresholds.

Alerts on edges only.

The host's figures, and the tuning guide's limits, come from supervisor/host; the thresholds of
memory and CPU are those of docs/evidence.md#names-that-scripts-use.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import msgspec

from sessions.forever import Look
from sessions.model import SessionId, SessionState
from sessions.views.session_view import Performance
from supervisor.host.numbers import number, whole
from supervisor.host.reading.alarms import AlertLimits, Judged, judge, percent
from supervisor.host.reading.host_sampler import Reading

if TYPE_CHECKING:
    from sessions.lifecycle.session import Session

    # the settings take their thresholds from here, and every command takes its settings
    from supervisor.fleet.fleet import Fleet
    from supervisor.watch.alerts import Alerts
    from supervisor.watch.host_watch import HostWatch

WEBSOCKETS_PER_SESSION = 2
"""An open session has one; during a replacement, and from its API's readers, there may be
another.
"""


QUIET_READINGS = 3
"""Without the alarm, in a row, until it is over: a minute and a half at the default interval."""


class SystemPerformance(msgspec.Struct, frozen=True, rename="camel"):
    """The system's figures that scripts read: bytes and fractions of 1."""

    total_memory: int
    used_memory: int
    cpu_usage: float
    active_connections: int
    error_rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Above which an alert is raised: fractions of 1, milliseconds, processes that want a core,
    connections.
    """

    memory: float = 0.8
    cpu: float = 0.9
    error_rate: float = 0.1
    response_time_ms: float = 5000.0
    descriptors: float = number("descriptors_alert") / 100
    load: float | None = None
    """None: the tuning guide's, or the number of cores if that is more."""
    websockets: int | None = None
    """None: the tuning guide's, or twice the sessions if that is more."""
    disk: float = 0.85
    """Of room and of inodes; above it somebody should tidy up.

    docs/evidence.md#database-settings.
    """
    disk_critical: float = 0.95
    """Above it the store is about to fail."""

    def of_host(self, cores: int, sessions: int) -> AlertLimits:
        """The host's, for so many cores and sessions."""
        return AlertLimits(
            cpu_fraction=self.cpu,
            memory_fraction=self.memory,
            descriptors_fraction=self.descriptors,
            websockets=self.websockets
            or max(whole("websockets_alert"), WEBSOCKETS_PER_SESSION * sessions),
            load=self.load or max(number("load_alert"), float(cores)),
            disk_fraction=self.disk,
            disk_critical_fraction=self.disk_critical,
        )


Alarm = tuple[SessionId | None, str]
"""What an alert is about: a session or the host, and the alert's name."""


def assess(
    reading: Reading,
    error_rate: float,
    sessions: Mapping[SessionId, Performance],
    thresholds: Thresholds,
) -> dict[Alarm, Judged]:
    """Every figure that has a threshold, beside it. Pure."""
    limits = thresholds.of_host(reading.host.cores, len(sessions))
    found: dict[Alarm, Judged] = {
        (None, name): judged for name, judged in judge(reading, limits).items()
    }
    found[None, "error_rate"] = Judged(
        value=error_rate,
        limit=thresholds.error_rate,
        words=f"error_rate is {percent(error_rate)}",
        limit_words=percent(thresholds.error_rate),
    )
    for session, performance in sessions.items():
        average = performance.average_response_time
        if average is not None:
            found[session, "response_time"] = Judged(
                value=average,
                limit=thresholds.response_time_ms,
                words=f"round trips take {average:.0f} ms",
                limit_words=f"{thresholds.response_time_ms:.0f} ms",
            )
    return found


def system_performance(fleet: "Fleet", sessions: "Collection[Session]") -> SystemPerformance:
    """The host's figures now, and those of these sessions."""
    sample = fleet.host.sample(asyncio.get_running_loop().time())
    return SystemPerformance(
        total_memory=sample.total_memory_bytes,
        used_memory=sample.used_memory_bytes,
        cpu_usage=sample.cpu_fraction,
        active_connections=sum(session.state is SessionState.OPEN for session in sessions),
        error_rate=error_rate(sessions),
    )


def error_rate(sessions: "Iterable[Session]") -> float:
    """Their failed operations of the last minutes, as a fraction of all."""
    outcomes = [session.outcomes() for session in sessions]
    total = sum(count for _, count in outcomes)
    return sum(failed for failed, _ in outcomes) / total if total else 0.0


class Debouncer:
    """Which alarms ring.

    One ends after so many readings in a row without it: else a figure at its threshold would ring
    at every other one.
    """

    def __init__(self) -> None:
        self._ringing: dict[Alarm, int] = {}
        """How many readings in a row were without it."""

    def over(self, above: Collection[Alarm]) -> list[Alarm]:
        """See what is above its threshold now; the alarms that are over with this reading."""
        quiet = {alarm: count + 1 for alarm, count in self._ringing.items() if alarm not in above}
        self._ringing = dict.fromkeys(above, 0) | {
            a: count for a, count in quiet.items() if count < QUIET_READINGS
        }
        return [alarm for alarm, count in quiet.items() if count >= QUIET_READINGS]


def monitor(fleet: "Fleet", watch: "HostWatch", thresholds: Thresholds, alerts: "Alerts") -> Look:
    """A look at the figures; an alert when one crosses its threshold, and its end when it has been
    back for a while.
    """
    debouncer = Debouncer()

    async def look() -> None:
        # Without the workers' weight: no alert is about it, and to weigh thousands is dear.
        reading = await watch.reading(with_workers=False)
        sessions = {session.id: session.performance() for session in fleet.sessions()}
        found = assess(reading, error_rate(fleet.sessions()), sessions, thresholds)
        above = {alarm: judged for alarm, judged in found.items() if judged.above}
        for (session, name), judged in above.items():
            alerts.begin(session, name, judged.message, judged.severity, judged.value, judged.limit)
        for session, name in debouncer.over(above):
            now = found.get((session, name))
            words = f"{name} is not measured any more" if now is None else now.message
            alerts.end(session, name, words, None if now is None else now.value)

    return look
