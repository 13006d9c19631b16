"""What the API promises to scripts: one envelope, one shape for lists, commands and errors, and the
calls that scripts have used for long.
"""

import json
from typing import Any

import aiohttp
import pytest

from scripts.lab import StandIn, Supervisor, pair
from tests.conftest import StartSupervisor

pytestmark = pytest.mark.asyncio(loop_scope="session")

METRICS = {
    "connectionUptime",
    "messagesProcessed",
    "messagesPerMinute",
    "averageResponseTime",
    "errorCount",
    "reconnectCount",
}


async def names(supervisor: Supervisor, query: str) -> tuple[list[str], Any]:
    answer = await supervisor.get(f"/sessions?{query}")
    return [session["id"] for session in answer["sessions"]], answer["next"]


async def test_lists_come_page_by_page_and_nothing_is_clamped(
    start_supervisor: StartSupervisor,
) -> None:
    supervisor = await start_supervisor()
    for name in ("loja-1", "loja-2", "bot-1"):
        await supervisor.must("POST", "/sessions", {"id": name, "start": False})
    assert await names(supervisor, "") == (["loja-1", "loja-2", "bot-1"], None)
    first, following = await names(supervisor, "limit=2")
    assert (first, following is None) == (["loja-1", "loja-2"], False)
    assert await names(supervisor, f"limit=2&after={following}") == (["bot-1"], None)
    assert await names(supervisor, "search=LOJA") == (["loja-1", "loja-2"], None)
    assert await names(supervisor, "state=open,qr") == ([], None)
    assert len((await names(supervisor, "state=stopped"))[0]) == 3
    for query in ("limit=0", "limit=10001", "after=%25%25", "state=asleep", "sort=name"):
        status, answer = await supervisor.call("GET", f"/sessions?{query}")
        assert status == 400, query
        assert answer["error"]["hint"]
    for path, plural in (
        ("/workers", "workers"),
        ("/alerts", "alerts"),
        ("/incidents", "incidents"),
        ("/events", "events"),
    ):
        answer = await supervisor.get(path)
        assert isinstance(answer[plural], list), path
        assert answer["next"] is None, path
    page = await supervisor.get("/events?limit=1")
    assert page["next"] == page["events"][0]["n"]
    event = page["events"][0]
    assert list(event) == ["n", "id", "type", "time", "session", "data"]
    assert (event["type"], event["session"]) == ("session.created", "loja-1")
    assert event["id"].startswith("evt_")


async def test_a_command_answers_202_with_the_session(
    share_supervisor: StartSupervisor, standin: StandIn
) -> None:
    supervisor = await share_supervisor()
    await pair(supervisor, standin, "told")
    view = set(await supervisor.session("told"))
    for command in ("stop", "start"):
        status, answer = await supervisor.call("POST", f"/sessions/told/{command}")
        assert (status, set(answer)) == (202, view), command
    await supervisor.wait_state("told", "open")
    status, answer = await supervisor.call("POST", "/force-reconnection/told")
    assert (status, set(answer) - view, answer["accepted"]) == (202, {"accepted"}, True)
    await supervisor.wait_state("told", "open")
    status, answer = await supervisor.call("POST", "/sessions/told/logout")
    assert (status, set(answer)) == (202, view)
    await supervisor.wait_state("told", "stopped")
    status, answer = await supervisor.call("POST", "/sessions/told/restore", {"start": False})
    assert (status, set(answer) - view) == (202, {"archive"})
    assert answer["archive"]["reason"] == "own_logout"


async def test_a_script_that_knows_the_four_old_calls_alone_runs_unchanged(
    share_supervisor: StartSupervisor, standin: StandIn
) -> None:
    """Only GET, POST, paths and these names: no token, no header, no query."""
    supervisor = await share_supervisor()
    await pair(supervisor, standin, "old")
    async with aiohttp.ClientSession(supervisor.api) as http:

        async def call(method: str, path: str) -> Any:
            async with http.request(method, path) as response:
                assert response.ok, path
                return json.loads(await response.text())

        metrics = await call("GET", "/performance-metrics")
        assert {"timestamp", "system", "sessions"} <= set(metrics)
        assert {"totalMemory", "usedMemory", "cpuUsage", "activeConnections", "errorRate"} <= set(
            metrics["system"]
        )
        assert set(metrics["sessions"]["old"]) >= METRICS
        status = await call("GET", "/reconnection-status")
        assert {"state", "attempts", "failures", "nextAttemptAt", "breaker"} <= set(
            status["sessions"]["old"]
        )
        forced = await call("POST", "/force-reconnection/old")
        assert {"id", "accepted", "reconnection"} <= set(forced)
        reset = await call("POST", "/reset-circuit-breaker/old")
        assert (reset["id"], set(reset["breaker"])) == ("old", {"state", "failures", "opensUntil"})


async def test_what_is_sent_twice_under_one_key_is_done_once_also_after_a_restart(
    share_supervisor: StartSupervisor, standin: StandIn
) -> None:
    supervisor = await share_supervisor()
    await pair(supervisor, standin, "keyed")

    async def send(key: str, text: str) -> tuple[int, Any]:
        status, answer = await supervisor.call(
            "POST",
            "/sessions/keyed/messages",
            {"to": "5511988887777", "text": text},
            headers={"Idempotency-Key": key},
        )
        return status, answer

    first = await send("one", "olá")
    assert first[0] == 200
    assert await send("one", "olá") == first
    status, answer = await send("one", "outra coisa")
    assert (status, answer["error"]["code"]) == (422, "idempotency_key_reused")
    created = {"id": "new", "start": False}
    key = {"Idempotency-Key": "two"}
    made = await supervisor.call("POST", "/sessions", created, headers=key)
    assert made[0] == 201
    assert await supervisor.stop() == 0
    await supervisor.start()
    assert await supervisor.call("POST", "/sessions", created, headers=key) == made
    assert (await supervisor.call("POST", "/sessions", created))[0] == 409
    assert await send("one", "olá") == first
    assert [message["text"] for message in await standin.messages("keyed")] == ["olá"]
    status, answer = await supervisor.call(
        "POST", "/sessions", {"id": "x"}, headers={"Idempotency-Key": "with space"}
    )
    assert (status, answer["error"]["code"]) == (400, "bad_request")
