"""What the fakes promise of workers is what the real ones do, at their unkindest: each case runs
against both.
"""

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

import pytest
import pytest_asyncio

from scripts.lab import eventually
from scripts.lab.unkillable import unkillable
from sessions.forever import Forever
from sessions.model import SpawnRefused, WorkerGone
from sessions.ports import WorkerHandle, WorkerSource
from sessions.store import Store, sqlite_url
from sessions.workers import wire
from sessions.workers.limits import Excess
from sessions.workers.pool import WorkerConfig, Workers
from sessions.workers.worker_process import Exit, StopLadder
from tests.fakes import FakeWorker, FakeWorkers, worker
from tests.integration.workers.test_pool import WORKER

LADDER = StopLadder(ask_seconds=0.5, terminate_seconds=0.5, kill_seconds=0.5)
HANG_SECONDS = 20.0
"""What hangs for so long hangs; nothing is said of how quick it is."""


class Owner:
    """Is told of a worker's end."""

    def __init__(self) -> None:
        self.ends: list[Exit] = []

    def on_frame(self, worker: WorkerHandle, frame: wire.Up) -> None:
        """It says nothing here."""

    def on_excess(self, worker: WorkerHandle, excess: Excess) -> None:
        """It weighs nothing here."""

    def on_worker_end(self, worker: WorkerHandle, end: Exit) -> None:
        self.ends.append(end)


class World(Protocol):
    """Workers, and what a test does to them."""

    source: WorkerSource

    def unkillable(self, worker: WorkerHandle) -> AbstractAsyncContextManager[None]:
        """Not even SIGKILL ends it while the block runs."""

    def hang(self, worker: WorkerHandle) -> None:
        """It reads and answers nothing any more."""

    def die(self, worker: WorkerHandle) -> None:
        """Its process ends, by nobody's wish."""

    def refuse_processes(self) -> Callable[[], None]:
        """There is no process to be had; call the answer, and there is."""


class Fake:
    """The fakes."""

    def __init__(self) -> None:
        self.source = FakeWorkers()

    @contextlib.asynccontextmanager
    async def unkillable(self, worker: WorkerHandle) -> AsyncIterator[None]:
        assert isinstance(worker, FakeWorker)
        worker.unkillable = True
        yield
        worker.unkillable = False
        if worker.killed:
            worker.end(Exit(signal=9))

    def hang(self, worker: WorkerHandle) -> None:
        assert isinstance(worker, FakeWorker)
        worker.stop_seconds = LADDER.ask_seconds
        self.source.probe = "hangs"

    def die(self, worker: WorkerHandle) -> None:
        assert isinstance(worker, FakeWorker)
        worker.end(Exit(signal=9))

    def refuse_processes(self) -> Callable[[], None]:
        self.source.startup_error = SpawnRefused(OSError(2, "No such file or directory"))

        def again() -> None:
            self.source.startup_error = None

        return again


class Real:
    """The real ones, as processes."""

    def __init__(self, workers: Workers, program: Path) -> None:
        self.source = workers
        self._program = program

    @contextlib.asynccontextmanager
    async def unkillable(self, worker: WorkerHandle) -> AsyncIterator[None]:
        async with unkillable(worker.pid):
            yield

    def hang(self, worker: WorkerHandle) -> None:
        os.kill(worker.pid, signal.SIGSTOP)

    def die(self, worker: WorkerHandle) -> None:
        os.kill(worker.pid, signal.SIGKILL)

    def refuse_processes(self) -> Callable[[], None]:
        away = self._program.rename(self._program.with_suffix(".away"))

        def again() -> None:
            away.rename(self._program)

        return again


@pytest_asyncio.fixture(params=["fake", "real"])
async def world(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[World]:
    if request.param == "fake":
        monkeypatch.setattr(worker, "LADDER", LADDER)
        yield Fake()
        return
    store = await Store.open(sqlite_url(tmp_path / "wasup.db"))
    program = tmp_path / "program"
    program.write_text(f"#!{sys.executable}\n{WORKER}")
    program.chmod(0o700)
    config = WorkerConfig(
        directory=tmp_path,
        command=(str(program),),
        environment={"LATE_SECONDS": "0"},
        ladder=LADDER,
    )
    workers = Workers(config, store, Forever())
    await workers.listen()
    yield Real(workers, program)
    await workers.close()
    await store.close()


async def _owned(world: World) -> tuple[WorkerHandle, Owner]:
    worker, owner = await world.source.bring_up("shop"), Owner()
    worker.attach(owner)
    return worker, owner


async def _until(condition: Callable[[], Any]) -> None:
    async def look() -> Any:
        return condition()

    await eventually(look, seconds=HANG_SECONDS)


async def test_a_stop_ends_it_and_tells_its_owner_once(world: World) -> None:
    worker, owner = await _owned(world)
    assert not (await worker.stop()).abandoned
    await _until(lambda: owner.ends)
    assert not worker.alive
    assert not (await worker.stop()).abandoned, "again: nothing happens"
    assert len(owner.ends) == 1


async def test_one_that_hangs_is_ended_all_the_same(world: World) -> None:
    worker, _ = await _owned(world)
    world.hang(worker)
    async with asyncio.timeout(HANG_SECONDS):
        assert not (await worker.stop()).abandoned
    assert not worker.alive


@pytest.mark.parametrize("kindly", [True, False])
async def test_one_that_nothing_ends_is_given_up_and_its_session_waits_for_it(
    world: World, kindly: bool
) -> None:
    worker, owner = await _owned(world)
    async with world.unkillable(worker):
        if kindly:
            async with asyncio.timeout(HANG_SECONDS):
                assert (await worker.stop()).abandoned
        else:
            worker.kill()
        await _until(lambda: owner.ends)
        assert owner.ends == [Exit(abandoned=True)]
        assert not worker.alive
        assert (await worker.stop()).abandoned, "it is no better the second time"
        assert world.source.stuck("shop") == worker.pid
        with pytest.raises(WorkerGone):
            await worker.request(lambda number: wire.Probe("shop", number), HANG_SECONDS)
        assert (await world.source.bring_up("another")).alive
        successor = asyncio.ensure_future(world.source.bring_up("shop"))
        await asyncio.wait([successor], timeout=0.5)
        assert not successor.done()
    assert (await successor).alive
    assert world.source.stuck("shop") is None
    assert len(owner.ends) == 1, "its end is nobody's affair any more"


async def test_who_takes_it_over_after_its_end_is_told_of_that(world: World) -> None:
    worker = await world.source.bring_up("shop")
    world.die(worker)
    await _until(lambda: not worker.alive)
    owner = Owner()
    worker.attach(owner)
    await _until(lambda: owner.ends)
    with pytest.raises(WorkerGone):
        worker.send(wire.Shutdown())


async def test_an_answer_that_never_comes_is_waited_for_so_long_and_no_longer(world: World) -> None:
    worker, _ = await _owned(world)
    world.hang(worker)
    async with asyncio.timeout(HANG_SECONDS):
        with pytest.raises(TimeoutError):
            await worker.request(lambda number: wire.Probe("shop", number), 0.2)


async def test_a_process_that_is_refused_is_told_so_and_the_next_one_comes(world: World) -> None:
    again = world.refuse_processes()
    with pytest.raises(SpawnRefused) as refused:
        await world.source.bring_up("shop")
    assert isinstance(refused.value, WorkerGone)
    again()
    assert (await world.source.bring_up("shop")).alive
