"""Looks at the way: when they come, what the gate makes of them, and that nobody is held by looks
that are wrong. Time is simulated.
"""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any

import pytest

from sessions.model import DIRECT, SessionId
from sessions.model import CloseReason as R
from sessions.policy import Close, ClosedWay, Verdict
from supervisor.gate.gate import Gate, GateConfig
from supervisor.gate.way import LATE_SECONDS, LIMITED_GAP_SECONDS, LOOK_SECONDS, Look, Way
from tests.unit.gate.test_gate_outages import Told, Town

pytestmark = [pytest.mark.looptime, pytest.mark.usefixtures("no_tasks_left")]

OPEN = Look("open", "WhatsApp can be reached")
NO_NAME = Look("closed", "the name is not known", R.DNS)
A, B = SessionId("a"), SessionId("b")


def _now() -> float:
    return asyncio.get_running_loop().time()


# --- when looks come: pure ------------------------------------------------------------------------


def looks(
    way: Way, until: float, found: Look, takes: float = 0.2, draw: float = 0.5, now: float = 0.0
) -> list[float]:
    """When looks begin, if each finds this."""
    begun = []
    while way.doubted and (now := max(now, way.next_at)) < until:
        begun.append(now)
        way.begins(now)
        way.learns(found, now + takes, draw)
        now += takes
    return begun


@pytest.mark.parametrize("draw", [0.0, 0.5, 0.999])
@pytest.mark.parametrize("takes", [0.2, LOOK_SECONDS])
def test_an_end_is_noticed_in_time_and_no_browser_would_look_less(
    draw: float, takes: float
) -> None:
    way = Way(DIRECT)
    way.doubt(A, 0.0)
    begun = looks(way, 2 * 3600.0, NO_NAME, takes, draw)
    apart = [later - earlier for earlier, later in pairwise(begun)]
    assert max(apart) < 20.0 - 3.0, "and a login after it"
    assert max(apart[:30]) < 10.0
    assert min(apart) >= 0.8
    assert len([at for at in begun if at < 60]) <= 14
    assert len([at for at in begun if at > LATE_SECONDS + 60]) <= (2 * 3600 - LATE_SECONDS) / 9


def test_nobody_looks_without_a_doubt_and_a_way_found_open_is_not_looked_at_again() -> None:
    way = Way(DIRECT)
    assert looks(way, 1000.0, OPEN) == []
    way.doubt(A, 100.0)
    assert looks(way, 1000.0, OPEN) == [100.0]
    way.doubt(A, 200.0)
    way.settled(A)
    assert looks(way, 1000.0, NO_NAME) == [], "it is open again by itself"


def test_a_sick_session_that_is_always_in_doubt_has_its_way_looked_at_less_and_less() -> None:
    way, begun, now = Way(DIRECT), [], 0.0
    for _ in range(8):
        way.doubt(A, now)
        begun += looks(way, 600.0, OPEN, now=now)
        now = begun[-1] + 0.2
    assert [round(later - earlier) for earlier, later in pairwise(begun)][:5] == [2, 4, 8, 15, 15]


def test_who_is_told_to_slow_down_does() -> None:
    way = Way(DIRECT)
    way.doubt(A, 0.0)
    begun = looks(way, 600.0, Look("closed", "HTTP 429", R.RATE_LIMITED), draw=0.0)
    assert min(later - earlier for earlier, later in pairwise(begun)) >= LIMITED_GAP_SECONDS * 0.8


def test_looks_that_tell_nothing_are_given_up_and_close_nothing() -> None:
    way = Way(DIRECT)
    way.doubt(A, 0.0)
    assert len(looks(way, 600.0, Look("unknown", "no descriptor"))) == 3
    assert not way.is_closed


def test_looks_that_logins_contradict_twice_are_not_believed_until_one_is_right() -> None:
    way = Way(DIRECT)
    for wrong in (False, True):
        way.doubt(A, 0.0)
        way.begins(0.0)
        way.learns(NO_NAME, 0.1, 0.5)
        assert way.is_closed
        way.came_through(0.2)
        way.settled(A)
        assert way.doubted, "it is looked at once more, at once"
        way.begins(0.2)
        way.learns(NO_NAME, 0.3, 0.5)
        assert (way.disbelieved, way.doubted) == (wrong, False)
    way.doubt(A, 50.0)
    way.begins(50.0)
    way.learns(NO_NAME, 50.1, 0.5)
    assert not way.is_closed, "it cannot hold anybody any more"
    way.begins(60.0)
    way.learns(OPEN, 60.1, 0.5)
    way.doubt(A, 70.0)
    way.begins(70.0)
    way.learns(NO_NAME, 70.1, 0.5)
    assert way.is_closed


def test_a_login_that_is_there_before_the_look_that_finds_the_way_open_contradicts_nothing() -> (
    None
):
    way = Way(DIRECT)
    for _ in range(5):
        way.doubt(A, 0.0)
        way.begins(0.0)
        way.learns(NO_NAME, 0.1, 0.5)
        way.came_through(0.2)
        way.settled(A)
        way.begins(0.2)
        way.learns(OPEN, 0.3, 0.5)
        assert not way.disbelieved


# --- what the gate makes of them ------------------------------------------------------------------


class Looker:
    """A prober whose finding a test sets. `lies`: what it says whatever is so."""

    def __init__(self) -> None:
        self.town: Town
        self.seen: list[tuple[float, str]] = []
        self.lies: Look | None = None
        self.fails = False

    async def look(self, session: SessionId, egress: str) -> Look:
        self.seen.append((_now(), session))
        if self.fails:
            raise RuntimeError("a fault of its own")
        if self.lies is not None:
            return self.lies
        if self.town.up and egress not in self.town.dead:
            await asyncio.sleep(0.2)
            return OPEN
        if self.town.hangs:
            await asyncio.sleep(LOOK_SECONDS)
            return Look("closed", "no answer", R.NETWORK_UNREACHABLE)
        await asyncio.sleep(0.1)
        return NO_NAME


@asynccontextmanager
async def town_of(
    sessions: int, egresses: int = 1, opened: bool = True
) -> AsyncIterator[tuple[Town, Told, Looker]]:
    told, looker = Told(), Looker()
    gate = Gate(GateConfig(), random.Random(3), told.publish, prober=looker)
    looker.town = town = Town(gate, sessions, 1, egresses)
    if opened:
        town.begin()
        await town.all_open()
        await asyncio.sleep(120)
        town.forget()
    try:
        yield town, told, looker
    finally:
        for task in town.tasks.values():
            task.cancel()
        await asyncio.gather(*town.tasks.values(), return_exceptions=True)
        await gate.close()


@pytest.mark.parametrize("sessions", [1, 4, 20])
@pytest.mark.parametrize(("seconds", "hangs"), [(10, False), (60, False), (60, True), (300, True)])
async def test_an_outage_of_any_length_charges_nobody_of_any_fleet_and_ends_within_twenty_seconds(
    sessions: int, seconds: int, hangs: bool
) -> None:
    async with town_of(sessions) as (town, told, _):
        town.hangs = hangs
        town.reason = R.NETWORK_UNREACHABLE
        town.goes_down()
        await asyncio.sleep(seconds)
        town.up, ended = True, _now()
        back = await town.all_open()
        assert min(at for at, _ in town.opened) - ended <= 20
        assert back - ended <= 20 + sessions / 5
        assert sum(number.charged for number in town.numbers) == 0
        assert told.kinds("fleet") == ["outage.began", "outage.ended"] * (
            told.kinds("fleet").count("outage.ended")
        )
        await asyncio.sleep(100)
        assert all(number.open for number in town.numbers)


async def test_the_hold_says_why_since_when_and_when_it_is_looked_at_again() -> None:
    async with town_of(1) as (town, told, _):
        town.goes_down()
        await asyncio.sleep(30)
        (hold,) = town.gate.view().holds
        assert (hold.scope, hold.way, hold.way_reason) == ("fleet", "closed", R.DNS)
        assert (
            "1 session is held for 30 s because of an outage (WhatsApp cannot be reached, dns"
            in hold.words
        )
        assert "looks again in" in hold.words
        assert hold.next_look_in_seconds is not None
        assert hold.next_look_in_seconds <= 10
        assert town.gate.closed_way(town.numbers[0].id) == ClosedWay(R.DNS, "the name is not known")
        assert "WhatsApp cannot be reached, dns" in str(told.events[0][2]["words"])
        town.up = True
        await town.all_open()
        assert town.gate.closed_way(town.numbers[0].id) is None


async def test_a_session_that_is_sick_while_the_way_is_open_is_charged_and_nobody_is_held() -> None:
    async with town_of(2) as (town, told, _):
        sick = town.numbers[0]
        town.dead.add(sick.id)
        sick.drop()
        await asyncio.sleep(600)
        assert sick.charged >= 5
        assert told.events == []
        assert town.numbers[1].open


async def test_a_fleet_of_one_that_is_sick_while_the_way_is_open_is_charged_too() -> None:
    async with town_of(1) as (town, told, looker):
        (sick,) = town.numbers
        looker.lies = OPEN
        town.dead.add(sick.id)
        sick.drop()
        await asyncio.sleep(600)
        assert sick.charged >= 5
        assert told.events == []


@pytest.mark.parametrize("sessions", [1, 2, 4])
async def test_whom_whatsapp_itself_turns_away_is_held_for_ten_minutes_and_then_on_its_own(
    sessions: int,
) -> None:
    async with town_of(sessions) as (town, told, looker):
        town.reason, looker.lies = R.UNAVAILABLE, OPEN
        town.goes_down()
        await asyncio.sleep(300)
        (hold,) = town.gate.view().holds
        assert "WhatsApp turns" in hold.words
        assert sum(number.charged for number in town.numbers) <= sessions - 1, (
            "but who closed before the last"
        )
        assert len(town.attempts) <= 25, "a canary each 15 s"
        await asyncio.sleep(400)
        assert told.kinds()[-1] == "outage.ended"
        charged = sum(number.charged for number in town.numbers)
        await asyncio.sleep(3000)
        assert sum(number.charged for number in town.numbers) > charged + 4, (
            "the breaker is for it now"
        )
        town.up = True
        await town.all_open()


async def test_a_short_trouble_of_whatsapps_own_costs_a_small_fleet_twenty_seconds_at_most() -> (
    None
):
    for seconds in (20, 60, 120, 290):
        async with town_of(1) as (town, _, looker):
            town.reason, looker.lies = R.SERVER_ERROR, OPEN
            town.goes_down()
            await asyncio.sleep(seconds)
            town.up, ended = True, _now()
            assert await town.all_open() - ended <= 20
            assert town.numbers[0].charged == 0


async def test_a_proxy_that_is_away_holds_its_own_sessions_and_canaries_of_others_go_on() -> None:
    async with town_of(4, egresses=2) as (town, _, looker):
        dead = town.numbers[1].egress
        town.dead.add(dead)
        for number in town.numbers:
            number.drop()
        await asyncio.sleep(60)
        (hold,) = town.gate.view().holds
        assert (hold.scope, hold.value, hold.sessions_held) == ("egress", dead, 2)
        assert [number.open for number in town.numbers] == [True, False, True, False]
        assert {session for at, session in looker.seen if at > 160} <= {
            town.numbers[1].id,
            town.numbers[3].id,
        }
        town.dead.clear()
        ended = _now()
        assert await town.all_open() - ended <= 20
        assert [number.charged for number in town.numbers if number.egress == dead] == [0, 0]


async def test_who_is_open_shows_the_way_and_a_door_that_is_shut_to_one_alone_is_his_own_matter() -> (
    None
):
    async with town_of(2) as (town, _, looker):
        town.numbers[0].drop()
        await asyncio.sleep(5)
        assert looker.seen[0][1] == town.numbers[1].id


async def test_looks_that_are_wrong_cost_two_minutes_twice_and_are_not_believed_any_more() -> None:
    async with town_of(1) as (town, _, looker):
        looker.lies = NO_NAME
        costs = []
        for _ in range(4):
            began = _now()
            town.numbers[0].drop()
            await asyncio.sleep(0.5)
            costs.append(await town.all_open() - began)
            await asyncio.sleep(600)
        assert max(costs) <= 125
        assert costs[-1] <= 3


async def test_looks_that_fail_tell_nothing_and_the_number_of_closes_decides_as_ever() -> None:
    async with town_of(12) as (town, told, looker):
        looker.fails = True
        town.goes_down()
        await asyncio.sleep(60)
        assert "12 sessions closed" in str(
            told.events[0][2]["words"]
        ) or "sessions closed within" in str(told.events[0][2])
        town.up = True
        await town.all_open()


async def test_what_an_outage_has_charged_before_it_was_seen_is_taken_back() -> None:
    uncharged: list[SessionId] = []
    looker = Looker()
    gate = Gate(GateConfig(), random.Random(1), prober=looker)
    looker.lies = NO_NAME
    gate.registered(A, DIRECT, lambda: uncharged.append(A))
    gate.opened(A)
    await asyncio.sleep(100)
    lost = Close(reason=R.CONNECTION_LOST, was_open=True)
    assert gate.closed(A, lost, 1.0) is Verdict.OWN, "nobody knows yet"
    await asyncio.sleep(0.1)
    assert uncharged == [A]
    assert gate.closed(A, Close(reason=R.NETWORK_UNREACHABLE), 0.0) is Verdict.COVERED
    gate.left(A)
    await asyncio.sleep(700)
    assert len(looker.seen) == 1, "nobody is left who doubts"
    await gate.close()


async def test_a_405_hold_is_none_of_the_ways() -> None:
    looker = Looker()
    gate = Gate(GateConfig(), random.Random(1), prober=looker)
    looker.lies = NO_NAME
    for session in (A, B):
        gate.registered(session, DIRECT, lambda: None)
        gate.pause(session, R.CLIENT_OUTDATED)
    gate.closed(A, Close(reason=R.CONNECTION_LOST), 0.0)
    await asyncio.sleep(30)
    view: Any = gate.view()
    assert [hold.reason for hold in view.holds] == [R.CLIENT_OUTDATED]
    gate.left(A)
    gate.left(B)
    await gate.close()
