"""The event log as it is followed: numbered, bounded, shown only when durable."""

import asyncio
from collections.abc import Sequence

import msgspec
import pytest

from sessions.model import SessionId, StaleEpoch, StoreUnavailable
from sessions.ports import Origin
from sessions.store import StoredEvent
from supervisor.feed import Feed

pytestmark = [pytest.mark.looptime, pytest.mark.usefixtures("no_tasks_left")]
SHOP = SessionId("shop")


class EventStore:
    """The store's part that the feed uses; an event is durable when the test says so."""

    def __init__(self, *kept: StoredEvent) -> None:
        self.kept = list(kept)
        self.waiting: list[tuple[asyncio.Future[StoredEvent], str | None, str, bytes]] = []
        self.news: list[tuple[int, int, bytes, tuple[str, ...]]] = []
        self.newest = (0, 0)
        self.n = kept[-1].n if kept else 0

    def append_event(self, session: str | None, kind: str, data: bytes) -> asyncio.Future[StoredEvent]:
        future: asyncio.Future[StoredEvent] = asyncio.get_running_loop().create_future()
        self.waiting.append((future, session, kind, data))
        return future

    def append_worker_event(
        self, session: str, epoch: int, seq: int, kind: str, data: bytes, kept: Sequence[str]
    ) -> asyncio.Future[StoredEvent | None]:
        """As the real one: news once, and not at all of an earlier epoch than the newest."""
        self.news.append((epoch, seq, data, tuple(kept)))
        known, self.newest = self.newest, max(self.newest, (epoch, seq))
        answer: asyncio.Future[StoredEvent | None]
        if epoch < known[0] or (epoch, seq) <= known:
            answer = asyncio.get_running_loop().create_future()
            if epoch < known[0]:
                answer.set_exception(StaleEpoch(f"epoch {epoch}"))
            else:
                answer.set_result(None)
            return answer
        return self.append_event(session, kind, data)  # type: ignore[return-value]

    async def last_events(self, most_bytes: int) -> list[StoredEvent]:
        return self.kept

    async def commit(self) -> None:
        """Everything that waits becomes durable."""
        waiting, self.waiting = self.waiting, []
        for future, session, kind, data in waiting:
            self.n += 1
            future.set_result(StoredEvent(self.n, 0, session, kind, msgspec.Raw(data)))
        await asyncio.sleep(0)


async def _feed(store: EventStore, limit: int = 100) -> Feed:
    return await Feed.open(store, limit)  # type: ignore[arg-type]


async def test_an_event_is_shown_when_it_is_durable_and_not_before() -> None:
    store = EventStore()
    feed = await _feed(store)
    feed.publish(SHOP, "state", {"state": "open"})
    assert feed.after(0, 10) == []
    assert feed.last == 0
    await store.commit()
    (event,) = feed.after(0, 10)
    assert (event.n, event.session, event.type, bytes(event.data)) == (1, "shop", "state", b'{"state":"open"}')
    assert feed.last == 1


async def test_numbers_go_on_where_an_earlier_run_stopped() -> None:
    store = EventStore(StoredEvent(41, 0, None, "old", msgspec.Raw(b"{}")))
    feed = await _feed(store)
    assert feed.last == 41
    feed.publish(None, "new", {})
    await store.commit()
    assert [event.n for event in feed.after(0, 10)] == [41, 42]
    assert [event.n for event in feed.after(41, 10)] == [42]


async def test_it_gives_the_oldest_first_and_at_most_so_many() -> None:
    store = EventStore()
    feed = await _feed(store)
    for _ in range(10):
        feed.publish(SHOP, "x", {})
    await store.commit()
    assert [event.n for event in feed.after(3, 4)] == [4, 5, 6, 7]
    assert feed.after(10, 4) == []
    assert feed.after(99, 4) == []


async def test_it_keeps_no_more_than_its_limit() -> None:
    store = EventStore()
    feed = await _feed(store, limit=3)
    for _ in range(10):
        feed.publish(SHOP, "x", {})
    await store.commit()
    assert [event.n for event in feed.after(0, 100)] == [8, 9, 10]


async def test_every_follower_is_woken_by_the_next_event() -> None:
    store = EventStore()
    feed = await _feed(store)
    followers = [asyncio.create_task(feed.wait_after(0, 10, 25.0)) for _ in range(5)]
    await asyncio.sleep(1)
    feed.publish(SHOP, "x", {})
    await store.commit()
    assert [[event.n for event in await follower] for follower in followers] == [[1]] * 5


async def test_a_follower_who_is_behind_does_not_wait() -> None:
    store = EventStore()
    feed = await _feed(store)
    feed.publish(SHOP, "x", {})
    await store.commit()
    began = asyncio.get_running_loop().time()
    assert len(await feed.wait_after(0, 10, 25.0)) == 1
    assert asyncio.get_running_loop().time() == began


async def test_a_follower_waits_no_longer_than_he_asked() -> None:
    feed = await _feed(EventStore())
    began = asyncio.get_running_loop().time()
    assert await feed.wait_after(0, 10, 25.0) == []
    assert asyncio.get_running_loop().time() - began == pytest.approx(25.0, abs=0.01)


async def test_a_follower_who_leaves_takes_nobody_with_him() -> None:
    store = EventStore()
    feed = await _feed(store)
    leaves, stays = (asyncio.create_task(feed.wait_after(0, 10, 25.0)) for _ in range(2))
    await asyncio.sleep(0.1)
    leaves.cancel()
    await asyncio.wait([leaves])
    feed.publish(SHOP, "x", {})
    await store.commit()
    assert len(await stays) == 1


async def test_an_event_that_could_not_be_stored_is_not_shown_and_harms_no_other() -> None:
    store = EventStore()
    feed = await _feed(store)
    feed.publish(SHOP, "lost", {})
    future, *_ = store.waiting.pop()
    future.set_exception(StoreUnavailable("disk full"))
    feed.publish(SHOP, "kept", {})
    await store.commit()
    assert [event.type for event in feed.after(0, 10)] == ["kept"]


# --- what workers deliver -------------------------------------------------------------------------------------------------


async def test_a_delivered_event_is_done_and_shown_when_it_is_durable_and_not_before() -> None:
    store = EventStore()
    feed = await _feed(store)
    delivered = feed.deliver(SHOP, "message", {"text": "hello"}, Origin(3, 1, ("3A1",)))
    await asyncio.sleep(1)
    assert not delivered.done()
    assert feed.last == 0
    await store.commit()
    assert await delivered is True
    assert [event.type for event in feed.after(0, 10)] == ["message"]
    assert store.news == [(3, 1, b'{"text":"hello"}', ("3A1",))]


async def test_what_is_delivered_twice_is_shown_once() -> None:
    store = EventStore()
    feed = await _feed(store)
    first = feed.deliver(SHOP, "message", {}, Origin(3, 1))
    await store.commit()
    again = feed.deliver(SHOP, "message", {}, Origin(3, 1))
    assert (await first, await again) == (True, False)
    assert len(feed.after(0, 10)) == 1
    assert feed.last == 1


async def test_an_event_of_an_older_epoch_is_refused_and_not_shown() -> None:
    store = EventStore()
    feed = await _feed(store)
    feed.deliver(SHOP, "message", {}, Origin(4, 1))
    await store.commit()
    with pytest.raises(StaleEpoch):
        await feed.deliver(SHOP, "message", {}, Origin(3, 9))
    assert len(feed.after(0, 10)) == 1


async def test_a_delivery_that_the_store_lost_says_so_to_whoever_waits_for_it() -> None:
    store = EventStore()
    feed = await _feed(store)
    delivered = feed.deliver(SHOP, "message", {}, Origin(3, 1))
    future, *_ = store.waiting.pop()
    future.set_exception(StoreUnavailable("closed"))
    with pytest.raises(StoreUnavailable):
        await delivered
    assert feed.after(0, 10) == []
