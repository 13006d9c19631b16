"""When a disk will be full, at the pace of the last hours."""

import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from sessions.views.times import duration
from supervisor.alerts.alerts import Alerts, Severity
from supervisor.host.reading.alarms import percent
from supervisor.host.reading.disks import DiskReading

LOOK_SECONDS: Final = 300.0
NAME: Final = "disk_filling"
KEPT: Final = 72
"""Readings: six hours."""
FEWEST: Final = 6
"""Half an hour: less says nothing of a pace."""
WARNING_SECONDS: Final = 24 * 3600.0
CRITICAL_SECONDS: Final = 4 * 3600.0
OVER_SECONDS: Final = 36 * 3600.0
"""Further away than this it is over; else it would flicker."""
FULL_ENOUGH: Final = 0.5
"""An emptier disk has time, whatever is being copied onto it."""


def seconds_to_full(readings: Sequence[tuple[float, float]]) -> float | None:
    """By a straight line through readings of time and fraction used; None: it does not fill, or
    they are too few to tell. Pure.
    """
    if len(readings) < FEWEST:
        return None
    count = len(readings)
    middle_at = sum(at for at, _ in readings) / count
    middle_used = sum(used for _, used in readings) / count
    spread = sum((at - middle_at) ** 2 for at, _ in readings)
    slope = sum((at - middle_at) * (used - middle_used) for at, used in readings)
    if spread == 0 or slope <= 0:
        return None
    return max(0.0, 1.0 - readings[-1][1]) / (slope / spread)


class FillingWatch:
    """Remembers how full each disk was."""

    def __init__(
        self,
        disks: Callable[[], Awaitable[Sequence[DiskReading]]],
        alerts: Alerts,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._disks = disks
        self._alerts = alerts
        self._now = now
        self._readings: dict[str, deque[tuple[float, float]]] = {}

    async def look(self) -> None:
        """Read them, and judge."""
        now, seen = self._now(), set[str]()
        for disk in await self._disks():
            if disk.used_fraction is not None:
                seen.add(disk.where)
                kept = self._readings.setdefault(disk.where, deque(maxlen=KEPT))
                kept.append((now, disk.used_fraction))
                self._judge(disk.where, disk.used_fraction, seconds_to_full(kept))
        for gone in self._readings.keys() - seen:
            del self._readings[gone]
            self._alerts.end(None, NAME, f"{gone} is not read any more.", about=gone)

    def _judge(self, where: str, used: float, left: float | None) -> None:
        shown = percent(used)
        if left is None or used < FULL_ENOUGH or left > OVER_SECONDS:
            words = f"The file system of {where} does not fill up soon; {shown} of it is used."
            self._alerts.end(None, NAME, words, about=where)
        elif left <= WARNING_SECONDS:
            severity: Severity = "critical" if left <= CRITICAL_SECONDS else "warning"
            words = (
                f"The file system of {where}, of which {shown} is used, is full in"
                f" {duration(left)} at the pace of the last hours."
            )
            self._alerts.begin(
                None, NAME, words, severity, round(left), WARNING_SECONDS, about=where
            )
