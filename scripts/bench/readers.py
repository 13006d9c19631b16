"""Part `readers`: 200 readers, each of whom listens to the events and looks at the fleet every five
seconds, as a dashboard does.

What counts is what a reader waits for, his own share of the two cores included: readers and
supervisor run on the same machine.
"""

import asyncio
import statistics
import time
from collections import defaultdict
from contextlib import suppress
from typing import Final

import aiohttp
import msgspec
import psutil

from scripts.bench.fleet import cpu_seconds
from scripts.bench.stage import Bench
from scripts.lab import LabError, Supervisor
from sessions.views.times import wall_seconds

PART: Final = "readers"
READERS: Final = 200
SESSIONS: Final = 100
LOOK_SECONDS: Final = 5.0
EVENTS_PER_SECOND: Final = 10
MEASURED_SECONDS: Final = 30.0
WARM_SECONDS: Final = 5.0
LOOKS: Final = (
    "/sessions",
    "/reconnection-status",
    "/performance-metrics",
    "/alerts",
    "/events?after={last}&type=session.*",
)
"""What each reader asks for, one after the other."""
MOST_MS: Final = 500.0
"""What 95 of 100 calls may take."""


class Readers:
    """All of them, and what they have waited for."""

    def __init__(self, supervisor: Supervisor, http: aiohttp.ClientSession) -> None:
        self._supervisor = supervisor
        self._http = http
        self._last = 0
        self.measuring = False
        self.waited_ms: dict[str, list[float]] = defaultdict(list)
        """By call."""
        self.refused = 0

    async def look(self, first_after: float) -> None:
        """Look again and again."""
        await asyncio.sleep(first_after)
        while True:
            began = time.monotonic()
            for path in LOOKS:
                await self._call(path)
            await asyncio.sleep(max(0.0, LOOK_SECONDS - (time.monotonic() - began)))

    async def listen(self) -> None:
        """Listen, and note how long each event was on its way."""
        headers = {"Accept": "text/event-stream"}
        async with self._http.get(f"{self._supervisor.api}/events", headers=headers) as stream:
            async for line in stream.content:
                if line.startswith(b"data: ") and self.measuring:
                    event = msgspec.json.decode(line[6:], type=_Told)
                    self._last = event.n
                    now = time.time()
                    self.waited_ms["an event, to each listener"].append(1000 * (now - event.at))

    async def write(self) -> None:
        """What happens meanwhile."""
        for number in range(10**9):
            session = f"s{number % SESSIONS}"
            await self._supervisor.must("PUT", f"/sessions/{session}/proxy", {"proxy": None})
            await asyncio.sleep(1 / EVENTS_PER_SECOND)

    async def _call(self, path: str) -> None:
        began = time.monotonic()
        async with self._http.get(self._supervisor.api + path.format(last=self._last)) as answer:
            await answer.read()
        if self.measuring:
            self.waited_ms[path.partition("?")[0]].append(1000 * (time.monotonic() - began))
            self.refused += answer.status != 200


class _Told(msgspec.Struct):
    """An event as far as it is looked at."""

    n: int
    time: str

    @property
    def at(self) -> float:
        """When it was published, seconds of wall clock."""
        return wall_seconds(self.time)


async def readers(bench: Bench) -> None:
    """Measure."""
    supervisor = await bench.supervisor("readers")
    for number in range(SESSIONS):
        await supervisor.must("POST", "/sessions", {"id": f"s{number}", "start": False})
    bench.tell(f"{READERS} readers of {SESSIONS} sessions")
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as http:
        found = Readers(supervisor, http)
        spread = LOOK_SECONDS / READERS
        work = [found.write()]
        work += [found.listen() for _ in range(READERS)]
        work += [found.look(spread * number) for number in range(READERS)]
        tasks = [asyncio.create_task(one) for one in work]
        try:
            await _measure(bench, supervisor, found, tasks)
        finally:
            for task in tasks:
                task.cancel()
            with suppress(asyncio.CancelledError):
                await asyncio.gather(*tasks, return_exceptions=True)


async def _measure(
    bench: Bench, supervisor: Supervisor, found: Readers, tasks: list[asyncio.Task[None]]
) -> None:
    assert supervisor.process is not None, "it was started"
    process = psutil.Process(supervisor.process.pid)
    await asyncio.sleep(WARM_SECONDS)
    found.measuring, before = True, cpu_seconds(process)
    ended, _ = await asyncio.wait(
        tasks, timeout=MEASURED_SECONDS, return_when=asyncio.FIRST_COMPLETED
    )
    found.measuring, used = False, cpu_seconds(process) - before
    if ended:
        raise LabError(f"a reader has ended: {ended.pop().exception()!r}")
    for name, waited in sorted(found.waited_ms.items()):
        bench.report.add(PART, f"{name}, ms", "", [_p95(waited)])
        bench.report.remark(
            PART, f"{name}: {len(waited)} times, median {statistics.median(waited):.1f} ms."
        )
    bench.report.add(PART, "supervisor: CPU in a second, s", "", [used / MEASURED_SECONDS])
    most = max(_p95(waited) for name, waited in found.waited_ms.items() if name.startswith("/"))
    bench.report.remark(
        PART,
        "95 of 100 waited no longer than the lines above say. Of a call that is at the most"
        f" {most:.0f} ms, {'within' if most <= MOST_MS else 'beyond'} the {MOST_MS:.0f} ms that are"
        " allowed to 200 readers."
        f" {found.refused} calls were refused.",
    )


def _p95(samples: list[float]) -> float:
    return statistics.quantiles(samples, n=20)[-1] if len(samples) > 1 else samples[0]
