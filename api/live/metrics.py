"""The figures of the live feed: who came, who was refused and why, how connections ended, and what
the stages of a handshake took. Since the supervisor started, or of the last day.
"""

import time
from collections import Counter, deque
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

from api.live.observer import Closure, Handshake, Refusal, Resync
from sessions.records.stages import StageSummary, summary
from sessions.views.times import iso
from supervisor.history.series import Key

STAGES: Final = ("waited", "token", "capacity", "admitted")
"""Of a handshake, as its observer is told."""
KEPT_HANDSHAKES: Final = 1000
"""The last ones, whose stages are summed up."""
HOURS: Final = 24
AGES: Final = (
    (1.0, "under a second"),
    (60.0, "under a minute"),
    (3600.0, "under an hour"),
    (86400.0, "under a day"),
)
OLDER: Final = "older"


class FeedClosures(msgspec.Struct, frozen=True, rename="camel"):
    """Connections of the last 24 hours that have ended: why, how old, and in which hour (UTC)."""

    count: int
    by_reason: dict[str, int]
    by_age: dict[str, int]
    by_hour: dict[str, int]


class FeedFigures(msgspec.Struct, frozen=True, rename="camel"):
    """The live feed's figures.

    `successes`, `failures` (by reason), `resyncs`: since the supervisor started. `handshake`: the
    last ones, by stage.
    """

    connections: int
    successes: int
    failures: dict[str, int]
    resyncs: int
    handshake: dict[str, StageSummary]
    closures: FeedClosures


class _Ended(NamedTuple):
    hour: int
    reason: str
    age: str


class MetricsCollector:
    """Counts what the feed tells (a FeedObserver)."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._connections = self._successes = self._resyncs = 0
        self._failures = Counter[str]()
        self._took = {stage: deque[float](maxlen=KEPT_HANDSHAKES) for stage in STAGES}
        self._ended = Counter[_Ended]()
        """Bounded by what it counts: hours of a day, reasons and ages are few."""

    def record_connection_success(self, handshake: Handshake) -> None:
        """A client was let in."""
        self._connections += 1
        self._successes += 1
        for stage, took in self._took.items():
            took.append(1000 * getattr(handshake, f"{stage}_seconds"))

    def record_connection_failure(self, reason: str) -> None:
        """A client was not let in."""
        self._failures[reason] += 1

    def on_handshake(self, handshake: Handshake) -> None:
        """A client was let in."""
        self.record_connection_success(handshake)

    def on_refusal(self, refusal: Refusal) -> None:
        """A client was not let in."""
        self.record_connection_failure(refusal.reason)

    def on_closure(self, closure: Closure) -> None:
        """A client that was let in is gone."""
        self._connections -= 1
        self._forget()
        self._ended[_Ended(self._hour(), closure.reason, age_of(closure.age_seconds))] += 1

    def on_resync(self, resync: Resync) -> None:
        """A client's queue was dropped."""
        self._resyncs += 1

    def measure(self) -> dict[Key, float]:
        """A source of the history (supervisor/history/sources.py)."""
        return {
            ("feed.clients", None): self._connections,
            ("feed.admitted", None): self._successes,
            ("feed.refused", None): self._failures.total(),
            ("feed.resyncs", None): self._resyncs,
        }

    def figures(self) -> FeedFigures:
        """The figures now."""
        self._forget()
        return FeedFigures(
            connections=self._connections,
            successes=self._successes,
            failures=dict(self._failures.most_common()),
            resyncs=self._resyncs,
            handshake={stage: summary(took) for stage, took in self._took.items() if took},
            closures=FeedClosures(
                count=self._ended.total(),
                by_reason=self._by(lambda one: one.reason),
                by_age=self._by(lambda one: one.age),
                by_hour=self._by(lambda one: iso(3600.0 * one.hour)),
            ),
        )

    def _by(self, what: Callable[[_Ended], str]) -> dict[str, int]:
        counted = Counter[str]()
        for one, count in self._ended.items():
            counted[what(one)] += count
        return dict(counted.most_common())

    def _hour(self) -> int:
        return int(self._clock() // 3600)

    def _forget(self) -> None:
        oldest = self._hour() - HOURS + 1
        for one in [one for one in self._ended if one.hour < oldest]:
            del self._ended[one]


def age_of(seconds: float) -> str:
    """How old a connection was, in words."""
    return next((words for most, words in AGES if seconds < most), OLDER)
