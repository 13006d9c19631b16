"""One endpoint hangs for ever, nine work: whether the nine are later than they would be alone."""

import asyncio
import statistics
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Final

from scripts.bench.report import Report
from scripts.lab import Supervisor, eventually
from scripts.lab.receiver import Delivery, Receiver, receiver
from sessions.views.times import wall_seconds

PART: Final = "neighbours"
WORKING: Final = 9
MOST_RATIO: Final = 1.2
"""Of the p99 with the one that hangs to that without it: what was promised."""
SESSIONS: Final = 10
EVERY_SECONDS: Final = 0.05
"""20 events a second, to nine receivers each."""
ROUND_SECONDS: Final = 15.0


async def measure(directory: Path, report: Report, rounds: int = 4) -> None:
    """Rounds with and without it, in turns, so that both see the same machine. Raises LabError."""
    supervisor = Supervisor(directory / "neighbours", {})
    waits: dict[bool, list[float]] = {True: [], False: []}
    async with AsyncExitStack() as stack:
        stack.push_async_callback(supervisor.close)
        await supervisor.start()
        found = [await stack.enter_async_context(receiver()) for _ in range(WORKING + 1)]
        hanging, working = found[0], found[1:]
        await hanging.be("hang")
        made = [await supervisor.must("POST", "/webhooks", {"url": one.url}) for one in found]
        for number in range(SESSIONS):
            await supervisor.must("POST", "/sessions", {"id": f"s{number}", "start": False})
        for number in range(2 * rounds):
            hangs = number % 2 == 1
            change = {"paused": not hangs}
            await supervisor.must("PATCH", f"/webhooks/{made[0]['id']}", change)
            waits[hangs] += await _round(supervisor, working)
    with_it, without = _p99(waits[True]), _p99(waits[False])
    report.add(PART, "nine alone: event to acceptance, p99 ms", "ms", [without])
    report.add(PART, "nine beside one that hangs, p99 ms", "ms", [with_it])
    report.add(PART, "nine alone: median", "ms", [statistics.median(waits[False])])
    report.add(PART, "nine beside one that hangs: median", "ms", [statistics.median(waits[True])])
    report.add(PART, "ratio of the p99", "", [with_it / without])
    kept = "kept" if with_it / without < MOST_RATIO else "NOT kept"
    report.remark(
        PART,
        f"Wanted: a ratio under {MOST_RATIO}: {kept}. {len(waits[True]):,} deliveries with it,"
        f" {len(waits[False]):,} without, in {rounds} rounds each, in turns.",
    )


async def _round(supervisor: Supervisor, working: list[Receiver]) -> list[float]:
    """Milliseconds from each event to its acceptance by each of them."""
    times = list[tuple[float, Delivery]]()

    def accept(delivery: Delivery) -> bool:
        times.append((time.time(), delivery))
        return False

    for one in working:
        one.refuses = accept
    end, number = time.monotonic() + ROUND_SECONDS, 0
    while time.monotonic() < end:
        path = f"/sessions/s{number % SESSIONS}/proxy"
        await supervisor.must("PUT", path, {"proxy": None})
        number += 1
        await asyncio.sleep(EVERY_SECONDS)

    async def arrived() -> int:
        return len(times)

    await eventually(arrived, lambda count: count >= number * len(working))
    return [1000 * (at - wall_seconds(delivery.event["time"])) for at, delivery in times]


def _p99(samples: list[float]) -> float:
    return statistics.quantiles(samples, n=100)[98]
