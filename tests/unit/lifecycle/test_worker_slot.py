"""A session's worker slot: what becomes of what a worker says, and what it is told in return."""

import asyncio

import msgspec
import pytest

from sessions.lifecycle.dependencies import Dependencies
from sessions.lifecycle.inbox import Event, Exceeded, FrameCame, KeysUnreadable, WorkerEnded
from sessions.lifecycle.worker_slot import UnreadableCredentials, WorkerSlot
from sessions.model import (
    EventData,
    SessionId,
    StaleEpoch,
    StoreError,
    StoreUnavailable,
    UnreadableValue,
)
from sessions.ports import Origin
from sessions.records.counters import Counters
from sessions.views.events import MessageReceived, Party
from sessions.workers import wire
from sessions.workers.keys import KeyService
from sessions.workers.limits import Excess, Severity
from sessions.workers.worker_process import Exit
from tests.fakes import CREDS, FakeWorker, World

pytestmark = [pytest.mark.looptime(noop_cycles=6), pytest.mark.usefixtures("no_tasks_left")]


class Chair:
    """A worker slot with a worker on it.

    What is delivered becomes durable, or is lost, when the test says so.
    """

    def __init__(self) -> None:
        self.world = World()
        self.inbox: asyncio.Queue[Event] = asyncio.Queue()
        self.counters = Counters()
        self.delivered: list[tuple[EventData, Origin, asyncio.Future[bool]]] = []
        dependencies = self.world.dependencies
        self.dependencies = Dependencies(
            config=dependencies.config,
            store=dependencies.store,
            keys=dependencies.keys,
            workers=dependencies.workers,
            gate=dependencies.gate,
            publish=dependencies.publish,
            record=dependencies.record,
            deliver=self._deliver,
            rng=dependencies.rng,
        )
        self.slot = WorkerSlot(self.world.id, self.dependencies, self.inbox, self.counters)
        self.worker = FakeWorker(self.world.workers, "shop", 1)
        self.worker.adoptable(wire.Held(session="shop", epoch=3, attempt=1, stage=wire.Stage.OPEN))
        self.slot.adopt(self.worker, 3)

    def _deliver(
        self, session: SessionId, event: EventData, origin: Origin
    ) -> asyncio.Future[bool]:
        assert session == "shop"
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.delivered.append((event, origin, future))
        return future

    async def settle(self, outcome: bool | Exception) -> None:
        for *_, future in self.delivered:
            if not future.done() and isinstance(outcome, bool):
                future.set_result(outcome)
            elif not future.done() and isinstance(outcome, Exception):
                future.set_exception(outcome)
        await asyncio.sleep(0.01)


async def test_a_message_is_acknowledged_when_it_is_durable_and_not_before() -> None:
    chair = Chair()
    chair.worker.says("hello")
    await asyncio.sleep(10)
    ((event, origin, _),) = chair.delivered
    assert (event.type, origin) == ("message.received", Origin(epoch=3, seq=1, kept=()))
    assert isinstance(event, MessageReceived)
    assert (event.text, event.chat) == (
        "hello",
        Party("15550000009@s.whatsapp.net", phone="15550000009"),
    )
    assert chair.worker.sent == []
    await chair.settle(True)
    assert chair.worker.sent == [wire.EventsAck("shop", epoch=3, seq=1)]
    assert chair.counters.messages_processed == 1


async def test_what_a_message_was_made_of_is_forgotten_with_its_delivery() -> None:
    chair = Chair()
    chair.worker.says("hello")
    said = msgspec.structs.replace(chair.worker.unacknowledged[1], seq=2, kept=["3A1", "3A2"])
    chair.worker.report(said)
    assert [origin for _, origin, _ in chair.delivered] == [
        Origin(3, 1, ()),
        Origin(3, 2, ("3A1", "3A2")),
    ]
    await chair.settle(True)


async def test_a_receipt_is_acknowledged_and_is_no_message() -> None:
    chair = Chair()
    chair.worker.report(
        wire.Receipt("shop", epoch=3, seq=4, id="3EB0", sender="x@s.whatsapp.net", status="read")
    )
    await chair.settle(True)
    assert [event.type for event, *_ in chair.delivered] == ["message.status"]
    assert chair.worker.sent == [wire.EventsAck("shop", epoch=3, seq=4)]
    assert chair.counters.messages_processed == 0


async def test_what_was_there_already_is_acknowledged_again_and_not_counted_again() -> None:
    chair = Chair()
    chair.worker.says("hello")
    await chair.settle(False)
    assert chair.worker.sent == [wire.EventsAck("shop", epoch=3, seq=1)]
    assert chair.counters.messages_processed == 0


async def test_a_worker_of_an_older_epoch_is_refused() -> None:
    chair = Chair()
    chair.worker.says("hello")
    await chair.settle(StaleEpoch("the session was given to another"))
    assert chair.worker.sent == [wire.Refuse("the session was given to another")]
    assert not chair.worker.alive
    assert chair.counters.messages_processed == 0


async def test_a_message_that_could_not_be_stored_for_the_stores_trouble_is_kept_by_its_worker() -> (
    None
):
    """An acknowledgement says "durable".

    The worker says it again to the next supervisor; acknowledged, it would be lost for good.
    """
    chair = Chair()
    chair.worker.says("hello")
    await chair.settle(StoreUnavailable("The store was closed before this could be written."))
    assert chair.worker.sent == []
    assert list(chair.worker.unacknowledged) == [1]


async def test_a_message_that_no_store_can_ever_take_does_not_come_back_for_ever() -> None:
    chair = Chair()
    chair.worker.says("hello")
    await chair.settle(StoreError("The store could not do that: a value that it does not take"))
    assert chair.worker.sent == [wire.EventsAck("shop", epoch=3, seq=1)]


async def test_an_acknowledgement_for_a_line_that_is_down_harms_nobody() -> None:
    chair = Chair()
    chair.worker.says("hello")
    chair.worker.line_down = True
    await chair.settle(True)
    assert chair.counters.messages_processed == 1
    assert list(chair.worker.unacknowledged) == [1], "and it says it again on its next line"


async def test_reports_excess_and_end_go_into_the_inbox() -> None:
    chair = Chair()
    report, excess, end = (
        wire.State("shop", attempt=1, stage="login"),
        Excess(Severity.KILL, "x"),
        Exit(signal=9),
    )
    chair.worker.report(report)
    chair.slot.on_excess(chair.worker, excess)
    chair.worker.end(end)
    assert [chair.inbox.get_nowait() for _ in range(3)] == [
        FrameCame(chair.worker, report),
        Exceeded(chair.worker, excess),
        WorkerEnded(chair.worker, end),
    ]


async def test_a_worker_that_speaks_of_another_session_or_of_none_is_killed() -> None:
    for frame in (
        wire.State("another", attempt=1, stage="login"),
        wire.Beat(lag_ms=1, rss_bytes=1, heap_bytes=1),
    ):
        chair = Chair()
        chair.worker.report(frame)
        assert chair.worker.killed
        assert chair.inbox.empty()


async def test_keys_that_cannot_be_read_are_told_and_not_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chair = Chair()

    async def unreadable(*_: object) -> dict[str, bytes]:
        raise UnreadableValue("session 'x' does not decrypt")

    monkeypatch.setattr(chair.world.store, "read_keys", unreadable)
    chair.worker.report(wire.KeysGet("shop", epoch=3, id=9, kind="session", names=["x"]))
    event = await chair.inbox.get()
    assert isinstance(event, KeysUnreadable)
    assert event.worker is chair.worker
    assert str(event.error) == "session 'x' does not decrypt"
    assert chair.worker.sent == [], "an empty answer would make Baileys begin new keys"


async def test_a_read_waits_for_the_store_and_is_given_up_when_the_worker_has_ended() -> None:
    chair = Chair()
    chair.world.store.auth["shop", "session", "x"] = b"1"
    chair.world.store.failing = True
    chair.worker.report(wire.KeysGet("shop", epoch=3, id=9, kind="session", names=["x", "y"]))
    await asyncio.sleep(60)
    assert chair.worker.sent == []
    chair.world.store.failing = False
    await asyncio.sleep(5)
    (answer,) = chair.worker.sent
    assert isinstance(answer, wire.KeysValues)
    assert {name: bytes(value) for name, value in answer.values.items()} == {"x": b"1"}
    chair.world.store.failing = True
    chair.worker.report(wire.KeysGet("shop", epoch=3, id=10, kind="session", names=["x"]))
    await asyncio.sleep(1)
    chair.worker.end(Exit(signal=9))
    await asyncio.sleep(10)
    assert len(chair.worker.sent) == 1


async def test_reads_that_wait_are_given_up_when_the_service_is_closed() -> None:
    world = World()
    service = KeyService(world.store)  # type: ignore[arg-type]
    world.store.failing = True
    told: list[UnreadableValue] = []
    worker = FakeWorker(world.workers, "shop", 1)
    service.read(
        worker, wire.KeysGet("shop", epoch=3, id=9, kind="session", names=["x"]), told.append
    )
    await asyncio.sleep(1)
    await service.close()
    assert worker.sent == []
    assert told == []


async def test_credentials_that_lack_what_all_have_are_not_handed_out() -> None:
    chair = Chair()
    await chair.slot.clear()
    chair.world.paired(b'{"noiseKey":{}}')
    with pytest.raises(UnreadableCredentials, match=r"noiseKey\.public"):
        await chair.slot.assign(FakeWorker(chair.world.workers, "shop", 2))
    assert chair.slot.worker is None
    chair.world.paired(CREDS)
    worker = FakeWorker(chair.world.workers, "shop", 3)
    await chair.slot.assign(worker)
    assert chair.slot.worker is worker
    (assign,) = worker.sent
    assert isinstance(assign, wire.Assign)
    assert bytes(assign.creds) == CREDS


async def test_what_earlier_workers_have_left_goes_with_the_session_to_the_next() -> None:
    chair = Chair()
    await chair.slot.clear()
    chair.world.paired(CREDS)
    store = chair.world.store
    store.auth |= {
        ("shop", "inbound", "A friend x"): b'{"n":1}',
        ("another", "inbound", "B"): b"{}",
    }
    worker = FakeWorker(chair.world.workers, "shop", 2)
    await chair.slot.assign(worker)
    (assign,) = worker.sent
    assert isinstance(assign, wire.Assign)
    assert {name: bytes(value) for name, value in assign.inbound.items()} == {
        "A friend x": b'{"n":1}'
    }


async def test_what_was_left_is_read_when_the_worker_before_can_say_nothing_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Until its epoch is over the entry may be part of an event that is on the line: it would be
    shown twice.
    """
    chair = Chair()
    chair.world.paired(CREDS)
    store, order = chair.world.store, list[str]()
    await store.create_session(chair.world.id, wanted=True)
    raise_epoch, inbound = store.raise_epoch, store.inbound

    async def raised(session: SessionId) -> int:
        order.append("ended" if not chair.worker.alive else "alive")
        order.append("raised")
        return await raise_epoch(session)

    async def read(session: str, most_bytes: int) -> dict[str, bytes]:
        order.append("read")
        return await inbound(session, most_bytes)

    monkeypatch.setattr(store, "raise_epoch", raised)
    monkeypatch.setattr(store, "inbound", read)
    successor = FakeWorker(chair.world.workers, "shop", 2)
    await chair.slot.succeed(successor)
    assert order == ["ended", "raised", "read"]
    assert isinstance(successor.sent[0], wire.Assign)


async def test_an_adopted_worker_is_told_of_nothing_that_was_left() -> None:
    """It has its events still: what the store has of them is theirs."""
    chair = Chair()
    chair.world.store.auth["shop", "inbound", "A"] = b"{}"
    worker = FakeWorker(chair.world.workers, "shop", 2)
    chair.slot.adopt(worker, 3)
    assert worker.sent == []


async def test_a_session_whose_leftovers_cannot_be_read_now_is_given_to_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chair = Chair()
    await chair.slot.clear()
    chair.world.paired(CREDS)

    async def failing(*_: object) -> dict[str, bytes]:
        raise StoreUnavailable("The disk is full.")

    monkeypatch.setattr(chair.world.store, "inbound", failing)
    worker = FakeWorker(chair.world.workers, "shop", 2)
    with pytest.raises(StoreUnavailable):
        await chair.slot.assign(worker)
    assert (chair.slot.worker, worker.sent) == (None, [])
