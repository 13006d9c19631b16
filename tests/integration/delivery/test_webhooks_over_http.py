"""The calls of webhooks, with the real store and event log behind them: what is changed is changed
once, however the store fails.
"""

import random
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest

from scripts.lab import eventually
from scripts.lab.receiver import receiver
from sessions.forever import Forever
from sessions.model import SessionId, StoreUnavailable
from sessions.store import LogBounds, Store, sqlite_url
from sessions.store.tables.webhooks import DeliveryRow
from sessions.views.events import SessionCreated
from supervisor.access.access import Access
from supervisor.access.keys import Keys
from supervisor.access.refusals import Refusals
from supervisor.access.scopes import Scope
from supervisor.access.token_validator import ImprovedTokenValidator
from supervisor.alerts.alerts import Alerts
from supervisor.delivery import webhook_registry as module
from supervisor.delivery.endpoint.targets import REFUSED, Guards
from supervisor.delivery.webhook_registry import Webhooks
from supervisor.fleet.feed import Feed
from tests.api_tools import SIGNING_SECRET, Answer, api, ask

URL = "http://127.0.0.1:9/hook"


class House:
    """A store, a log, keys, webhooks, and the API before them."""

    def __init__(
        self, store: Store, feed: Feed, keys: Keys, alerts: Alerts, webhooks: Webhooks
    ) -> None:
        self.store, self.feed, self.alerts, self.webhooks = store, feed, alerts, webhooks
        self.keys = keys
        self.address = ("", 0)

    async def key(self, *sessions: str, scope: Scope = Scope.OPERATE) -> dict[str, str]:
        """The header of a new key, for these sessions, or all."""
        only = frozenset(sessions) or None
        text = (await self.keys.create("a key", scope, only, expires_at=None))[1]
        return {"Authorization": f"Bearer {text}"}

    async def call(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        raw = b"" if body is None else msgspec.json.encode(body)
        return await ask(self.address, method, path, raw, **headers)

    async def must(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        answer = await self.call(method, path, body, **headers)
        assert answer.status < 400, answer.body
        return msgspec.json.decode(answer.body)

    async def publish(self, session: str, count: int) -> None:
        for _ in range(count):
            self.feed.publish(SessionId(session), SessionCreated(started=False))
        await self.store.must_write()

    def read_no_more(self, monkeypatch: pytest.MonkeyPatch, after: str) -> None:
        """Nothing can be read any more as soon as that write of a webhook's has been made."""
        write = getattr(self.store.webhooks, after)

        async def unreadable(*_: object) -> Any:
            raise StoreUnavailable("The disk is gone.")

        async def writing(*given: Any, **named: Any) -> Any:
            outcome = await write(*given, **named)
            monkeypatch.setattr(self.store.webhooks, "_read", unreadable)
            monkeypatch.setattr(self.store, "_read", unreadable)
            return outcome

        monkeypatch.setattr(self.store.webhooks, after, writing)


@asynccontextmanager
async def house(directory: Path, bounds: LogBounds = LogBounds()) -> AsyncIterator[House]:  # noqa: B008 (it is a value)
    forever = Forever()
    async with AsyncExitStack() as stack:
        store = await Store.open(sqlite_url(directory / "wasup.db"), bounds, forever=forever)
        stack.push_async_callback(store.close)
        # one event is in memory, all others have to be read
        feed = await Feed.open(store, 1)
        alerts = Alerts(feed.publish)
        keys, refusals = await Keys.open(store), Refusals()
        guards = Guards.of(None, ("127.0.0.1", 1), on_loopback=True)
        webhooks = Webhooks(
            store,
            feed,
            alerts,
            forever,
            guards,
            keys.holds,
            feed.publish,
            random.Random(7),
            retry_seconds=3600.0,
            failing_seconds=300.0,
        )
        stack.push_async_callback(webhooks.close)
        await webhooks.open()
        found = House(store, feed, keys, alerts, webhooks)
        access = Access(None, keys, ImprovedTokenValidator(SIGNING_SECRET, refusals), refusals)
        found.address = await stack.enter_async_context(
            api(store=store, feed=feed, keys=keys, access=access, webhooks=webhooks)
        )
        yield found
        assert all(task.state == "ok" for task in forever.health())


@pytest.mark.parametrize(
    ("path", "body", "write", "status"),
    [
        ("/webhooks", {"url": URL, "after": 0, "paused": True}, "add", 201),
        ("/webhooks/{}/secret", None, "change", 200),
        ("/webhooks/{}/replay", {"after": 0}, "replay", 202),
        ("/webhooks/{}/redrive", {"failed": True}, "redrive", 202),
    ],
)
async def test_what_a_store_has_written_before_it_failed_is_not_made_twice(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    body: Any,
    write: str,
    status: int,
) -> None:
    async with house(tmp_path) as here:
        hook = await here.must("POST", "/webhooks", {"url": URL, "paused": True})
        await here.publish("a", 5)
        here.read_no_more(monkeypatch, after=write)
        path = path.format(hook["id"])
        first = await here.call("POST", path, body, idempotency_key="k")
        assert first.status == status, first.body
        again = await here.call("POST", path, body, idempotency_key="k")
        assert (again.status, again.headers["idempotency-replayed"]) == (status, "true")
        assert msgspec.json.decode(again.body) == msgspec.json.decode(first.body)
        assert len(here.webhooks.all()) == (2 if write == "add" else 1)
        monkeypatch.undo()


async def test_what_is_redriven_goes_out_although_the_store_failed_behind_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house(tmp_path) as here, receiver() as endpoint:
        hook = await here.must("POST", "/webhooks", {"url": endpoint.url})
        await here.publish("a", 1)
        await eventually(_shown(endpoint.accepted))
        dead = DeliveryRow(hook["id"], 1, 1, 1, "a", "x", "dead", 1, 1.0, None, 500, "500")
        here.store.webhooks.set_aside(dead)
        await here.store.must_write()
        with monkeypatch.context() as patched:
            here.read_no_more(patched, after="redrive")
            await here.call("POST", f"/webhooks/{hook['id']}/redrive", {"failed": True})
        await eventually(_shown(endpoint.accepted), lambda seen: len(seen) == 2)
        assert endpoint.accepted[-1].late


async def test_a_made_webhook_says_where_it_is(tmp_path: Path) -> None:
    async with house(tmp_path) as here:
        made = await here.call("POST", "/webhooks", {"url": URL}, idempotency_key="k")
        assert (await here.must("GET", made.headers["location"]))["url"] == URL
        again = await here.call("POST", "/webhooks", {"url": URL}, idempotency_key="k")
        assert again.headers["location"] == made.headers["location"]


async def test_the_oldest_undelivered_event_has_an_age_although_the_one_before_it_is_gone(
    tmp_path: Path,
) -> None:
    async with house(tmp_path) as here:
        hook = await here.must("POST", "/webhooks", {"url": URL, "paused": True})
        assert hook["oldestUndeliveredSeconds"] is None
        await here.store.create_session(SessionId("purged"), wanted=False)
        await here.publish("purged", 1)
        await here.publish("a", 2)
        await here.store.delete_session(SessionId("purged"), purge=True)
        here.feed.forget(SessionId("purged"))
        shown = await here.must("GET", f"/webhooks/{hook['id']}")
        assert shown["behind"] == 3
        assert shown["oldestUndeliveredSeconds"] is not None


@pytest.mark.parametrize("call", ["create", "replay"])
async def test_a_number_that_no_event_has_is_refused_with_the_newest_one(
    tmp_path: Path, call: str
) -> None:
    async with house(tmp_path) as here:
        hook = await here.must("POST", "/webhooks", {"url": URL, "paused": True})
        await here.publish("a", 2)
        path, body = "/webhooks", {"url": URL, "after": 3}
        if call == "replay":
            path, body = f"/webhooks/{hook['id']}/replay", {"after": 3}
        answer = await here.call("POST", path, body)
        assert (answer.status, answer.error["code"]) == (400, "invalid_webhook")
        assert "newest event is 2" in answer.error["message"]
        assert len(here.webhooks.all()) == 1


async def test_what_was_set_aside_comes_page_by_page_behind_what_blocks(tmp_path: Path) -> None:
    async with house(tmp_path) as here, receiver() as endpoint:
        endpoint.refuses = lambda one: True
        hook = await here.must("POST", "/webhooks", {"url": endpoint.url})
        for n in (7, 8, 9):
            dead = DeliveryRow(hook["id"], n, n, n, "a", "x", "dead", 1, 1.0, None, 500, "500")
            here.store.webhooks.set_aside(dead)
        await here.publish("a", 1)
        await here.publish("b", 1)
        path = f"/webhooks/{hook['id']}/deliveries?limit=2"
        pages, after = [], ""
        await eventually(
            partial(here.must, "GET", f"{path}&state=blocked"),
            lambda seen: len(seen["deliveries"]) == 2,
        )
        while after is not None:
            shown = await here.must("GET", path + (f"&after={after}" if after else ""))
            pages.append([one["n"] for one in shown["deliveries"]])
            after = shown["next"]
        assert pages == [[1, 2], [7, 8], [9]]


async def test_what_the_log_drops_while_it_is_paused_is_an_alert_and_shown(
    tmp_path: Path,
) -> None:
    async with house(tmp_path, LogBounds(most=2)) as here:
        hook = await here.must("POST", "/webhooks", {"url": URL, "paused": True})
        await here.publish("a", 5)
        await here.feed.trim()
        await here.webhooks._tell_of_gaps()
        await here.store.must_write()
        shown = await here.must("GET", f"/webhooks/{hook['id']}")
        assert (shown["cursor"], shown["gaps"]) == (3, 1)
        listed = await here.must("GET", f"/webhooks/{hook['id']}/deliveries")
        assert [(one["n"], one["lastN"], one["state"]) for one in listed["deliveries"]] == [
            (1, 3, "gap")
        ]
        assert [alert.name for alert in here.alerts.active()] == ["delivery_gap"]
        late = await here.must("POST", "/webhooks", {"url": URL, "paused": True, "after": 0})
        assert (late["cursor"], late["gaps"]) == (3, 0), "0: all that the log has kept"


async def test_a_page_of_webhooks_costs_no_look_at_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house(tmp_path) as here:
        made = [(await here.must("POST", "/webhooks", {"url": URL}))["id"] for _ in range(4)]
        seen = list[str]()
        view = module.view

        def counted(found: Any, *more: Any) -> Any:
            seen.append(found.id)
            return view(found, *more)

        monkeypatch.setattr(module, "view", counted)
        first = await here.must("GET", "/webhooks?limit=3")
        assert [one["id"] for one in first["webhooks"]] == seen == made[:3]
        rest = await here.must("GET", f"/webhooks?limit=3&after={first['next']}")
        assert ([one["id"] for one in rest["webhooks"]], rest["next"]) == (made[3:], None)


async def test_an_outage_of_the_store_is_no_failure_of_the_task_that_drops_old_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with house(tmp_path) as here:
        with monkeypatch.context() as patched:
            here.read_no_more(patched, after="redrive")
            await here.store.webhooks.redrive("wh_1", 0.0, None, None)
            await here.webhooks._clean()


async def test_a_replay_leaves_out_nothing_that_is_still_to_be_delivered(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        made = await at.must("POST", "/webhooks", {"url": URL, "paused": True})
        await at.publish("a", 5)
        shown = await at.must("POST", f"/webhooks/{made['id']}/replay", {"after": 3})
        assert (shown["cursor"], shown["behind"]) == (0, 5)


async def test_one_key_cannot_have_all_webhooks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_OF_KEY", 2)
    async with house(tmp_path) as at:
        new = {"url": URL, "paused": True}
        one, other = await at.key("a"), await at.key("a")
        first, _ = [await at.must("POST", "/webhooks", new, **one) for _ in range(2)]
        refused = await at.call("POST", "/webhooks", new, **one)
        assert (refused.status, refused.error["code"]) == (409, "too_many_webhooks")
        assert "This key has 2 webhooks" in refused.error["message"]
        # nor does it get one more by giving another's webhook a URL
        theirs = await at.must("POST", "/webhooks", new, **other)
        change = {"url": f"{URL}/2"}
        assert (await at.call("PATCH", f"/webhooks/{theirs['id']}", change, **one)).status == 409
        assert (await at.must("GET", f"/webhooks/{theirs['id']}"))["url"] == URL
        assert (await at.must("PATCH", f"/webhooks/{first['id']}", change, **one))["url"] != URL
        for _ in range(3):
            assert (await at.must("POST", "/webhooks", new))["owner"] == "operator"


async def test_a_webhook_ends_with_its_owner_s_key_and_goes_on_as_whose_who_resumes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "KEYS_SECONDS", 0.05)
    async with receiver() as endpoint, house(tmp_path) as at:
        key = await at.key(scope=Scope.ADMIN)
        made = await at.must("POST", "/webhooks", {"url": endpoint.url, "sessions": ["a"]}, **key)
        path, key_id = f"/webhooks/{made['id']}", made["owner"].removeprefix("key:")
        operators = await at.must("POST", "/webhooks", {"url": URL, "paused": True})
        await at.publish("a", 1)
        await eventually(_shown(endpoint.accepted), what="its first event")
        await at.must("DELETE", f"/keys/{key_id}")

        async def is_paused() -> bool:
            return bool((await at.must("GET", path))["paused"])

        await eventually(is_paused, what="its pause")
        shown = await at.must("GET", path)
        assert (shown["state"], shown["pausedBecause"]) == ("paused", "key_ended")
        assert (await at.must("GET", f"/webhooks/{operators['id']}"))["pausedBecause"] == "operator"
        (alert,) = at.alerts.active()
        assert alert.name == "delivery_paused"
        assert "key" in alert.message
        await at.publish("a", 2)
        assert (await at.must("GET", path))["behind"] >= 2
        assert len(endpoint.accepted) == 1
        resumed = await at.must("PATCH", path, {"paused": False})
        assert (resumed["owner"], resumed["paused"]) == ("operator", False)

        async def has_all() -> bool:
            return len(endpoint.accepted) == 3

        await eventually(has_all, what="what was kept")
        at.webhooks._pause_ended()
        assert not (await at.must("GET", path))["paused"]
        assert at.alerts.active() == []


async def test_a_webhook_whose_key_has_ended_meanwhile_sends_nothing_after_a_restart(
    tmp_path: Path,
) -> None:
    async with receiver() as endpoint:
        async with house(tmp_path) as at:
            made = await at.must(
                "POST", "/webhooks", {"url": endpoint.url}, **await at.key(scope=Scope.ADMIN)
            )
            await at.must("PATCH", f"/webhooks/{made['id']}", {"paused": True})
            await at.publish("a", 1)
            await at.store.webhooks.change(
                made["id"], msgspec.json.encode(at.webhooks.get(made["id"]).settings), None
            )
            await at.store.keys.remove(made["owner"].removeprefix("key:"))
        async with house(tmp_path) as at:
            assert (await at.must("GET", f"/webhooks/{made['id']}"))["pausedBecause"] == "key_ended"
            await at.publish("a", 1)
        assert endpoint.requests == 0


async def test_into_the_operator_s_own_network_leads_what_he_or_whom_he_trusts_has_said(
    tmp_path: Path,
) -> None:
    async with receiver() as endpoint, house(tmp_path) as at:
        new = {"url": endpoint.url, "sessions": ["a"], "paused": True}
        tenant = await at.key("a", scope=Scope.ADMIN)
        narrow, wide = await at.key(scope=Scope.OPERATE), await at.key(scope=Scope.ADMIN)

        async def leads(hook: str) -> bool:
            tested = await at.must("POST", f"/webhooks/{hook}/test")
            assert tested["error"] in {None, REFUSED}
            return tested["error"] is None

        for by, is_let in (({}, True), (wide, True), (tenant, False), (narrow, False)):
            made = await at.must("POST", "/webhooks", new, **by)
            assert await leads(made["id"]) == is_let
        assert endpoint.requests == 2
        # what counts is who has said where it leads
        path = f"/webhooks/{made['id']}"
        await at.must("PATCH", path, {"url": f"{endpoint.url}?operator"})
        assert await leads(made["id"])
        await at.must("PATCH", path, {"description": "a name"}, **tenant)
        assert await leads(made["id"])
        await at.must("PATCH", path, {"url": f"{endpoint.url}?tenant"}, **tenant)
        assert not await leads(made["id"])


async def test_what_a_webhook_had_passed_over_is_known_after_a_restart(tmp_path: Path) -> None:
    async with house(tmp_path) as at:
        await at.publish("a", 1)
        made = await at.must("POST", "/webhooks", {"url": URL, "types": ["session.deleted"]})
        await at.publish("a", 1)
        await eventually(partial(at.must, "GET", f"/webhooks/{made['id']}"), _has_come_to(2))
        await at.must("PATCH", f"/webhooks/{made['id']}", {"types": ["session.*"], "paused": True})
        await at.publish("a", 1)
    async with house(tmp_path) as at:
        hook = at.webhooks.get(made["id"])
        events = (await at.feed.after(0, 10)).events
        told = [(await at.webhooks.deliveries_of(event, [hook]))[0] for event in events]
        assert [one.state for one in told] == ["made_later", "passed_over", "paused"]


def _has_come_to(n: int) -> Callable[[Any], bool]:
    return lambda shown: bool(shown["cursor"] == n)


def _shown(entries: list[Any]) -> Any:
    async def look() -> list[Any]:
        return list(entries)

    return look
