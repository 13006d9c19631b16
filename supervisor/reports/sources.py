"""What a report asks of others: the alerts of a time, how many more sessions fit, and which backups
there are.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import msgspec

from supervisor.alerts.alerts import RANKS, AlertRaised, Alerts, Severity
from supervisor.fleet.event_filter import EventFilter
from supervisor.fleet.feed import Feed
from supervisor.reports.report import AlertCount, Capacity
from supervisor.reports.report import Backups as BackupsSeen
from supervisor.upkeep.backups.backups import Backups
from supervisor.watch.forecasting import Forecaster

PAGE: Final = 500
_RAISED: Final = EventFilter(types=(AlertRaised.type,))


class _Raised(msgspec.Struct):
    """What is read of an event."""

    name: str = ""
    severity: Severity = "warning"


class AlertsTold:
    """The alerts of a time, from the event log: over restarts, as far back as that is kept."""

    def __init__(self, feed: Feed, alerts: Alerts) -> None:
        self._feed = feed
        self._alerts = alerts

    async def counts(self, start: float, end: float) -> Sequence[AlertCount]:
        """By name, what is critical and what was raised most first. Raises StoreUnavailable."""
        raised, worst = Counter[str](), dict[str, Severity]()
        after, last = await self._last_before(start), self._feed.last
        while after < last:
            page = await self._feed.after(after, PAGE, wanted=_RAISED)
            for event in page.events:
                if start * 1000 <= event.time_ms < end * 1000:
                    self._count(event.data, raised, worst)
            if page.read_to <= after or (page.events and page.events[-1].time_ms >= end * 1000):
                break
            after = page.read_to
        on = Counter[str]()
        for alert in self._alerts.active():
            on[alert.name] += 1
            worst[alert.name] = _worse(worst.get(alert.name), alert.severity)
        found = [AlertCount(name, worst[name], raised[name], on[name]) for name in worst]
        return sorted(found, key=lambda one: (-RANKS[one.severity], -one.raised, one.name))

    @staticmethod
    def _count(data: bytes, raised: Counter[str], worst: dict[str, Severity]) -> None:
        try:
            told = msgspec.json.decode(data, type=_Raised)
        except msgspec.MsgspecError:
            return  # of another version: it is not known what it tells
        raised[told.name] += 1
        worst[told.name] = _worse(worst.get(told.name), told.severity)

    async def _last_before(self, at: float) -> int:
        """The number of an event before that time after which the log is read: found by halving,
        as numbers and times grow together.
        """
        low, high = 0, self._feed.last
        while high - low > PAGE:
            middle = (low + high) // 2
            page = await self._feed.after(middle, 1)
            if page.events and page.events[0].time_ms >= at * 1000:
                high = middle
            else:
                low = middle
        return low


def capacity_of(forecaster: Forecaster) -> Callable[[], Awaitable[Capacity | None]]:
    """How many more sessions fit, as `wasup capacity` says."""

    async def capacity() -> Capacity | None:
        seen = await forecaster.forecast()
        first = seen.rows[0] if seen.rows else None
        return Capacity(
            seen.sessions,
            seen.more_sessions,
            None if first is None else first.name,
            "" if first is None else first.remedy,
        )

    return capacity


def backups_of(backups: Backups) -> Callable[[], Awaitable[BackupsSeen | None]]:
    """Which backup is the newest that could be restored."""

    async def seen() -> BackupsSeen | None:
        try:
            view = await backups.seen()
        except OSError:  # its directory cannot be read: nobody can say
            return None
        return BackupsSeen(view.last_verified_at, view.last_restore_seconds)

    return seen


def _worse(one: Severity | None, other: Severity) -> Severity:
    return other if one is None else max(one, other, key=RANKS.__getitem__)
