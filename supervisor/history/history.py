"""The history: takes what is measured, and tells what it was, now or then.

Whoever wants figures (alerts, API, reports, Prometheus) has them from here, so all judge by the
same.
"""

from collections.abc import Mapping
from typing import Final

from sessions.model import SessionId
from sessions.views.events import SessionDeleted
from supervisor.history.points import Point, joined, point
from supervisor.history.recent import SLOT_SECONDS, Recent
from supervisor.history.series import SERIES, Key, Series, series_of

KEPT_SLOTS: Final = 360
"""An hour."""


class History:
    """All series of all subjects."""

    def __init__(self) -> None:
        self._recent: dict[Key, Recent] = {}
        self._latest: Mapping[Key, float] = {}
        self._totals: Mapping[Key, float] = {}

    def take(self, figures: Mapping[Key, float], at: float) -> None:
        """What was measured: the figures of the ten seconds in which `at` lies, in seconds since
        1970.
        """
        slot = int(at // SLOT_SECONDS)
        latest: dict[Key, float] = {}
        sums: dict[Key, int] = {}
        for key, told in figures.items():
            series = series_of(key[0])
            recent = self._recent.get(key)
            if recent is None:
                recent = self._recent[key] = Recent()
            value = round(told * series.steps)
            if series.kind != "gauge":
                value = recent.added(value)
            if series.summed_as is not None:
                whole = (series.summed_as, None)
                sums[whole] = sums.get(whole, 0) + value
            self._add(key, recent, series, slot, value, latest)
        for key, value in sums.items():
            recent = self._recent.setdefault(key, Recent())
            self._add(key, recent, SERIES[key[0]], slot, value, latest)
        self._latest, self._totals = latest, figures

    def _add(
        self,
        key: Key,
        recent: Recent,
        series: Series,
        slot: int,
        value: int,
        latest: dict[Key, float],
    ) -> None:
        recent.add(slot, value)
        recent.forget(slot - KEPT_SLOTS)
        latest[key] = value / series.steps

    def latest(self) -> Mapping[Key, float]:
        """The figures of the last interval; of a count, what was added in it."""
        return self._latest

    def totals(self) -> Mapping[Key, float]:
        """What the sources told last; of a count, its total since the supervisor started."""
        return self._totals

    def on_deleted(self, session: SessionId | None, _deleted: SessionDeleted) -> None:
        """A session is gone, and its figures with it."""
        if session is not None:
            self._recent = {
                key: recent
                for key, recent in self._recent.items()
                if series_of(key[0]).subject != "session" or key[1] != session
            }

    async def read(
        self, series: str, subject: str | None, start: float, end: float, step_seconds: int
    ) -> tuple[Point, ...]:
        """The figures from `start` up to `end` (seconds since 1970), one point for each step in
        which there were any, oldest first.
        """
        steps = series_of(series).steps
        recent = self._recent.get((series, subject))
        if recent is None:
            return ()
        cells = (cell for cell in recent.cells() if start <= cell.at_seconds < end)
        return tuple(point(cell, steps) for cell in joined(cells, step_seconds))
