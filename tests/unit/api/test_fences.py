"""What one key takes of what all share, and what a call takes that nobody has to say his name for."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

import msgspec
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer, make_mocked_request

from api.errors import Busy, errors_as_json
from api.gatehouse.fences import MAX_COMMANDS, OPERATORS_OWN, SHARE, Commands, Places, Shed
from api.gatehouse.principals import PRINCIPAL
from api.routes import ROUTES
from sessions.model import SameDevice
from supervisor.access.principal import BY_TOKEN, Principal
from supervisor.access.scopes import Scope


def call(principal: Principal | None, method: str = "GET") -> web.Request:
    request = make_mocked_request(method, "/events")
    if principal is not None:
        request[PRINCIPAL] = principal
    return request


def of_key(name: str) -> Principal:
    return Principal(id=f"key:{name}", name=name, scope=Scope.READ)


def test_one_key_has_a_quarter_of_the_places_and_the_operator_all_that_are_left() -> None:
    places = Places(8, "calls wait")
    with ExitStack() as stack:
        for _ in range(2):
            stack.enter_context(places.one(call(of_key("a"))))
        with (
            pytest.raises(Busy, match="2 calls wait for this caller"),
            places.one(call(of_key("a"))),
        ):
            pass
        stack.enter_context(places.one(call(of_key("b"))))
        for _ in range(5):
            stack.enter_context(places.one(call(BY_TOKEN)))
        with pytest.raises(Busy, match="8 calls wait already"), places.one(call(None)):
            pass
    with places.one(call(of_key("a"))):
        assert places.taken == 1
    assert places.taken == 0


class Doing:
    """Commands of which each takes until the test is over."""

    def __init__(self) -> None:
        self.commands = Commands()
        self.begun = 0
        self._done = asyncio.Event()
        self._calls = list[asyncio.Task[web.StreamResponse]]()

    async def begin(self, principal: Principal | None, count: int) -> None:
        """So many more, of which each has come to its handler."""
        until = self.begun + count
        for _ in range(count):
            work = self.commands.carry_through(call(principal, "POST"), self._handle)
            self._calls.append(asyncio.create_task(work))
        while self.begun < until:  # noqa: ASYNC110 - it is told by no event
            await asyncio.sleep(0)

    async def is_refused(self, principal: Principal | None) -> str:
        """Why one more is."""
        with pytest.raises(Busy) as error:
            await self.commands.carry_through(call(principal, "POST"), self._handle)
        return str(error.value)

    async def finish(self) -> None:
        """All of them end."""
        self._done.set()
        await asyncio.gather(*self._calls)
        self._done.clear()
        self._calls.clear()

    async def _handle(self, _request: web.Request) -> web.StreamResponse:
        self.begun += 1
        await self._done.wait()
        return web.Response()


@asynccontextmanager
async def doing() -> AsyncIterator[Doing]:
    made = Doing()
    try:
        yield made
    finally:
        await made.finish()


async def test_one_key_has_a_quarter_of_the_commands_and_gives_back_what_it_has_done() -> None:
    async with doing() as made:
        share = MAX_COMMANDS // SHARE
        await made.begin(of_key("a"), share)
        assert f"{share} commands of this caller" in await made.is_refused(of_key("a"))
        await made.begin(of_key("b"), 1)
        await made.finish()
        await made.begin(of_key("a"), share)


async def test_the_last_commands_are_the_operators() -> None:
    async with doing() as made:
        of_keys = MAX_COMMANDS - OPERATORS_OWN
        for n in range(of_keys):
            await made.begin(of_key(f"{n % 8}"), 1)
        assert f"{of_keys} commands are under way" in await made.is_refused(of_key("another"))
        await made.begin(BY_TOKEN, OPERATORS_OWN)
        assert f"{MAX_COMMANDS} commands" in await made.is_refused(BY_TOKEN)


async def test_what_nobody_has_to_say_his_name_for_takes_no_place_of_the_commands() -> None:
    async with doing() as made:
        await made.begin(None, MAX_COMMANDS)
        await made.begin(of_key("a"), 1)


async def test_whose_caller_hangs_up_is_carried_through_and_counts_until_it_is_done() -> None:
    async with doing() as made:
        share = MAX_COMMANDS // SHARE
        await made.begin(of_key("a"), share)
        for one in made._calls:
            one.cancel()
        await asyncio.gather(*made._calls, return_exceptions=True)
        made._calls.clear()
        await made.is_refused(of_key("a"))
        made._done.set()
        while made.commands._under_way:  # noqa: ASYNC110 - the end of a task is told after it
            await asyncio.sleep(0)
        made._done.clear()
        await made.begin(of_key("a"), share)


@pytest.mark.parametrize(("sees", "names"), [(None, True), ({"a", "shop"}, True), ({"a"}, False)])
async def test_a_refusal_names_no_session_that_does_not_exist_for_who_calls(
    sees: set[str] | None, names: bool
) -> None:
    async def refusing(_request: web.Request) -> web.StreamResponse:
        raise SameDevice("a", "shop", "5511999990000:7")

    only = None if sees is None else frozenset(sees)
    caller = Principal(id="key:a", name="a", scope=Scope.ADMIN, sessions=only)
    answer = await Commands().carry_through(call(caller, "POST"), refusing)
    assert isinstance(answer, web.Response)
    assert answer.status == 409
    error = msgspec.json.decode(answer.body)["error"]
    assert error["code"] == "same_device"
    assert ("shop" in str(error)) == names
    assert "5511999990000:7" in error["message"]


async def test_while_the_host_is_critical_only_what_can_wait_is_refused() -> None:
    critical = [False]

    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text="done")

    deferrable = {("/history", "GET"), ("/upkeep/{name}", "POST")}
    shed = Shed(deferrable, lambda: critical[0], lambda *_: None)
    app = web.Application(middlewares=[errors_as_json, shed.check])
    app.router.add_get("/history", answer)
    app.router.add_post("/upkeep/{name}", answer)
    app.router.add_post("/sessions/{id}/messages", answer)
    async with TestClient(TestServer(app)) as client:
        calls = [
            ("GET", "/history"),
            ("HEAD", "/history"),
            ("POST", "/upkeep/backups"),
            ("POST", "/sessions/a/messages"),
            ("GET", "/nowhere"),
        ]
        found = {}
        for now in (False, True):
            critical[0] = now
            found[now] = [(await client.request(*one)).status for one in calls]
        refused = await client.get("/history")
        error = (await refused.json())["error"]
    assert found == {False: [200, 200, 200, 200, 404], True: [503, 503, 503, 200, 404]}
    assert (error["code"], refused.headers["Retry-After"]) == ("shedding", "60")


NEVER_REFUSED = {
    "/performance-metrics",
    "/reconnection-status",
    "/force-reconnection/{id}",
    "/reset-circuit-breaker/{id}",
    "/sessions",
    "/sessions/{id}",
    "/sessions/{id}/start",
    "/sessions/{id}/stop",
    "/sessions/{id}/messages",
    "/sessions/{id}/qr",
    "/events",
    "/alerts",
    "/healthz",
    "/readyz",
}


def test_what_keeps_sessions_going_never_waits() -> None:
    paths = {route.path for route in ROUTES}
    assert paths >= NEVER_REFUSED
    assert [one.path for one in ROUTES if one.deferrable and one.path in NEVER_REFUSED] == []
    assert {one.path for one in ROUTES if one.deferrable} >= {
        "/history",
        "/history/distribution",
        "/capacity",
        "/diagnostics",
    }
