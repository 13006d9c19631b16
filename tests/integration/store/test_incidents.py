"""Incidents and spans in both databases: written as one story, read for explanations, pruned,
forgotten; and what a successor learns.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import msgspec
import pytest
import pytest_asyncio
from sqlalchemy import URL

from sessions.model import CloseReason as R
from sessions.records import incidents
from sessions.records.incidents import Incident, RecordedClose, Span
from sessions.store import Store
from sessions.store.backups.backup import EVENTS_AHEAD, backup, restore
from tests.store_tools import OTHER, SHOP, moved, sql


@pytest_asyncio.fixture
async def store(url: URL) -> AsyncIterator[Store]:
    store = await Store.open(url)
    await store.create_session(SHOP, wanted=True)
    yield store
    await store.close()


def incident(
    began_at: float, session: str | None = SHOP, reason: R = R.CONNECTION_LOST
) -> Incident:
    close = RecordedClose(
        at=began_at,
        reason=reason,
        code=408,
        message="Sh\u00f6p",
        was_open=True,
        rule="r",
        wait_seconds=0.1,
    )
    return Incident(
        session=session,
        began_at=began_at,
        reason=reason,
        code=408,
        message="m",
        rule="r",
        closes=(close,),
        human="h",
    )


def plain(found: list[Incident]) -> list[Incident]:
    return [msgspec.structs.replace(each, id=0) for each in found]


async def test_an_incident_comes_back_as_it_was(store: Store) -> None:
    whole = msgspec.structs.replace(
        incident(100.125), ended_at=130.5, ending="open", attempts=3, hold="outage", scope=""
    )
    await store.records.save_incident(whole)
    (found,) = await store.records.incidents(None, None, 10)
    assert found.id > 0
    assert plain([found]) == [whole]


async def test_what_is_saved_again_is_the_same_story(store: Store, url: URL) -> None:
    story = incident(100.1)
    saving = [
        store.records.save_incident(msgspec.structs.replace(story, attempts=n)) for n in range(10)
    ]
    await asyncio.gather(*saving)
    await store.records.save_incident(incidents.ended(story, 160.1, "open"))
    (found,) = await store.records.incidents(SHOP, None, 10)
    assert (found.ending, found.down_seconds(1e9)) == ("open", 60.0)
    assert await sql(url, "SELECT down_seconds FROM incidents") == [(60.0,)]


async def test_a_story_that_nobody_goes_on_with_is_lost_when_the_next_begins(store: Store) -> None:
    await store.records.save_incident(incident(100))
    await store.records.save_incident(incidents.ended(incident(150), 151, "parked"))
    await store.records.save_incident(incident(120, session=OTHER))
    await store.records.save_incident(incident(200))
    found = {
        each.began_at: (each.ending, each.ended_at)
        for each in await store.records.incidents(None, None, 10)
    }
    assert found == {100: ("lost", 150), 150: ("lost", 151), 120: (None, None), 200: (None, None)}


async def test_they_are_listed_by_number_after_a_number_and_by_session(store: Store) -> None:
    for n in range(10):
        await store.records.save_incident(
            incidents.ended(incident(float(n), session=None if n == 7 else SHOP), n + 1, "open")
        )
    everything = await store.records.incidents(None, None, 100)
    assert [each.began_at for each in everything] == list(range(10))
    assert [each.began_at for each in await store.records.incidents(None, None, 3)] == [7, 8, 9]
    assert [each.began_at for each in await store.records.incidents(None, everything[3].id, 3)] == [
        4,
        5,
        6,
    ]
    assert [each.began_at for each in await store.records.incidents(SHOP, 0, 100)] == [
        0,
        1,
        2,
        3,
        4,
        5,
        6,
        8,
        9,
    ]
    assert await store.records.incidents("nobody", None, 100) == []
    story = await store.records.of_session(SHOP, since=6.5, at_least=2)
    assert [each.began_at for each in story] == [9, 8, 6]
    assert [
        each.began_at for each in await store.records.of_session(SHOP, since=100.0, at_least=2)
    ] == [9, 8]


async def test_spans_follow_each_other_without_gaps_and_begin_with_the_first_open(
    store: Store,
) -> None:
    moves = [
        ("down", 1),
        ("off", 2),
        ("open", 10),
        ("open", 11),
        ("down", 20),
        ("open", 15),
        ("off", 40),
        ("down", 50),
    ]
    for state, at in moves:
        await store.commit(moved(SHOP, state, at))
    await store.commit(moved(OTHER, "open", 3))
    assert await store.records.spans(SHOP, 0.0) == [
        Span(10, 20, "open"),
        Span(20, 20, "down"),  # the clock was set back: no time at all
        Span(20, 40, "open"),
        Span(40, 50, "off"),
        Span(50, None, "down"),
    ]
    assert await store.records.spans(SHOP, 45.0) == [
        Span(10, 20, "open"),
        Span(40, 50, "off"),
        Span(50, None, "down"),
    ]


async def test_a_successor_learns_until_when_its_predecessor_lived(store: Store, url: URL) -> None:
    await store.records.begin()
    assert store.records.silent_since is None
    await store.records.say_alive()
    await store.records.say_alive()
    await store.records.save_incident(incident(100, session=None))
    await store.records.save_incident(incident(100))
    await store.close()
    successor = await Store.open(url)
    left = await successor.records.begin()
    assert successor.records.silent_since == pytest.approx(time.time(), abs=5)
    ended = {
        each.session: each.ending for each in await successor.records.incidents(None, None, 10)
    }
    (outage,) = [
        each for each in await successor.records.incidents(None, None, 10) if each.session is None
    ]
    assert left == [outage]
    assert outage.ended_at == successor.records.silent_since
    assert ended == {None: "lost", SHOP: None}, (
        "a hold ended with its supervisor, a session's story did not"
    )
    await successor.close()


async def test_an_outage_that_began_after_its_supervisor_was_last_seen_never_ends_before_it_began(
    store: Store, url: URL
) -> None:
    await store.records.say_alive()
    later = time.time() + 30
    await store.records.save_incident(incident(later, session=None))
    await store.records.save_incident(
        msgspec.structs.replace(incident(later + 1, session=None), scope="egress x")
    )
    await store.close()
    successor = await Store.open(url)
    assert [each.scope for each in await successor.records.begin()] == ["", "egress x"]
    assert [
        (each.ended_at, each.ending) for each in await successor.records.incidents(None, None, 9)
    ] == [
        (later, "lost"),
        (later + 1, "lost"),
    ]
    assert await successor.records.begin() == [], "what is over is told once"
    await successor.close()


async def test_the_newest_event_tells_more_exactly_until_when_a_predecessor_lived(
    store: Store, url: URL
) -> None:
    began = time.time() - 100
    await store.records.save_incident(incident(began, session=None))
    await sql(url, "INSERT INTO meta (name, value) VALUES ('alive', ?)", repr(began - 30).encode())
    for n, ago in ((1, 95), (2, 80)):
        await sql(
            url,
            "INSERT INTO events (n, time_ms, type, data) VALUES (?, ?, 'state', ?)",
            n,
            round((began + 100 - ago) * 1000),
            b"{}",
        )
    await store.close()
    successor = await Store.open(url)
    (outage,) = await successor.records.begin()
    assert outage.down_seconds(0.0) == pytest.approx(20, abs=0.01)
    assert successor.records.silent_since == outage.ended_at
    await successor.close()


async def test_no_incident_comes_after_a_number_that_is_far_too_large(store: Store) -> None:
    await store.records.save_incident(incident(100))
    assert await store.records.incidents(None, 999_999_999_999_999, 10) == []
    assert await store.records.incidents(SHOP, 2**31, 10) == []


async def test_what_is_over_is_pruned_by_age_and_what_lasts_is_kept(store: Store) -> None:
    now = time.time()
    old, parked, fresh = incident(now - 900), incident(now - 800, session=OTHER), incident(now - 50)
    await store.records.save_incident(incidents.ended(old, now - 500, "open"))
    await store.records.save_incident(incidents.ended(parked, now - 800, "parked"))
    await store.records.save_incident(incident(now - 950, session="under way"))
    await store.records.save_incident(incidents.ended(fresh, now - 40, "open"))
    for state, at in (("open", now - 900), ("down", now - 300), ("open", now - 40)):
        await store.commit(moved(SHOP, state, at))
    assert await store.records.prune(100) == 1
    assert {each.session for each in await store.records.incidents(None, None, 9)} == {
        OTHER,
        "under way",
        SHOP,
    }
    assert [span.state for span in await store.records.spans(SHOP, 0.0)] == ["down", "open"]


async def test_a_deleted_session_leaves_its_history_and_a_purged_one_nothing(store: Store) -> None:
    await store.create_session(OTHER, wanted=True)
    for session in (SHOP, OTHER):
        await store.records.save_incident(incident(100, session=session))
        await store.commit(moved(session, "open", 50))
    await store.delete_session(SHOP, purge=False)
    await store.delete_session(OTHER, purge=True)
    (left,) = await store.records.incidents(None, None, 10)
    assert (left.session, left.ending) == (SHOP, "deleted")
    assert await store.records.spans(SHOP, 0.0) == await store.records.spans(OTHER, 0.0) == []


async def test_what_another_version_wrote_of_closes_is_left_out(store: Store, url: URL) -> None:
    await store.records.save_incident(incident(100))
    await sql(url, "UPDATE incidents SET closes = ?", b'[{"at": 1, "reason": "of the future"}]')
    (found,) = await store.records.incidents(None, None, 10)
    assert (found.reason, found.closes) == ("connection_lost", ())


async def test_incidents_go_into_a_backup_and_back_and_new_ones_get_new_numbers(
    store: Store, tmp_path: Path, new_url: Callable[[], URL]
) -> None:
    await store.records.save_incident(incident(100))
    await store.commit(moved(SHOP, "open", 50))
    (before,) = await store.records.incidents(None, None, 10)
    await backup(store, tmp_path / "backup")
    target = new_url()
    await restore(tmp_path / "backup", target, tmp_path)
    restored = await Store.open(target)
    assert await restored.records.incidents(None, None, 10) == [before]
    assert await restored.records.spans(SHOP, 0.0) == [Span(50, None, "open")]
    await restored.records.save_incident(incident(200))
    await restored.commit(moved(SHOP, "down", 60))
    newest = (await restored.records.incidents(None, None, 10))[-1]
    assert newest.id > before.id + EVENTS_AHEAD
    await restored.close()
