"""Keys in the real program: made by a command, narrower than the operator, alive after kill -9,
refused when they are revoked; and no text of one anywhere on the disk.
"""

import json
from typing import Any

import pytest

from scripts.lab import Supervisor, eventually
from tests.conftest import StartSupervisor
from tests.lab_tools import must, wasup

pytestmark = pytest.mark.asyncio(loop_scope="session")

HOOK = {"url": "http://127.0.0.1:9/hook", "types": ["session.*"], "paused": True}


class Caller:
    """Who calls with a token."""

    def __init__(self, supervisor: Supervisor, token: str) -> None:
        self._supervisor = supervisor
        self._headers = {"Authorization": f"Bearer {token}"}

    async def call(self, method: str, path: str, body: Any = None, **more: str) -> tuple[int, Any]:
        headers = self._headers | {name.replace("_", "-"): value for name, value in more.items()}
        return await self._supervisor.call(method, path, body, headers=headers)

    async def get(self, path: str) -> Any:
        status, answer = await self.call("GET", path)
        assert status == 200, answer
        return answer


async def test_a_key_of_one_session_from_its_making_to_its_end(
    start_supervisor: StartSupervisor,
) -> None:
    supervisor = await start_supervisor()
    for session in ("ours", "theirs"):
        await supervisor.must("POST", "/sessions", {"id": session, "start": False})
    of_all = await supervisor.must("POST", "/webhooks", HOOK)

    made = await wasup(
        supervisor, "keys", "create", "--name", "n8n", "--scope", "operate", "--session", "ours"
    )
    key = made.out.strip()
    key_id = key.split("_")[1]
    assert made.out.count("\n") == 1, "KEY=$(wasup keys create ...) holds the key alone"
    assert key_id in made.err
    assert key not in made.err
    n8n = Caller(supervisor, key)

    # what there is for it
    assert [one["id"] for one in (await n8n.get("/sessions"))["sessions"]] == ["ours"]
    for path in ("/reconnection-status", "/performance-metrics"):
        assert list((await n8n.get(path))["sessions"]) == ["ours"]
    events = (await n8n.get("/events"))["events"]
    assert events
    assert {event["session"] for event in events} == {"ours"}
    assert (await n8n.get("/webhooks"))["webhooks"] == []
    for method, path, body in (
        ("GET", "/sessions/theirs", None),
        ("POST", "/sessions/theirs/start", None),
        ("POST", "/force-reconnection/theirs", None),
        ("POST", "/sessions", {"id": "third", "start": False}),
        ("POST", "/webhooks", HOOK | {"sessions": ["ours", "theirs"]}),
        ("GET", "/events?session=theirs", None),
        ("GET", "/incidents?session=theirs", None),
        ("GET", f"/webhooks/{of_all['id']}", None),
        ("DELETE", f"/webhooks/{of_all['id']}", None),
    ):
        status, answer = await n8n.call(method, path, body)
        assert status == 404, (path, answer)
    for path in ("/host", "/workers", "/capacity", "/policy"):
        status, answer = await n8n.call("GET", path)
        assert (status, answer["error"]["code"]) == (403, "forbidden_fleet"), path
    status, answer = await n8n.call("DELETE", "/sessions/ours")
    assert (status, answer["error"]["scope"]) == (403, "admin")

    # what it makes, under an Idempotency-Key that the operator has used, too
    status, mine = await n8n.call("POST", "/webhooks", HOOK, Idempotency_Key="one")
    assert status == 201
    assert mine["sessions"] == ["ours"], "all that there is for it, said in the answer"
    headers = {"Idempotency-Key": "one"}
    status, operators = await supervisor.call("POST", "/webhooks", HOOK, headers=headers)
    assert status == 201
    assert operators["id"] != mine["id"]
    assert operators["sessions"] == []
    assert [one["id"] for one in (await n8n.get("/webhooks"))["webhooks"]] == [mine["id"]]

    status, deleted = await n8n.call("DELETE", f"/webhooks/{mine['id']}")
    assert (status, deleted) == (200, {"id": mine["id"], "deleted": True})

    # a token of it, and both over kill -9
    status, token = await n8n.call("POST", "/tokens", {"scope": "read", "name": "ana"})
    assert status == 200
    await supervisor.kill()
    await supervisor.start()
    page = Caller(supervisor, token["token"])
    assert [one["id"] for one in (await n8n.get("/sessions"))["sessions"]] == ["ours"]
    assert [one["id"] for one in (await page.get("/sessions"))["sessions"]] == ["ours"]
    assert (await page.call("POST", "/sessions/ours/stop"))[0] == 403
    listed = json.loads(await must(supervisor, "keys", "list", "--json"))
    (shown,) = listed["keys"]
    assert (shown["id"], shown["name"], shown["sessions"]) == (key_id, "n8n", ["ours"])
    assert shown["lastUsedAt"] is not None
    assert "key" not in shown

    # its end
    assert key_id in await must(supervisor, "keys", "revoke", key)
    for caller in (n8n, page):
        status, answer = await caller.call("GET", "/sessions")
        assert (status, answer["error"]["reason"]) == (401, "invalid")
    gone = await wasup(supervisor, "keys", "revoke", key_id)
    assert gone.status == 1
    assert "no key" in gone.said
    await _is_in_the_audit_log(supervisor, key_id)
    await supervisor.stop()
    _stand_nowhere(supervisor, key, token["token"])


async def _is_in_the_audit_log(supervisor: Supervisor, key_id: str) -> None:
    async def lines() -> list[Any]:
        read = await wasup(supervisor, "audit", "--key", key_id, "--json", "--lines", "100")
        return [json.loads(line) for line in read.out.splitlines()]

    async def revoked() -> bool:
        newest = json.loads(await must(supervisor, "audit", "-n", "1", "--json"))
        return bool(newest["route"] == "DELETE /keys/{key}" and newest["status"] == 404)

    await eventually(revoked, what="the last command in the audit log")
    found = await lines()
    told = [(line["route"], line["session"], line["status"]) for line in found]
    assert ("POST /sessions/{id}/start", "theirs", 404) in told
    assert ("DELETE /sessions/{id}", "ours", 403) in told
    assert ("POST /webhooks", None, 201) in told
    assert {line["principal"] for line in found} == {"n8n", "ana"}
    shown = await must(supervisor, "audit", "--session", "theirs")
    assert "session_not_found (404)" in shown
    nothing = await wasup(supervisor, "audit", "--since", "1999-13-01")
    assert nothing.status == 2


def _stand_nowhere(supervisor: Supervisor, *secrets: str) -> None:
    assert supervisor.process is not None
    files = [file for file in supervisor.directory.rglob("*") if file.is_file()]
    files.append(supervisor.process.output)
    assert any(file.name == "audit.log" for file in files)
    for file in files:
        content = file.read_bytes()
        for secret in secrets:
            assert secret.encode() not in content, file
