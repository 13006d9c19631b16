"""Whether memory grows, and how fast: the supervisor's, and each worker's, over the last hours.

A line through samples (least squares), and a word only where it says something: over hours, steady,
and much of what the process has. A process that has just begun always grows.
"""

import asyncio
import statistics
from array import array
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from supervisor.history.series import Key

SAMPLE_SECONDS: Final = 300.0
KEPT: Final = 72
"""Samples: six hours. For 5,000 workers 1.5 MB."""
LEAST_SAMPLES: Final = 24
"""Two hours; what is younger is told of no growth."""
STEADY: Final = 0.8
"""Of the samples' variance, so much at least is the line's: else it is a fleet at work, or a cache
that has filled up.
"""
MUCH: Final = 0.25
"""Of what the process has now, it grows by so much in a day at least."""
MOST_TOLD: Final = 10
KIB: Final = 1024


class Growth(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """How a process's resident memory grows.

    `steadiness`: the part of the samples' variance that the line explains, 0 to 1. `leaks`: it is
    steady, and much of what the process has.
    """

    memory_bytes: int
    bytes_per_hour: int
    hours: float
    steadiness: float
    leaks: bool


class WorkerGrowth(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A worker that leaks, by all that its memory says."""

    session: str
    pid: int
    growth: Growth


class MemoryGrowth(msgspec.Struct, frozen=True, rename="camel"):
    """`supervisor` None: it has not run for long enough. `workers`: those that leak, the fastest
    first, ten at the most.
    """

    supervisor: Growth | None
    workers: list[WorkerGrowth]


class Worker(NamedTuple):
    """Whose memory it is."""

    session: str
    pid: int


class MemoryWatch:
    """Samples what processes weigh.

    `latest`: the history's last figures. `workers`: the resident bytes of each, as it tells in its
    heartbeats.
    """

    def __init__(
        self,
        latest: Callable[[], Mapping[Key, float]],
        workers: Callable[[], Mapping[Worker, int]],
    ) -> None:
        self._latest = latest
        self._workers = workers
        self._times: deque[float] = deque(maxlen=KEPT)
        self._own = array("Q")
        """KiB, as of each worker; the newest belong to the newest times."""
        self._of: dict[Worker, array[int]] = {}

    async def look(self) -> None:
        """The next sample, due every SAMPLE_SECONDS."""
        own_bytes = self._latest().get(("supervisor.memory_bytes", None))
        if own_bytes is not None:
            self.sample(asyncio.get_running_loop().time(), round(own_bytes), self._workers())

    def sample(self, now: float, own_bytes: int, workers: Mapping[Worker, int]) -> None:
        """Take one down. Workers that are gone are forgotten."""
        self._times.append(now)
        _add(self._own, own_bytes)
        self._of = {worker: self._of.get(worker, array("Q")) for worker in workers}
        for worker, size_bytes in workers.items():
            _add(self._of[worker], size_bytes)

    def view(self) -> MemoryGrowth:
        """What is known now."""
        found = [
            WorkerGrowth(session=worker.session, pid=worker.pid, growth=growth)
            for worker, sizes in self._of.items()
            # before the line, which costs: most weigh what they weighed
            if len(sizes) >= LEAST_SAMPLES and sizes[-1] > sizes[0]
            if (growth := self._growth(sizes)) is not None and growth.leaks
        ]
        found.sort(key=lambda one: -one.growth.bytes_per_hour)
        return MemoryGrowth(self._growth(self._own), found[:MOST_TOLD])

    def _growth(self, sizes: "array[int]") -> Growth | None:
        times = list(self._times)[-len(sizes) :]
        return growth_of(times, [KIB * size for size in sizes])


def growth_of(times: Sequence[float], sizes: Sequence[int]) -> Growth | None:
    """The line through samples, seconds and bytes; None: there are too few. Pure."""
    if len(times) < LEAST_SAMPLES:
        return None
    per_second = statistics.linear_regression(times, sizes).slope
    # samples that are all the same have no correlation, and no growth
    steady = 0.0 if min(sizes) == max(sizes) else statistics.correlation(times, sizes) ** 2
    a_day = 24 * 3600.0 * per_second
    return Growth(
        memory_bytes=sizes[-1],
        bytes_per_hour=round(3600.0 * per_second),
        hours=round((times[-1] - times[0]) / 3600.0, 1),
        steadiness=round(steady, 2),
        leaks=steady >= STEADY and a_day >= MUCH * sizes[-1],
    )


def _add(sizes: "array[int]", size_bytes: int) -> None:
    sizes.append(size_bytes // KIB)
    if len(sizes) > KEPT:
        del sizes[0]
