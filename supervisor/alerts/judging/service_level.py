"""Whether the fleet uses up its allowance of time down too fast.

Of an availability of 99.9 % a thousandth of all session-seconds may be lost. Lost at that pace, the
allowance of a month lasts a month: that is a pace of 1. Each rule looks at two windows: the long
one says that it matters, the short one that it goes on still (Google's SRE workbook, chapter 5).

Counted are sessions, not whether one of them is down: a single session's ordinary reconnect would
ring by itself. What an operator has stopped, what was never paired and what only a person can bring
back is not counted. What was before the supervisor's start is in the history; what that does not
know counts as good.
"""

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple

import structlog

from sessions.model import SessionState, StoreError
from sessions.views.times import duration
from supervisor.alerts.alerts import Alerts, Severity
from supervisor.fleet.fleet import Fleet
from supervisor.history.history import History
from supervisor.history.tiers import SLOT_SECONDS
from supervisor.watch.performance import is_away

LOOK_SECONDS: Final = 10.0
NAME: Final = "service_level"
FEWEST_SESSIONS: Final = 10
"""With fewer, each is its own alert (`down`), and the pace says nothing."""
OVER_BELOW: Final = 0.8
"""Of a rule's pace, in its short window: only then it is over, else it would flicker."""
HOUR: Final = 3600.0
_MINUTE: Final = 60.0

log = structlog.get_logger("alerts")


@dataclass(frozen=True, slots=True)
class Burn:
    """A rule: `pace` over both windows, seconds."""

    pace: float
    long_seconds: float
    short_seconds: float
    severity: Severity


BURNS: Final = (
    Burn(14.4, HOUR, HOUR / 12, "critical"),
    Burn(6.0, 6 * HOUR, HOUR / 2, "critical"),
    Burn(1.0, 72 * HOUR, 6 * HOUR, "warning"),
)


class _Minute(NamedTuple):
    number: int
    down: float
    """Session-seconds."""


class Budget:
    """Session-seconds, by the minute, for three days. Pure: times are arguments."""

    def __init__(self, target: float) -> None:
        self._allowed = 1.0 - target
        self._minutes: deque[_Minute] = deque(maxlen=round(BURNS[-1].long_seconds / _MINUTE) + 1)

    def add(self, now: float, down: float) -> None:
        """So many session-seconds down, just before `now`."""
        number = int(now // _MINUTE)
        if self._minutes and self._minutes[-1].number == number:
            last = self._minutes.pop()
            down += last.down
        self._minutes.append(_Minute(number, down))

    def pace(self, now: float, seconds: float, sessions: int) -> float:
        """How many times faster than allowed it was used up, by a fleet of so many sessions."""
        first, down = (now - seconds) // _MINUTE, 0.0
        for minute in reversed(self._minutes):
            if minute.number <= first:
                break
            down += minute.down
        return down / (sessions * seconds) / self._allowed

    def burning(self, now: float, sessions: int, on: Burn | None) -> tuple[Burn, float] | None:
        """The worst rule that holds, and its pace. `on`: the one that held before."""
        if sessions < FEWEST_SESSIONS:
            return None
        for burn in BURNS:
            factor = OVER_BELOW if burn == on else 1.0
            long = self.pace(now, burn.long_seconds, sessions)
            short = self.pace(now, burn.short_seconds, sessions)
            if long >= burn.pace * factor and short >= burn.pace * factor:
                return burn, long
        return None


class ServiceLevelWatch:
    """Counts, and judges. `target`: the availability, a fraction of 1."""

    def __init__(
        self, fleet: Fleet, alerts: Alerts, target: float, now: Callable[[], float] = time.time
    ) -> None:
        self._fleet = fleet
        self._alerts = alerts
        self._target = target
        self._now = now
        self._budget = Budget(target)
        self._last: float | None = None
        self._on: Burn | None = None

    async def recall(self, history: History) -> None:
        """Take up the time down of before the supervisor's start; before the first look."""
        now = self._now()
        since = now - BURNS[-1].long_seconds
        try:
            points = await history.read("fleet.away", None, since, now, round(_MINUTE))
        except StoreError as error:
            log.warning(
                "the service level begins anew: the history cannot be read",
                action="service_level_anew",
                error=str(error),
            )
            return
        for point in points:
            self._budget.add(point.at, point.sum * SLOT_SECONDS)

    def look(self) -> None:
        """Count the time since the last look, and judge."""
        now, sessions = self._now(), self._fleet.sessions()
        down = sum(is_away(one) for one in sessions)
        total = down + sum(one.state is SessionState.OPEN for one in sessions)
        if self._last is not None:
            passed = min(max(now - self._last, 0.0), 6 * LOOK_SECONDS)  # no clock that jumps
            self._budget.add(now, down * passed)
        self._last = now
        found = self._budget.burning(now, total, self._on)
        if found is None:
            self._on = None
            words = f"The fleet's availability is on course for {self._target:.3%} again."
            self._alerts.end(None, NAME, words)
            return
        self._on, pace = found
        words = (
            f"Time down is used up {pace:.1f} times faster than an availability of"
            f" {self._target:.3%} allows (over {duration(self._on.long_seconds)}); {down} of"
            f" {total} sessions are down now."
        )
        self._alerts.begin(None, NAME, words, self._on.severity, round(pace, 1), self._on.pace)
