"""Acceptance 9: bad input and bad settings get the right status, one shape, and change nothing."""

import os
import re
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from scripts.lab import LabError, StandIn, Supervisor, pair
from scripts.lab.conformity import check
from scripts.lab.supervisor import PRELOADED
from tests.conftest import StartSupervisor

pytestmark = pytest.mark.asyncio(loop_scope="session")

BAD_REQUESTS: list[tuple[str, str, Any, int]] = [
    # method, path, body, status
    ("GET", "/nowhere", None, 404),
    ("GET", "/sessions/nobody", None, 404),
    ("POST", "/sessions/nobody/start", None, 404),
    ("POST", "/force-reconnection/nobody", None, 404),
    ("POST", "/reset-circuit-breaker/nobody", None, 404),
    ("DELETE", "/sessions/nobody", None, 404),
    ("GET", "/sessions/a%2Fb", None, 404),
    ("GET", "/sessions/..%2F..%2Fetc%2Fpasswd", None, 404),
    ("GET", "/sessions/%00", None, 404),
    ("PUT", "/sessions", None, 405),
    ("GET", "/force-reconnection/here", None, 405),
    ("POST", "/performance-metrics", None, 405),
    ("POST", "/sessions", b"", 400),
    ("POST", "/sessions", b"{", 400),
    ("POST", "/sessions", b"[]", 400),
    ("POST", "/sessions", b"\xff\xfe", 400),
    ("POST", "/sessions", b'{"id": 7}', 400),
    ("POST", "/sessions", b'{"id": "x", "start": "yes"}', 400),
    ("POST", "/sessions", b'{"id": "x", "strat": false}', 400),
    ("POST", "/sessions", b'{"id": ""}', 400),
    ("POST", "/sessions", b'{"id": ".."}', 400),
    ("POST", "/sessions", b'{"id": "a/b"}', 400),
    ("POST", "/sessions", b'{"id": "a b"}', 400),
    ("POST", "/sessions", b'{"id": "' + b"x" * 65 + b'"}', 400),
    ("POST", "/sessions", b'{"id": "here"}', 409),
    ("POST", "/sessions", b'{"id": "big' + b" " * 600_000 + b'"}', 413),
    ("POST", "/sessions/here/messages", b'{"to": "5511999990000"}', 400),
    ("POST", "/sessions/here/messages", b'{"to": "5511999990000", "text": ""}', 400),
    ("POST", "/sessions/here/messages", b'{"to": "not a number", "text": "x"}', 400),
    ("POST", "/sessions/here/pairing-code", b'{"phone": "12"}', 400),
    ("POST", "/sessions/here/pairing-code", b'{"phone": "5511999990000"}', 409),
    ("POST", "/sessions/here/pairing-code", b'{"phone": "005511999990000"}', 400),
    ("POST", "/sessions/here/pairing-code", b'{"phone": "55.11.99999.0000"}', 409),
    ("POST", "/sessions/here/messages", b'{"to": "005511999990000", "text": "x"}', 400),
    ("POST", "/sessions/here/messages", b'{"to": "011 99999-0000", "text": "x"}', 400),
    ("POST", "/sessions/here/messages", b'{"to": "status@broadcast", "text": "x"}', 400),
    ("GET", "/sessions/here/qr", None, 409),
    ("DELETE", "/sessions/here?purge=perhaps", None, 400),
    ("GET", "/events?after=-1", None, 400),
    ("GET", "/events?wait=soon", None, 400),
    ("GET", "/events?wait=61", None, 400),
    ("GET", "/events?limit=1001", None, 400),
    ("GET", "/events?after=999999&wait=30", None, 410),
    ("GET", "/sessions?limit=1&limit=2", None, 400),
    ("DELETE", "/sessions/here?purge=false&purge=true", None, 400),
    ("GET", "/webhooks/wh_0/deliveries?after=1000000000000000", None, 400),
    ("POST", "/webhooks/wh_0/redrive", b'{"ids": [100000000000000000000]}', 400),
    ("POST", "/webhooks/wh_0/redrive", b'{"after": 100000000000000000000}', 400),
    ("POST", "/webhooks/wh_0/replay", b'{"after": 100000000000000000000}', 400),
    ("POST", "/webhooks", b'{"url": "http://x/", "after": 100000000000000000000}', 400),
    ("GET", "/incidents?limit=0", None, 400),
    ("GET", "/incidents?limit=1001", None, 400),
    ("POST", "/sessions/idle/messages", b'{"to": "5511999990000", "text": "x"}', 409),
    ("POST", "/sessions/idle/logout", None, 409),
    ("POST", "/force-reconnection/idle", None, 409),
]


async def test_bad_requests_get_the_right_status_in_one_shape_and_change_nothing(
    share_supervisor: StartSupervisor, standin: StandIn
) -> None:
    supervisor = await share_supervisor()
    await pair(supervisor, standin, "here")
    await supervisor.must("POST", "/sessions", {"id": "idle", "start": False})
    before = await everything(supervisor)
    wrong = []
    async with aiohttp.ClientSession() as http:
        for method, path, body, expected in BAD_REQUESTS:
            url = aiohttp.client.URL(supervisor.api + path, encoded=True)
            async with http.request(method, url, data=body) as response:
                answer = await response.json()
                kind = response.content_type
                check(method, path, response.status, kind, answer, response.headers)
                shaped = set(answer) == {"error"} and set(answer["error"]) == {
                    "code",
                    "message",
                    "hint",
                }
                if response.status != expected or not shaped or not all(answer["error"].values()):
                    wrong.append(
                        (method, path, body and body[:60], expected, response.status, answer)
                    )
    assert wrong == []
    assert await everything(supervisor) == before


async def everything(supervisor: Supervisor) -> list[tuple[str, str, bool, str | None, int]]:
    sessions = (await supervisor.get("/sessions"))["sessions"]
    return [
        (s["id"], s["state"], s["wanted"], s["jid"], s["reconnection"]["attempts"])
        for s in sessions
    ]


async def test_another_web_site_and_another_host_name_are_refused(
    share_supervisor: StartSupervisor,
) -> None:
    supervisor = await share_supervisor()
    for headers in ({"Origin": "https://evil.example"}, {"Host": "evil.example"}):
        status, answer = await supervisor.call("POST", "/sessions", {"id": "x"}, headers=headers)
        assert (status, answer["error"]["code"]) == (403, "forbidden")
    assert (await supervisor.get("/sessions"))["sessions"] == []


async def test_a_token_is_asked_of_every_call_but_the_probes(
    start_supervisor: StartSupervisor,
) -> None:
    token = "correct-horse-battery-staple"
    supervisor = await start_supervisor(api_token=token)
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": f"Basic {token}"}):
        status, answer = await supervisor.call("GET", "/sessions", headers=headers)
        assert (status, answer["error"]["code"]) == (401, "unauthorized")
    assert (
        await supervisor.call("GET", "/sessions", headers={"Authorization": f"Bearer {token}"})
    )[0] == 200
    status, ready = await supervisor.call("GET", "/readyz")
    assert (status, ready["status"]) == (200, "ready")
    tasks = ready["tasks"]
    assert set(tasks.values()) == {"ok"}
    assert {"store writer", "webhook rows", "history", "upkeep"} <= set(tasks)
    assert not [name for name in tasks if re.search(r"wh_|alerts to|://", name)], (
        "nobody's webhook and no channel is named to whom no token is asked"
    )
    assert supervisor.process is not None
    assert token not in supervisor.process.output.read_text()


async def test_the_qr_comes_in_the_form_that_is_asked_for(
    share_supervisor: StartSupervisor,
) -> None:
    supervisor = await share_supervisor()
    await supervisor.must("POST", "/sessions", {"id": "shown", "start": False})
    status, answer = await supervisor.call("GET", "/sessions/shown/qr?wait=60")
    assert (status, answer["error"]["code"]) == (409, "no_qr"), "at once: nothing would come"
    assert (await supervisor.call("GET", "/sessions/shown/qr?wait=61"))[0] == 400
    await supervisor.must("POST", "/sessions/shown/start")
    status, answer = await supervisor.call("GET", "/sessions/shown/qr")
    assert status == 200 or "?wait=30" in answer["error"]["hint"]
    first = await supervisor.get("/sessions/shown/qr?wait=60")
    assert first["qr"]
    begins = {
        "image/png": b"\x89PNG",
        "image/svg+xml": b"<?xml",
        "text/plain": "█".encode(),
        "application/json": b'{"qr":',
        "text/html": b"<!doctype html>",
    }
    async with aiohttp.ClientSession() as http:
        for accept, begin in begins.items():
            async with http.get(
                f"{supervisor.api}/sessions/shown/qr", headers={"Accept": accept}
            ) as response:
                assert (response.status, response.content_type) == (200, accept)
                if accept != "application/json":
                    check("GET", "/sessions/shown/qr", 200, accept, None)
                assert begin in (await response.read())[:200]
        async with http.get(
            f"{supervisor.api}/sessions/shown/qr", headers={"Accept": "video/mp4"}
        ) as response:
            assert response.status == 406
    await supervisor.must("DELETE", "/sessions/shown")


async def test_a_second_supervisor_on_the_same_data_directory_is_told_who_holds_it(
    share_supervisor: StartSupervisor,
) -> None:
    supervisor = await share_supervisor()
    assert supervisor.process is not None
    second = Supervisor(supervisor.directory, supervisor.settings)
    second.directory = supervisor.directory
    with pytest.raises(LabError, match=rf"held by another supervisor.*{supervisor.process.pid}"):
        await second.start()
    await second.close()
    assert (await supervisor.call("GET", "/readyz"))[0] == 200


BAD_SETTINGS = [
    ({"WHATSAPP_RECONNECTION_MAX_RETRIES": "many"}, "WHATSAPP_RECONNECTION_MAX_RETRIES"),
    ({"WHATSAPP_RECONNECTION_BASE_DELAY": "-1"}, "WHATSAPP_RECONNECTION_BASE_DELAY"),
    ({"WHATSAPP_MEMORY_THRESHOLD": "80"}, "WHATSAPP_MEMORY_THRESHOLD"),
    ({"WHATSAPP_API_HOST": "0.0.0.0"}, "WHATSAPP_API_TOKEN"),
    ({"WHATSAPP_API_PORT": "99999"}, "WHATSAPP_API_PORT"),
    ({"WHATSAPP_NOISE_ROOT_KEY": "ab" * 32}, "WHATSAPP_WEB_SOCKET_URL"),
]


@pytest.mark.parametrize(("settings", "named"), BAD_SETTINGS, ids=lambda value: str(value)[:50])
async def test_bad_settings_are_refused_at_the_start(
    settings: dict[str, str], named: str, tmp_path: Path
) -> None:
    environment = os.environ | {"WHATSAPP_DATA_DIR": str(tmp_path / "data")} | settings
    status, _, told = await PRELOADED[0].run((), environment, tmp_path)
    assert status == 78
    assert named in told
    assert "Traceback" not in told
    assert not (tmp_path / "data").exists(), "nothing was written"


async def test_a_number_is_refused_with_the_form_that_was_meant_and_one_without_whatsapp_by_its_own_name(
    share_supervisor: StartSupervisor, standin: StandIn
) -> None:
    supervisor = await share_supervisor()
    await pair(supervisor, standin, "numbers")

    async def send(to: str) -> tuple[int, str, str]:
        status, answer = await supervisor.call(
            "POST", "/sessions/numbers/messages", {"to": to, "text": f"to {to}"}
        )
        error = answer.get("error", {})
        return status, error.get("code", ""), error.get("hint", "")

    assert await send("005511999990000") == (
        400,
        "invalid_recipient",
        "Did you mean 5511999990000?",
    )
    await standin.call(
        "POST", "/without-whatsapp", {"phones": ["5521977770000", "552177770000", "5531977770000"]}
    )
    status, code, hint = await send("+55 21 97777-0000")
    assert (status, code) == (422, "no_whatsapp")
    assert "reconnect" not in hint.lower()
    assert (await send("55.31.97777.0000"))[0] == 200, "WhatsApp knows it without the ninth digit"
    sent = [(m["to"], m["text"]) for m in await standin.messages("numbers")]
    assert sent == [("553177770000@s.whatsapp.net", "to 55.31.97777.0000")]
    await standin.call("POST", "/without-whatsapp", {"phones": []})
