"""What was measured is what is read, in order, with its gaps; a count is what was added."""

import pytest

from sessions.model import SessionId
from sessions.views.events import SessionDeleted
from supervisor.history.history import History
from supervisor.history.points import Point

T0 = 1_800_000_000.0
"""The begin of an hour, of a minute and of ten seconds."""
CPU = ("host.cpu", None)
SHOP, BAR = SessionId("shop"), SessionId("bar")


async def test_a_gauge_is_read_as_it_was_measured_and_a_gap_is_no_zero() -> None:
    history = History()
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
    assert await history.read(*CPU, T0 + 10, T0 + 30, 10) == (Point(T0 + 10, 1, 0.5, 0.5, 0.5),)


async def test_a_count_is_what_was_added_also_when_its_total_begins_anew() -> None:
    history, key = History(), ("session.messages", "shop")
    for second, total in ((0, 2), (10, 2), (20, 7), (30, 1)):
        history.take({key: total}, T0 + second)
    found = await history.read(*key, T0, T0 + 60, 10)
    assert [point.sum for point in found] == [2, 0, 5, 1]
    assert history.totals() == {key: 1}


async def test_what_the_sessions_tell_is_summed_up_for_the_fleet() -> None:
    history = History()
    told = {("session.messages", "shop"): 3, ("session.messages", "bar"): 4}
    history.take(told | {("session.up", "shop"): True, ("session.up", "bar"): False}, T0)
    assert history.latest()["fleet.messages", None] == 7
    assert history.latest()["fleet.open", None] == 1
    # a session that is gone takes nothing away from what the fleet has done
    history.take({("session.messages", "shop"): 5}, T0 + 10)
    assert history.latest()["fleet.messages", None] == 2


async def test_a_clock_that_is_set_back_measures_nothing_twice() -> None:
    history = History()
    for second, value in ((0, 0.1), (10, 0.2), (0, 0.3), (20, 0.4)):
        history.take({CPU: value}, T0 + second)
    found = await history.read(*CPU, T0, T0 + 60, 10)
    assert [point.mean for point in found] == [0.1, 0.2, 0.4]


async def test_figures_are_rounded_once_when_they_are_measured() -> None:
    history = History()
    history.take({CPU: 1 / 3}, T0)
    (point,) = await history.read(*CPU, T0, T0 + 10, 10)
    assert history.latest()[CPU] == point.mean == 0.3333


async def test_a_deleted_session_leaves_no_figures() -> None:
    history = History()
    for session in (SHOP, BAR):
        history.take({("session.messages", session): 3}, T0)
    history.on_deleted(SHOP, SessionDeleted(purged=False))
    assert await history.read("session.messages", SHOP, T0, T0 + 60, 10) == ()
    assert len(await history.read("session.messages", BAR, T0, T0 + 60, 10)) == 1
