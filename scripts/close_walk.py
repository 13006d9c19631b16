"""How far a reader has to walk from a close to the next `connect`: every call of the project's own
Python on the way, counted.

    python -m scripts.close_walk [--list]

Gate, policy, store (SQLite), event log and session are the real ones; the worker is played. An open
session loses its connection, waits as the policy says, and tries again. What is counted happens in
the session's own task and steps, and in the call that brings the close; the store's writer, which
works at the same time for everybody, is left out.

calls       of functions of api, supervisor and sessions
functions   different ones among them
files       that they are in
moves       from the file of one call to another file's
returns     of those moves, the ones back to a file that was left before

The last line is JSON. `--list` shows the calls in their order, a line for each stay in a file.
"""

import argparse
import asyncio
import itertools
import json
import logging
import random
import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Final

import structlog

from sessions.lifecycle.dependencies import Dependencies, SessionConfig
from sessions.lifecycle.health import HealthConfig
from sessions.model import AlertChange, CloseReason, EventData, SessionId, SessionState
from sessions.policy import RULES, correlated_reasons
from sessions.records.changes import Changes
from sessions.store import Store
from sessions.store.engine.database import sqlite_url
from sessions.workers import wire
from sessions.workers.keys import KeyService
from supervisor.alerts.alerts import Alerts
from supervisor.fleet.bus import Bus
from supervisor.fleet.feed import Feed
from supervisor.fleet.fleet import Fleet
from supervisor.fleet.incident_log import OutageRecorder
from supervisor.gate.gate import Gate, GateConfig
from supervisor.gate.view import OutageBegan, OutageEnded
from supervisor.program import record
from supervisor.watch.login_costs import LoginCosts
from tests.fakes import FakeWorker, FakeWorkers

ROOT: Final = Path(__file__).resolve().parents[1]
ROOMS: Final = tuple(f"{ROOT / room}/" for room in ("api", "supervisor", "sessions"))
SHOP: Final = SessionId("shop")
EVENTS: Final = 1000
PATIENCE_SECONDS: Final = 30.0
GATE: Final = GateConfig(rate_per_second=1000.0, burst=10)
"""So quick that a token is there: the walk is that of a session which need not wait for one."""
CONFIG: Final = SessionConfig(
    stable_after_seconds=0.2,
    health=HealthConfig(interval_seconds=3600.0, heartbeat_timeout_seconds=3600.0),
)


class Walk:
    """The calls between `begin` and `end`, as file and function, in their order."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []
        self._told = False

    def begin(self) -> None:
        """The close comes: whatever the current task does until `pause` belongs to the walk."""
        self._told = True
        sys.setprofile(self._on_call)

    def pause(self) -> None:
        """The close has been told; from now on only the session's own tasks belong to the walk."""
        self._told = False

    def end(self) -> None:
        """The next `connect` has been sent."""
        sys.setprofile(None)

    def figures(self) -> dict[str, int]:
        """What is counted (see the module's docstring)."""
        files = [file for file, _ in self.calls]
        moves = sum(before != after for before, after in itertools.pairwise(files))
        return {
            "calls": len(self.calls),
            "functions": len(set(self.calls)),
            "files": len(set(files)),
            "moves": moves,
            # Each file but the first is entered for the first time by one move.
            "returns": moves - (len(set(files)) - 1),
        }

    def stays(self) -> list[str]:
        """The walk in words: a line for each stay in a file."""
        return [
            f"{file}: {', '.join(name for _, name in stay)}"
            for file, stay in itertools.groupby(self.calls, key=lambda call: call[0])
        ]

    def _on_call(self, frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(ROOMS) and self._is_its_own():
            file = str(Path(frame.f_code.co_filename).relative_to(ROOT))
            self.calls.append((file, frame.f_code.co_qualname))

    def _is_its_own(self) -> bool:
        if self._told:
            return True
        try:
            task = asyncio.current_task()
        except RuntimeError:  # The loop runs a callback, of which nobody knows whose it is.
            return False
        return task is not None and SHOP in task.get_name().split()


class PlayedWorker(FakeWorker):
    """Ends the walk with the `connect` after the close."""

    walk: Walk

    def send(self, frame: wire.Down) -> None:
        """As the fake."""
        if isinstance(frame, wire.Connect):
            self.walk.end()
        super().send(frame)


class PlayedWorkers(FakeWorkers):
    """Where they come from."""

    def __init__(self, walk: Walk) -> None:
        super().__init__()
        self._walk = walk

    async def bring_up(self, session: str) -> FakeWorker:
        """Start one."""
        worker = PlayedWorker(self, session, len(self.made) + 1)
        worker.walk = self._walk
        self.made.append(worker)
        return worker


async def walk_once(directory: Path) -> Walk:
    """One session, opened, stable, closed, and open again; the walk in between."""
    loop, walk, rng = asyncio.get_running_loop(), Walk(), random.Random(1)
    store = await Store.open(sqlite_url(directory / "walk.db"))
    feed = await Feed.open(store, EVENTS)
    bus = Bus()
    bus.subscribe(EventData, feed.publish)
    alerts = Alerts(bus.publish)
    bus.subscribe(AlertChange, alerts.on_change)
    outages = OutageRecorder(store.records)
    bus.subscribe(OutageBegan, outages.on_began)
    bus.subscribe(OutageEnded, outages.on_ended)
    gate = Gate(GATE, rng, bus.publish, correlated_reasons(RULES))
    workers = PlayedWorkers(walk)
    around = Dependencies(
        config=CONFIG,
        store=store,
        keys=KeyService(store),
        workers=workers,
        gate=gate,
        publish=bus.publish,
        record=partial(record, feed, bus),
        deliver=feed.deliver,
        rng=rng,
    )
    fleet = Fleet(around, gate, feed)
    costs = LoginCosts(fleet.worker_pid, lambda _: 0.0, loop.time, loop.call_later)
    bus.subscribe(Changes, costs.on_changes)
    await fleet.open()
    session = await fleet.create(SHOP, start=True)
    await _until(lambda: session.state is SessionState.OPEN)
    await asyncio.sleep(2 * CONFIG.stable_after_seconds)
    worker = workers.alive[0]
    socket = worker.socket
    assert socket is not None, "an open session has a socket"
    walk.begin()
    worker.close_socket(socket, CloseReason.CONNECTION_LOST, None)
    walk.pause()
    await _until(lambda: worker.socket not in {socket, None})
    await fleet.close()
    await gate.close()
    await store.close()
    return walk


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():  # noqa: ASYNC110 - a condition of several parts, and no event for it
            await asyncio.sleep(0.01)


def main(arguments: Sequence[str] | None = None) -> int:
    """Walk once and print the figures."""
    parser = argparse.ArgumentParser(description="Measure the walk from a close to `connect`.")
    parser.add_argument("--list", action="store_true", help="show the calls in their order")
    options = parser.parse_args(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with tempfile.TemporaryDirectory() as directory:
        walk = asyncio.run(walk_once(Path(directory)))
    if options.list:
        print("\n".join(walk.stays()))
    print(json.dumps(walk.figures()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
