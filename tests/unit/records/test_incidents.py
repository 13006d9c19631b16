"""Incidents: how closes become a story, and what the figures say.

And the chronicler, as the real actor uses it.
"""

import asyncio
import random
from dataclasses import replace

import msgspec
import pytest

from sessions.lifecycle.dependencies import SessionConfig
from sessions.lifecycle.inbox import Command
from sessions.model import CloseReason as R
from sessions.model import SessionId
from sessions.model import SessionState as S
from sessions.policy import COVERED, Config, overridden
from sessions.records import incidents
from sessions.records.incidents import DAY_SECONDS, MAX_CLOSES, Incident, Move, RecordedClose, Span
from sessions.views.events import SessionMoved
from sessions.views.explanations import waited, wall_seconds
from supervisor.fleet import incident_log
from supervisor.fleet.incident_log import OutageRecorder
from supervisor.gate.gate import Gate, GateConfig
from supervisor.gate.view import OutageBegan, OutageEnded
from tests.fakes import EPOCH, FakeRecords, World, closes, opens

HUMAN = "Nothing: it comes back by itself."


def close(at: float, reason: R = R.CONNECTION_LOST, **more: object) -> RecordedClose:
    return RecordedClose(at=at, reason=reason, **more)  # type: ignore[arg-type]


def after(*told: RecordedClose) -> Incident:
    incident: Incident | None = None
    for each in told:
        incident = incidents.closed(incident, "shop", each, HUMAN)
    assert incident is not None
    return incident


def test_a_wait_that_was_cut_short_is_told_as_long_as_it_was() -> None:
    """An operator forced five tries within three seconds: nobody has waited ten minutes, whatever
    was planned.
    """
    story = after(
        close(100, wait_seconds=4.3, was_open=True),
        close(102, wait_seconds=13.0),
        close(102.6, wait_seconds=None),
        close(103, wait_seconds=600.0),
    )
    assert waited(story, now=110.0) == pytest.approx([2.0, 0.6, 7.0]), "it waits still"
    over = incidents.ended(story, 104.8, "open")
    assert waited(over, now=5000.0) == pytest.approx([2.0, 0.6, 1.8])
    assert waited(Incident(session=None, began_at=1.0, reason="outage"), now=2.0) == []


# --- the story ------------------------------------------------------------------------------------


def test_the_first_close_is_the_cause_and_the_newest_says_the_rule() -> None:
    incident = after(
        close(10, R.UNAVAILABLE, code=503, message="x", rule="first", was_open=True),
        close(12, rule="second"),
    )
    assert (incident.reason, incident.code, incident.message, incident.rule) == (
        "unavailable",
        503,
        "x",
        "second",
    )
    assert (incident.began_at, incident.ended_at, len(incident.closes)) == (10, None, 2)
    assert incident.down_seconds(25) == 15


def test_a_close_from_open_begins_a_story_of_its_own() -> None:
    first = incidents.ended(after(close(10, was_open=True)), 15, "open")
    second = incidents.closed(first, "shop", close(20, R.DEAF, was_open=True), HUMAN)
    assert second is not None
    assert (second.began_at, second.reason, len(second.closes)) == (20, "deaf", 1)


def test_what_is_parked_rests_and_goes_on_until_it_is_open_so_that_its_cost_is_the_whole_time() -> (
    None
):
    parked = incidents.ended(after(close(10, R.LOGGED_OUT, was_open=True)), 10.5, "parked")
    assert (parked.over, parked.down_seconds(1000)) == (False, 990)
    again = incidents.closed(parked, "shop", close(500, R.QR_EXPIRED), HUMAN)
    assert again is not None
    assert (again.began_at, again.ended_at, again.reason, len(again.closes)) == (
        10,
        None,
        "logged_out",
        2,
    )
    back = incidents.ended(incidents.attempted(again), 600, "open")
    assert (back.over, back.down_seconds(1000), back.attempts) == (True, 590, 1)


def test_a_restart_within_a_pairing_is_no_incident_but_one_of_an_open_session_is() -> None:
    assert incidents.closed(None, "shop", close(1, R.RESTART_REQUIRED), HUMAN) is None
    assert (
        incidents.closed(None, "shop", close(1, R.RESTART_REQUIRED, was_open=True), HUMAN)
        is not None
    )
    parked = incidents.ended(after(close(10, R.LOGGED_OUT)), 10, "parked")
    again = incidents.closed(parked, "shop", close(20, R.RESTART_REQUIRED), HUMAN)
    assert again is not None
    assert len(again.closes) == 2


def test_a_long_night_keeps_its_cause_and_its_newest_closes() -> None:
    incident = after(*(close(float(n), message=str(n)) for n in range(500)))
    assert len(incident.closes) == MAX_CLOSES
    assert [incident.closes[n].message for n in (0, 1, -1)] == ["0", str(501 - MAX_CLOSES), "499"]


def test_what_strangers_send_is_cut_and_holds_no_nul() -> None:
    incident = after(close(1, message="a\0b" + "x" * 100_000))
    assert incident.message.startswith("abx")
    assert len(incident.closes[0].message) == incidents.MAX_MESSAGE


def test_a_clock_that_was_set_back_makes_no_negative_time() -> None:
    assert incidents.ended(after(close(100)), 50, "open").down_seconds(40) == 0
    assert after(close(100)).down_seconds(40) == 0


def test_the_current_story_is_told_as_it_is_whatever_the_store_has_of_it() -> None:
    old, stored = incidents.ended(after(close(1)), 2, "open"), after(close(10, was_open=True))
    current = incidents.ended(stored, 20, "open")
    assert incidents.told([stored, old], current) == [current, old]
    assert incidents.told([old], current) == [current, old]
    assert incidents.told([stored, old], None) == [stored, old]
    assert incidents.told([stored], after(close(5))) == [after(close(5)), stored], (
        "also when the clock was set back"
    )


def test_an_earlier_session_of_the_same_name_is_not_told_of_nor_is_anything_lost_to_a_clock_that_was_set_back() -> (
    None
):
    earlier, own = after(close(50)), after(close(150))
    assert incidents.since_creation([own, earlier], 100.0, 200.0) == [own]
    assert incidents.since_creation([earlier], 100.0, 60.0) == [earlier]


def test_an_excuse_marks_the_closes_that_an_outage_can_cause() -> None:
    incident = after(
        close(1, was_open=True, rule="a"), close(2, R.REPLACED, rule="b"), close(3, rule="c")
    )
    told = incidents.uncharged(incident, "held", {R.CONNECTION_LOST})
    assert ([c.covered for c in told.closes], told.hold, told.rule) == (
        [True, False, True],
        "held",
        "held",
    )
    own = incidents.uncharged(
        after(close(1), close(2, R.REPLACED, rule="b")), "held", {R.CONNECTION_LOST}
    )
    assert ([c.covered for c in own.closes], own.rule) == ([True, False], "b")


# --- the figures ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spans", "expected"),
    [
        ([], None),
        ([Span(0, None, "open")], 1.0),
        ([Span(0, 50, "open"), Span(50, None, "down")], 0.5),
        ([Span(0, 25, "open"), Span(25, 50, "down"), Span(50, None, "off")], 0.5),
        ([Span(0, None, "off")], None),
        ([Span(-900, 0, "open"), Span(0, None, "down")], 0.0),
        ([Span(-900, 90, "down"), Span(90, None, "open")], 0.1),
        ([Span(0, 500, "open")], 1.0),
    ],
    ids=[
        "none",
        "open",
        "half",
        "stopped by hand",
        "never wanted",
        "before the window",
        "clipped",
        "in the future",
    ],
)
def test_availability_is_the_open_part_of_the_time_that_it_was_wanted(
    spans: list[Span], expected: float | None
) -> None:
    assert incidents.availability(spans, 100.0, 100.0) == expected


def test_the_summary_of_a_week() -> None:
    now = 10 * DAY_SECONDS
    healed = [
        incidents.ended(after(close(now - ago)), now - ago + cost, "open")
        for ago, cost in ((60, 10), (3 * DAY_SECONDS, 30))
    ]
    parked = incidents.ended(after(close(now - 30)), now - 30, "parked")
    old = incidents.ended(after(close(1)), 500, "open")
    spans = [
        Span(now - DAY_SECONDS, now - DAY_SECONDS / 4, "open"),
        Span(now - DAY_SECONDS / 4, None, "down"),
    ]
    summary = incidents.summary(spans, [parked, *healed, old], now)
    assert (summary.day, summary.week, summary.since) == (0.75, 0.75, now - DAY_SECONDS)
    assert (summary.mttr_seconds, summary.reconnects_of_the_day) == (20.0, 1)
    assert incidents.summary([], [], now) == incidents.Summary(None, None, None, None, 0)


# --- the chronicler, used by the actor ------------------------------------------------------------

actor = [
    pytest.mark.looptime(noop_cycles=6),
    pytest.mark.usefixtures("no_tasks_left", "wall_clock_in_step"),
]


def as_actor(test: object) -> object:
    for mark in actor:
        test = mark(test)
    return test


@as_actor
async def test_what_a_close_changes_is_one_write() -> None:
    async with World() as world:
        world.paired()
        await world.start()
        await world.until(S.OPEN)
        await asyncio.sleep(61)
        world.commits.clear()
        world.workers.last.drop(R.CONNECTION_LOST)
        await world.until(S.WAITING)
        (changes,) = world.commits
        assert changes.memory is not None
        assert b'"connection_lost"' in changes.memory()
        assert changes.incident is not None
        assert changes.incident.reason == R.CONNECTION_LOST
        assert (changes.move or Move("off", 0.0)).presence == "down"
        assert isinstance(changes.event, SessionMoved)
        assert (changes.event.state, changes.event.previous_state) == (S.WAITING, S.OPEN)


@as_actor
async def test_a_logout_is_on_record_before_its_worker_has_ended() -> None:
    async with World() as world:
        world.paired()
        await world.start()
        await world.until(S.OPEN)
        worker = world.workers.last
        worker.stop_seconds = 10.0
        worker.drop(R.LOGGED_OUT)
        await world.until_true(lambda: bool(world.store.records.incidents), within=1.0)
        assert worker.alive
        await world.until(S.PARKED)


@as_actor
async def test_a_drop_is_on_record_from_the_close_until_it_is_open_again() -> None:
    async with World() as world:
        world.paired()
        await world.start()
        await world.until(S.OPEN)
        await asyncio.sleep(61)
        world.workers.plan.extend([closes(R.UNAVAILABLE)] * 2)
        dropped = asyncio.get_running_loop().time()
        world.workers.last.drop(R.CONNECTION_LOST)
        await world.until(S.WAITING)
        back = await world.until(S.OPEN, within=120)
        (incident,) = world.store.records.incidents
        assert [told.reason for told in incident.closes] == [
            R.CONNECTION_LOST,
            R.UNAVAILABLE,
            R.UNAVAILABLE,
        ]
        assert (incident.closes[0].was_open, incident.closes[0].was_stable) == (True, True)
        assert [told.was_open for told in incident.closes[1:]] == [False, False]
        assert all(told.rule and told.wait_seconds is not None for told in incident.closes)
        assert (incident.ending, incident.attempts, incident.over) == ("open", 3, True)
        assert incident.began_at == pytest.approx(EPOCH + dropped, abs=0.2)
        assert incident.ended_at == pytest.approx(EPOCH + back, abs=0.2)
        assert [state for _, state, _ in world.store.records.moves] == [
            "down",
            "open",
            "down",
            "open",
        ]


@as_actor
async def test_what_is_parked_stays_one_story_over_a_restart_of_the_supervisor() -> None:
    async with World() as world:
        world.paired()
        world.workers.plan.append(closes(R.BANNED))
        await world.start()
        await world.until(S.PARKED)
        (incident,) = world.store.records.incidents
        assert (incident.ending, incident.reason, incident.human) == (
            "parked",
            "banned",
            incident.human,
        )
        assert "appeal" in incident.human
        await world.crash()
        await world.start()
        await world.until(S.PARKED)
        await world.ask(Command.START)
        await world.until(S.OPEN)
        (incident,) = world.store.records.incidents
        assert (incident.ending, incident.attempts, len(incident.closes)) == ("open", 1, 1)


@as_actor
async def test_an_incident_under_way_goes_on_in_the_successor() -> None:
    async with World() as world:
        world.paired()
        world.workers.otherwise = closes(R.UNAVAILABLE)
        await world.start()
        await world.until_true(
            lambda: any(len(i.closes) == 3 for i in world.store.records.incidents)
        )
        await world.crash()
        world.workers.otherwise = opens()
        await world.start()
        await world.until(S.OPEN, within=600)
        (incident,) = world.store.records.incidents
        assert (incident.ending, len(incident.closes) >= 3) == ("open", True)


@as_actor
async def test_the_first_closes_of_an_outage_are_on_record_as_excused_once_it_is_seen() -> None:
    async with World() as world:
        world.paired()
        await world.start()
        await world.until(S.OPEN)
        world.workers.plan.extend([closes(R.CONNECTION_LOST)] * 2)
        world.workers.last.drop(R.CONNECTION_LOST)
        await world.until_true(
            lambda: any(len(i.closes) == 2 for i in world.store.records.incidents)
        )
        await world.until(S.WAITING)
        world.gate.uncharge(world.id)
        await world.until(S.OPEN, within=60)
        (incident,) = world.store.records.incidents
        assert [told.covered for told in incident.closes][:2] == [True, True]
        assert incident.hold == COVERED


@as_actor
async def test_a_close_that_the_policy_in_force_charges_is_never_on_record_as_excused() -> None:
    policy = Config(rules=overridden("[server_error]\ncorrelated = false\n"))
    async with World(replace(SessionConfig(), policy=policy)) as world:
        world.paired()
        await world.start()
        await world.until(S.OPEN)
        world.workers.plan.extend([closes(R.SERVER_ERROR), closes(R.CONNECTION_LOST)])
        world.workers.last.drop(R.CONNECTION_LOST)
        await world.until_true(
            lambda: any(len(i.closes) == 3 for i in world.store.records.incidents), within=60
        )
        world.gate.uncharge(world.id)
        await world.until(S.OPEN, within=60)
        (incident,) = world.store.records.incidents
        assert [(told.reason, told.covered) for told in incident.closes][:3] == [
            (R.CONNECTION_LOST, True),
            (R.SERVER_ERROR, False),
            (R.CONNECTION_LOST, True),
        ]


@as_actor
async def test_stopped_by_hand_ends_the_story() -> None:
    async with World() as world:
        world.paired()
        world.workers.plan.append(closes(R.BANNED))
        await world.start()
        await world.until(S.PARKED)
        await world.ask(Command.STOP)
        (incident,) = world.store.records.incidents
        assert (incident.ending, incident.over) == ("stopped", True)
        assert world.store.records.moves[-1][1] == "off"


@as_actor
async def test_taken_up_without_a_living_worker_it_was_away_since_the_predecessor_was_last_seen() -> (
    None
):
    async with World() as world:
        world.paired()
        world.store.records.silent_since = EPOCH - 100
        await world.start()
        await world.until(S.OPEN)
        assert world.store.records.moves[0] == ("shop", "down", EPOCH - 100)


@as_actor
async def test_an_adopted_open_session_was_never_away() -> None:
    async with World() as world:
        world.paired()
        await world.start()
        await world.until(S.OPEN)
        await asyncio.sleep(100)
        await world.leave()
        world.store.records.moves.clear()
        world.store.records.silent_since = EPOCH
        world.come_back(after=2.0)
        await world.start()
        await world.until(S.OPEN)
        assert [state for _, state, _ in world.store.records.moves] == ["open"]
        assert world.store.records.incidents == []


# --- outages, and the keeping ---------------------------------------------------------------------

BEGAN = OutageBegan(
    scope="egress",
    value="http://p",
    reason="outage",
    sessions=7,
    held_for_seconds=0.0,
    words="Held: egress http://p.",
)
WIDER = msgspec.structs.replace(BEGAN, scope="fleet", value="all")
ENDED = OutageEnded(**msgspec.structs.asdict(BEGAN) | {"words": "Released."})


def test_an_outage_goes_on_record_as_nobodys_incident() -> None:
    records = FakeRecords()
    recorder = OutageRecorder(records)  # type: ignore[arg-type]
    recorder.on_began(None, BEGAN)
    recorder.on_began(None, WIDER)
    recorder.on_ended(None, ENDED)
    recorder.on_ended(None, msgspec.structs.replace(ENDED, scope="reason", value="of nobody"))
    by_scope = {incident.scope: incident for incident in records.incidents}
    assert (by_scope["egress http://p"].ending, by_scope["egress http://p"].hold) == (
        "open",
        "Released.",
    )
    assert (by_scope["fleet"].ended_at, by_scope["fleet"].session) == (None, None)


def test_a_successor_ends_the_outages_of_a_supervisor_that_died_for_all_to_read() -> None:
    records = FakeRecords()
    recorder = OutageRecorder(records)  # type: ignore[arg-type]
    recorder.on_began(None, BEGAN)
    recorder.on_began(None, WIDER)
    assert records.alive == 2, "a successor shall not think that we had died before it"
    left = [incidents.ended(each, each.began_at + 7, "lost") for each in records.incidents]
    told = [incident_log.left_behind(outage) for outage in left]
    assert [one.whom for one in told] == [BEGAN.whom, WIDER.whom]
    assert [one.value for one in told] == ["http://p", "all"]
    assert [one.held_for_seconds for one in told] == [7.0, 7.0]
    assert "supervisor" in told[0].words


@pytest.mark.looptime(noop_cycles=6)
async def test_the_gate_says_of_a_session_which_hold_it_is_under_and_of_the_others_none() -> None:
    gate = Gate(GateConfig(), random.Random(0))
    gate.registered(SessionId("shop"), "direct", lambda: None)
    assert gate.pause_of(SessionId("shop")) is None
    assert not gate.pause(SessionId("other"), R.CLIENT_OUTDATED)
    assert gate.pause(SessionId("shop"), R.CLIENT_OUTDATED)
    hold = gate.pause_of(SessionId("shop"))
    assert hold is not None
    assert (hold.reason, "client version rejected" in hold.words) == ("client_outdated", True)


@as_actor
async def test_a_supervisor_shows_since_when_a_session_is_where_the_one_before_left_it() -> None:
    """Not since its own start: what is parked for three days is not parked for 19 seconds after a
    restart.
    """
    async with World() as world:
        world.paired()
        world.workers.plan.append(closes(R.BANNED))
        await world.start()
        await world.until(S.PARKED)
        since = world.session.reconnection().since
        await asyncio.sleep(1000)
        await world.leave()
        world.come_back(after=5.0)
        await world.start()
        await world.until(S.PARKED)
        assert world.session.reconnection().since == since


@as_actor
@pytest.mark.parametrize("left", ["open", "off"])
async def test_who_was_open_or_stopped_before_a_restart_is_so_since_then(left: str) -> None:
    async with World() as world:
        world.paired()
        await world.start()
        await world.until(S.OPEN)
        if left == "off":
            await world.ask(Command.STOP)
            await world.until(S.STOPPED)
        since = world.session.reconnection().since
        await asyncio.sleep(100)
        await world.leave()
        _, state, at = world.store.records.moves[-1]
        assert state == left
        world.store.records.lasting = {"shop": Span(at, None, state)}
        world.come_back(after=2.0)
        await world.start()
        await world.until(S.OPEN if left == "open" else S.STOPPED)
        await asyncio.sleep(10)
        assert world.session.reconnection().since == since


@as_actor
async def test_a_session_that_was_lost_with_its_supervisor_is_open_since_it_is_open_again() -> None:
    async with World() as world:
        world.paired()
        world.store.records.lasting = {"shop": Span(EPOCH - 1000, None, "open")}
        await world.start()
        await world.until(S.OPEN)
        assert wall_seconds(world.session.reconnection().since) >= EPOCH
