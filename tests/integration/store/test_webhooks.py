"""Webhooks in the store, in both databases; and how much of the event log is kept for them."""

import time
from typing import Any

import msgspec
import pytest
from sqlalchemy import URL

from sessions.model import SessionId
from sessions.store import Cipher, LogBounds, Store
from sessions.store.tables import events
from sessions.store.tables.webhooks import DeliveryRow, WebhookRow
from tests.store_tools import sql

NOW = 1_700_000_000.0
SECRET = b'{"secret": "whsec_very"}'


def webhook(number: int = 1) -> WebhookRow:
    return WebhookRow(f"wh_{number}", NOW + number, SECRET, None, b'{"lowWater": 0}')


def row(n: int, **values: Any) -> DeliveryRow:
    given = DeliveryRow(
        webhook="wh_1",
        n=n,
        last_n=n,
        next_n=n,
        session="shop",
        type="message.received",
        state="retrying",
        attempts=3,
        first_failed_at=NOW,
        next_at=NOW + n,
        last_status=500,
        last_error="500: away",
    )
    return msgspec.structs.replace(given, **values)


def many(first: int, last: int, state: str = "dead") -> DeliveryRow:
    return row(first, last_n=last, session=None, type=None, state=state, next_at=None)


async def filled(url: URL, *rows: DeliveryRow) -> Store:
    store = await Store.open(url)
    await store.webhooks.add(webhook())
    for one in rows:
        store.webhooks.set_aside(one)
    await store.must_write()
    return store


async def test_a_webhook_is_there_again_with_its_progress_and_sealed(url: URL) -> None:
    keys = Cipher([bytes(range(32))])
    store = await Store.open(url, cipher=keys)
    await store.webhooks.add(webhook(2))
    await store.webhooks.add(webhook(1))
    for n in (1, 2, 3):
        store.webhooks.save_progress("wh_1", b'{"lowWater": %d}' % n)
    store.webhooks.save_failing_since("wh_1", NOW)
    store.webhooks.pause("wh_2", "gone")
    await store.close()
    stored = await sql(url, "SELECT settings FROM webhooks")
    assert all(b"whsec" not in bytes(value) for (value,) in stored)
    store = await Store.open(url, cipher=keys)
    first, second = await store.webhooks.all()
    assert first == msgspec.structs.replace(
        webhook(1), progress=b'{"lowWater": 3}', failing_since=NOW
    )
    assert second == msgspec.structs.replace(webhook(2), paused_because="gone")
    await store.webhooks.change("wh_1", b'{"other": 1}', "operator")
    assert (await store.webhooks.all())[0].settings == b'{"other": 1}'
    await store.close()


async def test_a_webhook_s_secrets_move_to_a_new_key_with_all_others(url: URL) -> None:
    old, new = bytes(range(32)), bytes(range(1, 33))
    store = await Store.open(url)
    await store.webhooks.add(webhook())
    await store.close()
    for keys in ([old], [new, old]):
        store = await Store.open(url, cipher=Cipher(keys))
        report = await store.rewrite_secrets()
        assert (report.rewritten, report.complete) == (1, True)
        await store.close()
    store = await Store.open(url, cipher=Cipher([new]))
    assert (await store.webhooks.all())[0].settings == SECRET
    await store.close()


async def test_an_event_is_set_aside_once_and_its_row_goes_when_it_is_accepted(url: URL) -> None:
    store = await filled(url, row(5), row(5, attempts=4), row(7))
    first, second = await store.webhooks.page("wh_1", 0, 10)
    assert (first.n, first.attempts, second.n) == (5, 4, 7)
    assert await store.webhooks.set_aside_after("wh_1", 5) == {7}
    await store.webhooks.accepted(first)
    await store.webhooks.update(msgspec.structs.replace(second, state="dead", next_at=None))
    assert await store.webhooks.count("wh_1") == {"dead": 1}
    await store.close()


async def test_what_is_due_comes_oldest_first_and_the_next_time_is_known(url: URL) -> None:
    store = await filled(url, row(9), row(5), row(7), row(1, state="dead", next_at=None))
    assert [one.n for one in await store.webhooks.due("wh_1", NOW + 7, 10)] == [5, 7]
    assert [one.n for one in await store.webhooks.due("wh_1", NOW + 9, 1)] == [5]
    assert await store.webhooks.next_due("wh_1") == NOW + 5
    await store.webhooks.hasten("wh_1", NOW)
    assert len(await store.webhooks.due("wh_1", NOW, 10)) == 3
    assert await store.webhooks.next_due("wh_2") is None
    await store.close()


async def test_ranges_that_touch_become_one_row_and_others_stay(url: URL) -> None:
    store = await filled(url, row(9, state="dead"))
    for one in (many(10, 19), many(20, 29), many(30, 39, "gap"), many(50, 59), many(60, 60)):
        store.webhooks.set_range_aside(one)
    found = await store.webhooks.page("wh_1", 0, 10)
    await store.must_write()
    found = await store.webhooks.page("wh_1", 0, 10)
    assert [(one.n, one.last_n, one.state) for one in found] == [
        (9, 9, "dead"),
        (10, 29, "dead"),
        (30, 39, "gap"),
        (50, 60, "dead"),
    ]
    await store.close()


async def test_the_row_that_an_event_is_in_is_its_own_or_one_of_many(url: URL) -> None:
    store = await filled(url, many(1, 9), row(5), row(20))

    async def covering(n: int) -> int | None:
        found = await store.webhooks.covering("wh_1", n)
        return None if found is None else found.n

    assert [await covering(n) for n in (1, 5, 6, 9, 10, 20, 21)] == [1, 5, 1, 1, None, 20, None]
    assert await store.webhooks.covering("wh_2", 5) is None
    await store.close()


@pytest.mark.parametrize(
    ("which", "redriven"),
    [
        ({"after": None, "ids": None}, [1, 5, 10]),
        ({"after": 4, "ids": None}, [5, 10]),
        ({"after": 12, "ids": None}, [10]),
        ({"after": None, "ids": [2, 99]}, [5]),
    ],
)
async def test_what_is_dead_is_sent_again_by_event_by_number_or_all(
    url: URL, which: dict[str, Any], redriven: list[int]
) -> None:
    dead = [row(1, state="dead", next_at=None), row(5), many(10, 19), many(30, 39, "gap")]
    store = await filled(url, *dead)
    count, left = await store.webhooks.redrive("wh_1", NOW - 100, **which)
    assert (count, left) == (len(redriven), await store.webhooks.count("wh_1"))
    due = await store.webhooks.due("wh_1", NOW - 100, 10)
    assert [one.n for one in due] == redriven
    assert {one.attempts for one in due} == {0}
    await store.close()


async def test_rows_go_with_their_webhook_their_session_or_their_events(url: URL) -> None:
    store = await filled(
        url,
        row(1, state="dead"),
        row(2),
        row(7, state="dead", session="other"),
        many(8, 9, "gap"),
        row(11, session="other"),
    )
    assert await store.webhooks.forget_before(5, NOW - 1) == 1, "the dead one of event 1"
    assert await store.webhooks.forget_before(5, NOW + 1) == 1, "the gap that is old"
    left = await store.webhooks.replay("wh_1", 7, b"{}", b'{"lowWater": 7}')
    assert left == {"retrying": 1, "dead": 1} == (await store.webhooks.counts())["wh_1"]
    assert (await store.webhooks.all())[0].progress == b'{"lowWater": 7}'
    assert [one.n for one in await store.webhooks.page("wh_1", 0, 10)] == [2, 7]
    await store.create_session(SessionId("shop"), wanted=False)
    await store.delete_session(SessionId("shop"), purge=True)
    assert [one.n for one in await store.webhooks.page("wh_1", 0, 10)] == [7]
    await store.webhooks.remove("wh_1")
    store.webhooks.set_aside(row(12))  # of an attempt that was under way: it has nowhere to be
    store.webhooks.set_range_aside(many(13, 14))
    await store.must_write()
    assert await sql(url, "SELECT count(*) FROM deliveries") == [(0,)]
    await store.close()


# --- the log --------------------------------------------------------------------------------------


async def kept(store: Store) -> list[int]:
    return [event.n for event in (await store.events_between(0, 10**9, 10_000, 2**30))[0]]


async def appended(store: Store, count: int, data: bytes = b"{}") -> None:
    for _ in range(count):
        store.append_event(None, "x", data)
    await store.must_write()


async def test_the_log_is_kept_by_age_and_says_what_it_has_dropped(url: URL) -> None:
    store = await Store.open(url, LogBounds(age_seconds=3600.0))
    await appended(store, 300)
    assert await store.last_dropped_event() == 0
    old = int(1000 * (time.time() - 3601))
    await sql(url, "UPDATE events SET time_ms = ? WHERE n <= 100", old)
    await appended(store, 256)
    numbers = await kept(store)
    assert (numbers[0], numbers[-1], len(numbers)) == (101, 556, 456)
    assert await store.last_dropped_event() == 100
    assert await store.last_event_before(int(1000 * (time.time() + 60))) == 556
    await store.close()


async def test_a_log_to_which_nothing_is_added_is_trimmed_all_the_same(
    url: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_TRIM_MOST", 40)
    store = await Store.open(url, LogBounds(age_seconds=3600.0))
    await appended(store, 100)
    await store.trim_events()
    assert await store.last_dropped_event() == 0
    await sql(url, "UPDATE events SET time_ms = 1 WHERE n <= 98")
    await store.trim_events()
    assert (await kept(store), await store.last_dropped_event()) == ([99, 100], 98)
    await sql(url, "UPDATE events SET time_ms = 1")
    await store.trim_events()
    assert await kept(store) == [100], "the log ends with its newest event, however old it is"
    await store.close()


async def test_the_log_is_kept_by_size(url: URL) -> None:
    store = await Store.open(url, LogBounds(size_bytes=100 * 1000))
    await appended(store, 512, b'"' + b"x" * 998 + b'"')
    numbers = await kept(store)
    assert (numbers[0], numbers[-1]) == (413, 512)
    assert await store.last_dropped_event() == 412
    await store.close()
    store = await Store.open(url, LogBounds(size_bytes=100 * 1000))
    await appended(store, 256, b'"' + b"x" * 998 + b'"')
    assert (await kept(store))[0] == 669, "a restart does not forget what it weighs"
    await store.close()


async def test_events_of_before_this_version_are_the_first_to_go_by_size(url: URL) -> None:
    store = await Store.open(url)
    await appended(store, 200)
    await sql(url, "UPDATE events SET bytes_to_here = 0")
    await store.close()
    store = await Store.open(url, LogBounds(size_bytes=100))
    await appended(store, 56)
    assert (await kept(store))[0] == 207
    await store.close()


async def test_a_log_without_bounds_drops_nothing(url: URL) -> None:
    store = await Store.open(url)
    await appended(store, 600)
    assert len(await kept(store)) == 600
    await store.close()
