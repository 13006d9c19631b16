"""Has a message arrived? Over HTTP: who may see it, page by page, and what is said when there is
nothing of it.
"""

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from sessions.model import SessionId
from sessions.store import StoredEvent
from sessions.views.events import MessageStatus, Party
from supervisor.access.key import new_id, new_key
from supervisor.access.scopes import Scope
from supervisor.delivery.explanations import Fate
from supervisor.delivery.views import EventDelivery
from supervisor.fleet.feed import Feed
from tests.api_tools import TOKEN, api, ask, known_key
from tests.fakes.event_store import EventStore

MESSAGE = "3EB0C431C26A1916E07A"


class Hooks:
    """Webhooks, of which each has accepted the events before a number."""

    def __init__(self, **accepted: int) -> None:
        self.accepted = accepted

    def all(self) -> list[Any]:
        of = {"wh_all": (), "wh_shop": ("shop",), "wh_cafe": ("cafe",)}
        return [
            SimpleNamespace(id=name, settings=SimpleNamespace(sessions=of[name]))
            for name in self.accepted
        ]

    async def deliveries_of(self, event: StoredEvent, webhooks: list[Any]) -> list[EventDelivery]:
        return [self._one(hook.id, event.n < self.accepted[hook.id]) for hook in webhooks]

    @staticmethod
    def _one(hook: str, arrived: bool) -> EventDelivery:
        fate = Fate.DELIVERED if arrived else Fate.PAUSED
        return EventDelivery(
            hook, "http://x", fate, arrived, "because", "this", None, 0, None, None, None, None
        )


@pytest.fixture
async def feed() -> Feed:
    """1 to 3: of shop; 4: of cafe; 5: of another message, whose digest is the same."""
    store = EventStore()
    found = await Feed.open(store, 100)  # type: ignore[arg-type]
    for session, message in (*[("shop", MESSAGE)] * 3, ("cafe", MESSAGE), ("shop", "other")):
        by = Party.of("5511@s.whatsapp.net")
        found.publish(SessionId(session), MessageStatus(id=message, by=by, status="read"))
    await store.commit()
    store.digests = {MESSAGE}
    return found


async def told(address: tuple[str, int], query: str = "", **headers: str) -> Any:
    path = f"/messages/{MESSAGE}/deliveries{query}"
    answer = await ask(address, "GET", path, **headers)
    assert answer.status == 200, answer.body
    return msgspec.json.decode(answer.body)


async def test_each_event_and_each_webhook_is_told_and_a_page_ends_where_the_next_begins(
    feed: Feed,
) -> None:
    async with api(feed=feed, webhooks=Hooks(wh_all=4)) as address:
        whole = await told(address)
        assert [event["n"] for event in whole["events"]] == [1, 2, 3, 4], "5 is another message's"
        assert (whole["arrived"], whole["next"]) == (False, None)
        assert whole["words"] == "1 of what was to be delivered has not arrived."
        assert [e["webhooks"][0]["state"] for e in whole["events"]][2:] == ["delivered", "paused"]
        first = await told(address, "?limit=3")
        assert ([event["n"] for event in first["events"]], first["next"]) == ([1, 2, 3], 3)
        assert first["arrived"] is True
        assert "Everything has arrived" in first["words"]
        rest = await told(address, f"?limit=3&after={first['next']}")
        assert ([event["n"] for event in rest["events"]], rest["next"]) == ([4], None)
        of_cafe = await told(address, "?session=cafe")
        assert [event["n"] for event in of_cafe["events"]] == [4]


async def test_without_a_webhook_it_says_so(feed: Feed) -> None:
    async with api(feed=feed, webhooks=Hooks()) as address:
        seen = await told(address)
        assert "there is no webhook" in seen["words"]
        assert seen["arrived"] is False


async def test_a_message_of_which_the_log_has_nothing_is_a_404_that_says_how_far_it_goes_back(
    feed: Feed,
) -> None:
    async with api(feed=feed, webhooks=Hooks(wh_all=4)) as address:
        answer = await ask(address, "GET", "/messages/none/deliveries")
        assert (answer.status, answer.error["code"]) == (404, "message_not_found")
        assert "goes back to 1970-01-01T00:00:00.000Z" in answer.error["message"]
        assert "aged out" in answer.error["hint"]
        answer = await ask(address, "GET", f"/messages/{MESSAGE}/deliveries?session=..%2Fx")
        assert (answer.status, answer.error["code"]) == (400, "invalid_session_id")


async def test_a_key_of_some_sessions_sees_their_events_and_their_webhooks_alone(
    feed: Feed,
) -> None:
    text = new_key(new_id())
    keys = [known_key(text, Scope.READ, frozenset({"shop"}))]
    mine = {"Authorization": f"Bearer {text}"}
    hooks = Hooks(wh_all=9, wh_shop=9, wh_cafe=9)
    async with api(feed=feed, webhooks=hooks, token=TOKEN, known_keys=keys) as address:
        seen = await told(address, **mine)
        assert [event["n"] for event in seen["events"]] == [1, 2, 3]
        assert {one["webhook"] for event in seen["events"] for one in event["webhooks"]} == {
            "wh_shop"
        }
        path = f"/messages/{MESSAGE}/deliveries?session=cafe"
        answer = await ask(address, "GET", path, **mine)
        assert (answer.status, answer.error["code"]) == (404, "session_not_found")


async def test_what_is_too_long_for_an_id_is_refused_on_every_page(feed: Feed) -> None:
    async with api(feed=feed, webhooks=Hooks(wh_all=4)) as address:
        for query in ("", "?after=1"):
            answer = await ask(address, "GET", f"/messages/{'A' * 1025}/deliveries{query}")
            assert answer.status == 400
            assert "1025 characters" in msgspec.json.decode(answer.body)["error"]["message"]
