"""Where a client stands that asks anew, is cut off, or has too much waiting."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from engineio import packet

from api.live import broadcast, frames
from api.live.admission.connection import Connection
from api.live.broadcast import Broadcast
from api.live.client_queue import ClientQueue, Frame
from api.live.log_reader import Piece
from api.live.observer import NoObserver
from sessions.store import StoredEvent
from supervisor.access.principal import BY_TOKEN
from supervisor.fleet.event_filter import EventFilter
from supervisor.fleet.live_feed_limits import LiveFeedLimits

pytestmark = [pytest.mark.looptime, pytest.mark.usefixtures("no_tasks_left")]


def rooms(last: int = 20) -> Broadcast:
    """A broadcast that stands at the log's end."""
    return Broadcast(
        cast("Any", SimpleNamespace(last=last, purges=0)), cast("Any", None), NoObserver()
    )


def client(name: str = "c") -> Connection:
    made = Connection(name, name, ClientQueue(10_000, 0.0), BY_TOKEN, "websocket", 0.0)
    made.asked = EventFilter()
    return made


def frame(to: int, size_bytes: int = 100) -> Frame:
    return Frame(packet.Packet(packet.MESSAGE, f"{to}"), size_bytes, to, 1)


async def notice(of: Connection) -> Any:
    """What it is told next."""
    told = await of.queue.get()
    assert told is not None
    return msgspec.json.decode(told.data[1:])


async def test_who_asks_anew_loses_nothing_of_what_waits_for_it() -> None:
    feed, one = rooms(), client()
    feed.begin(one, 20)
    one.queue.offer(frame(21))
    one.queue.offer(frame(22))
    await one.queue.get()
    feed.position = 22
    one.asked = EventFilter(types=("message.*",))
    feed.begin(one, 22)
    feed.resync(one)
    # 22 waits still: it goes on from what it was handed, not from where it asked
    name, told = await notice(one)
    assert (name, told["after"], told["droppedBytes"]) == ("resync", 21, 100)
    assert one.position == 21


async def test_who_is_cut_off_gets_nothing_that_waited_and_goes_on_from_what_it_has() -> None:
    feed, one = rooms(), client()
    feed.begin(one, 20)
    one.queue.offer(frame(21))
    feed.position = 21
    assert feed.cut(one) == 100
    assert one.position == 20
    assert one.queue.queued_bytes == 0
    feed.begin(one, 21)
    feed.end(one)


async def test_what_waits_for_all_together_is_bounded_and_a_room_weighs_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(broadcast, "MOST_WAITING_BYTES", 1000)
    feed = rooms()
    same = [client(f"same {n}") for n in range(3)]
    other = client("other")
    other.asked = EventFilter(types=("message.*",))
    for one in (*same, other):
        feed.begin(one, 20)
    for one in same:
        one.queue.offer(frame(21, 400))
    other.queue.offer(frame(21, 500))
    feed.bound()
    assert all(one.queue.queued_bytes for one in (*same, other))
    other.queue.offer(frame(22, 500))
    feed.bound()
    assert other.queue.queued_bytes == 0
    assert (await notice(other))[0] == "resync"
    assert all(one.queue.queued_bytes for one in same)


class Log:
    """A log with more than anybody can take, in events of 30 kB."""

    async def wanted(self, number: int, to: int, wanted: EventFilter) -> Piece:
        data = msgspec.Raw(msgspec.json.encode("x" * 30_000))
        until = min(to, number + 4)
        return Piece(
            [StoredEvent(n, 0, None, "t", data) for n in range(number + 1, until + 1)], until
        )


async def test_little_waits_for_who_catches_up_and_does_not_read_however_many_they_are() -> None:
    feed = Broadcast(
        cast("Any", SimpleNamespace(last=1000, purges=0)), cast("Any", Log()), NoObserver()
    )
    one = client()
    one.queue = ClientQueue(100_000_000, 0.0)
    feed.begin(one, 0)
    await asyncio.sleep(10)
    waits = one.queue.queued_bytes
    assert waits > 0
    # with a page of the log in hand: what docs/live-feed.md says of each, and of all together
    assert waits <= 128 * 1024 + frames.MOST_FRAME_BYTES + 30_000
    assert waits * LiveFeedLimits().max_websocket_connections < broadcast.MOST_WAITING_BYTES
    while one.queue.queued_bytes:
        await one.queue.get()
        await asyncio.sleep(0)
    feed.end(one)
