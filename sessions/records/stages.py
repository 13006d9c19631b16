"""What each stage of an attempt has taken, from its worker's start to the open socket. Pure: times
are arguments, in monotonic seconds.

    spawn ──► gate ──► upgrade ──► handshake ──► login ──► open
"""

import statistics
from collections.abc import Collection, Iterable, Mapping
from typing import Final, Literal

import msgspec

Stage = Literal["spawn", "gate", "upgrade", "handshake", "login"]

STAGES: Final[Mapping[Stage, str]] = {
    "spawn": "a worker comes up and is given the session; none if it had one already",
    "gate": "the gate admits it",
    "upgrade": "name, proxy, TCP, TLS and the upgrade to WebSocket",
    "handshake": "Noise, up to the message that logs in",
    "login": "WhatsApp lets it in; none where a phone had to scan or type something",
}


class StageTimes(msgspec.Struct, frozen=True, rename="camel"):
    """Milliseconds that the stages of the last login took; None: there was no such stage, or its
    worker does not tell.
    """

    spawn_ms: int | None = None
    gate_ms: int | None = None
    upgrade_ms: int | None = None
    handshake_ms: int | None = None
    login_ms: int | None = None


class StageSummary(msgspec.Struct, frozen=True, rename="camel"):
    """What a stage took in so many cases."""

    count: int
    median_ms: float
    max_ms: float


_BEFORE: Final[Mapping[Stage, Stage]] = {"handshake": "upgrade", "login": "handshake"}
"""Whose end a stage begins with; without it its own beginning is not known."""


class StageClock:
    """Times one attempt after the other. `last`: of the last one that came through."""

    def __init__(self) -> None:
        self.last: StageTimes | None = None
        self._since: float | None = None
        self._took = dict[Stage, float]()

    def begin(self, now: float) -> None:
        """An attempt is on its way: what an earlier one took is none of it."""
        self._since, self._took = now, {}

    def passed(self, stage: Stage, now: float) -> None:
        """That stage is over, and the next one begins."""
        before = _BEFORE.get(stage)
        if self._since is not None and (before is None or before in self._took):
            self._took[stage] = now - self._since
        self._since = now

    def waits_for_somebody(self) -> None:
        """A phone has to scan or type something: how long that takes is nobody's stage."""
        self._since = None

    def opened(self, now: float) -> None:
        """It has come through."""
        if self._since is not None:
            self.passed("login", now)
        if self._took:
            took = {f"{stage}_ms": round(1000 * took) for stage, took in self._took.items()}
            self.last = StageTimes(**took)
        self._since, self._took = None, {}


def summaries(times: Iterable[StageTimes]) -> dict[Stage, StageSummary]:
    """What each stage took in these logins."""
    found = list(times)
    taken = {
        stage: [ms for one in found if (ms := _of(one, stage)) is not None] for stage in STAGES
    }
    return {stage: summary(some) for stage, some in taken.items() if some}


def summary(taken_ms: Collection[float]) -> StageSummary:
    """Milliseconds that it took each time, one at least."""
    median = round(statistics.median(taken_ms), 1)
    return StageSummary(len(taken_ms), median, round(max(taken_ms), 1))


def _of(times: StageTimes, stage: Stage) -> int | None:
    found: int | None = getattr(times, f"{stage}_ms")
    return found
