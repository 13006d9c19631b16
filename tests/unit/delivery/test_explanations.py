"""What has become of an event at a webhook, and what is said of it."""

import asyncio

import msgspec
import pytest

from sessions.store import StoredEvent
from supervisor.delivery.deliverer import Progress
from supervisor.delivery.views import EventDelivery, event_delivery
from supervisor.delivery.webhook_settings import NewWebhook, settings_of
from tests.delivery_tools import ACCEPTED, AWAY, HOUR, REFUSED, RETRY_HOURS, World

pytestmark = [pytest.mark.looptime, pytest.mark.usefixtures("no_tasks_left")]


def fate(world: World, n: int) -> EventDelivery:
    rows = [row for row in world.rows.kept.values() if row.n <= n <= row.last_n]
    event = world.log.events.get(n) or StoredEvent(
        n, 0, "a", "message.received", msgspec.Raw(b"{}")
    )
    return event_delivery(world.webhook, event, max(rows, key=lambda row: row.n, default=None))


async def test_what_is_accepted_has_arrived_and_what_was_not_asked_for_says_which_part(
    world: World,
) -> None:
    world.new = NewWebhook("http://endpoint/x?key=1", sessions=["a"], types=["message.*"])
    world.webhook = world.made()
    async with world.running():
        world.events("a", "b")
        other = world.log.add("a", "session.state")
        await asyncio.sleep(1)
        world.webhook.wake()
        await asyncio.sleep(1)
        assert [(fate(world, n).state, fate(world, n).arrived) for n in (1, 2, other)] == [
            ("delivered", True),
            ("not_asked", True),
            ("not_asked", True),
        ]
        assert "not for b" in fate(world, 2).why
        assert "not for session.state" in fate(world, other).why
        assert fate(world, 1).url == "http://endpoint", "the rest may be a secret"


async def test_who_waits_is_told_behind_which_event_and_when_that_is_tried(world: World) -> None:
    world.endpoint.answers = lambda n, _: REFUSED if n == 1 else ACCEPTED
    async with world.running():
        world.events("a", "a", "b")
        await asyncio.sleep(3)
        blocked, waits, other = (fate(world, n) for n in (1, 2, 3))
        assert (blocked.state, blocked.attempts, blocked.last_status) == ("blocked", 1, 422)
        assert (waits.state, waits.behind) == ("waiting", 1)
        assert waits.next_try_at == blocked.next_try_at is not None
        assert "behind event 1" in waits.why
        assert "not this one" in waits.why
        assert other.state == "delivered"
        await asyncio.sleep(700)
        aside = fate(world, 1)
        assert (aside.state, fate(world, 2).state) == ("retrying", "delivered")
        assert aside.next_try_at is not None
        assert f"--row {aside.row}" in aside.what_to_do
        await asyncio.sleep((RETRY_HOURS + 12) * HOUR)
        assert fate(world, 1).state == "dead"
        assert "redrive" in fate(world, 1).what_to_do


async def test_while_it_is_sent_it_is_under_way_and_the_next_one_waits_for_it(
    world: World,
) -> None:
    world.endpoint.takes_seconds = 5.0
    async with world.running():
        world.events("a", "a")
        await asyncio.sleep(1)
        assert fate(world, 1).state == "under_way"
        assert (fate(world, 2).state, fate(world, 2).behind) == ("waiting", 1)
        assert "on its way" in fate(world, 2).why


async def test_an_endpoint_that_is_away_says_so_for_all_that_waits(world: World) -> None:
    world.endpoint.answers = lambda *_: AWAY
    async with world.running():
        world.events("a", "b", "c", "d", "e", "a")
        await asyncio.sleep(60)
        for n in (1, 6):
            seen = fate(world, n)
            assert (seen.state, seen.arrived) == ("away", False)
            assert "the connection is refused" in seen.why
            assert seen.next_try_at is not None


async def test_a_paused_one_says_why_and_how_to_go_on(world: World) -> None:
    for because, words in (
        ("operator", "Somebody"),
        ("gone", "410"),
        ("restored", "backup"),
        ("key_ended", "revoked"),
    ):
        world.webhook.paused_because = because
        world.events("a")
        seen = fate(world, world.log.last)
        assert (seen.state, words in seen.why) == ("paused", True)
        assert "wasup webhooks resume wh_1" in seen.what_to_do


async def test_what_is_older_than_the_webhook_and_what_the_log_dropped_is_told(
    world: World,
) -> None:
    world.events("a", "a")
    world.rows.progress.append(Progress(1, 1, began=1))
    world.webhook = world.made()
    async with world.running():
        await asyncio.sleep(1)
        assert fate(world, 1).state == "made_later"
        assert "--after 0" in fate(world, 1).what_to_do
        assert fate(world, 2).state == "delivered"
    world.webhook.paused_because = "operator"
    lost = world.log.add("a")
    world.log.add("a")
    world.log.drop(lost)
    world.webhook.paused_because = None
    world.webhook = world.made()
    async with world.running():
        await asyncio.sleep(1)
        assert fate(world, lost).state == "gap"
        assert "WHATSAPP_EVENT_LOG_DAYS" in fate(world, lost).what_to_do


async def test_after_a_restart_what_was_accepted_out_of_turn_has_arrived(world: World) -> None:
    world.endpoint.answers = lambda n, _: REFUSED if n == 1 else ACCEPTED
    async with world.running():
        world.events("a", "b", "c")
        await asyncio.sleep(3)
    world.webhook = world.made()
    assert [fate(world, n).state for n in (1, 2, 3)] == ["waiting", "delivered", "delivered"]


async def test_what_is_older_than_the_webhook_and_was_replayed_has_arrived(world: World) -> None:
    world.events("a", "a", "a")
    world.log.events = {
        n: msgspec.structs.replace(event, time_ms=1) for n, event in world.log.events.items()
    }
    world.rows.progress.append(Progress(3, 3, began=3))
    world.webhook = world.made()
    async with world.running():
        await asyncio.sleep(1)
        assert [fate(world, n).state for n in (1, 2, 3)] == ["made_later"] * 3
        await world.webhook.begin_after(1)
        await asyncio.sleep(1)
        await world.webhook.begin_after(2)
        await asyncio.sleep(1)
    world.webhook = world.made()
    assert world.endpoint.accepted == [2, 3, 3]
    states = [fate(world, n).state for n in (1, 2, 3)]
    assert states == ["made_later", "delivered", "delivered"]


async def test_of_a_webhook_whose_beginning_is_not_known_nothing_is_claimed(world: World) -> None:
    world.events("a", "a")
    world.log.events[1] = msgspec.structs.replace(world.log.events[1], time_ms=1)
    async with world.running():
        await asyncio.sleep(1)
        assert [fate(world, n).state for n in (1, 2)] == ["unknown", "delivered"]


async def test_what_was_passed_over_before_the_webhook_asked_for_more_has_not_arrived(
    world: World,
) -> None:
    def ask_for(*types: str) -> None:
        hook = world.webhook
        wider = settings_of(NewWebhook("http://endpoint/", types=list(types)))
        hook.use(wider.succeeding(hook.settings, hook.judged_to), None)

    def states() -> list[str]:
        return [str(fate(world, n).state) for n in range(1, world.log.last + 1)]

    world.new = NewWebhook("http://endpoint/", types=["session.state"])
    world.rows.progress.append(Progress(0, 0, began=0))
    world.webhook = world.made()
    async with world.running():
        for asked in (("session.state", "message.received"), ("*",)):
            for kind in ("session.state", "message.received"):
                world.log.add("a", kind)
            world.webhook.wake()
            await asyncio.sleep(1)
            ask_for(*asked)
            if asked != ("*",):
                assert states() == ["delivered", "passed_over"]
        assert world.endpoint.accepted == [1, 3, 4]
        assert states() == ["unknown", "unknown", "delivered", "delivered"]
        await world.webhook.begin_after(1)
        await asyncio.sleep(1)
        assert world.endpoint.accepted == [1, 3, 4, 2, 3, 4]
        assert states() == ["unknown", "delivered", "delivered", "delivered"]
        assert "replay wh_1 --after 0" in fate(world, 1).what_to_do


async def test_what_is_read_while_the_webhook_is_changed_is_judged_by_what_it_asks_for_then(
    world: World,
) -> None:
    world.new = NewWebhook("http://endpoint/", types=["session.state"])
    world.rows.progress.append(Progress(0, 0, began=0))
    hook = world.webhook = world.made()
    async with world.running():
        with hook.resting():
            wider = settings_of(NewWebhook("http://endpoint/"))
            wider = wider.succeeding(hook.settings, hook.judged_to)
            world.events("a")
            await asyncio.sleep(5)
            hook.use(wider, None)
        await asyncio.sleep(1)
        assert world.endpoint.accepted == [1]
        assert fate(world, 1).state == "delivered"
