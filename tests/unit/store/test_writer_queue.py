"""The store's queue while the database is away: bounded by what waits, however often it was
replaced by something newer.
"""

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
import pytest_asyncio

from sessions.forever import Forever, TaskHealth
from sessions.model import StoreUnavailable
from sessions.store.writing import writer as writer_module
from sessions.store.writing.writer import COMPACT_ABOVE, Writer

pytestmark = pytest.mark.usefixtures("no_tasks_left")
SESSIONS = 100
SAVES = 50


class Payload:
    """What a write carries."""


class Away:
    """An engine whose database is away."""

    def __init__(self) -> None:
        self.error: Exception = OSError("The database is away.")

    @asynccontextmanager
    async def begin(self) -> AsyncIterator[Any]:
        raise self.error
        yield SimpleNamespace()  # pragma: no cover - never reached


@pytest_asyncio.fixture
async def away(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Writer]:
    monkeypatch.setattr(writer_module, "CLOSE_SECONDS", 0.05)
    writer = Writer(Away(), Forever())  # type: ignore[arg-type]
    yield writer
    await writer.close()


def _save(writer: Writer, name: object, kept: "weakref.WeakSet[Payload]") -> None:
    payload = Payload()
    kept.add(payload)

    async def operation(_: Any, carried: Payload = payload) -> Payload:
        return carried

    writer.submit(operation, patient=True, newest_of=name)


async def test_what_was_replaced_by_something_newer_is_let_go_even_behind_a_patient_write(
    away: Writer,
) -> None:
    kept: weakref.WeakSet[Payload] = weakref.WeakSet()

    async def nothing(_: Any) -> None:
        return

    away.submit(nothing, patient=True)  # it heads the queue, and waits for the database
    for _ in range(SAVES):
        for session in range(SESSIONS):
            _save(away, ("memory", session), kept)
    gc.collect()
    waiting = SESSIONS + 1
    assert away.watch.health.waiting_operations == waiting
    assert len(vars(away)["_queue"]) <= 2 * waiting + COMPACT_ABOVE + 1
    assert len(kept) <= 2 * waiting + COMPACT_ABOVE + 1, "with what they carry"


async def test_names_that_were_written_once_are_not_kept_for_ever(away: Writer) -> None:
    """A queue that is never empty (an event each second) must not keep a name for every session
    that ever was.
    """
    kept: weakref.WeakSet[Payload] = weakref.WeakSet()

    async def nothing(_: Any) -> None:
        return

    away.submit(nothing, patient=True)
    for number in range(SAVES * SESSIONS):
        _save(away, ("memory", number), kept)
        away._leave(vars(away)["_queue"][-1])
    assert len(vars(away)["_newest"]) <= 2 + COMPACT_ABOVE + 1
    assert len(vars(away)["_queue"]) <= 2 + COMPACT_ABOVE + 1


@pytest.mark.looptime
async def test_a_writer_with_an_error_of_its_own_goes_on_and_loses_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It used to end, and nothing could be stored any more until the next restart."""
    told = list[TaskHealth]()
    forever = Forever(told.append)
    writer = Writer(Away(), forever)  # type: ignore[arg-type]
    make = writer._make_next

    async def fails() -> None:
        raise ValueError("a bug of the writer")

    async def works() -> None:
        for waiting in [waiting for waiting in vars(writer)["_queue"] if not waiting.gone]:
            waiting.futures[0].set_result("made")
            writer._leave(waiting)

    monkeypatch.setattr(writer, "_make_next", fails)

    async def operation(_: Any) -> str:
        return "made"

    patient, impatient = writer.submit(operation, patient=True), writer.submit(operation)
    with pytest.raises(StoreUnavailable):
        await impatient
    await asyncio.sleep(60)
    assert writer.watch.state == "failing"
    assert [health.state for health in told] == ["failing"]
    monkeypatch.setattr(writer, "_make_next", works)
    assert await patient == "made"
    await asyncio.sleep(60)
    assert writer.watch.state == "ok"
    assert [health.state for health in told] == ["failing", "ok"]
    monkeypatch.setattr(writer, "_make_next", make)
    await writer.close()
