"""While CPU, memory or the supervisor's descriptors are critical, calls that can wait are refused:
when that begins, and when it is over. Sessions, sends and deliveries have what is left.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from supervisor.alerts.alerts import Alerts
from supervisor.alerts.judging.thresholds import Thresholds
from supervisor.history.series import Key
from supervisor.history.tiers import SLOT_SECONDS
from supervisor.host.reading.alarms import percent

LOOK_SECONDS: Final = float(SLOT_SECONDS)
"""There are new figures as often."""
BEGINS_AFTER: Final = 2
"""Looks in a row at which something is critical: one busy moment is none."""
ENDS_AFTER: Final = 6
"""Looks in a row, a minute, at which there was room again."""
MARGIN: Final = 0.05
"""Room is there again when a figure is below its limit by so much of it."""
ALERT: Final = "shedding"


@dataclass(frozen=True, slots=True, kw_only=True)
class SheddingLimits:
    """Above which a figure is critical; None: it never is."""

    cpu: float | None = None
    memory: float | None = None
    descriptors: float | None = None
    """The supervisor's own, as a count."""


class Shortage(NamedTuple):
    """A figure that is critical."""

    words: str
    value: float
    limit: float


def limits_of(thresholds: Thresholds, most_descriptors: int | None) -> SheddingLimits:
    """The critical limits of the alerts; descriptors, which have none, are critical halfway between
    their alert and the end. `most_descriptors`: that this process may open; None: without end.
    """
    share = (1 + thresholds.descriptors) / 2
    return SheddingLimits(
        cpu=thresholds.cpu_critical,
        memory=thresholds.memory_critical,
        descriptors=None if most_descriptors is None else share * most_descriptors,
    )


def shortages(
    figures: Mapping[Key, float], limits: SheddingLimits, margin: float = 0.0
) -> tuple[Shortage, ...]:
    """What is critical; a figure that is not known is not. Pure."""
    found = []
    for name, series, limit in (
        ("CPU", "host.cpu", limits.cpu),
        ("memory", "host.memory", limits.memory),
        ("descriptors of the supervisor", "supervisor.descriptors", limits.descriptors),
    ):
        value = figures.get((series, None))
        if limit is not None and value is not None and value > limit * (1 - margin):
            are = (
                f"{value:.0f} {name} are open, above {limit:.0f}"
                if series == "supervisor.descriptors"
                else f"{name} is {percent(value)}, above {percent(limit)}"
            )
            found.append(Shortage(are, value, limit))
    return tuple(found)


class Shedding:
    """Whether calls that can wait are refused now. `latest`: the history's figures."""

    def __init__(
        self, latest: Callable[[], Mapping[Key, float]], limits: SheddingLimits, alerts: Alerts
    ) -> None:
        self._latest = latest
        self._limits = limits
        self._alerts = alerts
        self._in_a_row = 0
        """Looks that speak for the other state."""
        self.on = False

    async def look(self) -> None:
        """Judge by the latest figures; due every LOOK_SECONDS."""
        self.judge(self._latest())

    def judge(self, figures: Mapping[Key, float]) -> None:
        """Judge by these figures; told at the edges, by an alert."""
        short = shortages(figures, self._limits, MARGIN if self.on else 0.0)
        self._in_a_row = self._in_a_row + 1 if bool(short) is not self.on else 0
        if self._in_a_row >= (ENDS_AFTER if self.on else BEGINS_AFTER):
            self.on, self._in_a_row = not self.on, 0
            if not self.on:
                self._alerts.end(None, ALERT, "Every call is answered again.")
        if self.on and short:
            words = "; ".join(one.words for one in short)
            self._alerts.begin(
                None,
                ALERT,
                f"{words}: calls that can wait are refused",
                value=short[0].value,
                limit=short[0].limit,
            )
