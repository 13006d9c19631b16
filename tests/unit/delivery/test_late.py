"""What of a webhook's events is set aside, sent late, dead or lost."""

import asyncio

import msgspec
import pytest

from sessions.store.tables.webhooks import DeliveryRow
from supervisor.delivery.endpoint.circuit import LAST_CANARY_SECONDS
from tests.delivery_tools import ACCEPTED, AWAY, HOUR, REFUSED, RETRY_HOURS, World
from tests.fakes import EPOCH

pytestmark = [pytest.mark.looptime, pytest.mark.usefixtures("no_tasks_left")]


async def redriven(world: World) -> None:
    """The dead rows are sent again."""
    now = EPOCH + asyncio.get_running_loop().time()
    for row in list(world.rows.kept.values()):
        world.rows.kept[row.id] = msgspec.structs.replace(
            row, state="retrying", next_at=now, first_failed_at=now
        )
    world.webhook.use(world.webhook.settings, None)
    world.webhook.look_for_late()
    await asyncio.sleep(10)


async def test_what_is_refused_for_the_retry_hours_is_dead_and_can_be_sent_again(
    world: World,
) -> None:
    world.endpoint.answers = lambda n, _: REFUSED if n == 1 else ACCEPTED
    async with world.running():
        world.events("a", "a")
        await asyncio.sleep(10 * HOUR)
        assert world.rows_of("dead") == [(1, 1)]
        tried = len(world.endpoint.tried)
        assert tried < 40
        await asyncio.sleep(10 * HOUR)
        assert len(world.endpoint.tried) == tried, "it rests"
        assert "dead" in world.told.names
        (row,) = world.rows.kept.values()
        assert (row.last_status, row.last_error) == (422, "422 Unprocessable: not this one")
        now = EPOCH + asyncio.get_running_loop().time()
        world.rows.kept[row.id] = msgspec.structs.replace(
            row, state="retrying", next_at=now, first_failed_at=now
        )
        world.endpoint.answers = lambda *_: ACCEPTED
        world.webhook.look_for_late()
        await asyncio.sleep(1)
    assert world.endpoint.late == [1]


async def test_what_waited_longer_than_the_retry_hours_becomes_one_dead_row(world: World) -> None:
    world.endpoint.answers = lambda *_: AWAY
    async with world.running():
        world.events("a", "b", "a")
        await asyncio.sleep(5 * HOUR)
        world.events("a", "b")
        await asyncio.sleep(1.25 * HOUR)
        assert world.rows_of("dead") == [(1, 3)]
        await asyncio.sleep(5.5 * HOUR)
        assert world.rows_of("dead") == [(1, 5)], "one row that grows"
        world.events("a")
        world.endpoint.answers = lambda *_: ACCEPTED
        await asyncio.sleep(HOUR)
        assert world.endpoint.accepted == [6]
        (row,) = world.rows.kept.values()
        now = EPOCH + asyncio.get_running_loop().time()
        world.rows.kept[row.id] = msgspec.structs.replace(
            row, state="retrying", next_at=now, first_failed_at=now
        )
        world.webhook.look_for_late()
        await asyncio.sleep(10)
    assert world.endpoint.late == [1, 2, 3, 4, 5]
    assert world.rows.kept == {}


async def test_what_is_purged_while_the_event_before_it_is_sent_late_is_not_sent(
    world: World,
) -> None:
    world.endpoint.answers = lambda *_: AWAY
    async with world.running():
        world.events("a", "b", "a")
        await asyncio.sleep(7 * HOUR)
        assert world.rows_of("dead") == [(1, 3)]
        world.endpoint.answers, world.endpoint.takes_seconds = lambda *_: ACCEPTED, 2.0
        (row,) = world.rows.kept.values()
        now = EPOCH + asyncio.get_running_loop().time()
        world.rows.kept[row.id] = msgspec.structs.replace(
            row, state="retrying", next_at=now, first_failed_at=now
        )
        world.webhook.use(world.webhook.settings, None)
        world.webhook.look_for_late()
        await asyncio.sleep(1)
        assert world.endpoint.under_way == ["a"]
        world.log.purge("b")
        await asyncio.sleep(10)
    assert world.endpoint.late == [1, 3]
    assert world.rows.kept == {}


async def test_an_endpoint_that_is_back_is_sent_everything_even_if_one_event_stays_refused(
    world: World,
) -> None:
    """The oldest event is not the canary for ever."""
    world.endpoint.answers = lambda *_: AWAY
    async with world.running():
        world.events("a", "b", "c", "a")
        await asyncio.sleep(HOUR)
        world.endpoint.answers = lambda n, _: REFUSED if n == 1 else ACCEPTED
        await asyncio.sleep(2 * LAST_CANARY_SECONDS)
        assert set(world.endpoint.accepted) == {2, 3}
        await asyncio.sleep(HOUR)
    assert world.endpoint.accepted[2:] == [4], "and behind the refused one it goes on later"
    assert world.rows_of("retrying") == [(1, 1)]


async def test_what_was_set_aside_and_is_dropped_from_the_log_is_a_gap_too(world: World) -> None:
    world.endpoint.answers = lambda *_: AWAY
    async with world.running():
        world.events(*"a" * 8)
        await asyncio.sleep((RETRY_HOURS + 1) * HOUR)
        assert world.rows_of("dead") == [(1, 8)]
        world.log.drop(5)
        world.endpoint.answers = lambda *_: ACCEPTED
        await redriven(world)
        assert world.endpoint.late == [6, 7, 8]
        assert [(row.next_n, row.last_n, row.state) for row in world.rows.kept.values()] == [
            (1, 5, "gap")
        ]
        assert world.told.names.count("gap") == 1


async def test_a_pause_holds_what_is_sent_late_at_once_and_charges_nobody(world: World) -> None:
    world.endpoint.answers = lambda *_: AWAY
    async with world.running():
        world.events(*"a" * 40)
        await asyncio.sleep((RETRY_HOURS + 1) * HOUR)
        assert world.rows_of("dead") == [(1, 40)]
        world.endpoint.answers = lambda *_: ACCEPTED
        (row,) = world.rows.kept.values()
        now = EPOCH + asyncio.get_running_loop().time()
        world.rows.kept[row.id] = msgspec.structs.replace(
            row, state="retrying", next_at=now, first_failed_at=now
        )
        world.webhook.use(world.webhook.settings, None)
        world.webhook.look_for_late()
        await asyncio.sleep(0.105)
        before, failure = len(world.endpoint.tried), world.webhook.last_failure
        world.webhook.use(world.webhook.settings, "operator")
        await asyncio.sleep(HOUR)
        assert len(world.endpoint.tried) == before, "nothing goes out after the pause"
        (row,) = world.rows.kept.values()
        sent = len(world.endpoint.late)
        assert 1 < sent < 40
        assert (row.state, row.next_n, row.attempts) == ("retrying", sent + 1, 0)
        assert world.webhook.last_failure == failure, "a pause is nobody's failure"
        world.webhook.use(world.webhook.settings, None)
        await asyncio.sleep(10)
    assert world.endpoint.late == list(range(1, 41)), "it goes on where it was"
    assert world.rows.kept == {}


async def test_a_row_that_comes_while_the_table_is_asked_is_not_forgotten(world: World) -> None:
    """The lost wake-up: what was read is older than what was said meanwhile."""
    async with world.running():
        world.events("a", "a")
        await asyncio.sleep(1)

        def redriven() -> None:
            world.rows.meanwhile = lambda: None
            now = EPOCH + asyncio.get_running_loop().time()
            dead = DeliveryRow(
                "wh_1", 1, 1, 1, "a", "message.received", "retrying", 0, now, now, 500, "500"
            )
            world.rows.set_aside(dead)
            world.webhook.look_for_late()

        world.rows.meanwhile = redriven
        world.webhook.look_for_late()
        await asyncio.sleep(60)
    assert world.endpoint.late == [1]
