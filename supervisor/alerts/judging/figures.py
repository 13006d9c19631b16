"""The figures of fleet and host against their thresholds. Alerts on edges only.

The host's figures, and the tuning guide's limits, come from supervisor/host.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from sessions.forever import Look
from sessions.lifecycle.session import Session
from sessions.model import SessionId
from sessions.views.session_view import Performance
from supervisor.alerts.alerts import Alerts, Severity
from supervisor.alerts.judging.thresholds import Thresholds
from supervisor.fleet.fleet import Fleet
from supervisor.host.reading.alarms import Judged, judge, percent
from supervisor.host.reading.host_sampler import Reading
from supervisor.watch.host_watch import HostWatch
from supervisor.watch.performance import operations

QUIET_READINGS: Final = 3
"""Without the alarm, in a row, until it is over: a minute and a half at the default interval."""
RISING_READINGS: Final = 2
"""Above its threshold, in a row, until a figure that has peaks is an alarm."""
PEAKS: Final = frozenset({"cpu", "load", "error_rate", "response_time"})
FEWEST_OPERATIONS: Final = 20
"""Of the last minutes: with fewer, one failure would be a rate."""

Alarm = tuple[SessionId | None, str]
"""What an alert is about: a session or the host, and the alert's name."""


def assess(
    reading: Reading,
    error_rate: float | None,
    sessions: Mapping[SessionId, Performance],
    thresholds: Thresholds,
) -> dict[Alarm, Judged]:
    """Every figure that has a threshold, beside it. `error_rate` None: too few operations to tell.
    Pure.
    """
    limits = thresholds.of_host(reading.host.cores, len(sessions))
    found: dict[Alarm, Judged] = {
        (None, name): judged for name, judged in judge(reading, limits).items()
    }
    if error_rate is not None:
        found[None, "error_rate"] = _judged(
            error_rate,
            thresholds.error_rate,
            thresholds.error_rate_critical,
            f"error_rate is {percent(error_rate)}",
            percent,
        )
    for session, performance in sessions.items():
        average = performance.average_response_time
        if average is not None:
            found[session, "response_time"] = _judged(
                average,
                thresholds.response_time_ms,
                thresholds.response_time_ms_critical,
                f"round trips take {average:.0f} ms",
                lambda limit: f"{limit:.0f} ms",
            )
    return found


def _judged(
    value: float,
    warning: float,
    critical: float | None,
    words: str,
    limit_words: Callable[[float], str],
) -> Judged:
    is_critical = critical is not None and value > critical
    limit = critical if critical is not None and is_critical else warning
    return Judged(
        value=value,
        limit=limit,
        words=words,
        limit_words=limit_words(limit),
        severity="critical" if is_critical else "warning",
    )


def error_rate(sessions: Iterable[Session]) -> float | None:
    """Their failed operations of the last minutes, as a fraction of all; None: too few to tell."""
    failed, total = operations(sessions)
    return failed / total if total >= FEWEST_OPERATIONS else None


@dataclass(slots=True)
class _Ringing:
    """Of an alarm: readings in a row above its threshold, below it, and below what is critical."""

    above: int = 0
    quiet: int = 0
    calmer: int = 0
    on: bool = False
    critical: bool = False


class Debouncer:
    """Which alarms ring.

    A figure that has peaks rings at its second reading in a row. An alarm ends, or ceases to be
    critical, after so many readings in a row without it: else a figure at its threshold would ring
    at every other one.
    """

    def __init__(self) -> None:
        self._known: dict[Alarm, _Ringing] = {}

    def look(self, found: Mapping[Alarm, Judged]) -> tuple[dict[Alarm, Judged], list[Alarm]]:
        """A reading: what rings now, and what is over with it."""
        on, over = dict[Alarm, Judged](), list[Alarm]()
        for alarm, judged in found.items():
            if judged.above:
                ringing = self._known.setdefault(alarm, _Ringing())
                if self._rings(alarm, ringing, judged):
                    severity: Severity = "critical" if ringing.critical else "warning"
                    on[alarm] = replace(judged, severity=severity)
        for alarm in [one for one in self._known if one not in found or not found[one].above]:
            ringing = self._known[alarm]
            ringing.above, ringing.quiet = 0, ringing.quiet + 1
            if not ringing.on or ringing.quiet >= QUIET_READINGS:
                del self._known[alarm]
                over += [alarm] if ringing.on else []
        return on, over

    @staticmethod
    def _rings(alarm: Alarm, ringing: _Ringing, judged: Judged) -> bool:
        ringing.above, ringing.quiet = ringing.above + 1, 0
        ringing.on = ringing.on or ringing.above >= (RISING_READINGS if alarm[1] in PEAKS else 1)
        ringing.calmer = 0 if judged.severity == "critical" else ringing.calmer + 1
        is_critical = judged.severity == "critical"
        ringing.critical = is_critical or (ringing.critical and ringing.calmer < QUIET_READINGS)
        return ringing.on


def monitor(fleet: Fleet, watch: HostWatch, thresholds: Thresholds, alerts: Alerts) -> Look:
    """A look at the figures; an alert when one crosses its threshold, and its end when it has been
    back for a while.
    """
    debouncer = Debouncer()

    async def look() -> None:
        # Without the workers' weight: no alert is about it, and to weigh thousands is dear.
        reading = await watch.reading(with_workers=False)
        sessions = {session.id: session.performance() for session in fleet.sessions()}
        found = assess(reading, error_rate(fleet.sessions()), sessions, thresholds)
        on, over = debouncer.look(found)
        for (session, name), judged in on.items():
            alerts.begin(session, name, judged.message, judged.severity, judged.value, judged.limit)
        for session, name in over:
            now = found.get((session, name))
            words = f"{name} is not measured any more" if now is None else now.message
            alerts.end(session, name, words, None if now is None else now.value)

    return look
