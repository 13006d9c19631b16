"""Webhooks end to end: the real supervisor, a receiver that is unkind, and the public library that
verifies what it was sent.
"""

import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import msgspec
import pytest
from standardwebhooks.webhooks import Webhook

from scripts.bench_delivery.story import Act, Story, play
from scripts.lab import StandIn, Supervisor, eventually, pair
from scripts.lab.receiver import Delivery, Mood, Receiver, receiver
from supervisor.delivery.endpoint.targets import REFUSED
from tests.conftest import StartSupervisor
from tests.lab_tools import all_bytes, another_home, hears, in_database, must, restarted

pytestmark = pytest.mark.asyncio(loop_scope="session")
MOODS: tuple[Mood, ...] = ("kind", "away", "error", "hang", "reset", "drip", "busy")
STORY = Story(
    [Act(mood, 0.6, killed=mood in {"away", "hang", "reset"}) for mood in MOODS],
    sessions=20,
    events=280,
    patient=False,
)


@asynccontextmanager
async def hooked(
    supervisor: Supervisor, **settings: Any
) -> AsyncIterator[tuple[Receiver, dict[str, Any]]]:
    """A receiver, and the webhook that is sent to it."""
    async with receiver() as found:
        yield found, await supervisor.must("POST", "/webhooks", {"url": found.url} | settings)


async def has(found: Receiver, what: Callable[[Receiver], bool], seconds: float = 60.0) -> None:
    async def look() -> bool:
        return what(found)

    await eventually(look, seconds=seconds, what="what was to be delivered")


async def view(supervisor: Supervisor, webhook: dict[str, Any]) -> Any:
    return await supervisor.get(f"/webhooks/{webhook['id']}")


def verified(deliveries: list[Delivery], secret: str) -> None:
    for one in deliveries:
        Webhook(secret).verify(one.body, dict(one.headers))
        assert one.event["id"] == one.headers["webhook-id"]


async def test_everything_arrives_in_order_whatever_befalls_both_sides(
    start_supervisor: StartSupervisor,
) -> None:
    """A receiver that is down, answers 500, hangs, resets, drips and is busy, and a supervisor that
    is killed three times meanwhile: `make bench-delivery` plays it at its whole length.
    """
    supervisor = await start_supervisor()
    async with receiver() as found:
        outcome = await play(STORY, supervisor, found)
    assert outcome.events >= STORY.events
    assert outcome.late == 0, "nothing has failed for so long that it was set aside"


async def test_one_that_hangs_for_ever_delays_nobody(share_supervisor: StartSupervisor) -> None:
    supervisor = await share_supervisor()
    async with hooked(supervisor) as (hanging, _), hooked(supervisor) as (working, _):
        await hanging.be("hang")
        for number in range(30):
            await supervisor.must("POST", "/sessions", {"id": f"s{number}", "start": False})
        await has(working, lambda seen: len(seen.accepted) >= 30, 10.0)
        assert hanging.accepted == []


async def test_messages_arrive_with_their_text_and_a_test_says_what_came_of_it(
    share_supervisor: StartSupervisor, standin: StandIn
) -> None:
    supervisor = await share_supervisor()
    async with hooked(supervisor, types=["message.*"], headers={"X-Key": "k3y"}) as (found, hook):
        tested = await supervisor.must("POST", f"/webhooks/{hook['id']}/test")
        assert (tested["kind"], tested["status"]) == ("accepted", 204)
        assert [one.event["type"] for one in found.accepted] == ["webhook.test"]
        await found.be("error")
        tested = await supervisor.must("POST", f"/webhooks/{hook['id']}/test")
        assert (tested["status"], tested["error"]) == (500, "500 Internal Server Error")
        assert tested["answer"] == "the database is away"
        await found.be("kind")
        await pair(supervisor, standin, "loja")
        await hears(supervisor, standin, "loja", "Oi, tudo bem?")
        await has(found, lambda seen: len(seen.accepted) >= 2)
        message = found.accepted[-1]
        assert (message.event["session"], message.event["data"]["text"]) == (
            "loja",
            "Oi, tudo bem?",
        )
        assert message.headers["x-key"] == "k3y"
        verified(found.accepted, hook["secret"])
        thin = {"payload": "thin"}
        assert (await supervisor.must("PATCH", f"/webhooks/{hook['id']}", thin))[
            "payload"
        ] == "thin"
        await hears(supervisor, standin, "loja", "Ainda?")
        await has(found, lambda seen: len(seen.accepted) >= 3)
        assert "data" not in found.accepted[-1].event
        assert b"Ainda" not in found.accepted[-1].body


async def test_no_secret_is_shown_logged_or_lies_open_and_both_sign_after_a_rotation(
    start_supervisor: StartSupervisor,
) -> None:
    key = base64.b64encode(bytes(range(32))).decode()
    supervisor = await start_supervisor(store_key=key, log_level="debug")
    headers = {"Authorization": "Bearer t0p-s3cret-of-n8n"}
    async with hooked(supervisor, headers=headers, sessions=["a"]) as (found, hook):
        rotated = await supervisor.must("POST", f"/webhooks/{hook['id']}/secret")
        assert rotated["secret"] != hook["secret"]
        await found.be("error")
        await supervisor.must("POST", "/sessions", {"id": "b", "start": False})
        await supervisor.must("POST", "/sessions", {"id": "a", "start": False})
        await has(found, lambda seen: seen.requests > 0)
        await eventually(
            partial(view, supervisor, hook), lambda seen: seen["lastError"] is not None
        )
        await found.be("kind")
        await supervisor.must("PATCH", f"/webhooks/{hook['id']}", {"paused": False})
        await has(found, lambda seen: len(seen.accepted) > 0)
        for secret in (rotated["secret"], hook["secret"]):
            verified(found.accepted, secret)
        assert {one.event["session"] for one in found.accepted} == {"a"}
        assert found.accepted[0].headers["authorization"] == headers["Authorization"]
        shown = msgspec.json.encode(
            [
                await supervisor.get("/webhooks"),
                await view(supervisor, hook),
                await supervisor.get(f"/webhooks/{hook['id']}/deliveries"),
            ]
        )
        assert supervisor.process is not None
        written = supervisor.process.output.read_bytes() + all_bytes(supervisor.directory)
        for secret in (rotated["secret"], hook["secret"], headers["Authorization"]):
            assert secret.encode() not in shown + written
        assert b"headerNames" in shown


async def test_gone_pauses_it_with_an_alert_and_a_resumed_one_gets_what_happened_meanwhile(
    start_supervisor: StartSupervisor,
) -> None:
    supervisor = await start_supervisor()
    async with hooked(supervisor) as (found, hook):
        await found.be("gone")
        await supervisor.must("POST", "/sessions", {"id": "a", "start": False})
        shown = await eventually(partial(view, supervisor, hook), lambda seen: seen["paused"])
        assert shown["pausedBecause"] == "gone"
        await found.be("kind")
        await restarted(supervisor)
        assert (await view(supervisor, hook))["pausedBecause"] == "gone"
        await supervisor.must("POST", "/sessions", {"id": "b", "start": False})
        await supervisor.must("PATCH", f"/webhooks/{hook['id']}", {"paused": False})
        await has(found, lambda seen: {"a", "b"} <= {one.event["session"] for one in seen.accepted})
        await supervisor.must("DELETE", f"/webhooks/{hook['id']}")
        assert (await supervisor.call("GET", f"/webhooks/{hook['id']}"))[0] == 404
        assert in_database(supervisor, "SELECT count(*) FROM webhooks") == [(0,)]


async def test_neither_our_own_api_nor_the_cloud_s_metadata_is_called(
    start_supervisor: StartSupervisor,
) -> None:
    supervisor = await start_supervisor()
    port = supervisor.api.rpartition(":")[2]
    refused = set()
    for url in (
        f"{supervisor.api}/sessions",
        f"http://localhost:{port}/sessions",
        "http://169.254.169.254/latest/meta-data",
        "http://[::ffff:169.254.169.254]/",
        "http://0.0.0.0/",
    ):
        hook = await supervisor.must("POST", "/webhooks", {"url": url, "paused": True})
        refused.add((await supervisor.must("POST", f"/webhooks/{hook['id']}/test"))["error"])
    assert refused == {REFUSED}
    await restarted(supervisor, WHATSAPP_WEBHOOK_PRIVATE_TARGETS="false")
    async with hooked(supervisor) as (found, hook):
        tested = await supervisor.must("POST", f"/webhooks/{hook['id']}/test")
        assert {tested["error"]} == refused
        assert found.requests == 0


async def test_what_is_refused_is_listed_and_redriven_and_a_replay_sends_all_again(
    start_supervisor: StartSupervisor,
) -> None:
    supervisor = await start_supervisor()
    async with hooked(supervisor) as (found, hook):
        found.refuses = lambda one: one.event["session"] == "b"
        for session in "abc":
            await supervisor.must("POST", "/sessions", {"id": session, "start": False})
        path = f"/webhooks/{hook['id']}"

        async def blocked() -> Any:
            return (await supervisor.get(f"{path}/deliveries"))["deliveries"]

        (head,) = await eventually(blocked)
        assert (head["state"], head["session"], head["lastStatus"]) == ("blocked", "b", 422)
        assert head["lastError"].startswith("422 Unprocessable ")
        assert head["lastError"].endswith(": not this one")
        await has(found, lambda seen: len(seen.accepted) == 2)
        assert await supervisor.stop() == 0
        row = (hook["id"], head["n"], head["n"], head["n"])
        in_database(
            supervisor,
            "INSERT INTO deliveries (webhook, n, last_n, next_n, session, type, state, attempts,"
            " first_failed_at) VALUES (?, ?, ?, ?, 'b', 'session.created', 'dead', 9, 1)",
            *row,
        )
        found.refuses = lambda one: False
        await supervisor.start()
        listed = (await supervisor.get(f"{path}/deliveries?state=dead"))["deliveries"]
        assert [one["n"] for one in listed] == [head["n"]]
        full = await supervisor.get(f"{path}/deliveries?state=dead&limit=1")
        assert (full["deliveries"], full["next"]) == (listed, None), "a full page may be the last"
        assert (await view(supervisor, hook))["dead"] == 1
        status, answer = await supervisor.call("POST", f"{path}/redrive", {})
        assert (status, answer["error"]["code"]) == (400, "bad_request")
        redriven = await supervisor.must("POST", f"{path}/redrive", {"ids": [listed[0]["id"]]})
        assert redriven == {"redriven": 1}
        await has(found, lambda seen: len(seen.accepted) == 3)
        assert found.accepted[-1].late
        assert (await eventually(blocked, lambda seen: seen == [])) == []
        await supervisor.must("POST", f"{path}/replay", {"after": 0})
        await has(found, lambda seen: len(seen.accepted) == 6)
        ids = [one.headers["webhook-id"] for one in found.accepted]
        assert sorted(ids[:3]) == sorted(ids[3:]), "the receiver knows them by their ids"


async def test_a_restored_store_delivers_nothing_until_somebody_says_so(
    start_supervisor: StartSupervisor,
) -> None:
    supervisor = await start_supervisor()
    async with hooked(supervisor) as (found, hook):
        await supervisor.must("POST", "/sessions", {"id": "a", "start": False})
        await has(found, lambda seen: len(seen.accepted) == 1)
        backup = supervisor.directory / "wasup.backup"
        await must(supervisor, "backup", backup)
        async with another_home(supervisor, "restored") as other:
            await must(other, "restore", backup)
            await other.start()
            shown = await view(other, hook)
            assert (shown["paused"], shown["pausedBecause"]) == (True, "restored")
            await other.must("POST", "/sessions", {"id": "c", "start": False})
            await other.must("PATCH", f"/webhooks/{hook['id']}", {"paused": False})
            await has(found, lambda seen: "c" in {one.event["session"] for one in seen.accepted})
            verified(found.accepted, hook["secret"])
