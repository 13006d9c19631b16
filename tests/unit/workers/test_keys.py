"""A worker's keys: answered with the truth or not at all."""

import asyncio
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest

from sessions.model import StaleEpoch, StoreError, StoreUnavailable, UnreadableValue
from sessions.workers import wire
from sessions.workers.keys import KeyService
from sessions.workers.wire import KeyEntry

pytestmark = [pytest.mark.looptime, pytest.mark.usefixtures("no_tasks_left")]

GET = wire.KeysGet("shop", epoch=1, id=7, kind="session", names=["1.0"])
SET = wire.KeysSet("shop", epoch=1, seq=3, entries=[KeyEntry("session", "1.0", msgspec.Raw(b"1"))])


class Worker:
    def __init__(self) -> None:
        self.id = "w-1"
        self.alive = True
        self.killed = False
        self.sent: list[wire.Down] = []

    def send(self, frame: wire.Down) -> None:
        self.sent.append(frame)

    def kill(self) -> None:
        self.killed = True


class Disk:
    """A store that answers as a test says: errors first, one for each read, then the values."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.reads = 0
        self.write: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def read_keys(self, session: str, kind: str, names: Sequence[str]) -> dict[str, bytes]:
        self.reads += 1
        if self.errors:
            raise self.errors.pop(0)
        return {"1.0": b'{"a":1}'}

    def write_keys(
        self, session: str, epoch: int, entries: Sequence[KeyEntry]
    ) -> asyncio.Future[None]:
        return self.write


class Bench:
    def __init__(self, *errors: Exception) -> None:
        self.disk = Disk(*errors)
        self.worker: Any = Worker()
        self.keys = KeyService(self.disk)  # type: ignore[arg-type]
        self.unreadable: list[UnreadableValue] = []

    def read(self) -> None:
        self.keys.read(self.worker, GET, self.unreadable.append)


async def test_a_read_waits_while_the_store_cannot_be_read(looptime: Any) -> None:
    bench = Bench(*(StoreUnavailable("away") for _ in range(20)))
    bench.read()
    await asyncio.sleep(20)
    assert bench.worker.sent == []
    await asyncio.sleep(30)
    assert bench.disk.reads == 21
    assert bench.worker.sent == [wire.KeysValues("shop", 7, {"1.0": msgspec.Raw(b'{"a":1}')})]
    assert bench.worker.killed is False


async def test_a_read_ends_with_its_worker() -> None:
    bench = Bench(*(StoreUnavailable("away") for _ in range(1000)))
    bench.read()
    await asyncio.sleep(5)
    bench.worker.alive = False
    await asyncio.sleep(5)
    reads = bench.disk.reads
    await asyncio.sleep(60)
    assert bench.disk.reads == reads
    assert (bench.worker.sent, bench.unreadable) == ([], [])


async def test_a_value_that_cannot_be_read_is_not_answered_and_told() -> None:
    error = UnreadableValue("session '1.0' of session 'shop' is not JSON.")
    bench = Bench(StoreUnavailable("away"), error)
    bench.read()
    await asyncio.sleep(5)
    assert bench.unreadable == [error]
    assert bench.worker.sent == []
    assert bench.worker.killed is False


async def test_closing_waits_for_no_read() -> None:
    bench = Bench(*(StoreUnavailable("away") for _ in range(1000)))
    bench.read()
    await asyncio.sleep(1)
    await bench.keys.close()
    assert bench.worker.sent == []


@pytest.mark.parametrize(
    ("outcome", "error"),
    [
        (None, None),
        (StaleEpoch(), "stale_epoch"),
        (StoreUnavailable(), "store_failed"),
        (StoreError("its own fault"), "store_failed"),
    ],
)
async def test_a_write_is_acknowledged_when_it_is_durable_or_refused(
    outcome: Exception | None, error: str | None
) -> None:
    bench = Bench()
    bench.keys.write(bench.worker, SET)
    await asyncio.sleep(60)
    assert bench.worker.sent == [], "however long that takes"
    if outcome is None:
        bench.disk.write.set_result(None)
    else:
        bench.disk.write.set_exception(outcome)
    await asyncio.sleep(0)
    assert bench.worker.sent == [wire.KeysAck("shop", 3, error is None, error)]
