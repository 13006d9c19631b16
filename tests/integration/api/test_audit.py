"""The audit log: every change with what came of it, every refusal, and never what was sent."""

from pathlib import Path

import pytest
from aiohttp import web

from api.errors import BadRequest
from api.gatehouse import audited
from supervisor.access.audit import FILE, AuditLog, read
from supervisor.access.key import new_id, new_key
from supervisor.access.scopes import Scope
from supervisor.process.log_files import newest_first
from tests.api_tools import TOKEN, Deeds, api, ask, known_key

KEY = new_key(new_id())
KEY_ID = KEY.split("_")[1]
NARROW = new_key(new_id())
KNOWN = [
    known_key(KEY, Scope.ADMIN),
    known_key(NARROW, Scope.READ, frozenset({"loja-1"})),
]


async def made(_request: web.Request) -> web.Response:
    return web.json_response({}, status=201, headers={"Location": "/sessions/loja-9"})


async def bad(_request: web.Request) -> web.Response:
    raise BadRequest("no")


async def broken(_request: web.Request) -> web.Response:
    raise RuntimeError("a fault")


async def late(_request: web.Request) -> web.Response:
    raise TimeoutError


async def seen(_request: web.Request) -> web.Response:
    return web.json_response({})


ROUTES = (
    web.post("/made", made),
    web.post("/bad", bad),
    web.post("/broken", broken),
    web.post("/late", late),
    web.get("/seen", seen),
    web.delete("/things/{id}", seen),
    web.delete("/hooks/{webhook}", seen),
)


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


class Critical:
    """The host is."""

    on = True


async def test_a_change_that_a_critical_host_puts_off_is_written_down_as_refused() -> None:
    log = Deeds()
    async with api(token=TOKEN, known_keys=KNOWN, audit=log, shedding=Critical()) as address:
        looked = await ask(address, "GET", "/history", **bearer(KEY))
        rolled = await ask(address, "POST", "/workers/roll", **bearer(KEY))
    assert (looked.status, rolled.status) == (503, 503)
    written = [(by.key, deed.route, deed.status, deed.result) for by, deed, _ in log.seen]
    assert written == [(KEY_ID, "POST /workers/roll", 503, "shedding")]


async def test_every_change_is_written_down_with_what_came_of_it_and_no_look_is() -> None:
    log = Deeds()
    async with api(*ROUTES, token=TOKEN, known_keys=KNOWN, audit=log) as address:
        await ask(address, "GET", "/seen", **bearer(KEY))
        told = {}
        for path in ("/made", "/bad", "/broken", "/late", "/nothing"):
            answer = await ask(address, "POST", path, b'{"text": "secret"}', **bearer(KEY))
            told[path] = answer.status
        await ask(address, "DELETE", "/things/loja-1", **bearer(TOKEN))
        await ask(address, "DELETE", "/hooks/wh_0123456789abcdef", **bearer(TOKEN))
        await ask(address, "POST", "/made", **bearer("wrong"))
    written = [
        (by.key, deed.route, deed.session, deed.webhook, deed.made, deed.status, deed.result)
        for by, deed, _ in log.seen
    ]
    assert [deed.status for _, deed, _ in log.seen[:5]] == list(told.values())
    assert written == [
        (KEY_ID, "POST /made", None, None, "/sessions/loja-9", 201, "done"),
        (KEY_ID, "POST /bad", None, None, None, 400, "bad_request"),
        (KEY_ID, "POST /broken", None, None, None, 500, "internal_error"),
        (KEY_ID, "POST /late", None, None, None, 504, "timed_out"),
        (KEY_ID, "POST unknown", None, None, None, 404, "refused"),
        (None, "DELETE /things/{id}", "loja-1", None, None, 200, "done"),
        (None, "DELETE /hooks/{webhook}", None, "wh_0123456789abcdef", None, 200, "done"),
    ]
    assert {deed.address for _, deed, _ in log.seen} == {"127.0.0.1"}
    assert log.seen[-1][0].name == "WHATSAPP_API_TOKEN"


async def test_who_may_not_is_written_down_and_cannot_fill_the_log() -> None:
    log = Deeds()
    async with api(token=TOKEN, known_keys=KNOWN, audit=log) as address:
        await ask(address, "POST", "/sessions/loja-1/stop", **bearer(NARROW))
        await ask(address, "GET", "/host", **bearer(NARROW))
        await ask(address, "GET", "/sessions/loja-2", **bearer(NARROW))
        told = [(deed.route, deed.session, deed.status, deed.result) for _, deed, _ in log.seen]
        assert told == [
            ("POST /sessions/{id}/stop", "loja-1", 403, "forbidden_scope"),
            ("GET /host", None, 403, "forbidden_fleet"),
            ("GET /sessions/{id}", "loja-2", 404, "session_not_found"),
        ]
        for _ in range(120):
            await ask(address, "GET", "/host", **bearer(NARROW))
        assert 100 <= len(log.seen) < 115


async def test_whom_a_handler_refuses_cannot_fill_the_log_either(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(audited, "REFUSALS_AT_ONCE", 3)
    monkeypatch.setattr(audited, "REFUSALS_PER_MINUTE", 1)
    log = Deeds()
    async with api(*ROUTES, token=TOKEN, known_keys=KNOWN, audit=log) as address:
        for path in ("/bad", "/nothing") * 4:
            await ask(address, "POST", path, **bearer(KEY))
        # what the key does, and what goes wrong here, is written whatever it was refused
        for path in ("/made", "/broken", "/late"):
            await ask(address, "POST", path, **bearer(KEY))
    assert [deed.status for _, deed, _ in log.seen] == [400, 404, 400, 201, 500, 504]


async def test_what_stands_in_a_path_in_place_of_a_name_is_not_written_down() -> None:
    log = Deeds()
    async with api(*ROUTES, token=TOKEN, known_keys=KNOWN, audit=log) as address:
        await ask(address, "DELETE", "/hooks/hunter2-hunter2", **bearer(KEY))
        await ask(address, "DELETE", f"/keys/{KEY}?token={KEY}", **bearer(KEY))
        await ask(address, "DELETE", "/things/a%0Ab%1B%5B2J", **bearer(KEY))
    assert all(secret not in str(log.seen) for secret in (KEY, "hunter2", "\n", "2J"))
    assert [deed.result for _, deed, _ in log.seen] == ["done", "key_not_found", "done"]


async def test_the_log_is_read_by_session_key_and_time_newest_first(tmp_path: Path) -> None:
    log = AuditLog(tmp_path)
    async with api(*ROUTES, token=TOKEN, known_keys=KNOWN, audit=log) as address:
        for path in ("/things/a", "/things/b", "/things/a"):
            await ask(address, "DELETE", path, **bearer(KEY))
        await ask(address, "DELETE", "/things/a", **bearer(TOKEN))
    log.close()
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    every = list(read(tmp_path))
    assert [line["session"] for line in every] == ["a", "a", "b", "a"]
    assert [line["key"] for line in read(tmp_path, session="a")] == [None, KEY_ID, KEY_ID]
    assert len(list(read(tmp_path, key=KEY_ID))) == 3
    assert [line["id"] == "operator" for line in every] == [True, False, False, False]
    assert len(list(read(tmp_path, since=every[1]["at"]))) >= 2
    assert list(read(tmp_path, since="2999-01-01T00:00:00.000Z")) == []
    assert every == list(newest_first(tmp_path / FILE))
    assert KEY not in (tmp_path / FILE).read_text()
