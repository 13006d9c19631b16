"""The event log as it is followed: numbered, bounded, shown only when durable."""

import asyncio
from typing import Any, ClassVar

import msgspec
import pytest

from sessions.model import EventData, SessionId, StaleEpoch, StoreUnavailable
from sessions.ports import Origin
from sessions.store import StoredEvent
from supervisor.fleet.event_filter import EventFilter
from supervisor.fleet.feed import Feed, Gap
from tests.fakes.event_store import EventStore

pytestmark = [pytest.mark.looptime, pytest.mark.usefixtures("no_tasks_left")]
SHOP = SessionId("shop")


class Said(EventData, frozen=True):
    """An event of no meaning."""

    type: ClassVar[str] = "test.said"
    text: str = ""
    n: int = 0


async def _feed(store: EventStore, limit: int = 100) -> Feed:
    return await Feed.open(store, limit)  # type: ignore[arg-type]


async def _after(
    feed: Feed, number: int, limit: int, wait_seconds: float = 0.0
) -> list[StoredEvent]:
    return (await feed.after(number, limit, wait_seconds)).events


async def test_an_event_is_shown_when_it_is_durable_and_not_before() -> None:
    store = EventStore()
    feed = await _feed(store)
    feed.publish(SHOP, Said("open"))
    assert await _after(feed, 0, 10) == []
    assert feed.last == 0
    await store.commit()
    (event,) = await _after(feed, 0, 10)
    assert (event.n, event.session, event.type, bytes(event.data)) == (
        1,
        "shop",
        "test.said",
        b'{"text":"open","n":0}',
    )
    assert feed.last == 1


async def test_numbers_go_on_where_an_earlier_run_stopped() -> None:
    store = EventStore(StoredEvent(41, 0, None, "old", msgspec.Raw(b"{}")))
    feed = await _feed(store)
    assert feed.last == 41
    feed.publish(None, Said())
    await store.commit()
    assert [event.n for event in await _after(feed, 0, 10)] == [41, 42]
    assert [event.n for event in await _after(feed, 41, 10)] == [42]


async def test_it_gives_the_oldest_first_and_at_most_so_many() -> None:
    store = EventStore()
    feed = await _feed(store)
    for _ in range(10):
        feed.publish(SHOP, Said())
    await store.commit()
    assert [event.n for event in await _after(feed, 3, 4)] == [4, 5, 6, 7]
    assert await _after(feed, 10, 4) == []
    assert await _after(feed, 99, 4) == []


async def test_it_keeps_no_more_in_memory_than_its_limit_and_gives_what_the_log_still_holds() -> (
    None
):
    store = EventStore()
    feed = await _feed(store, limit=3)
    for _ in range(10):
        feed.publish(SHOP, Said())
    await store.commit()
    assert [event.n for event in await _after(feed, 7, 100)] == [8, 9, 10]
    assert store.read == 0
    assert [event.n for event in await _after(feed, 0, 100)] == list(range(1, 11))
    assert [event.n for event in await _after(feed, 0, 9)] == list(range(1, 10))
    assert [event.n for event in await _after(feed, 5, 1)] == [6]
    assert [event.n for event in await _after(feed, 6, 100)] == [7, 8, 9, 10]
    assert [(event.n, event.session) for event in feed._events] == [
        (8, "shop"),
        (9, "shop"),
        (10, "shop"),
    ]


async def test_texts_that_are_too_long_for_memory_are_read_back_one_page_after_the_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("supervisor.fleet.feed.MAX_BYTES", 1000)
    store = EventStore()
    store.per_read = 5
    feed = await _feed(store)
    for n in range(20):
        feed.publish(SHOP, Said("x" * 100, n))
    await store.commit()
    assert 0 < len(feed._events) < 5
    seen = list[int]()
    while page := await _after(feed, seen[-1] if seen else 0, 6):
        seen += [event.n for event in page]
    assert seen == list(range(1, 21)), "each once, in order, and none left out"


async def test_a_page_ends_at_its_bytes_wherever_its_events_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("supervisor.fleet.feed.PAGE_BYTES", 700)
    store = EventStore()
    feed = await _feed(store, limit=8)
    for n in range(20):
        feed.publish(SHOP, Said("x" * 100, n))
    await store.commit()
    pages, seen = list[int](), list[int]()
    while page := await _after(feed, seen[-1] if seen else 0, 1000):
        seen += [event.n for event in page]
        pages.append(len(page))
    assert seen == list(range(1, 21)), "each once, in order, and none left out"
    assert max(pages) == 3


async def test_a_page_holds_one_event_at_least_and_none_if_none_is_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("supervisor.fleet.feed.PAGE_BYTES", 1)
    store = EventStore()
    feed = await _feed(store, limit=1)
    for _ in range(3):
        feed.publish(SHOP, Said("x" * 100))
    await store.commit()
    assert [event.n for event in await _after(feed, 0, 1000)] == [1]
    assert [event.n for event in await _after(feed, 2, 1000)] == [3]
    store.failing = True
    page = await feed.after(0, 0)
    assert (page.events, page.last) == ([], 3), "where the log is, though the store is away"


async def test_few_pages_are_read_back_at_once() -> None:
    store = EventStore()
    feed = await _feed(store, limit=1)
    for _ in range(5):
        feed.publish(SHOP, Said())
    await store.commit()
    at_once = most = 0
    given = store.events_between

    async def counted(*args: Any) -> tuple[list[StoredEvent], int]:
        nonlocal at_once, most
        at_once += 1
        most = max(most, at_once)
        await asyncio.sleep(1)
        at_once -= 1
        return await given(*args)

    store.events_between = counted  # type: ignore[method-assign]
    pages = await asyncio.gather(*(_after(feed, 0, 1000) for _ in range(20)))
    assert [[event.n for event in page] for page in pages] == [[1, 2, 3, 4, 5]] * 20
    assert most == 4


async def test_a_feed_that_begins_with_a_part_of_the_log_gives_the_whole_of_it() -> None:
    store = EventStore(*(StoredEvent(n, 0, None, "old", msgspec.Raw(b"{}")) for n in range(3, 10)))
    store.loaded = 2
    feed = await _feed(store)
    page = await feed.after(0, 100)
    assert ([event.n for event in page.events], page.oldest, page.last) == (
        [3, 4, 5, 6, 7, 8, 9],
        3,
        9,
    )
    page = await feed.after(7, 100)
    assert ([event.n for event in page.events], page.oldest, page.last) == ([8, 9], 3, 9)


async def test_who_has_fallen_behind_the_log_sees_the_gap() -> None:
    store = EventStore()
    feed = await _feed(store, limit=3)
    assert (await feed.after(0, 100)).oldest is None
    for _ in range(10):
        feed.publish(SHOP, Said())
    await store.commit()
    del store.kept[:5]
    page = await feed.after(2, 100)
    assert ([event.n for event in page.events], page.oldest) == ([6, 7, 8, 9, 10], 6)
    assert (await feed.after(10, 100)).oldest == 6


async def test_while_the_store_cannot_be_read_who_is_behind_is_told_and_who_follows_goes_on() -> (
    None
):
    store = EventStore()
    feed = await _feed(store, limit=3)
    for _ in range(10):
        feed.publish(SHOP, Said())
    await store.commit()
    assert (await feed.after(7, 100)).oldest == 1
    store.failing = True
    with pytest.raises(StoreUnavailable):
        await feed.after(6, 100)
    page = await feed.after(7, 100)
    assert ([event.n for event in page.events], page.oldest) == ([8, 9, 10], 1)


async def test_the_oldest_event_is_known_when_the_store_fails_before_anybody_asks() -> None:
    store = EventStore(*(StoredEvent(n, 0, None, "old", msgspec.Raw(b"{}")) for n in range(3, 10)))
    feed = await _feed(store)
    store.failing = True
    page = await feed.after(3, 100)
    assert ([event.n for event in page.events], page.oldest, page.last) == (
        [4, 5, 6, 7, 8, 9],
        3,
        9,
    )


async def test_the_first_event_of_all_is_the_oldest_one_even_if_the_store_fails_then() -> None:
    store = EventStore()
    feed = await _feed(store)
    for _ in range(2):
        feed.publish(SHOP, Said())
    await store.commit()
    store.failing = True
    assert (await feed.after(0, 100)).oldest == 1


async def test_every_follower_is_woken_by_the_next_event() -> None:
    store = EventStore()
    feed = await _feed(store)
    followers = [asyncio.create_task(_after(feed, 0, 10, 25.0)) for _ in range(5)]
    await asyncio.sleep(1)
    feed.publish(SHOP, Said())
    await store.commit()
    assert [[event.n for event in await follower] for follower in followers] == [[1]] * 5


async def test_a_follower_who_is_behind_does_not_wait() -> None:
    store = EventStore()
    feed = await _feed(store)
    feed.publish(SHOP, Said())
    await store.commit()
    began = asyncio.get_running_loop().time()
    assert len(await _after(feed, 0, 10, 25.0)) == 1
    assert asyncio.get_running_loop().time() == began


async def test_a_follower_waits_no_longer_than_he_asked() -> None:
    feed = await _feed(EventStore())
    began = asyncio.get_running_loop().time()
    assert await _after(feed, 0, 10, 25.0) == []
    assert asyncio.get_running_loop().time() - began == pytest.approx(25.0, abs=0.01)


async def test_a_follower_who_leaves_takes_nobody_with_him() -> None:
    store = EventStore()
    feed = await _feed(store)
    leaves, stays = (asyncio.create_task(_after(feed, 0, 10, 25.0)) for _ in range(2))
    await asyncio.sleep(0.1)
    leaves.cancel()
    await asyncio.wait([leaves])
    feed.publish(SHOP, Said())
    await store.commit()
    assert len(await stays) == 1


async def test_an_event_that_could_not_be_stored_is_not_shown_and_harms_no_other() -> None:
    store = EventStore()
    feed = await _feed(store)
    feed.publish(SHOP, Said("lost"))
    future, *_ = store.waiting.pop()
    future.set_exception(StoreUnavailable("disk full"))
    feed.publish(SHOP, Said("kept"))
    await store.commit()
    assert [msgspec.json.decode(event.data)["text"] for event in await _after(feed, 0, 10)] == [
        "kept"
    ]


# --- what workers deliver -------------------------------------------------------------------------


async def test_a_delivered_event_is_done_and_shown_when_it_is_durable_and_not_before() -> None:
    store = EventStore()
    feed = await _feed(store)
    delivered = feed.deliver(SHOP, Said("hello"), Origin(3, 1, ("3A1",)))
    await asyncio.sleep(1)
    assert not delivered.done()
    assert feed.last == 0
    await store.commit()
    assert await delivered is True
    assert [event.type for event in await _after(feed, 0, 10)] == ["test.said"]
    assert store.news == [(3, 1, b'{"text":"hello","n":0}', ("3A1",))]


async def test_what_is_delivered_twice_is_shown_once() -> None:
    store = EventStore()
    feed = await _feed(store)
    first = feed.deliver(SHOP, Said(), Origin(3, 1))
    await store.commit()
    again = feed.deliver(SHOP, Said(), Origin(3, 1))
    assert (await first, await again) == (True, False)
    assert len(await _after(feed, 0, 10)) == 1
    assert feed.last == 1


async def test_an_event_of_an_older_epoch_is_refused_and_not_shown() -> None:
    store = EventStore()
    feed = await _feed(store)
    feed.deliver(SHOP, Said(), Origin(4, 1))
    await store.commit()
    with pytest.raises(StaleEpoch):
        await feed.deliver(SHOP, Said(), Origin(3, 9))
    assert len(await _after(feed, 0, 10)) == 1


async def test_a_delivery_that_the_store_lost_says_so_to_whoever_waits_for_it() -> None:
    store = EventStore()
    feed = await _feed(store)
    delivered = feed.deliver(SHOP, Said(), Origin(3, 1))
    future, *_ = store.waiting.pop()
    future.set_exception(StoreUnavailable("closed"))
    with pytest.raises(StoreUnavailable):
        await delivered
    assert await _after(feed, 0, 10) == []


# --- what is chosen -------------------------------------------------------------------------------


class Told(EventData, frozen=True):
    """An event of another group."""

    type: ClassVar[str] = "other.told"


OTHER = EventFilter(types=("other.*",))


async def _mixed(feed: Feed, store: EventStore, said: int, told: int = 0) -> None:
    for _ in range(said):
        feed.publish(SHOP, Said())
    for _ in range(told):
        feed.publish(None, Told())
    await store.commit()


async def _chosen(
    feed: Feed, number: int, wanted: EventFilter, limit: int = 100, wait_seconds: float = 0.0
) -> tuple[list[int], int]:
    page = await feed.after(number, limit, wait_seconds, wanted)
    return [event.n for event in page.events], page.read_to


@pytest.mark.parametrize("in_memory", [100, 1], ids=["from memory", "from the store"])
async def test_who_chooses_gets_those_alone_and_goes_on_behind_the_others(in_memory: int) -> None:
    store = EventStore()
    feed = await _feed(store, limit=in_memory)
    await _mixed(feed, store, 3, 2)  # 1 2 3, 4 5
    await _mixed(feed, store, 3, 2)  # 6 7 8, 9 10
    await _mixed(feed, store, 2)  # 11 12
    assert await _chosen(feed, 0, OTHER) == ([4, 5, 9, 10], 12)
    assert await _chosen(feed, 0, OTHER, limit=3) == ([4, 5, 9], 9)
    assert await _chosen(feed, 9, OTHER, limit=1) == ([10], 12)
    assert await _chosen(feed, 10, OTHER) == ([], 12)
    assert await _chosen(feed, 0, EventFilter(sessions=frozenset({"shop"}))) == (
        [1, 2, 3, 6, 7, 8, 11, 12],
        12,
    )
    assert await _chosen(feed, 0, EventFilter(sessions=frozenset({"none"}))) == ([], 12)
    assert await _chosen(feed, 0, EventFilter(("test.said",), None, 0, 8)) == ([1, 2, 3, 6, 7], 7)
    assert await _chosen(feed, 0, EventFilter(("other.*",), None, 0, 4)) == ([], 3)


async def test_an_event_that_is_not_wanted_ends_no_wait() -> None:
    store = EventStore()
    feed = await _feed(store)
    waiting = asyncio.create_task(_chosen(feed, 0, OTHER, wait_seconds=30.0))
    for _ in range(5):
        await asyncio.sleep(1)
        await _mixed(feed, store, 1)
    assert not waiting.done()
    await _mixed(feed, store, 0, 1)
    assert await waiting == ([6], 6)


async def test_a_wait_that_is_over_moves_the_cursor_past_what_was_not_wanted() -> None:
    store = EventStore()
    feed = await _feed(store)
    waiting = asyncio.create_task(_chosen(feed, 0, OTHER, wait_seconds=5.0))
    await asyncio.sleep(1)
    await _mixed(feed, store, 3)
    assert await waiting == ([], 3)


async def test_nobody_waits_for_what_cannot_come_any_more() -> None:
    store = EventStore()
    feed = await _feed(store)
    await _mixed(feed, store, 5)
    async with asyncio.timeout(1):
        assert await _chosen(feed, 0, EventFilter(("other.*",), None, 0, 4), 100, 30.0) == ([], 3)


async def test_so_much_is_looked_through_at_once_and_the_cursor_says_how_far(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("supervisor.fleet.feed.LOOKED_THROUGH", 4)
    store = EventStore()
    feed = await _feed(store)
    await _mixed(feed, store, 9, 1)
    assert await _chosen(feed, 0, OTHER) == ([], 4)
    assert await _chosen(feed, 4, OTHER) == ([], 8)
    assert await _chosen(feed, 8, OTHER) == ([10], 10)
    assert await _chosen(feed, 0, OTHER, wait_seconds=1.0) == ([10], 10), "who waits goes on"
    store.per_read = 3
    behind = await _feed(store, limit=1)
    assert await _chosen(behind, 0, OTHER) == ([], 3)
    assert await _chosen(behind, 3, OTHER) == ([], 6)
    assert await _chosen(behind, 6, OTHER) == ([10], 10)


async def test_what_an_earlier_version_has_left_is_chosen_by_its_name_of_today() -> None:
    said = msgspec.Raw(b'{"started": true}')
    store = EventStore(*(StoredEvent(n, 0, "shop", "created", said) for n in range(1, 4)))
    store.loaded = 1
    feed = await _feed(store, limit=1)
    assert await _chosen(feed, 0, EventFilter(("session.created",))) == ([1, 2, 3], 3)
    assert await _chosen(feed, 0, EventFilter(("session.deleted",))) == ([], 3)


async def test_what_was_dropped_before_it_was_read_is_told_as_a_gap() -> None:
    store = EventStore()
    feed = await _feed(store, limit=3)
    await _mixed(feed, store, 10)
    del store.kept[:5]
    store.dropped = 5
    for after, gap in ((0, None), (2, Gap(3, 5)), (4, Gap(5, 5)), (5, None), (10, None)):
        assert (await feed.after(after, 100)).gap == gap, after
    assert (await feed.after(2, 100, 0.0, OTHER)).gap == Gap(3, 5), "nobody knows what they were"
    store.dropped = 8
    del store.kept[:3]
    page = await feed.after(7, 100)
    assert ([event.n for event in page.events], page.gap) == ([8, 9, 10], None), "from memory"
    del store.kept[0]  # purged with its session
    store.dropped = 5
    assert (await feed.after(5, 100)).gap is None


async def test_what_the_log_drops_while_nothing_happens_is_dropped_from_memory_too() -> None:
    store = EventStore(*(StoredEvent(n, 0, None, "old", msgspec.Raw(b"{}")) for n in range(1, 6)))
    feed = await _feed(store)
    store.dropped = 3
    await feed.trim()
    assert [one.n for one in (await feed.after(0, 10)).events] == [4, 5]
    assert (await feed.after(2, 10)).gap == (3, 3)
    assert feed.purges == 1, "and from what others keep"
    store.failing = True
    with pytest.raises(StoreUnavailable):
        await feed.trim()
    assert feed.purges == 1


async def test_one_event_wakes_many_and_the_store_is_asked_once_what_it_still_keeps() -> None:
    store = EventStore()
    feed = await _feed(store)
    await _mixed(feed, store, 1)
    asked = 0
    answer = store.oldest_event

    async def counted() -> int | None:
        nonlocal asked
        asked += 1
        await asyncio.sleep(0.01)
        return await answer()

    store.oldest_event = counted  # type: ignore[method-assign]
    waiting = [asyncio.create_task(feed.after(1, 100, 30.0)) for _ in range(200)]
    await asyncio.sleep(5)
    await _mixed(feed, store, 1)
    pages = await asyncio.gather(*waiting)
    assert {(page.events[0].n, page.oldest) for page in pages} == {(2, 1)}
    assert asked == 1
    await asyncio.sleep(5)
    del store.kept[0]
    assert (await feed.after(1, 100)).oldest == 2, "believed for a moment only"


async def test_who_asks_up_to_a_number_that_no_event_has_comes_to_an_end() -> None:
    events = [StoredEvent(n, 0, "shop", "a", msgspec.Raw(b"{}")) for n in (*range(1, 6), 9)]
    feed = await _feed(EventStore(*events))
    wanted = EventFilter(before=8)
    assert (await feed.after(5, 10, 0, wanted)).read_to == 7
    began = asyncio.get_running_loop().time()
    page = await feed.after(5, 10, 30.0, wanted)
    assert (page.events, page.read_to) == ([], 7)
    assert asyncio.get_running_loop().time() == began, "no more can come: it does not wait"
    feed = await _feed(EventStore(*events), limit=1)
    assert (await feed.after(5, 10, 0, wanted)).read_to == 7, "and out of the store"
