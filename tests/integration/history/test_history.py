"""What was measured is what is read, at every step, from memory and from both databases, across
restarts; gaps stay gaps, and a deleted session leaves nothing.
"""

import contextlib
import random
from collections.abc import AsyncIterator, Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL

from sessions.model import SessionId, StoreError, StoreUnavailable
from sessions.records.distribution import Distribution
from sessions.store import Store, sqlite_url
from sessions.views.events import SessionDeleted
from supervisor.history.archive import Archive
from supervisor.history.history import History, UnknownSeries
from supervisor.history.points import Point
from supervisor.history.series import Key, buckets_of
from supervisor.history.tiers import DAY, HOUR, TIERS, InvalidPeriod, Tier
from tests.store_tools import sql

T0 = 1_800_000_000.0
"""The begin of an hour, of a minute and of ten seconds, but of no page of a coarser tier."""
CPU = ("host.cpu", None)
SHOP, BAR = SessionId("shop"), SessionId("bar")


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    store = await Store.open(sqlite_url(tmp_path / "wasup.db"))
    yield store
    await store.close()


def history_of(store: Store, now: float = T0) -> History:
    return History(Archive(store.history_pages), lambda: now)


def reference(
    known: Mapping[float, float], start: float, end: float, step_seconds: int
) -> list[Point]:
    """The points that these figures, by the begin of their ten seconds, have to give."""
    steps: dict[float, list[float]] = {}
    for at, value in known.items():
        if start <= at < end:
            steps.setdefault(at - at % step_seconds, []).append(value)
    return [
        Point(at, len(values), sum(values), min(values), max(values))
        for at, values in sorted(steps.items())
    ]


async def must_read(
    history: History, key: Key, known: Mapping[float, float], start: float, end: float
) -> None:
    for step_seconds in (10, 20, 60, 300, HOUR, 2 * HOUR):
        found = await history.read(*key, start, end, step_seconds)
        expected = reference(known, start, end, step_seconds)
        assert [(one.at, one.count, one.minimum, one.maximum) for one in found] == [
            (one.at, one.count, one.minimum, one.maximum) for one in expected
        ], (key, step_seconds)
        assert [one.sum for one in found] == pytest.approx([one.sum for one in expected])


async def test_what_was_measured_is_read_at_every_step_across_restarts(url: URL) -> None:
    rng, store = random.Random(1), await Store.open(url)
    lags, messages = ("session.worker_lag_ms", SHOP), ("session.messages", BAR)
    known: dict[Key, dict[float, float]] = {CPU: {}, lags: {}, messages: {}}
    history, total = history_of(store), 0
    slots = HOUR // 10 + 77
    for slot in range(slots):
        at, figures = T0 + 10 * slot, dict[Key, float]()
        if rng.random() < 0.9:
            figures[CPU] = known[CPU][at] = rng.randrange(10_000) / 10_000
        if slot % 100 < 75:
            figures[lags] = known[lags][at] = rng.choice([0.0, 3.7, 250_000.5])
        known[messages][at] = grown = rng.choice([0, 0, 0, 1, 40])
        total += grown
        history.take(figures | {messages: total}, at)
        await history.write_due()
        if slot in {133, 300}:  # a restart, in the midst of an hour and a minute
            await history.close()
            history, total = history_of(store), 0
    end = T0 + 10 * slots
    for key, figures_of in known.items():
        await must_read(history, key, figures_of, T0, end)
        await must_read(history, key, figures_of, T0 + HOUR, end)
    await history.close()
    for key, figures_of in known.items():
        await must_read(history_of(store), key, figures_of, T0, end)
    await store.close()


async def test_a_gauge_is_read_as_it_was_measured_and_a_gap_is_no_zero(store: Store) -> None:
    history = history_of(store)
    for second, value in ((0, 0.25), (10, 0.5), (30, 1.0)):
        history.take({CPU: value}, T0 + second)
    assert history.latest() == {CPU: 1.0}
    assert await history.read(*CPU, T0, T0 + 60, 10) == (
        Point(T0, 1, 0.25, 0.25, 0.25),
        Point(T0 + 10, 1, 0.5, 0.5, 0.5),
        Point(T0 + 30, 1, 1.0, 1.0, 1.0),
    )
    (minute,) = await history.read(*CPU, T0, T0 + 60, 60)
    assert (minute.count, minute.minimum, minute.maximum) == (3, 0.25, 1.0)
    assert minute.mean == pytest.approx(1.75 / 3)


async def test_a_count_is_what_was_added_also_when_its_total_begins_anew(store: Store) -> None:
    history, key = history_of(store), ("session.messages", "shop")
    for second, total in ((0, 2), (10, 2), (20, 7), (30, 1)):
        history.take({key: total}, T0 + second)
    found = await history.read(*key, T0, T0 + 60, 10)
    assert [point.sum for point in found] == [2, 0, 5, 1]
    # the fleet's goes on when a session's begins anew
    assert history.totals() == {key: 1, ("fleet.messages", None): 8}


async def test_what_the_sessions_tell_is_summed_up_for_the_fleet(store: Store) -> None:
    history = history_of(store)
    told = {("session.messages", "shop"): 3, ("session.messages", "bar"): 4}
    history.take(told | {("session.up", "shop"): True, ("session.up", "bar"): False}, T0)
    assert history.latest()["fleet.messages", None] == 7
    assert history.latest()["fleet.open", None] == 1
    # a session that is gone takes nothing away from what the fleet has done
    history.take({("session.messages", "shop"): 5}, T0 + 10)
    assert history.latest()["fleet.messages", None] == 2
    found = await history.read("fleet.messages", None, T0, T0 + 60, 60)
    assert [point.sum for point in found] == [9]


async def test_a_clock_that_is_set_back_measures_nothing_twice(store: Store) -> None:
    history, known = history_of(store), {T0: 0.1, T0 + 10: 0.2, T0 + 20: 0.4}
    for second, value in ((0, 0.1), (10, 0.2), (0, 0.3), (20, 0.4)):
        history.take({CPU: value}, T0 + second)
    await must_read(history, CPU, known, T0, T0 + 60)
    await history.close()
    history.take({CPU: 0.9}, T0 + 10)  # what was written is not written again
    history.take({CPU: 0.5}, T0 + 30)
    await must_read(history, CPU, known | {T0 + 30: 0.5}, T0, T0 + 60)
    await history.close()
    await must_read(history_of(store), CPU, known | {T0 + 30: 0.5}, T0, T0 + 60)


async def test_what_is_measured_is_written_at_once_by_a_clock_that_was_set_right(
    store: Store,
) -> None:
    history = history_of(store)
    ahead = T0 + 20 * DAY
    for at in (ahead, ahead + 10, *(T0 + 10 * slot for slot in range(40))):
        history.take({CPU: 0.5}, at)
        await history.write_due()
    assert await history_of(store).read(*CPU, T0, T0 + HOUR, 10), "within five minutes"


async def test_figures_are_rounded_once_when_they_are_measured(store: Store) -> None:
    history = history_of(store)
    history.take({CPU: 1 / 3}, T0)
    for _ in range(2):
        (point,) = await history.read(*CPU, T0, T0 + 10, 10)
        assert history.latest()[CPU] == point.mean == 0.3333
        await history.close()


@pytest.mark.parametrize("purge", [False, True])
async def test_a_deleted_session_leaves_no_figures(url: URL, purge: bool) -> None:
    store = await Store.open(url)
    history = history_of(store)
    for session in (SHOP, BAR):
        await store.create_session(session, wanted=False)
        history.take({("session.messages", session): 3}, T0)
    await history.close()
    history.take({("session.messages", SHOP): 3, ("session.messages", BAR): 3}, T0 + 10)
    await store.delete_session(SHOP, purge)
    left = await sql(url, "SELECT DISTINCT subject FROM history_pages WHERE whose = 'session'")
    assert [row[0] for row in left] == [BAR], "gone in the transaction that deletes it"
    history.on_deleted(SHOP, SessionDeleted(purged=purge))
    await history.close()
    assert await history.read("session.messages", SHOP, T0, T0 + 60, 10) == ()
    assert len(await history.read("session.messages", BAR, T0, T0 + 60, 10)) == 2
    await store.close()


async def test_a_session_that_is_deleted_while_it_is_written_leaves_no_figures(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    history, key = history_of(store), ("session.messages", SHOP)
    history.take({key: 3}, T0)
    some = store.history_pages.some

    async def meanwhile(*asked: object) -> dict[str, bytes]:
        history.on_deleted(SHOP, SessionDeleted(purged=True))
        return await some(*asked)  # type: ignore[arg-type]

    monkeypatch.setattr(store.history_pages, "some", meanwhile)
    await history.close()
    await store.must_write()
    assert await history_of(store).read(*key, T0, T0 + 60, 10) == ()


async def test_a_distribution_is_added_up_over_time_and_subjects_written_or_not(
    store: Store,
) -> None:
    history, trips = history_of(store), Distribution()
    rng, values = random.Random(1), list[float]()
    for slot in range(60):
        for _ in range(20):
            values.append(100 * rng.lognormvariate(0, 0.5))
            trips.add(values[-1])
        history.take(buckets_of("fleet.response_ms", None, trips.counts), T0 + 10 * slot)
        if slot == 40:
            await history.close()
    (whole,) = await history.read_spread("fleet.response_ms", None, T0, T0 + HOUR, HOUR)
    assert whole.counts == trips.counts
    assert whole.quantile(0.95) == pytest.approx(sorted(values)[int(0.95 * 1200)], rel=0.05)
    minutes = await history.read_spread("fleet.response_ms", None, T0, T0 + HOUR, 60)
    assert [minute.count for minute in minutes] == [120] * 10


async def test_what_is_old_is_dropped_tier_by_tier_and_no_earlier(store: Store) -> None:
    history = history_of(store)
    history.take({CPU: 0.5}, T0)
    await history.close()
    for tier, other in zip(TIERS, (*TIERS[1:], None), strict=True):
        kept = T0 + tier.kept_seconds
        await history_of(store, kept).drop_old()
        step = tier.step_seconds
        begin = T0 - T0 % step
        assert len(await history_of(store, kept).read(*CPU, begin, begin + step, step)) == 1
        late = kept + 2 * tier.page_seconds + 1
        await history_of(store, late).drop_old()
        with pytest.raises(InvalidPeriod) as refusal:
            await history_of(store, late).read(*CPU, begin, begin + step, step)
        if other is not None:
            assert f"a step of {other.step_seconds} s" in refusal.value.hint


@pytest.mark.parametrize("tier", TIERS)
async def test_what_may_still_be_asked_for_has_not_been_dropped(store: Store, tier: Tier) -> None:
    """The oldest moment that is answered for, at the end of the page on which it is."""
    at = T0 - T0 % tier.page_seconds + tier.page_seconds - tier.step_seconds
    history = history_of(store, at + tier.readable_seconds)
    history.take({CPU: 0.5}, at)
    await history.close()
    await history.drop_old()
    assert len(await history.read(*CPU, at, at + tier.step_seconds, tier.step_seconds)) == 1


async def test_while_the_store_is_away_figures_wait_and_those_that_it_refuses_harm_no_others(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    history, pages = history_of(store), store.history_pages
    some, messages = pages.some, ("session.messages", SHOP)

    async def away(*_asked: object) -> dict[str, bytes]:
        raise StoreUnavailable("away")

    async def refusing(*asked: Any) -> dict[str, bytes]:
        if "none" in asked:
            raise StoreError("it does not take that")
        return await some(*asked)

    monkeypatch.setattr(pages, "some", away)
    for slot in range(31):
        history.take({CPU: 0.5, messages: 1 + slot}, T0 + 10 * slot)
        await history.write_due()
    await must_read(history, messages, dict.fromkeys(at(range(31)), 1), T0, T0 + HOUR)
    monkeypatch.setattr(pages, "some", refusing)
    for slot in range(31, 62):
        history.take({CPU: 0.5, messages: 1 + slot}, T0 + 10 * slot)
        with contextlib.suppress(StoreError):
            await history.write_due()
    found = await history_of(store).read(*messages, T0, T0 + 300, 10)
    assert [point.sum for point in found] == [1] * 30


def at(slots: Iterable[int]) -> list[float]:
    return [T0 + 10 * slot for slot in slots]


async def test_a_page_that_cannot_be_read_is_logged_and_costs_nothing_else(
    tmp_path: Path, store: Store
) -> None:
    history = history_of(store)
    history.take({CPU: 0.5}, T0)
    await history.close()
    await sql(sqlite_url(tmp_path / "wasup.db"), "UPDATE history_pages SET value = x'00'")
    history.take({CPU: 0.25}, T0 + 10)
    await must_read(history, CPU, {T0 + 10: 0.25}, T0, T0 + 60)
    await history.close()
    await must_read(history, CPU, {T0 + 10: 0.25}, T0, T0 + 60)


@pytest.mark.parametrize(
    ("start", "end", "step_seconds", "hint"),
    [
        (T0 - 60, T0, 15, "10, 60, 300"),
        (T0 - 60, T0, 0, "10, 60, 300"),
        (T0, T0, 10, "earlier"),
        (T0, T0 - 60, 10, "earlier"),
        (T0 - 3 * DAY, T0, 10, "a step of 60 s"),
        (T0 - 2 * DAY, T0 - 2 * DAY + 60, 10, "a step of 60 s"),
        (T0 - 8 * DAY, T0 - 8 * DAY + HOUR, 60, "a step of 3600 s"),
        (T0 - 500 * DAY, T0, DAY, "400 d"),
    ],
)
async def test_a_period_that_cannot_be_answered_is_refused_with_one_that_can(
    store: Store, start: float, end: float, step_seconds: int, hint: str
) -> None:
    with pytest.raises(InvalidPeriod) as refusal:
        await history_of(store).read(*CPU, start, end, step_seconds)
    assert hint in refusal.value.hint


async def test_an_unknown_series_is_refused_with_those_that_are_like_it(store: Store) -> None:
    with pytest.raises(UnknownSeries) as refusal:
        await history_of(store).read("host.cpus", None, T0, T0 + 60, 10)
    assert "host.cpu" in refusal.value.hint
