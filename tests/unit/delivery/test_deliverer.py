"""One webhook at work, on a clock that is moved by hand."""

import asyncio

import pytest
import structlog

from sessions.model import StoreError, StoreUnanswered, StoreUnavailable
from supervisor.delivery import deliverer as module
from supervisor.delivery import late
from supervisor.delivery.deliverer import AT_ONCE, Progress
from supervisor.delivery.endpoint import retrying
from supervisor.delivery.endpoint.circuit import LAST_CANARY_SECONDS
from supervisor.delivery.endpoint.sender import Outcome
from supervisor.delivery.views import heads
from supervisor.delivery.webhook_settings import NewWebhook
from tests.delivery_tools import ACCEPTED, ALERT_SECONDS, AWAY, HOUR, REFUSED, World

pytestmark = [pytest.mark.looptime, pytest.mark.usefixtures("no_tasks_left")]


async def test_each_session_s_events_go_in_order_and_sessions_side_by_side(world: World) -> None:
    async with world.running():
        world.events(*"abcabcabc")
        await asyncio.sleep(1)
    assert sorted(world.endpoint.accepted) == list(range(1, 10))
    for session in range(3):
        mine = [n for n in world.endpoint.accepted if n % 3 == session]
        assert mine == sorted(mine)
    assert world.endpoint.most_under_way == 3
    assert world.rows.kept == {}, "what is accepted leaves no row"
    assert world.rows.progress[-1] == Progress(9, 9, ())


async def test_no_more_than_so_many_requests_are_under_way(world: World) -> None:
    async with world.running():
        world.events(*(f"s{n}" for n in range(100)))
        await asyncio.sleep(1)
    assert len(world.endpoint.accepted) == 100
    assert world.endpoint.most_under_way == AT_ONCE


async def test_what_is_not_wanted_is_not_sent_and_does_not_hold_the_mark(world: World) -> None:
    world.new = NewWebhook("http://endpoint/", sessions=["a"], types=["message.*"])
    world.webhook = world.made()
    async with world.running():
        world.events("a", "b", None)
        world.log.add("a", "session.state")
        await asyncio.sleep(10)
    assert world.endpoint.accepted == [1]
    assert world.webhook.behind == 0
    assert world.webhook.lanes.low_water == 4


async def test_a_refused_event_blocks_its_own_session_and_then_waits_aside(world: World) -> None:
    world.endpoint.answers = lambda n, _: REFUSED if n == 1 else ACCEPTED
    async with world.running():
        world.events("a", "b", "a")
        await asyncio.sleep(retrying.BLOCKED_SECONDS - 60)
        assert world.endpoint.accepted == [2], "event 3 waits behind event 1"
        world.events("b")
        await asyncio.sleep(300)
        assert world.endpoint.accepted == [2, 4, 3]
        assert world.rows_of("retrying") == [(1, 1)]
        assert not world.webhook.circuit.is_open, "it is one event that is refused"
        world.endpoint.answers = lambda *_: ACCEPTED
        await asyncio.sleep(HOUR)
    assert world.endpoint.accepted == [2, 4, 3, 1]
    assert world.endpoint.late == [1], "and says that it is late"
    assert world.rows.kept == {}


async def test_a_dead_endpoint_costs_an_attempt_in_five_minutes_and_nothing_is_set_aside(
    world: World,
) -> None:
    world.endpoint.answers = lambda *_: AWAY
    async with world.running():
        world.events(*(f"s{n}" for n in range(50)))
        await asyncio.sleep(HOUR)
        before = len(world.endpoint.tried)
        await asyncio.sleep(4 * HOUR)
        least = 4 * HOUR / LAST_CANARY_SECONDS
        assert 0.8 * least < len(world.endpoint.tried) - before < 1.3 * least
        assert world.rows.kept == {}
        assert world.told.names.count("alert") > 0
        assert world.rows.failing_since is not None
        world.endpoint.answers = lambda *_: ACCEPTED
        await asyncio.sleep(2 * LAST_CANARY_SECONDS)
    assert sorted(world.endpoint.accepted) == list(range(1, 51))
    assert world.rows.failing_since is None
    assert world.told.names[-1] == "works"


async def test_after_a_kill_what_is_above_the_mark_is_sent_again_and_nothing_is_missed(
    world: World,
) -> None:
    async with world.running(killed=True):
        world.events(*"ababab")
        await asyncio.sleep(0.025)
    assert 0 < len(world.endpoint.accepted) < 6
    world.webhook = world.made()
    async with world.running():
        await asyncio.sleep(10)
    for session in (0, 1):
        firsts = dict.fromkeys(n for n in world.endpoint.accepted if n % 2 == session)
        assert list(firsts) == sorted(firsts)
    assert set(world.endpoint.accepted) == {1, 2, 3, 4, 5, 6}


async def test_an_orderly_restart_repeats_nothing_even_behind_an_event_that_is_refused(
    world: World,
) -> None:
    world.endpoint.answers = lambda n, _: REFUSED if n == 1 else ACCEPTED
    async with world.running():
        world.events("a", *"b" * 30, "a")
        await asyncio.sleep(60)
    assert world.rows.progress[-1] == Progress(0, 32, (1, 32))
    world.webhook = world.made()
    async with world.running():
        await asyncio.sleep(60)
        world.endpoint.answers = lambda *_: ACCEPTED
        await asyncio.sleep(300)
    assert sorted(world.endpoint.accepted) == list(range(1, 33)), "each once"


async def test_what_is_set_aside_is_not_sent_in_its_turn_after_a_kill(world: World) -> None:
    world.endpoint.answers = lambda n, _: REFUSED if n == 1 else ACCEPTED
    async with world.running(killed=True):
        world.events("a", "a")
        await asyncio.sleep(0.5)
        world.rows.progress.clear()  # the mark is not written since
        await asyncio.sleep(retrying.BLOCKED_SECONDS + 120)
    world.rows.progress.clear()
    world.webhook = world.made()
    world.endpoint.tried.clear()
    async with world.running():
        await asyncio.sleep(10)
    assert [n for _, n in world.endpoint.tried] == [2]


async def test_a_gap_is_told_once_and_what_comes_after_it_is_sent(world: World) -> None:
    world.endpoint.answers = lambda *_: AWAY
    async with world.running():
        world.events(*"abab")
        await asyncio.sleep(HOUR)
        world.events(*"ab")
        world.log.drop(4)
        world.endpoint.answers = lambda *_: ACCEPTED
        await asyncio.sleep(HOUR)
    assert world.endpoint.accepted == [5, 6]
    assert world.rows_of("gap") == [(1, 4)]
    assert world.told.names.count("gap") == 1


async def test_a_webhook_that_was_paused_for_too_long_tells_of_its_gap(world: World) -> None:
    world.paused = "operator"
    world.webhook = world.made()
    async with world.running():
        world.events(*"abab")
        await asyncio.sleep(HOUR)
        assert world.endpoint.tried == []
        world.log.drop(3)
        world.webhook.use(world.webhook.settings, None)
        await asyncio.sleep(1)
    assert world.endpoint.accepted == [4]
    assert world.rows_of("gap") == [(1, 3)]


async def test_what_is_dropped_while_it_is_paused_is_told_at_once(world: World) -> None:
    world.paused = "operator"
    world.webhook = world.made()
    async with world.running():
        world.events(*"abab")
        world.log.drop(3)
        world.webhook.on_dropped(3)
        world.webhook.on_dropped(3)
        await asyncio.sleep(1)
        assert world.rows_of("gap") == [(1, 3)]
        assert world.told.names.count("gap") == 1
        assert world.webhook.lanes.low_water == 3
        world.webhook.use(world.webhook.settings, None)
        await asyncio.sleep(1)
    assert world.endpoint.accepted == [4]


async def test_what_is_dropped_is_a_gap_only_if_it_was_to_be_sent(world: World) -> None:
    world.new = NewWebhook("http://endpoint/", sessions=["a"])
    world.webhook = world.made()
    world.endpoint.answers = lambda n, _: AWAY if n > 2 else ACCEPTED
    async with world.running():
        world.events(*"abbabb")
        await asyncio.sleep(HOUR)
        world.log.drop(3)
        world.webhook.on_dropped(3)
        assert world.rows.kept == {}, "event 1 was sent, the others are not its affair"
        world.log.drop(5)
        world.webhook.on_dropped(5)
    assert world.rows_of("gap") == [(4, 5)]


async def test_a_failing_endpoint_is_told_of_early_and_is_an_alert_later(world: World) -> None:
    world.endpoint.answers = lambda *_: AWAY
    async with world.running():
        world.events("a", "b")
        await asyncio.sleep(20)
        assert "fails" not in world.told.names, "a restart of it is nobody's matter"
        await asyncio.sleep(60)
        assert "fails" in world.told.names
        assert "alert" not in world.told.names
        await asyncio.sleep(ALERT_SECONDS)
        assert "alert" in world.told.names
        world.told.names.clear()
        world.endpoint.answers = lambda *_: ACCEPTED
        await asyncio.sleep(2 * LAST_CANARY_SECONDS)
        assert world.told.names[-1] == "works"


async def test_a_purged_event_is_no_gap(world: World) -> None:
    world.endpoint.answers = lambda *_: AWAY
    async with world.running():
        world.events(*"ab")
        await asyncio.sleep(HOUR)
        del world.log.events[1]
        world.endpoint.answers = lambda *_: ACCEPTED
        await asyncio.sleep(HOUR)
    assert world.endpoint.accepted == [2]
    assert world.rows.kept == {}


async def test_gone_pauses_it_and_what_happens_is_kept_for_it(world: World) -> None:
    world.endpoint.answers = lambda *_: Outcome("gone", 410, "410 Gone")
    async with world.running():
        world.events("a")
        await asyncio.sleep(HOUR)
        assert len(world.endpoint.tried) == 1
        assert world.rows.paused_because == world.webhook.paused_because == "gone"
        world.events("a")
        world.endpoint.answers = lambda *_: ACCEPTED
        await asyncio.sleep(HOUR)
        world.webhook.use(world.webhook.settings, None)
        await asyncio.sleep(1)
    assert world.endpoint.accepted == [1, 2]
    assert world.told.names.count("paused") == 1
    assert ("gone",) in world.told.words


async def test_retry_after_holds_the_whole_endpoint_back(world: World) -> None:
    asks = Outcome("away", 503, "503", retry_after_seconds=120.0)
    world.endpoint.answers = lambda *_: asks
    async with world.running():
        world.events("a")
        await asyncio.sleep(1)
        world.endpoint.answers = lambda *_: ACCEPTED
        world.events("b")
        await asyncio.sleep(110)
        assert len(world.endpoint.tried) == 1
        await asyncio.sleep(15)
    assert sorted(world.endpoint.accepted) == [1, 2]


async def test_a_store_that_fails_is_charged_to_nobody(world: World) -> None:
    async with world.running():
        world.events("a")
        await asyncio.sleep(1)
        world.log.failing = True
        world.events("a", "b")
        await asyncio.sleep(HOUR)
        assert world.webhook.last_failure is None
        assert not world.webhook.circuit.is_open
        world.log.failing = False
        await asyncio.sleep(5)
    assert sorted(world.endpoint.accepted) == [1, 2, 3]


async def test_a_session_that_fills_the_window_behind_one_event_does_not_wait(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WINDOW", 100)
    world.endpoint.answers = lambda n, _: REFUSED if n == 1 else ACCEPTED
    async with world.running():
        world.events("b", *"a" * 150, *"b" * 150, "c")
        await asyncio.sleep(20)
    assert len(world.endpoint.accepted) == 301
    assert world.rows_of("retrying") == [(1, 1)]


async def test_a_replay_sends_again_what_came_after_and_later_events_behind_it(
    world: World,
) -> None:
    async with world.running():
        world.events(*"aaaa")
        await asyncio.sleep(1)
        await world.webhook.begin_after(2)
        world.events("a")
        await asyncio.sleep(1)
    assert world.endpoint.accepted == [1, 2, 3, 4, 3, 4, 5]


@pytest.mark.parametrize(
    ("failure", "sent"),
    [(StoreUnavailable(), [1, 2, 3]), (StoreUnanswered(), [1, 2, 2, 3])],
)
async def test_a_replay_that_is_refused_loses_nothing_and_one_in_doubt_is_made(
    world: World, failure: StoreError, sent: list[int]
) -> None:
    async with world.running():
        world.events(*"aa")
        await asyncio.sleep(1)
        world.rows.failing = failure
        with pytest.raises(type(failure)):
            await world.webhook.begin_after(1)
        world.events("a")
        await asyncio.sleep(1)
    assert world.endpoint.accepted == sent


async def test_what_an_endpoint_says_stands_in_the_list_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not in the log, an alert or an event, and without what it repeats of our headers."""
    world.new = NewWebhook("http://endpoint/", headers={"X-Key": "k3y-of-n8n"})
    world.webhook = world.made()
    says = Outcome("refused", 401, "401 Unauthorized", "bad key k3y-of-n8n, and more")
    world.endpoint.answers = lambda n, _: says if n == 1 else ACCEPTED
    logger = structlog.testing.CapturingLogger()
    for one in (module, late):
        monkeypatch.setattr(one, "log", logger)
    async with world.running():
        world.events("a", "b")
        await asyncio.sleep(60)
        (head,) = heads(world.webhook, -1, 10)
        await asyncio.sleep(10 * HOUR)
        (row,) = world.rows.kept.values()
    assert head.last_error == row.last_error == "401 Unauthorized: bad key ***, and more"
    assert world.webhook.last_failure is not None
    assert world.webhook.last_failure[1] == "401 Unauthorized"
    assert "delivery_aside" in {call.kwargs["action"] for call in logger.calls}
    assert "bad key" not in repr(logger.calls) + repr(world.told.words)


async def test_what_blocks_now_is_listed_page_by_page(world: World) -> None:
    world.endpoint.answers = lambda n, _: REFUSED if n <= 3 else ACCEPTED
    async with world.running():
        world.events("a", "b", "c", "d")
        await asyncio.sleep(1)
        assert [one.n for one in heads(world.webhook, -1, 2)] == [1, 2]
        assert [one.n for one in heads(world.webhook, 2, 2)] == [3]


async def test_what_waits_aside_is_not_remembered_twice(world: World) -> None:
    """The rows are in the store; in memory only those above the mark, until they are read."""
    world.endpoint.answers = lambda n, _: REFUSED if n % 2 else ACCEPTED
    async with world.running():
        for _ in range(20):
            world.events("a", "b")
        await asyncio.sleep(24 * HOUR)
        assert len(world.rows.kept) == 20
    assert not world.webhook._set_aside


async def test_nothing_is_written_or_tried_while_nothing_happens(world: World) -> None:
    async with world.running():
        world.events("a")
        await asyncio.sleep(10)
        written = len(world.rows.progress)
        await asyncio.sleep(HOUR)
        assert len(world.rows.progress) == written
    assert len(world.endpoint.tried) == 1


async def test_who_asks_what_has_become_of_an_event_that_waits_aside_does_not_have_it_sent_twice(
    world: World,
) -> None:
    world.endpoint.answers = lambda n, _: REFUSED if n == 2 else ACCEPTED
    async with world.running(killed=True):
        world.events("a", "b", "c")
        await asyncio.sleep(retrying.BLOCKED_SECONDS + 300)
        assert world.rows_of("retrying") == [(2, 2)]
    world.rows.progress, world.endpoint.accepted = [Progress(0, 0)], []
    world.endpoint.answers, world.log.failing = lambda *_: ACCEPTED, True
    world.webhook = world.made()
    async with world.running():
        await asyncio.sleep(0.5)
        assert world.webhook.has_settled(2, "b"), "asked before it is read"
        world.log.failing = False
        await asyncio.sleep(HOUR)
    assert sorted(world.endpoint.accepted) == [1, 2, 3]
