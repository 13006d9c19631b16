"""A session goes to WhatsApp through its proxy, or not at all; and nobody ever sees the proxy's
password.
"""

from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from scripts.lab import StandIn, Supervisor, eventually, pair
from scripts.lab.proxies import PASSWORD, Proxy, http_proxy, socks_proxy
from tests.conftest import StartSupervisor
from tests.lab_tools import all_bytes, must, wasup

pytestmark = pytest.mark.asyncio(loop_scope="session")

KEY = "0f" * 32
SECRETS = [PASSWORD, "s3cr%3At%2Fp%23ss", "so@meone", "so%40meone"]


def whereabouts(standin: StandIn) -> tuple[str, int]:
    url = urlsplit(standin.url.replace("{session}", "x"))
    assert url.hostname is not None
    assert url.port is not None
    return url.hostname, url.port


async def pair_through(
    supervisor: Supervisor, standin: StandIn, session: str, proxy: Proxy
) -> None:
    await supervisor.must("POST", "/sessions", {"id": session, "proxy": proxy.url})
    await supervisor.wait_state(session, "qr")
    await standin.scan((await supervisor.get(f"/sessions/{session}/qr"))["qr"])
    await supervisor.wait_state(session, "open")


async def shown_everywhere(supervisor: Supervisor) -> str:
    """All that a supervisor says and writes: API, events, logs, its own and its workers'."""
    paths = [
        "/sessions",
        "/reconnection-status",
        "/performance-metrics",
        "/events?after=0",
        "/workers",
        "/incidents",
    ]
    said = [str(await supervisor.get(path)) for path in paths]
    assert supervisor.process is not None
    files = [supervisor.process.output, *supervisor.directory.rglob("*.log*")]
    return "\n".join([*said, *(Path(file).read_text(errors="replace") for file in files)])


async def test_sessions_log_in_through_their_proxies(
    start_supervisor: StartSupervisor, standin: StandIn
) -> None:
    supervisor = await start_supervisor(store_key=KEY)
    async with http_proxy(account=True) as http, socks_proxy(account=True) as socks:
        await pair_through(supervisor, standin, "by-http-proxy", http)
        await pair_through(supervisor, standin, "by-socks-proxy", socks)
        await pair(supervisor, standin, "by-no-proxy")
        for proxy in (http, socks):
            assert proxy.connected == [whereabouts(standin)] * 2, "the pairing and the first login"
            assert proxy.refused == 0
        shown = {s["id"]: s["proxy"] for s in (await supervisor.get("/sessions"))["sessions"]}
        assert shown == {
            "by-http-proxy": http.name,
            "by-socks-proxy": socks.name,
            "by-no-proxy": None,
        }
        await supervisor.must(
            "POST", "/sessions/by-http-proxy/messages", {"to": "5511999990000", "text": "oi"}
        )

        assert await supervisor.stop() == 0  # what is stored is enough to go the same way again
        await supervisor.start()
        await supervisor.wait_state("by-http-proxy", "open")
        await supervisor.wait_state("by-socks-proxy", "open")
        assert [len(http.connected), len(socks.connected)] == [3, 3]
        written = await shown_everywhere(supervisor)
        assert [secret for secret in SECRETS if secret in written] == []
        assert [
            secret for secret in SECRETS if secret.encode() in all_bytes(supervisor.directory)
        ] == []
        assert await supervisor.stop() == 0


async def test_a_dead_proxy_is_named_keeps_its_session_out_and_holds_nobody_else(
    share_supervisor: StartSupervisor, standin: StandIn
) -> None:
    supervisor = await share_supervisor()
    async with http_proxy(account=True) as proxy:
        await pair_through(supervisor, standin, "proxy-dies", proxy)
        await pair(supervisor, standin, "proxy-bystander")
    before = await standin.last_entry()
    await standin.fault("drop", session="proxy-dies")
    await standin.fault("drop", session="proxy-bystander")
    await eventually(
        partial(standin.log, "login", session="proxy-bystander", after=before),
        what="the bystander's new login",
    )
    await supervisor.wait_state("proxy-bystander", "open", seconds=5)
    logins = len(await standin.log("login", session="proxy-dies"))
    why = await eventually(
        partial(supervisor.reconnection, "proxy-dies"),
        lambda seen: seen["closeReason"] == "proxy",
        what="the proxy being found dead",
    )
    assert f"the proxy {proxy.name}" in why["closeMessage"]
    assert "wasup sessions proxy set proxy-dies" in why["humanAction"]
    assert why["breaker"]["state"] == "closed"
    assert len(await standin.log("login", session="proxy-dies")) == logins, "not by another way"
    assert (await supervisor.session("proxy-bystander"))["state"] == "open"
    assert (await supervisor.call("PUT", "/sessions/proxy-dies/proxy", {"proxy": None}))[0] == 409
    await supervisor.must("POST", "/sessions/proxy-dies/stop")
    async with socks_proxy() as other:
        changed = await supervisor.must("PUT", "/sessions/proxy-dies/proxy", {"proxy": other.url})
        assert changed["proxy"] == other.name
        await supervisor.must("POST", "/sessions/proxy-dies/start")
        await supervisor.wait_state("proxy-dies", "open")
        assert other.connected == [whereabouts(standin)]
        await supervisor.must("POST", "/sessions/proxy-dies/stop")
    written = await shown_everywhere(supervisor)
    assert [secret for secret in SECRETS if secret in written] == []


async def test_a_proxy_that_refuses_the_password_says_so(
    share_supervisor: StartSupervisor, standin: StandIn
) -> None:
    supervisor = await share_supervisor()
    async with http_proxy(account=True) as proxy:
        wrong = f"http://so%40meone:another@127.0.0.1:{proxy.port}"
        await supervisor.must("POST", "/sessions", {"id": "proxy-says-407", "proxy": wrong})
        why = await eventually(
            partial(supervisor.reconnection, "proxy-says-407"),
            # between two tries there is nothing to do for a moment
            lambda seen: "user and password" in seen["humanAction"],
        )
        assert why["closeReason"] == "proxy"
        assert f"the proxy {proxy.name}" in why["closeMessage"]
        assert "407" in why["closeMessage"]
        assert await standin.log("connected", session="proxy-says-407") == []
        await supervisor.must("DELETE", "/sessions/proxy-says-407")


BAD_PROXIES: list[Any] = [
    "",
    "none",
    "proxy:3128",
    "ftp://u:s3cret@h:1",
    "http://u:s3cret@h",
    "http://u:s3c@ret@h:1",
    7,
]


async def test_bad_proxies_are_refused_and_their_passwords_not_repeated(
    share_supervisor: StartSupervisor,
) -> None:
    supervisor = await share_supervisor()
    await supervisor.must("POST", "/sessions", {"id": "proxy-refused", "start": False})
    for bad in BAD_PROXIES:
        for method, path, rest in (
            ("POST", "/sessions", {"id": "proxy-bad"}),
            ("PUT", "/sessions/proxy-refused/proxy", {}),
        ):
            status, answer = await supervisor.call(method, path, rest | {"proxy": bad})
            assert (status, set(answer["error"])) == (400, {"code", "message", "hint"}), bad
            assert "s3c" not in str(answer)
    assert (await supervisor.call("PUT", "/sessions/proxy-refused/proxy", {}))[0] == 400
    assert (await supervisor.call("PUT", "/sessions/nobody/proxy", {"proxy": None}))[0] == 404
    assert [s["proxy"] for s in (await supervisor.get("/sessions"))["sessions"]] == [None]
    assert "s3c" not in await shown_everywhere(supervisor)


async def test_the_command_sets_a_proxy_with_and_without_a_supervisor(
    start_supervisor: StartSupervisor,
) -> None:
    supervisor = await start_supervisor(store_key=KEY)
    await supervisor.must("POST", "/sessions", {"id": "proxy-by-hand", "start": False})
    url = "socks5h://so%40meone:s3cret@proxy.example:1080"
    said = await must(supervisor, "sessions", "proxy", "proxy-by-hand", url)
    assert "goes through socks5h://proxy.example:1080 from" in said
    assert (await supervisor.session("proxy-by-hand"))["proxy"] == "socks5h://proxy.example:1080"
    refused = await wasup(
        supervisor, "sessions", "proxy", "proxy-by-hand", "http://u:s3cret@nowhere"
    )
    assert refused.status == 1
    assert "scheme://host:port" in refused.said
    assert "s3cret" not in said + refused.said
    assert await supervisor.stop() == 0
    assert b"s3cret" not in all_bytes(supervisor.directory)
    assert "uses no proxy" in await must(supervisor, "sessions", "proxy", "proxy-by-hand", "none")
    assert (await wasup(supervisor, "sessions", "proxy", "nobody", "none")).status == 1
    await supervisor.start()
    assert (await supervisor.session("proxy-by-hand"))["proxy"] is None
