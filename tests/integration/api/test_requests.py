"""Every call is counted, timed and written down, by its route and its caller, and nothing of what it
carried.
"""

import asyncio
import json
from pathlib import Path

from aiohttp import web

from api.errors import BadRequest
from api.gatehouse.fences import Places
from api.routes import ROUTES as REAL
from scripts.lab.processes import eventually
from sessions.records.distribution import bucket_of
from supervisor.access.key import new_id, new_key
from supervisor.access.scopes import Scope
from supervisor.history.outward.requests import LONGEST_AGENT, OTHERS, Requests, Served
from supervisor.history.recent import Recent
from supervisor.history.series import Key, series_of
from supervisor.history.tiers import DAY
from supervisor.process.log_files import LogFile
from supervisor.process.logs import Redaction
from tests.api_tools import TOKEN, api, ask, known_key, raw

KEY = new_key(new_id())
KEY_ID = KEY.split("_")[1]
places = Places(4, "wait", waits=True)


async def seen(_request: web.Request) -> web.Response:
    return web.json_response({})


async def bad(_request: web.Request) -> web.Response:
    raise BadRequest("no")


async def broken(_request: web.Request) -> web.Response:
    raise RuntimeError("a fault")


async def long_poll(request: web.Request) -> web.Response:
    with places.one(request):
        await asyncio.sleep(0.1)
    return web.json_response({})


async def endless(_request: web.Request) -> web.Response:
    await asyncio.Event().wait()
    return web.json_response({})


ROUTES = (
    web.get("/things/{id}", seen),
    web.get("/bad", bad),
    web.get("/broken", broken),
    web.get("/poll", long_poll),
    web.get("/endless", endless),
)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


async def test_calls_are_counted_by_route_and_by_caller_and_refusals_with_them() -> None:
    requests = Requests(None, str)
    known = [known_key(KEY, Scope.ADMIN)]
    async with api(*ROUTES, token=TOKEN, known_keys=known, requests=requests) as address:
        for path in ("/things/a", "/things/b", "/bad", "/broken", "/nothing/here", "/or/here"):
            await ask(address, "GET", path, **bearer(KEY))
        await ask(address, "GET", "/things/a", **bearer(TOKEN))
        await ask(address, "GET", "/things/a", **bearer("wrong"))
        await ask(address, "POST", "/things/a", **bearer(TOKEN))
    figures = requests.figures()
    told = {
        (name, subject): value
        for (name, subject), value in figures.items()
        if "seconds" not in name
    }
    routes = {subject: value for (name, subject), value in told.items() if name == "route.requests"}
    assert routes == {"GET /things/{id}": 4, "GET /bad": 1, "GET /broken": 1, "unknown": 3}
    assert told["route.refused", "GET /things/{id}"] == 1
    assert (told["route.refused", "GET /bad"], told["route.errors", "GET /bad"]) == (1, 0)
    assert (told["route.refused", "GET /broken"], told["route.errors", "GET /broken"]) == (0, 1)
    callers = {subject: value for (name, subject), value in told.items() if name == "key.requests"}
    assert callers == {f"key:{KEY_ID}": 6, "operator": 2}
    took = [value for (name, _), value in told.items() if name.startswith("route.response_ms#")]
    assert sum(took) == 9
    assert all(series_of(name) for name, _ in figures)


async def test_a_call_that_waits_is_counted_and_is_no_part_of_how_long_calls_take(
    tmp_path: Path,
) -> None:
    file = LogFile(tmp_path / "requests.log")
    requests = Requests(file, str)
    async with api(*ROUTES, token=TOKEN, requests=requests) as address:
        await ask(address, "GET", "/poll", **bearer(TOKEN))
        await ask(address, "GET", "/things/a", **bearer(TOKEN))
    file.close()
    figures = requests.figures()
    assert figures["route.requests", "GET /poll"] == 1
    assert figures["route.seconds", "GET /poll"] == 0
    assert {subject for name, subject in figures if name.startswith("route.response_ms#")} == {
        "GET /things/{id}"
    }
    poll, other = lines(tmp_path / "requests.log")
    assert poll["waited"] is True
    assert float(str(poll["response_time"])) >= 0.1
    assert "waited" not in other


async def test_a_call_that_takes_long_on_purpose_is_no_part_of_how_long_calls_take() -> None:
    requests, slow = Requests(None, str), [route for route in REAL if route.slow]
    async with api(token=TOKEN, requests=requests) as address:
        for route in slow:
            await ask(address, route.method, route.path, **bearer("wrong"))
        await raw(
            address, b"HEAD /reports HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
        )
    figures = requests.figures()
    assert {f"{route.method} {route.path}" for route in slow} == {
        "GET /reports",
        "POST /alerts/channels/test",
        "POST /debug/memory",
    }
    assert figures["route.requests", "GET /reports"] == 1
    assert not [name for name, _ in figures if "response_ms#" in name]


async def test_the_line_of_a_call_names_route_and_caller_and_has_nothing_that_was_sent(
    tmp_path: Path,
) -> None:
    file = LogFile(tmp_path / "requests.log")
    requests = Requests(file, Redaction(["hunter2hunter2"]).text)
    known = [known_key(KEY, Scope.ADMIN)]
    agent = "curl/8 \x1b[31m Bearer abcdef hunter2hunter2"
    async with api(*ROUTES, token=TOKEN, known_keys=known, requests=requests) as address:
        await ask(
            address, "GET", "/things/secret-1?token=secret-2", **bearer(KEY), User_Agent="curl/8"
        )
        await ask(address, "GET", "/nothing/secret-3", **bearer("wrong"))
        head = f"GET /bad HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nUser-Agent: {agent}"
        await raw(address, f"{head}\r\nAuthorization: Bearer {TOKEN}\r\n\r\n".encode())
    file.close()
    text = (tmp_path / "requests.log").read_text()
    for secret in ("secret-1", "secret-2", "secret-3", KEY, TOKEN, "hunter2", "abcdef", "\x1b"):
        assert secret not in text
    first, second, *_ = lines(tmp_path / "requests.log")
    assert first == {
        "timestamp": first["timestamp"],
        "level": "INFO",
        "service": "wasup",
        "method": "GET",
        "endpoint": "/things/{id}",
        "user_id": "admin key",
        "response_time": first["response_time"],
        "status_code": 200,
        "user_agent": "curl/8",
        "ip_address": "127.0.0.1",
    }
    assert (second["level"], second["endpoint"], second["user_id"], second["status_code"]) == (
        "WARNING",
        "unknown",
        None,
        401,
    )


async def test_a_caller_that_hangs_up_is_no_error_of_ours() -> None:
    requests = Requests(None, str)
    async with api(*ROUTES, token=TOKEN, requests=requests) as address:
        head = f"GET /endless HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        _, writer = await asyncio.open_connection(*address)
        writer.write(head.encode())
        await writer.drain()
        await asyncio.sleep(0.05)
        writer.close()

        async def figures() -> dict[Key, float]:
            return requests.figures()

        seen = await eventually(figures, lambda told: ("route.requests", "GET /endless") in told)
    assert seen["route.errors", "GET /endless"] == 0
    assert seen["route.refused", "GET /endless"] == 1


def call(who: str, seconds: float = 0.001, path: str = "/a", agent: str = "curl") -> Served:
    return Served("GET", path, (who, who), 200, seconds, False, agent, "127.0.0.1")


def test_callers_beyond_a_thousand_are_summed_up() -> None:
    requests = Requests(None, str)
    for number in range(1_200):
        requests.served(call(f"key-{number}"))
    callers = {
        subject: value
        for (name, subject), value in requests.figures().items()
        if name == "key.requests"
    }
    assert len(callers) == 1_001
    assert callers[OTHERS] == 200


def test_who_has_not_called_for_a_day_leaves_the_place_to_others() -> None:
    now = 0.0
    requests = Requests(None, str, lambda: now)

    def callers() -> set[str | None]:
        return {who for (name, who), _ in requests.figures().items() if name == "key.requests"}

    for number in range(1_200):
        requests.served(call(f"token-{number}"))
    now = DAY / 2
    requests.served(call("token-7"))
    assert len(callers()) == 1_001
    now = DAY + 1
    assert callers() == {"token-7"}
    requests.served(call("shop"))
    assert callers() == {"token-7", "shop"}


def test_the_buckets_of_all_routes_are_those_of_the_api() -> None:
    requests = Requests(None, str)
    for path, seconds in (("/a", 0.003), ("/b", 0.003), ("/b", 4.0)):
        requests.served(call("me", seconds, path))
    figures = requests.figures()
    assert figures[f"api.response_ms#{bucket_of(3.0)}", None] == 2
    assert figures[f"api.response_ms#{bucket_of(4000.0)}", None] == 1
    assert figures[f"route.response_ms#{bucket_of(4000.0)}", "GET /b"] == 1


def test_a_long_user_agent_is_cut(tmp_path: Path) -> None:
    file = LogFile(tmp_path / "requests.log")
    Requests(file, str).served(call("me", agent="x" * 8_000))
    file.close()
    (line,) = lines(tmp_path / "requests.log")
    assert line["user_agent"] == "x" * LONGEST_AGENT


def test_the_history_sums_the_routes_up() -> None:
    requests, recent = Requests(None, str), Recent()
    for path in ("/a", "/b", "/b"):
        requests.served(call("me", path=path))
    recent.take(requests.figures(), 1)
    assert recent.latest["api.requests", None] == 3
    assert recent.refused == 0
