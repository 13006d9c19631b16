"""performance.log: the figures in a line, so that a file tells how a night was."""

import time
from collections.abc import Mapping
from heapq import nlargest
from typing import Any, Final

from sessions.views.times import iso
from supervisor.history.history import History
from supervisor.history.outward.requests import SERVICE
from supervisor.history.series import Key, series_of
from supervisor.process.log_files import LogFile

SLOWEST: Final = 5
"""Sessions that a line names."""
BY_SUBJECT: Final[Mapping[str, str]] = {"state.sessions": "states", "disk.used": "disks"}
"""Of these series a line has the figure of each subject, under that name."""


class PerformanceLog:
    """Writes a line each time that it is told to look: gauges as they are, and what was added to
    counts since the line before.
    """

    def __init__(self, file: LogFile, history: History) -> None:
        self._file = file
        self._history = history
        self._before: Mapping[Key, float] = {}

    async def look(self) -> None:
        """Write a line, once something was measured."""
        latest, totals = self._history.latest(), self._history.totals()
        if not latest:
            return
        head = {"timestamp": iso(time.time()), "level": "INFO", "service": SERVICE}
        self._file.write(head | line(latest, totals, self._before))
        self._before = totals


def line(
    latest: Mapping[Key, float], totals: Mapping[Key, float], before: Mapping[Key, float]
) -> dict[str, Any]:
    """What a line tells of the figures. `before`: the totals at the line before. Pure."""
    figures: dict[str, float] = {}
    by_subject: dict[str, dict[str, float]] = {}
    times: list[tuple[float, str]] = []
    for (name, subject), value in latest.items():
        if subject is None:
            kind = series_of(name).kind
            if kind == "gauge":
                figures[name] = value
            elif kind == "count":
                total = totals.get((name, None), 0.0)
                known = before.get((name, None), 0.0)
                figures[name] = round(total - known if total >= known else total, 6)
        elif name in BY_SUBJECT:
            by_subject.setdefault(BY_SUBJECT[name], {})[subject] = value
        elif name == "session.response_time_ms":
            times.append((value, subject))
    slowest = [
        {"session": session, "response_time_ms": took} for took, session in nlargest(SLOWEST, times)
    ]
    return {**figures, **by_subject, "slowest": slowest}
