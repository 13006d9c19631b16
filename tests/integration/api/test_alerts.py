"""Alerts over HTTP: shown with what to do, silenced, acknowledged, each by those who may."""

import asyncio
import shlex
import time
from collections.abc import AsyncIterator
from typing import Any

import msgspec
import pytest
import pytest_asyncio
from typer.testing import CliRunner

from sessions.model import SessionId
from sessions.views.times import iso
from supervisor.access.key import new_id, new_key
from supervisor.access.scopes import Scope
from supervisor.alerts.notices import Recipient
from supervisor.cli import cli
from supervisor.cli.alert_commands import alerts
from supervisor.cli.common.client import Client
from tests.api_tools import TOKEN, Answer, api, ask, known_key
from tests.unit.alerts.story import SHOP, Story, refused

OTHER = SessionId("other")
ONE_SHOP = new_key(new_id())
Address = tuple[str, int]


@pytest_asyncio.fixture
async def story() -> Story:
    return await Story(now=time.time()).begin()


@pytest_asyncio.fixture
async def address(story: Story) -> AsyncIterator[Address]:
    keys = [known_key(ONE_SHOP, Scope.OPERATE, frozenset({SHOP}))]
    parts = {"alerts": story.alerts, "notifier": story.notifier}
    async with api(token=TOKEN, known_keys=keys, **parts) as found:
        yield found


async def call(
    address: Address, method: str, path: str, body: Any = None, token: str = TOKEN
) -> Answer:
    sent = b"" if body is None else msgspec.json.encode(body)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    return await ask(address, method, path, sent, **headers)


def content(answer: Answer) -> Any:
    return msgspec.json.decode(answer.body)


async def test_an_alert_is_shown_with_what_to_do_about_it(address: Address, story: Story) -> None:
    story.alerts.begin(SHOP, "parked", "It was logged out.", "critical", cause="logged_out")
    (shown,) = content(await call(address, "GET", "/alerts"))["alerts"]
    assert (shown["kind"], shown["runbook"]) == ("connectivity", "docs/runbooks.md#logged_out")
    assert "`wasup sessions start shop`, then" in shown["whatToDo"]
    assert shown["silencedBy"] is shown["acknowledgedAt"] is shown["timesInAnHour"] is None


async def test_an_alert_is_acknowledged_by_its_id(address: Address, story: Story) -> None:
    story.alerts.begin(SHOP, "parked", "Pair it.", "critical")
    story.alerts.begin(OTHER, "parked", "Pair it.", "critical")
    mine, others = (alert.id for alert in story.alerts.active())
    shown = content(await call(address, "POST", f"/alerts/{mine}/acknowledge", {"comment": "Ana"}))
    assert (shown["comment"], shown["acknowledgedAt"]) == ("Ana", iso(story.now))
    seen = content(await call(address, "GET", "/alerts"))["alerts"]
    assert {one["id"]: one["comment"] for one in seen} == {mine: "Ana", others: None}
    of_one = await call(address, "POST", f"/alerts/{others}/acknowledge", token=ONE_SHOP)
    assert (of_one.status, of_one.error["code"]) == (404, "alert_not_found")
    of_one = await call(address, "POST", f"/alerts/{mine}/acknowledge", token=ONE_SHOP)
    assert of_one.status == 200


@pytest.mark.parametrize(
    "words",
    ["ack {id}", "silence --all", "silence --name 'do*' --until 2h", "silence --session shop"],
)
async def test_the_commands_of_the_runbooks_work_as_they_are_typed(
    address: Address, story: Story, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    """Without a comment, too."""
    story.alerts.begin(SHOP, "down", "It is down.", "critical")
    (alert,) = story.alerts.active()
    host, port = address
    monkeypatch.setattr(alerts, "must_run", lambda: Client(f"http://{host}:{port}", TOKEN))
    typed = ["alerts", *shlex.split(words.format(id=alert.id))]
    done = await asyncio.to_thread(CliRunner().invoke, cli.app, typed)
    assert (done.exit_code, done.exception) == (0, None), done.output
    (shown,) = content(await call(address, "GET", "/alerts"))["alerts"]
    assert (shown["acknowledgedAt"] or shown["silencedBy"]) is not None


async def test_a_comment_that_looks_like_another_line_is_refused(
    address: Address, story: Story
) -> None:
    story.alerts.begin(SHOP, "down", "It is down.", "critical")
    (alert,) = story.alerts.active()
    for path in (f"/alerts/{alert.id}/acknowledge", "/alerts/silences"):
        answer = await call(address, "POST", path, {"comment": "one\nanother"})
        assert answer.status == 400


async def test_a_silence_lives_from_post_to_delete(address: Address, story: Story) -> None:
    story.alerts.begin(SHOP, "down", "It is down.", "critical")
    wanted = {"names": ["do*"], "sessions": ["sh*"], "durationSeconds": 3600, "comment": "moving"}
    answer = await call(address, "POST", "/alerts/silences", wanted)
    made = content(answer)
    assert (answer.status, made["names"], made["comment"]) == (201, ["do*"], "moving")
    assert content(await call(address, "GET", "/alerts/silences"))["silences"] == [made]
    (shown,) = content(await call(address, "GET", "/alerts"))["alerts"]
    assert shown["silencedBy"] == made["id"]
    ended = await call(address, "DELETE", f"/alerts/silences/{made['id']}")
    assert content(ended) == made
    again = await call(address, "DELETE", f"/alerts/silences/{made['id']}")
    assert (again.status, again.error["code"]) == (404, "silence_not_found")
    refused_key = await call(address, "POST", "/alerts/silences", wanted, ONE_SHOP)
    assert refused_key.error["code"] == "forbidden_fleet"


@pytest.mark.parametrize(
    ("wanted", "code"),
    [
        ({}, "bad_request"),
        ({"durationSeconds": 60, "endsAt": "2030-01-01T00:00:00Z"}, "bad_request"),
        ({"endsAt": "tomorrow"}, "bad_request"),
        ({"startsAt": "soon", "durationSeconds": 60}, "bad_request"),
        ({"endsAt": "2098-01-01T00:00:00"}, "bad_request"),  # in whose time?
        ({"startsAt": "2098-01-01T00:00:00", "durationSeconds": 60}, "bad_request"),
        ({"endsAt": "2020-01-01T00:00:00Z"}, "invalid_silence"),
        ({"startsAt": "2099-01-01T00:00:00Z", "durationSeconds": 60}, "invalid_silence"),
        ({"durationSeconds": 10**9}, "bad_request"),
        ({"durationSeconds": 60, "names": [""]}, "bad_request"),
        ({"durationSeconds": 60, "name": "down"}, "bad_request"),
    ],
)
async def test_a_silence_that_cannot_be_says_why(
    address: Address, wanted: dict[str, Any], code: str
) -> None:
    answer = await call(address, "POST", "/alerts/silences", wanted)
    assert (answer.status, answer.error["code"]) == (400, code)


async def test_the_channels_say_how_they_are(address: Address, story: Story) -> None:
    story.notifier.follow([Recipient(channel=story.mail)])
    story.mail.fails = refused("no route to host")
    story.alerts.begin(None, "cpu", "cpu is 95%")
    await story.passes(60)
    (shown,) = content(await call(address, "GET", "/alerts/channels"))["channels"]
    assert (shown["name"], shown["lastError"]) == ("mail", "no route to host")
    assert shown["lastSuccessAt"] is None
    assert shown["failingSinceAt"] is not None
