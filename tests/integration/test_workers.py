"""All workers and their socket, with real processes: small ones in Python, which call as the real ones do and note what they are told."""

import asyncio
import dataclasses
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from scripts.lab import eventually
from sessions import wire
from sessions import workers as workers_module
from sessions.counters import Counters
from sessions.events import Exceeded
from sessions.forever import Forever
from sessions.limits import Severity
from sessions.model import SessionId
from sessions.seat import Seat
from sessions.store import Store, StoredEvent, sqlite_url, writer
from sessions.worker_process import StopLadder
from sessions.workers import SOCKET_NAME, WorkerConfig, Workers
from tests.fakes import World
from tests.store_tools import SHOP

LeaveOne = Callable[[float], Awaitable[int]]
WORKER = """
import json, os, socket, sys, time
name, late = os.environ["WASUP_WORKER_ID"], float(os.environ["LATE_SECONDS"])

def call():
    line = socket.socket(socket.AF_UNIX)
    line.connect(os.environ["WASUP_SOCKET"])
    hello = {"type": "hello", "protocol": 2, "worker": name, "token": os.environ["WASUP_WORKER_TOKEN"], "pid": os.getpid(),
             "node_version": "v0", "baileys_version": "0", "code": "x", "sessions": []}
    line.sendall(json.dumps(hello).encode() + b"\\n")
    return line

def note(text):
    with open(f"told-{name}", "a") as told:
        told.write(text + "\\n")

line, returned = call(), False
def flood():
    qr = json.dumps({"type": "qr", "session": "shop", "attempt": 1, "qr": "2@x"}).encode() + b"\\n"
    try:
        line.sendall(qr * 80_000)
    except OSError:
        note("cut off")
    time.sleep(60)

while True:
    for frame in line.makefile():
        frame = json.loads(frame)
        note(frame["type"])
        if frame["type"] == "close":
            flood()
        if frame["type"] == "shutdown" and returned:  # what is not acknowledged is said first
            entries = [{"kind": "session", "name": "1.0", "value": {"n": 7}}]
            keys = {"type": "keys.set", "session": "shop", "epoch": 1, "seq": 1, "entries": entries}
            line.sendall(json.dumps(keys).encode() + b"\\n")
        elif frame["type"] in ("shutdown", "keys.ack"):
            sys.exit(0)
    time.sleep(late)
    while True:
        try:
            line, returned = call(), True
            break
        except OSError:
            time.sleep(0.05)
"""


@pytest_asyncio.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await Store.open(sqlite_url(tmp_path / "wasup.db"))
    await store.create_session(SHOP, wanted=False)
    await store.raise_epoch(SHOP)
    yield store
    await store.close()


def supervised(store: Store, directory: Path, late_seconds: float = 0.0, return_seconds: float = 5.0) -> Workers:
    """The workers of one supervisor of this directory."""
    config = WorkerConfig(
        directory=directory,
        command=(sys.executable, "-c", WORKER),
        environment={"LATE_SECONDS": str(late_seconds)},
        return_seconds=return_seconds,
        ladder=StopLadder(ask_seconds=3.0),
    )
    return Workers(config, store, Forever())


def told(directory: Path) -> list[str]:
    """What all the workers were told, in order."""
    return [line for file in sorted(directory.glob("told-*")) for line in file.read_text().splitlines()]


async def ended(workers: Workers) -> None:
    async def alive() -> bool:
        return not workers.alive

    await eventually(alive, what="the end of all workers")


# --- the socket's file --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("replaced", [False, True])
async def test_a_socket_that_somebody_removed_is_made_again_before_the_next_worker_needs_it(
    replaced: bool, store: Store, tmp_path: Path
) -> None:
    workers = supervised(store, tmp_path)
    await workers.listen()
    try:
        first = await workers.bring_up("first")
        (tmp_path / SOCKET_NAME).unlink()
        if replaced:
            (tmp_path / SOCKET_NAME).write_text("somebody's")
        several = await asyncio.gather(*(workers.bring_up(name) for name in ("second", "third", "fourth")))
        assert (tmp_path / SOCKET_NAME).is_socket()
        assert all(worker.alive for worker in several)
        assert (await first.stop()).status == 0, "its line stood all the time"
    finally:
        await workers.close()
    assert told(tmp_path).count("shutdown") == 4
    assert not (tmp_path / SOCKET_NAME).exists()


async def test_a_socket_that_somebody_removed_is_made_again_within_a_minute(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers_module, "HOUSEKEEPING_SECONDS", 0.05)
    workers = supervised(store, tmp_path)
    await workers.listen()
    try:
        (tmp_path / SOCKET_NAME).unlink()

        async def there() -> bool:
            return (tmp_path / SOCKET_NAME).is_socket()

        await eventually(there, what="a new socket")
        before = (tmp_path / SOCKET_NAME).stat()
        await asyncio.sleep(0.3)
        assert (tmp_path / SOCKET_NAME).stat().st_ino == before.st_ino, "and only once"
        assert (await workers.bring_up("late")).alive
    finally:
        await workers.close()


# --- workers whose session nobody wants now -------------------------------------------------------------------------------------


@pytest.fixture
def leave_one(store: Store, tmp_path: Path) -> Iterator[LeaveOne]:
    """Leave a worker of a supervisor that has gone; its pid. It needs so many seconds until it calls again."""
    children = []

    async def leave(late_seconds: float) -> int:
        predecessor = supervised(store, tmp_path, late_seconds)
        await predecessor.listen()
        worker = await predecessor.bring_up("shop")
        children.append(vars(vars(worker)["_process"])["_child"])
        await predecessor.close(detach=True)
        return worker.pid

    yield leave
    for child in children:
        child.wait(timeout=10)


async def test_a_worker_that_nobody_claims_is_heard_and_ended_politely_and_its_last_keys_are_saved(
    store: Store, tmp_path: Path, leave_one: LeaveOne
) -> None:
    await leave_one(0.5)
    workers = supervised(store, tmp_path)
    await workers.listen()
    workers.dismiss_unclaimed([])
    await ended(workers)
    await workers.close()
    assert told(tmp_path) == ["shutdown", "keys.ack"]
    assert await store.read_keys(SHOP, "session", ["1.0"]) == {"1.0": b'{"n": 7}'}


async def test_it_is_as_polite_when_its_session_was_deleted(store: Store, tmp_path: Path, leave_one: LeaveOne) -> None:
    await leave_one(0.2)
    await store.delete_session(SessionId("shop"), purge=True)
    workers = supervised(store, tmp_path)
    await workers.listen()
    await workers.dismiss("shop")
    assert workers.alive == []
    await workers.close()
    assert told(tmp_path) == ["shutdown", "keys.ack"], "refused: there is nobody to keep them for"


async def test_one_that_stays_silent_is_killed_when_its_time_is_over_and_its_successor_waits_for_that(
    store: Store, tmp_path: Path, leave_one: LeaveOne
) -> None:
    pid = await leave_one(0.0)
    os.kill(pid, signal.SIGSTOP)
    workers = supervised(store, tmp_path, return_seconds=0.5)
    await workers.listen()
    workers.dismiss_unclaimed([])
    successor = await workers.bring_up("shop")
    assert [worker.pid for worker in workers.alive] == [successor.pid]
    assert not Path(f"/proc/{pid}").exists() or "zombie" in Path(f"/proc/{pid}/status").read_text()
    await workers.close()


@pytest.mark.parametrize("waits_for", [Workers.bring_up, Workers.dismiss], ids=["start", "stop"])
async def test_a_start_that_was_called_off_meanwhile_takes_nothing_from_that(
    waits_for: Callable[[Workers, str], Awaitable[object]], store: Store, tmp_path: Path, leave_one: LeaveOne
) -> None:
    """The next one to start waits as long, and so does whoever wants to know that it is stopped. It may be called off, too."""
    pid = await leave_one(0.0)
    os.kill(pid, signal.SIGSTOP)
    workers = supervised(store, tmp_path, return_seconds=1.0)
    await workers.listen()
    workers.dismiss_unclaimed([])
    for called_off in (Workers.bring_up, Workers.dismiss, Workers.bring_up):
        first = asyncio.create_task(called_off(workers, "shop"))
        await asyncio.sleep(0.1)
        assert not first.done()
        first.cancel()
        await asyncio.wait([first])
    await waits_for(workers, "shop")
    assert pid not in {worker.pid for worker in workers.alive}
    assert not Path(f"/proc/{pid}").exists() or "zombie" in Path(f"/proc/{pid}/status").read_text()
    await workers.close()


async def test_what_it_still_has_to_save_is_saved_before_its_successor_gets_an_epoch(
    store: Store, tmp_path: Path, leave_one: LeaveOne
) -> None:
    await leave_one(0.5)
    workers = supervised(store, tmp_path)
    await workers.listen()
    workers.dismiss_unclaimed([])
    world = World()
    around = dataclasses.replace(world.around, store=store, workers=workers)
    seat = Seat(SHOP, around, asyncio.Queue(), Counters())
    assert (await seat.bring_up()).alive
    assert seat.epoch == 2
    await workers.close()
    assert await store.read_keys(SHOP, "session", ["1.0"]) == {"1.0": b'{"n": 7}'}


# --- floods -------------------------------------------------------------------------------------------------------------------


async def test_a_worker_that_floods_its_line_is_ended_and_told_of_and_the_others_go_on(
    store: Store, tmp_path: Path
) -> None:
    workers = supervised(store, tmp_path)
    await workers.listen()
    try:
        quiet = await workers.bring_up("other")
        flooding = await workers.bring_up(SHOP)
        async with World() as world:
            seat = Seat(SHOP, world.around, asyncio.Queue(), Counters())
            flooding.owner = seat
            flooding.send(wire.Close(SHOP))
            await asyncio.wait_for(asyncio.shield(flooding.ended), 30)
            told = [seat._inbox.get_nowait() for _ in range(seat._inbox.qsize())]
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
    assert 0 < len(refused) <= 2000 - writer.MAX_WAITING_EVENTS_OF_ONE


async def _settled(events: "list[asyncio.Future[StoredEvent]]") -> "list[asyncio.Future[StoredEvent]]":
    await asyncio.wait(events)
    return events
