"""The figures of fleet and host against their thresholds. Alerts on edges only.

The host's figures, and the tuning guide's limits, come from supervisor/host.
"""

from collections.abc import Collection, Mapping

from sessions.forever import Look
from sessions.model import SessionId
from sessions.views.session_view import Performance
from supervisor.alerts.alerts import Alerts
from supervisor.alerts.judging.thresholds import Thresholds
from supervisor.fleet.fleet import Fleet
from supervisor.host.reading.alarms import Judged, judge, percent
from supervisor.host.reading.host_sampler import Reading
from supervisor.watch.host_watch import HostWatch
from supervisor.watch.performance import error_rate

QUIET_READINGS = 3
"""Without the alarm, in a row, until it is over: a minute and a half at the default interval."""

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
        above = {alarm: judged for alarm, judged in found.items() if judged.above}
        for (session, name), judged in above.items():
            alerts.begin(session, name, judged.message, judged.severity, judged.value, judged.limit)
        for session, name in debouncer.over(above):
            now = found.get((session, name))
            words = f"{name} is not measured any more" if now is None else now.message
            alerts.end(session, name, words, None if now is None else now.value)

    return look
