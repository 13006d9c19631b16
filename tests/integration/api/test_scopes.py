"""Every call with every scope, and with a session that is another's: the URL table says what a key
needs, and the door holds to it before any handler is asked.
"""

import logging
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
import structlog
from aiohttp import web

from api.route import Route
from api.routes import ROUTES
from supervisor.access.key import new_id, new_key
from supervisor.access.scopes import ORDER, Scope
from tests.api_tools import TOKEN, Answer, api, ask, known_key

OWN = "loja-1"
FOREIGN = "loja-2"
GUARDED = [route for route in ROUTES if route.needs_token]
OF_ALL = {scope: new_key(new_id()) for scope in Scope}
OF_ONE = {scope: new_key(new_id()) for scope in Scope}
in_module = pytest.mark.asyncio(loop_scope="module")
REFUSED = {"forbidden_scope", "forbidden_fleet", "unauthorized"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def address() -> AsyncIterator[tuple[str, int]]:
    """The API without anything behind it: whoever gets through meets an error of the program."""
    keys = [known_key(text, scope) for scope, text in OF_ALL.items()]
    keys += [known_key(text, scope, frozenset({OWN})) for scope, text in OF_ONE.items()]
    async with api(token=TOKEN, known_keys=keys) as found:
        yield found


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """Whoever gets through meets an error of the program, whose traceback takes longer than all."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


async def call(
    address: tuple[str, int], route: Route, token: str | None, session: str = OWN
) -> Answer:
    path = route.path.replace("{id}", session).replace("{webhook}", "wh_0123456789abcdef")
    path = path.replace("{key}", "0123456789").replace("{message}", "3EB0C0FFEE")
    path = path.replace("{alert}", "al_0123456789abcdef").replace("{silence}", "si_0123456789ab")
    path = path.replace("{name}", "backups")
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    return await ask(address, route.method, path, **headers)


def code(answer: Answer) -> str | None:
    return answer.error["code"] if answer.status >= 400 else None


def ids(route: Route) -> str:
    return f"{route.method} {route.path}"


@in_module
@pytest.mark.parametrize("route", GUARDED, ids=ids)
async def test_a_call_is_answered_to_its_scope_and_those_that_include_it_alone(
    address: tuple[str, int], route: Route
) -> None:
    for scope in Scope:
        answer = await call(address, route, OF_ALL[scope])
        if ORDER.index(scope) < ORDER.index(route.scope):
            assert answer.status == 403, scope
            assert answer.error["code"] == "forbidden_scope"
            assert answer.error["scope"] == route.scope
            assert f"`{route.scope}`" in answer.error["message"]
        else:
            assert code(answer) not in REFUSED, scope
    assert code(await call(address, route, TOKEN)) not in REFUSED
    nobody = await call(address, route, None)
    assert (nobody.status, nobody.error["reason"]) == (401, "empty_token")


@in_module
@pytest.mark.parametrize("route", GUARDED, ids=ids)
async def test_for_a_key_of_one_session_no_other_exists_and_no_fleet(
    address: tuple[str, int], route: Route
) -> None:
    allowed = [scope for scope in Scope if scope.includes(route.scope)]
    for scope in allowed:
        answer = await call(address, route, OF_ONE[scope])
        if route.fleet:
            assert (answer.status, code(answer)) == (403, "forbidden_fleet")
            continue
        assert code(answer) not in REFUSED
        if "{id}" in route.path:
            assert code(answer) != "session_not_found", "it got through to the handler"
            foreign = await call(address, route, OF_ONE[scope], FOREIGN)
            assert (foreign.status, code(foreign)) == (404, "session_not_found")
            none = await call(address, route, OF_ONE[scope], "nobodys")
            assert foreign.body.replace(FOREIGN.encode(), b"nobodys") == none.body


@in_module
@pytest.mark.parametrize("route", [route for route in ROUTES if not route.needs_token], ids=ids)
async def test_what_is_open_is_open_also_to_a_wrong_token(
    address: tuple[str, int], route: Route
) -> None:
    for token in (None, "wrong"):
        assert code(await call(address, route, token)) not in REFUSED


async def test_what_stands_in_no_table_is_for_the_operator_alone() -> None:
    async def secret(_request: web.Request) -> web.Response:
        return web.Response(text="seen")

    text = OF_ALL[Scope.OPERATE]
    keys = [known_key(text, Scope.OPERATE)]
    async with api(web.get("/further", secret), token=TOKEN, known_keys=keys) as further:
        answer = await ask(further, "GET", "/further", Authorization=f"Bearer {text}")
        assert (answer.status, answer.error["scope"]) == (403, "admin")
        answer = await ask(further, "GET", "/further", Authorization=f"Bearer {TOKEN}")
        assert answer.body == b"seen"


def test_whoever_adds_a_call_has_said_what_it_needs() -> None:
    """`admin` is what is left when nobody said anything: these are the calls that mean it."""
    meant = {ids(route) for route in GUARDED if route.scope is Scope.ADMIN}
    assert meant == {
        "DELETE /keys/{key}",
        "POST /alerts/file/reload",
        "DELETE /sessions/{id}",
        "GET /keys",
        "POST /keys",
        "POST /policy/reload",
        "POST /sessions/{id}/import",
        "POST /debug/memory",
        "POST /upkeep/{name}",
        "POST /workers/roll",
    }
