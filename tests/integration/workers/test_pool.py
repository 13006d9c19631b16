"""All workers and their socket, with real processes: small ones in Python, which call as the real
ones do and note what they are told.
"""

import asyncio
import dataclasses
import os
import resource
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
from sqlalchemy import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from scripts.lab import eventually
from scripts.lab.processes import ROOT
from scripts.lab.unkillable import unkillable
from sessions.forever import Forever
from sessions.lifecycle.worker_slot import WorkerSlot
from sessions.model import SessionId, SpawnRefused
from sessions.records.counters import Counters
from sessions.store import Store, WorkerRow, sqlite_url
from sessions.store.engine import schema
from sessions.workers import connection, listener, wire
from sessions.workers import pool as workers_module
from sessions.workers.listener import SOCKET_NAME
from sessions.workers.logs import WorkerLogs
from sessions.workers.pool import WorkerConfig, Workers
from sessions.workers.table import AbandonedWorker
from sessions.workers.worker_process import StopLadder
from tests.fakes import World
from tests.other_users import NOBODY, needs_root
from tests.store_tools import SHOP

LOOK = """
import ctypes, os, sys
from pathlib import Path
from sessions.workers.worker_process import works_in
pid, own, other = sys.argv[1:]
prctl = ctypes.CDLL(None).prctl
prctl(4, 0, 0, 0, 0)
print(works_in(int(pid), Path(own)), works_in(int(pid), Path(other)), works_in(2**22 + 1, Path(own)), prctl(3, 0, 0, 0, 0))
prctl(4, 1, 0, 0, 0)
works_in(int(pid), Path(own))
print(prctl(3, 0, 0, 0, 0), os.stat("/proc/self").st_uid)
"""
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
while True:
    for frame in line.makefile():
        frame = json.loads(frame)
        note(frame["type"])
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


QUICK = StopLadder(ask_seconds=0.3, terminate_seconds=0.3, kill_seconds=0.3)


def supervised(
    store: Store,
    directory: Path,
    late_seconds: float = 0.0,
    return_seconds: float = 5.0,
    ladder: StopLadder = StopLadder(ask_seconds=3.0),  # noqa: B008 - it is frozen
    spares: int = 0,
    notify: Callable[[AbandonedWorker], None] = lambda abandoned: None,
) -> Workers:
    """The workers of one supervisor of this directory."""
    config = WorkerConfig(
        directory=directory,
        command=(sys.executable, "-c", WORKER),
        environment={"LATE_SECONDS": str(late_seconds)},
        return_seconds=return_seconds,
        ladder=ladder,
        spares=spares,
    )
    return Workers(config, store, Forever(), notify)


def told(directory: Path) -> list[str]:
    """What all the workers were told, in order."""
    return [
        line for file in sorted(directory.glob("told-*")) for line in file.read_text().splitlines()
    ]


async def ended(workers: Workers) -> None:
    async def alive() -> bool:
        return not workers.alive

    await eventually(alive, what="the end of all workers")


# --- the socket's file ----------------------------------------------------------------------------


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
        several = await asyncio.gather(
            *(workers.bring_up(name) for name in ("second", "third", "fourth"))
        )
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


async def test_a_disk_that_takes_no_new_name_of_a_log_costs_no_spare(
    store: Store, tmp_path: Path
) -> None:
    """Whoever failed there left the spare to nobody, one more with each try."""
    workers = supervised(store, tmp_path, spares=1)
    (tmp_path / "logs" / "worker-shop.log" / "in the way").mkdir(parents=True)
    (tmp_path / "logs" / "worker-shop.log.1").touch()
    await workers.listen()
    try:
        workers.keep_spares()

        async def idle() -> list[int]:
            return [worker.pid for worker in vars(workers)["_spares"].idle]

        (spare,) = await eventually(idle, what="a spare")
        assert (await workers.bring_up("shop")).pid == spare
    finally:
        await workers.close()


# --- workers whose session nobody wants now -------------------------------------------------------


@pytest.fixture
def leave_one(store: Store, tmp_path: Path) -> Iterator[LeaveOne]:
    """Leave a worker of a supervisor that has gone; its pid.

    It needs so many seconds until it calls again.
    """
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
    workers.terminate_unclaimed([])
    await ended(workers)
    await workers.close()
    assert told(tmp_path) == ["shutdown", "keys.ack"]
    assert await store.read_keys(SHOP, "session", ["1.0"]) == {"1.0": b'{"n": 7}'}


async def test_it_is_as_polite_when_its_session_was_deleted(
    store: Store, tmp_path: Path, leave_one: LeaveOne
) -> None:
    await leave_one(0.2)
    await store.delete_session(SessionId("shop"), purge=True)
    workers = supervised(store, tmp_path)
    await workers.listen()
    await workers.terminate_returning("shop")
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
    workers.terminate_unclaimed([])
    successor = await workers.bring_up("shop")
    assert [worker.pid for worker in workers.alive] == [successor.pid]
    assert not Path(f"/proc/{pid}").exists() or "zombie" in Path(f"/proc/{pid}/status").read_text()
    await workers.close()


@pytest.mark.parametrize(
    "waits_for", [Workers.bring_up, Workers.terminate_returning], ids=["start", "stop"]
)
async def test_a_start_that_was_called_off_meanwhile_takes_nothing_from_that(
    waits_for: Callable[[Workers, str], Awaitable[object]],
    store: Store,
    tmp_path: Path,
    leave_one: LeaveOne,
) -> None:
    """The next one to start waits as long, and so does whoever wants to know that it is stopped.

    It may be called off, too.
    """
    pid = await leave_one(0.0)
    os.kill(pid, signal.SIGSTOP)
    workers = supervised(store, tmp_path, return_seconds=1.0)
    await workers.listen()
    workers.terminate_unclaimed([])
    for called_off in (Workers.bring_up, Workers.terminate_returning, Workers.bring_up):
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
    workers.terminate_unclaimed([])
    world = World()
    dependencies = dataclasses.replace(world.dependencies, store=store, workers=workers)
    slot = WorkerSlot(SHOP, dependencies, asyncio.Queue(), Counters())
    assert (await slot.bring_up()).alive
    assert slot.epoch == 2
    await workers.close()
    assert await store.read_keys(SHOP, "session", ["1.0"]) == {"1.0": b'{"n": 7}'}


# --- the worst: nothing ends it, it does not read, there is nothing to start it with --------------


async def test_no_other_worker_gets_a_session_until_the_one_that_nothing_ends_has_ended(
    store: Store, tmp_path: Path
) -> None:
    told: list[AbandonedWorker] = []
    workers = supervised(store, tmp_path, ladder=QUICK, notify=told.append)
    await workers.listen()
    stuck = await workers.bring_up("shop")
    async with unkillable(stuck.pid):
        assert (await stuck.stop()).abandoned
        assert (workers.stuck("shop"), workers.stuck("another")) == (stuck.pid, None)
        assert (workers.alive, workers.abandoned) == ([], [stuck])
        another = await workers.bring_up("another")
        successor = asyncio.create_task(workers.bring_up("shop"))
        await asyncio.wait([successor], timeout=1.0)
        assert not successor.done()
        assert {row.id for row in await store.workers()} == {
            stuck.id,
            another.id,
        }, "our successor has to know of it"
    assert (await successor).alive
    of = (stuck.id, stuck.pid, "shop")
    assert told == [AbandonedWorker(*of, ended=False), AbandonedWorker(*of, ended=True)]
    assert workers.abandoned == []
    await workers.close()


async def test_our_successor_waits_for_it_too(store: Store, tmp_path: Path) -> None:
    first = supervised(store, tmp_path, ladder=QUICK)
    await first.listen()
    stuck = await first.bring_up("shop")
    child = vars(vars(stuck)["_process"])["_child"]
    async with unkillable(stuck.pid):
        async with asyncio.timeout(20):
            # it must not hang; how long it takes is bounded by the ladder
            await first.close()
        second = supervised(store, tmp_path, return_seconds=0.2, ladder=QUICK)
        await second.listen()
        assert await second.await_reconnect("shop") is None
        assert second.stuck("shop") == stuck.pid
        successor = asyncio.create_task(second.bring_up("shop"))
        await asyncio.wait([successor], timeout=1.0)
        assert not successor.done()
    child.wait(timeout=10)
    assert (await successor).alive
    await second.close()


@pytest.mark.parametrize("detach", [True, False])
async def test_a_worker_that_does_not_read_does_not_keep_the_supervisor(
    detach: bool, store: Store, tmp_path: Path
) -> None:
    workers = supervised(store, tmp_path, ladder=QUICK)
    await workers.listen()
    deaf = await workers.bring_up("shop")
    child = vars(vars(deaf)["_process"])["_child"]
    os.kill(deaf.pid, signal.SIGSTOP)
    for _ in range(64):
        deaf.send(wire.Refuse("x" * 65_536))  # more than a socket takes in
    async with asyncio.timeout(20):  # it must not hang
        await workers.close(detach)
    assert (child.poll() is None) is detach, "it lives on for our successor, or has ended"
    if detach:
        child.kill()
        child.wait(timeout=10)


async def test_a_worker_whose_connection_breaks_is_killed_although_it_does_not_read(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "WITHOUT_CONNECTION_SECONDS", 0.1)
    monkeypatch.setattr(connection, "CLOSE_SECONDS", 3600.0)
    workers = supervised(store, tmp_path, ladder=QUICK)
    await workers.listen()
    deaf = await workers.bring_up("shop")
    os.kill(deaf.pid, signal.SIGSTOP)
    for _ in range(64):
        deaf.send(wire.Refuse("x" * 65_536))
    reader = (
        next(iter(vars(vars(workers)["_listener"])["_connections"]))
        .get_coro()
        .cr_frame.f_locals["reader"]
    )
    reader.feed_data(b"this is no frame\n")
    await ended(workers)
    await workers.close()


async def test_when_descriptors_run_out_a_start_is_refused_in_words_and_the_next_one_succeeds(
    store: Store, tmp_path: Path
) -> None:
    workers = supervised(store, tmp_path)
    await workers.listen()
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) - 1, before[1]))
    try:
        with pytest.raises(SpawnRefused, match="EMFILE"):
            await workers.bring_up("shop")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert (await workers.bring_up("shop")).alive
    await workers.close()


async def test_a_program_that_is_missing_is_told_in_words(store: Store, tmp_path: Path) -> None:
    config = WorkerConfig(directory=tmp_path, command=("/nonexistent/node",), environment={})
    workers = Workers(config, store, Forever())
    await workers.listen()
    with pytest.raises(SpawnRefused, match="ENOENT") as refused:
        await workers.bring_up("shop")
    assert "make setup-run" in refused.value.human
    assert workers.alive == []
    await workers.close()


async def test_the_rows_of_a_whole_fleet_that_is_gone_are_forgotten_in_one_write(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer, submitted = vars(store)["_writer"], list[object]()
    gone = [WorkerRow(f"w-{n}", f"s-{n}", 2**22 + n, 1, b"") for n in range(1200)]

    async def add(connection: AsyncConnection) -> None:
        await connection.execute(
            insert(schema.workers), [msgspec.structs.asdict(row) for row in gone]
        )

    await writer.submit(add)
    submit = writer.submit
    monkeypatch.setattr(
        writer, "submit", lambda *given, **more: submitted.append(given) or submit(*given, **more)
    )
    workers = supervised(store, tmp_path)
    await workers.listen()
    assert len(submitted) == 1, "a commit for each takes half a minute after a reboot"
    assert await store.workers() == []
    await workers.close()


async def test_large_logs_are_cut_in_a_thread(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers_module, "HOUSEKEEPING_SECONDS", 0.05)
    threads: list[int] = []
    monkeypatch.setattr(WorkerLogs, "keep_small", lambda _: threads.append(threading.get_ident()))
    workers = supervised(store, tmp_path)
    await workers.listen()

    async def cut() -> bool:
        return bool(threads)

    await eventually(cut, what="a look at the logs")
    await workers.close()
    assert threading.get_ident() not in threads, (
        "a worker that prints gigabytes would stall all sessions"
    )


@needs_root
def test_whoever_is_root_without_the_right_to_trace_knows_his_workers_of_another_user(
    tmp_path: Path,
) -> None:
    """As in a container: root has no CAP_SYS_PTRACE there, and workers that nobody knew would all
    be logged in anew at each restart.
    """
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    without_tracing = ("setpriv", "--bounding-set=-sys_ptrace", "--inh-caps=-sys_ptrace")
    worker = subprocess.Popen(
        ["sleep", "60"], cwd=tmp_path, user=NOBODY, group=NOBODY, extra_groups=[]
    )
    try:
        found = subprocess.run(
            [
                *without_tracing,
                sys.executable,
                "-c",
                LOOK,
                str(worker.pid),
                str(tmp_path),
                str(elsewhere),
            ],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=True,
        )
    finally:
        worker.kill()
        worker.wait()
    assert found.stdout.split() == ["True", "False", "False", "0", "1", "0"]
