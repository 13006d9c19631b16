"""Part `maintenance`: `scripts/maintenance.sh` on a store of a GiB, while things are written all
the time: what a write waits for beside it, against what it waits for without.

A write is a call that is answered when its event is durable. Nobody may notice: the sessions that
are open stay open.
"""

import asyncio
import itertools
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from scripts.bench.stage import Bench, paired
from scripts.lab import LabError, Supervisor
from scripts.lab.processes import ROOT

PART: Final = "maintenance"
SESSIONS: Final = 1000
KEYS_OF_ONE: Final = 256
KEY_BYTES: Final = 4096
OPEN: Final = ("one", "two")
WRITES_PER_SECOND: Final = 20
BEFORE_SECONDS: Final = 30.0


class Writing:
    """Writes all the time, and notes how long each took."""

    def __init__(self, supervisor: Supervisor, tell: Callable[[str], None]) -> None:
        self._supervisor = supervisor
        self._tell = tell
        self.waited_ms: list[float] = []

    async def go_on(self) -> None:
        """Until it is called off."""
        for number in itertools.count():
            began = time.monotonic()
            path = f"/sessions/s{number % SESSIONS:04}/proxy"
            await self._supervisor.must("PUT", path, {"proxy": None})
            took = time.monotonic() - began
            self.waited_ms.append(1000 * took)
            if took > 1.0:
                self._tell(f"a write took {took:.1f} s")
            await asyncio.sleep(max(0.0, 1 / WRITES_PER_SECOND - took))

    def taken(self) -> list[float]:
        """What was noted since the last time."""
        taken, self.waited_ms = sorted(self.waited_ms), []
        return taken


async def maintenance(bench: Bench) -> None:
    """Measure."""
    supervisor = await bench.supervisor("maintenance")
    await supervisor.close()
    file = bench.directory / "maintenance" / "wasup.db"
    await asyncio.to_thread(_fill, file)
    supervisor = await bench.supervisor("maintenance")
    await paired(bench, supervisor, OPEN)
    bench.tell(f"a store of {file.stat().st_size / 2**20:,.0f} MiB, {SESSIONS} sessions")
    writing = Writing(supervisor, bench.tell)
    task = asyncio.create_task(writing.go_on())
    try:
        ended, _ = await asyncio.wait({task}, timeout=BEFORE_SECONDS)
        before, last = writing.taken(), await supervisor.last_event()
        began = time.monotonic()
        bench.tell("scripts/maintenance.sh begins")
        said = await _maintain(supervisor)
        took, beside = time.monotonic() - began, writing.taken()
        if ended or task.done():
            raise LabError(f"writing has ended: {task.exception()!r}")
    finally:
        task.cancel()
        await asyncio.wait({task})
    for line in said.splitlines():
        bench.tell(line)
    answer = await supervisor.get(f"/events?after={last}&type=session.state&limit=1000")
    noticed = [event for event in answer["events"] if event["session"] in OPEN]
    for name, part in (("median", 0.5), ("95 of 100", 0.95), ("99 of 100", 0.99)):
        bench.report.add(PART, f"a write without it, {name}, ms", "", [_at(before, part)])
        bench.report.add(PART, f"a write beside it, {name}, ms", "", [_at(beside, part)])
        bench.report.add(
            PART, f"how many times as long, {name}", "", [_at(beside, part) / _at(before, part)]
        )
    bench.report.add(PART, "the longest write without it, ms", "", [before[-1]])
    bench.report.add(PART, "the longest write beside it, ms", "", [beside[-1]])
    bench.report.add(PART, "scripts/maintenance.sh, s", "", [took])
    bench.report.add(PART, "changes of the open sessions' state", "", [float(len(noticed))])


async def _maintain(supervisor: Supervisor) -> str:
    process = await asyncio.create_subprocess_exec(
        ROOT / "scripts" / "maintenance.sh",
        env=supervisor.environment() | {"PATH": os.environ["PATH"]},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    if process.returncode != 0:
        raise LabError(f"scripts/maintenance.sh ended with {process.returncode}: {said.decode()}")
    return said.decode()


def _fill(file: Path) -> None:
    connection = sqlite3.connect(file)
    now = time.time()
    names = [f"s{number:04}" for number in range(SESSIONS)]
    connection.executemany(
        "INSERT INTO sessions (id, wanted, epoch, created_at) VALUES (?, 0, 0, ?)",
        [(name, now + number) for number, name in enumerate(names)],
    )
    connection.executemany(
        "INSERT INTO auth (session, kind, name, value) VALUES (?, 'session', ?, ?)", _keys(names)
    )
    connection.commit()
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


def _keys(names: list[str]) -> Iterator[tuple[str, str, bytes]]:
    for name in names:
        for number in range(KEYS_OF_ONE):
            yield name, f"{number}.0", b'"%s"' % os.urandom(KEY_BYTES // 2).hex().encode()


def _at(waited: list[float], part: float) -> float:
    return round(waited[min(len(waited) - 1, int(part * len(waited)))], 2)
