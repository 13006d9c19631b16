"""The store fails under traffic: nobody is logged out, nothing unsaved is acknowledged, and all
goes on by itself when it is back.
"""

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import partial

import aiohttp
import pytest

from scripts.lab import StandIn, Supervisor, Traffic, eventually, pair
from scripts.lab.traffic import SENDER, doubled, out_of_order
from tests.conftest import StartSupervisor
from tests.lab_tools import (
    full_disk,
    hears,
    in_database,
    locked_database,
    logins,
    receipted,
    says,
    store_state,
    texts,
)

pytestmark = pytest.mark.asyncio(loop_scope="session")

Outage = Callable[[Supervisor], AbstractAsyncContextManager[None]]

OUTAGES: dict[str, tuple[Outage, float]] = {
    # a name -> how it is made, and for how many seconds it goes on after it was noticed
    "full disk": (full_disk, 3.0),
    "locked database": (locked_database, 3.0),  # noticed after 5 s
}
API_PATIENCE = aiohttp.ClientTimeout(total=15)
"""Whoever calls the API is owed an answer, whatever the store does."""


async def all_came_once_and_in_order(supervisor: Supervisor, traffic: Traffic) -> None:
    came = await traffic.arrived(supervisor)
    assert doubled(came) == []
    assert out_of_order(came) == []


async def more(traffic: Traffic, texts: int) -> set[str]:
    """Wait for so many further texts; their ids."""
    before = set(traffic.sent)

    async def new() -> set[str]:
        return set(traffic.sent) - before

    return await eventually(new, lambda seen: len(seen) >= texts, what="further texts")


async def told(supervisor: Supervisor, session: str) -> set[str]:
    """The ids of the messages that the supervisor has told of."""
    return {event["data"]["id"] for event in await supervisor.events("message.received", session)}


async def store_alerts(supervisor: Supervisor) -> list[str]:
    return [
        event["data"]["details"]["storeState"]
        for event in await supervisor.events("alert")
        if event["data"].get("name") == "store"
    ]


@pytest.mark.parametrize("outage", OUTAGES)
async def test_a_failing_store_closes_no_session_acknowledges_nothing_and_all_resumes_by_itself(
    outage: str, start_supervisor: StartSupervisor, standin: StandIn
) -> None:
    make, seconds = OUTAGES[outage]
    name, bystander = (f"{who}-{outage.replace(' ', '-')}" for who in ("patient", "quiet"))
    supervisor = await start_supervisor()
    await pair(supervisor, standin, name, bystander)
    traffic = Traffic(standin, [name], 0.1)
    worker = (await supervisor.session(name))["performance"]["workerPid"]
    before = await logins(standin, name)

    async with traffic:
        async with make(supervisor):
            await is_refused_with_a_hint(supervisor, f"new-{name}")
            await eventually(
                partial(store_state, supervisor),
                lambda state: state == "failing",
                what="it being noticed",
            )
            unsaved = await more(traffic, 10)
            await asyncio.sleep(seconds)  # time enough to do something wrong
            store = (await supervisor.get("/reconnection-status"))["store"]
            assert store["state"] == "failing"
            assert store["error"]
            assert store["waitingOperations"] > 0
            assert "nothing unsaved is acknowledged" in store["words"]
            status, ready = await supervisor.call("GET", "/readyz")
            assert (status, ready["status"], ready["store"]) == (200, "ready", "failing")
            assert set(ready["tasks"].values()) == {"ok"}, (
                "a store that fails is no failure of a task"
            )
            on = (await supervisor.get("/alerts"))["alerts"]
            assert [
                (alert["name"], alert["severity"], alert["state"])
                for alert in on
                if alert["name"] == "store"
            ] == [("store", "critical", "began")], (
                "whoever looks sees it while the store fails; its event waits for the store"
            )
            assert not unsaved & await receipted(standin, name)
            assert not unsaved & await told(supervisor, name)
            for session in (name, bystander):
                assert (await supervisor.session(session))["state"] == "open"
        await more(traffic, 5)

    await all_came_once_and_in_order(supervisor, traffic)
    await eventually(
        partial(store_state, supervisor),
        lambda state: state == "ok",
        what="the store being well again",
    )
    ids = set(traffic.sent)
    await eventually(
        partial(receipted, standin, name), lambda seen: seen >= ids, what="every receipt"
    )
    alerts = await eventually(
        partial(store_alerts, supervisor), lambda seen: "ok" in seen, what="the alerts"
    )
    assert "failing" in alerts
    assert alerts.index("failing") < alerts.index("ok")
    assert [session["id"] for session in (await supervisor.get("/sessions"))["sessions"]] == [
        name,
        bystander,
    ]
    await supervisor.must("POST", "/sessions", {"id": f"new-{name}", "start": False})
    await says(supervisor, standin, name, "cheguei")
    await hears(supervisor, standin, bystander, "e você?")
    seen = await supervisor.session(name)
    assert seen["performance"]["workerPid"] == worker
    assert seen["reconnection"]["breaker"] == {"state": "closed", "failures": 0, "opensUntil": None}
    assert await logins(standin, name) == before, "nobody was logged out, and nobody logged in"
    assert await standin.log("logout", session=bystander) == await first_logout(standin, bystander)


async def test_while_the_store_fails_a_text_is_refused_at_once_and_a_deletion_closes_nothing(
    start_supervisor: StartSupervisor, standin: StandIn
) -> None:
    supervisor = await start_supervisor()
    await pair(supervisor, standin, "steadfast")
    before, worker = await logins(standin, "steadfast"), (await supervisor.workers())["steadfast"]
    async with locked_database(supervisor):
        for purge in ("false", "true"):
            path = f"/sessions/steadfast?purge={purge}"
            status, answer = await supervisor.call("DELETE", path, timeout=API_PATIENCE)
            assert (status, answer["error"]["code"]) == (503, "store_unavailable")
        await eventually(partial(store_state, supervisor), lambda state: state == "failing")
        at_once = aiohttp.ClientTimeout(total=2)
        text = {"to": "5511999990000", "text": "oi"}
        status, answer = await supervisor.call(
            "POST", "/sessions/steadfast/messages", text, timeout=at_once
        )
        assert (status, answer["error"]["code"]) == (503, "store_unavailable")
        assert "disk" in answer["error"]["hint"]
        assert (await supervisor.session("steadfast"))["state"] == "open"
    await eventually(partial(store_state, supervisor), lambda state: state == "ok")
    await says(supervisor, standin, "steadfast", "agora sim")
    assert (await supervisor.workers(), await logins(standin, "steadfast")) == (
        {"steadfast": worker},
        before,
    )


async def test_events_are_given_as_far_back_as_the_log_goes_and_a_gap_is_told(
    start_supervisor: StartSupervisor, standin: StandIn
) -> None:
    """Memory holds the newest alone; the others are read from the store."""
    supervisor = await start_supervisor(event_log_size=2)
    await pair(supervisor, standin, "talkative")
    last = await supervisor.last_event("talkative")
    seen = list[int]()
    while page := (await supervisor.get(f"/events?after={seen[-1] if seen else 0}&limit=3"))[
        "events"
    ]:
        seen += [event["n"] for event in page]
    assert seen[:last] == list(range(1, last + 1))
    assert (await supervisor.get("/events?after=0"))["oldest"] == 1
    in_database(supervisor, "DELETE FROM events WHERE n <= 3")
    page = await supervisor.get("/events?after=1")
    assert (page["events"][0]["n"], page["oldest"]) == (4, 4)


async def is_refused_with_a_hint(supervisor: Supervisor, name: str) -> None:
    """A session that cannot be stored is not made."""
    status, answer = await supervisor.call("POST", "/sessions", {"id": name}, timeout=API_PATIENCE)
    assert status == 503
    assert set(answer["error"]) == {"code", "message", "hint"}
    assert answer["error"]["code"] == "store_unavailable"
    assert "disk" in answer["error"]["hint"]
    assert (await supervisor.call("GET", f"/sessions/{name}"))[0] == 404


async def first_logout(standin: StandIn, session: str) -> list[object]:
    """The one that ends each pairing (515)."""
    return list((await standin.log("logout", session=session))[:1])


async def test_a_supervisor_that_is_killed_while_the_disk_is_full_loses_no_text(
    start_supervisor: StartSupervisor, standin: StandIn
) -> None:
    """What was not durable was not acknowledged: the worker still has it, and says it again to the
    next supervisor.
    """
    supervisor = await start_supervisor()
    await pair(supervisor, standin, "kept")
    traffic = Traffic(standin, ["kept"], 0.1)
    before = await logins(standin, "kept")
    async with traffic:
        async with full_disk(supervisor):
            await eventually(partial(store_state, supervisor), lambda state: state == "failing")
            await more(traffic, 10)
            await supervisor.kill()
        await more(traffic, 5)
        await supervisor.start()
    await supervisor.wait_state("kept", "open")
    await all_came_once_and_in_order(supervisor, traffic)
    await says(supervisor, standin, "kept", "nada se perdeu")
    assert await logins(standin, "kept") == before


async def test_a_connection_that_is_lost_while_the_disk_is_full_comes_back_by_itself_when_there_is_room(
    start_supervisor: StartSupervisor, standin: StandIn
) -> None:
    supervisor = await start_supervisor(reconnection_base_delay=100)
    await pair(supervisor, standin, "unlucky")
    jid, before = (await supervisor.session("unlucky"))["jid"], await logins(standin, "unlucky")
    async with full_disk(supervisor):
        await standin.send_text("unlucky", SENDER, "cabe?")
        await eventually(partial(store_state, supervisor), lambda state: state == "failing")
        await standin.fault("drop", "unlucky")
        await asyncio.sleep(2.0)
        assert await logins(standin, "unlucky") == before, (
            "nobody logs in whose keys cannot be saved"
        )
    await eventually(
        partial(logins, standin, "unlucky"), lambda seen: seen == before + 1, what="the next login"
    )
    assert (await supervisor.wait_state("unlucky", "open"))["jid"] == jid
    await eventually(partial(texts, supervisor, "unlucky"), lambda seen: seen == ["cabe?"])
    assert len(await standin.log("registered", session="unlucky")) == 1
    assert (await supervisor.reconnection("unlucky"))["breaker"]["state"] == "closed"


@pytest.mark.parametrize("shutdown", ["stop", "detach"])
async def test_a_supervisor_that_is_stopped_while_the_disk_is_full_stops_in_order(
    shutdown: str, start_supervisor: StartSupervisor, standin: StandIn
) -> None:
    """Even then: whoever stops it (pm2, systemd, a person) waits, and kills it in the end."""
    name = f"stopped-{shutdown}"
    supervisor = await start_supervisor(shutdown=shutdown)
    await pair(supervisor, standin, name)
    async with full_disk(supervisor):
        await standin.send_text(name, SENDER, "até logo")
        await eventually(partial(store_state, supervisor), lambda state: state == "failing")
        assert await supervisor.stop() == 0
    supervisor.settings = dict(supervisor.settings) | {"WHATSAPP_SHUTDOWN": "stop"}
    await supervisor.start()
    await supervisor.wait_state(name, "open")
    await eventually(partial(texts, supervisor, name), lambda seen: seen == ["até logo"])


async def test_a_session_that_was_stored_although_its_caller_was_told_otherwise_is_there_for_the_next_call(
    start_supervisor: StartSupervisor, standin: StandIn
) -> None:
    """The answer to the COMMIT was lost: the row is in the database, and the supervisor does not
    know of it.
    """
    supervisor = await start_supervisor()
    insert = (
        "insert into sessions (id, wanted, epoch, event_seq, created_at) values ('doubted', 1, 0,"
        " 0, 1.0)"
    )
    in_database(supervisor, insert)
    assert (await supervisor.call("GET", "/sessions/doubted"))[0] == 404
    await pair(supervisor, standin, "doubted")
    assert (await supervisor.call("POST", "/sessions", {"id": "doubted"}))[0] == 409, (
        "but only once"
    )
