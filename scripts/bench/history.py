"""`python -m scripts.bench.history`: what the history costs, in CPU time while it measures a fleet,
and in room on the disk.

The real sampler, sources, pages and store; the sessions are played: their figures change as those
of sessions do that have some traffic (`--messages` a minute). Time is played, too: what a fleet
takes a week for is measured in minutes, and of the disk a sample of the sessions is measured for
more than a week, every one of which weighs what the others do.
"""

import argparse
import asyncio
import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, cast

from sqlalchemy import func, select

from scripts.bench.report import Report
from sessions.model import SessionId, SessionState
from sessions.records.counters import Counters
from sessions.records.distribution import Distribution
from sessions.store import Store, sqlite_url
from sessions.store.engine import schema
from sessions.views.session_view import Performance
from sessions.workers.wire import Beat
from supervisor.fleet.fleet import Fleet
from supervisor.history.archive import Archive
from supervisor.history.history import WRITE_SLOTS, History
from supervisor.history.sampler import Sampler
from supervisor.history.sources import fleet_source, host_source
from supervisor.history.tiers import DAY, SLOT_SECONDS, TIERS
from supervisor.host.reading.readings import WindowedHost
from supervisor.watch.host_watch import HostWatch

PART: Final = "history"
T0: Final = 1_728_000_000.0
"""The begin of a page of every tier."""
MIB: Final = 2**20
PAGE_BYTES: Final = 4096
"""Of a process's memory."""
PROBE_SECONDS: Final = 30
WEIGHED_SESSIONS: Final = 20
WEIGHED_DAYS: Final = 8
"""Longer than the two finer tiers keep, so that all is in them that ever will be."""


@dataclass
class Worker:
    """A played worker."""

    pid: int
    beat: Beat


@dataclass
class Played:
    """A played session, with real counters."""

    id: SessionId
    rng: random.Random
    messages_per_second: float
    now: Callable[[], float]
    counters: Counters = field(default_factory=Counters)
    memory_bytes: int = 74 * MIB
    response_ms: float = 180.0
    state: SessionState = SessionState.OPEN
    may_show_qr: bool = False
    worker: Worker = field(init=False)

    def __post_init__(self) -> None:
        self.response_ms = self.rng.uniform(120, 300)
        self.counters.opened(self.now())
        self.worker = Worker(self.rng.randrange(2, 1 << 20), Beat(0.0, self.memory_bytes, 0))

    def step(self) -> None:
        """Ten seconds pass."""
        rng, now = self.rng, self.now()
        if rng.random() < SLOT_SECONDS * self.messages_per_second:
            self.counters.message(now)
        if now % PROBE_SECONDS < SLOT_SECONDS:
            self.counters.succeeded(now, self.response_ms * rng.lognormvariate(0, 0.3))
        if rng.random() < 0.0001:
            self.counters.failed(now)
        self.memory_bytes += PAGE_BYTES * round(rng.gauss(0, 30))
        self.memory_bytes = min(max(self.memory_bytes, 60 * MIB), 120 * MIB)
        lag_ms = round(rng.lognormvariate(0.5, 0.6), 1)
        self.worker.beat = Beat(lag_ms, self.memory_bytes, self.memory_bytes // 2)

    def performance(self) -> Performance:
        """As of a real session."""
        now, worker = self.now(), cast("Any", self.worker)
        return Performance.of(self.state, T0, self.counters, worker, None, now)


class PlayedFleet:
    """So many sessions."""

    def __init__(self, count: int, messages_per_minute: float, now: Callable[[], float]) -> None:
        self._sessions = {
            SessionId(f"shop-{number}"): Played(
                SessionId(f"shop-{number}"), random.Random(number), messages_per_minute / 60, now
            )
            for number in range(count)
        }

    def sessions(self) -> Any:
        """All of them."""
        return self._sessions.values()

    def step(self) -> None:
        """Ten seconds pass."""
        for session in self._sessions.values():
            session.step()


class Clock:
    """Played time."""

    def __init__(self) -> None:
        self.now = T0

    def __call__(self) -> float:
        """Seconds since 1970."""
        return self.now


async def cost(report: Report, sessions: int, messages_per_minute: float, minutes: int) -> None:
    """CPU seconds of measuring and writing, of the time that is measured."""
    clock = Clock()
    fleet = PlayedFleet(sessions, messages_per_minute, clock)
    with tempfile.TemporaryDirectory() as directory:
        store = await Store.open(sqlite_url(Path(directory) / "wasup.db"))
        history = History(Archive(store.history_pages), clock)
        host = WindowedHost(30.0)
        watch = HostWatch(host, {443}, lambda: (), [Path(directory)])
        sources = [host_source(watch), fleet_source(cast("Fleet", fleet), Distribution())]
        sampler = Sampler(history.take, sources, clock)
        measured, written, worst_ms = [], [], 0.0
        for _ in range(6 * minutes):
            clock.now += SLOT_SECONDS
            fleet.step()
            began, wall = time.process_time(), time.perf_counter()
            await sampler.sample(clock.now - SLOT_SECONDS)
            middle = time.process_time()
            worst_ms = max(worst_ms, 1000 * (time.perf_counter() - wall))
            await history.write_due()
            measured.append(middle - began)
            written.append(time.process_time() - middle)
            await asyncio.sleep(0)
        await store.close()
    seconds = SLOT_SECONDS * len(measured)
    report.add(
        PART, f"CPU to measure {sessions} sessions", "% of a core", [100 * sum(measured) / seconds]
    )
    report.add(PART, "CPU to pack and write", "% of a core", [100 * sum(written) / seconds])
    report.add(PART, "of the loop's time a sample takes at the most", "ms", [worst_ms])


async def weight(report: Report, messages_per_minute: float) -> None:
    """Room on the disk for a thousand sessions, tier by tier."""
    clock = Clock()
    fleet = PlayedFleet(WEIGHED_SESSIONS, messages_per_minute, clock)
    source = fleet_source(cast("Fleet", fleet), Distribution())
    with tempfile.TemporaryDirectory() as directory:
        file = Path(directory) / "wasup.db"
        store = await Store.open(sqlite_url(file))
        history = History(Archive(store.history_pages), clock)
        for slot in range(WEIGHED_DAYS * DAY // SLOT_SECONDS):
            clock.now += SLOT_SECONDS
            fleet.step()
            told = source()
            assert isinstance(told, dict)
            history.take(told, clock.now - SLOT_SECONDS)
            if slot % WRITE_SLOTS == 0:
                await history.write_due()
            if slot % 360 == 0:
                await history.drop_old()
        await history.close()
        table = schema.history_pages
        async with store.snapshot_of_all() as connection:
            rows = (
                await connection.execute(
                    select(table.c.tier, func.count(), func.sum(func.length(table.c.value)))
                    .where(table.c.whose == "session")
                    .group_by(table.c.tier)
                )
            ).all()
        await store.close()
        size = file.stat().st_size
    total = 0.0
    for number, pages, size_bytes in rows:
        tier = TIERS[number]
        covered = min(WEIGHED_DAYS * DAY, tier.stored_seconds)
        whole = size_bytes / WEIGHED_SESSIONS * 1000 * tier.stored_seconds / covered
        total += whole
        report.add(PART, f"1,000 sessions, every {tier.step_seconds} s", "MB", [whole / 1e6])
        report.remark(PART, f"tier {number}: {pages} pages of {size_bytes / pages:.0f} bytes")
    report.add(PART, "1,000 sessions, all tiers, when full", "MB", [total / 1e6])
    week = size / WEIGHED_SESSIONS * 1000
    report.add(PART, "1,000 sessions, the database after 8 days", "MB", [week / 1e6])


async def run(sessions: int, messages_per_minute: float, minutes: int) -> None:
    """Both, and a table."""
    report = Report()
    await cost(report, sessions, messages_per_minute, minutes)
    await weight(report, messages_per_minute)
    print(report.table())


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=1000)
    parser.add_argument("--messages", type=float, default=2.0, help="of each session, a minute")
    parser.add_argument("--minutes", type=int, default=60, help="of played time, for the CPU")
    given = parser.parse_args()
    asyncio.run(run(given.sessions, given.messages, given.minutes))


if __name__ == "__main__":
    main()
