"""A worker that floods its line, with a real process: it pays for it alone."""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from sessions.forever import Forever
from sessions.lifecycle.inbox import Exceeded
from sessions.lifecycle.worker_slot import WorkerSlot
from sessions.records.counters import Counters
from sessions.store import Store, StoredEvent, sqlite_url
from sessions.store.writing import writer
from sessions.workers import wire
from sessions.workers.limits import Severity
from sessions.workers.pool import WorkerConfig, Workers
from sessions.workers.worker_process import StopLadder
from tests.fakes import World
from tests.store_tools import SHOP

WORKER = """
import json, os, socket, sys, time
line = socket.socket(socket.AF_UNIX)
line.connect(os.environ["WASUP_SOCKET"])
hello = {"type": "hello", "protocol": 2, "worker": os.environ["WASUP_WORKER_ID"], "token": os.environ["WASUP_WORKER_TOKEN"],
         "pid": os.getpid(), "node_version": "v0", "baileys_version": "0", "code": "x", "sessions": []}
line.sendall(json.dumps(hello).encode() + b"\\n")
for frame in line.makefile():
    kind = json.loads(frame)["type"]
    if kind == "shutdown":
        sys.exit(0)
    if kind == "close":
        qr = json.dumps({"type": "qr", "session": "shop", "attempt": 1, "qr": "2@x"}).encode() + b"\\n"
        try:
            line.sendall(qr * 80_000)
        except OSError:
            pass
        time.sleep(60)
"""


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await Store.open(sqlite_url(tmp_path / "wasup.db"))
    await store.create_session(SHOP, wanted=False)
    yield store
    await store.close()


async def test_it_is_ended_and_told_of_and_the_others_go_on(store: Store, tmp_path: Path) -> None:
    config = WorkerConfig(
        directory=tmp_path,
        command=(sys.executable, "-c", WORKER),
        environment={},
        ladder=StopLadder(ask_seconds=3.0),
    )
    workers = Workers(config, store, Forever())
    await workers.listen()
    try:
        quiet, flooding = await workers.bring_up("other"), await workers.bring_up(SHOP)
        inbox: asyncio.Queue[object] = asyncio.Queue()
        async with World() as world:
            flooding.attach(WorkerSlot(SHOP, world.dependencies, inbox, Counters()))  # type: ignore[arg-type]
            flooding.send(wire.Close(SHOP))
            await asyncio.shield(flooding.ended)
            told = [inbox.get_nowait() for _ in range(inbox.qsize())]
        assert len(told) < 200, "what it said is not carried any further"
        (excess,) = [event.excess for event in told if isinstance(event, Exceeded)]
        assert (excess.severity, "reports a second" in excess.words) == (Severity.KILL, True)
        assert quiet.alive
    finally:
        await workers.close()


async def test_one_session_can_fill_its_own_share_of_the_waiting_events_only(store: Store) -> None:
    flood = [store.append_event(SHOP, "qr", b"{}") for _ in range(2000)]
    others = [store.append_event(f"other-{n}", "qr", b"{}") for n in range(100)]
    assert all(event.exception() is None for event in await _settled(others))
    refused = [event for event in await _settled(flood) if event.exception() is not None]
    assert len(refused) == 2000 - writer.MAX_WAITING_EVENTS_OF_ONE


async def _settled(
    events: "list[asyncio.Future[StoredEvent]]",
) -> "list[asyncio.Future[StoredEvent]]":
    await asyncio.wait(events)
    return events
