"""The API's description, the page that shows it, and the judge of every answer of this suite."""

import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from schemathesis import openapi

from api.errors import WORKER_STATUS
from api.handlers.docs import REFERENCE
from api.openapi import spec
from api.route import Route
from api.routes import ROUTES
from scripts.lab.conformity import Description, Undeclared, check
from sessions.model import WasupError, WorkerRefused
from tests.api_tools import TOKEN, api, ask


def healthy(**more: object) -> dict[str, object]:
    return {"status": "ok", "version": "1"} | more


async def test_the_description_is_served_without_a_token() -> None:
    async with api(token=TOKEN) as address:
        answer = await ask(address, "GET", "/openapi.json")
        assert answer.status == 200
        assert msgspec.json.decode(answer.body) == msgspec.json.decode(
            msgspec.json.encode(spec(ROUTES))
        )
        assert (await ask(address, "GET", "/policy")).status == 401


def test_it_is_a_description_that_others_can_read() -> None:
    openapi.from_dict(spec(ROUTES)).validate()


def test_every_call_has_words_and_a_name_of_its_own() -> None:
    calls = [call for calls in spec(ROUTES)["paths"].values() for call in calls.values()]
    assert len(calls) == len(ROUTES)
    assert len({call["operationId"] for call in calls}) == len(calls)
    assert all(call["summary"] and call["description"] and call["tags"] for call in calls)


def test_calls_with_a_token_say_which_error_they_answer_without_it() -> None:
    without = {r.path for r in ROUTES if 401 not in r.problems()}
    assert without == {"/healthz", "/readyz", "/docs", "/openapi.json"}


INSIDE = {
    "wasup_error",
    "store_error",
    "worker_error",
    "worker_refused",
    "stale_epoch",
    "illegal_transition",
    "not_importable",
    "not_exportable",
    "upkeep_failed",
}
"""Codes of kinds of errors, of what befalls a worker's write, of a fault of the session's own
machine, and of folders (the API's reader tells of one as `bad_request`), and of what a job of upkeep
says that it could not do: no call is answered with one.
"""
NEVER_AWAITED = {"spawn_refused"}
"""A start is answered before its worker is."""

OF_THE_LIVE_FEED = {"connection_timeout", "insufficient_resources", "invalid_token"}
"""Its clients are told in its own words, and its path is no call of the table."""


def test_every_error_is_one_of_some_call() -> None:
    kinds, left = set[type[WasupError]](), [WasupError]
    while left:
        kind = left.pop()
        left += kind.__subclasses__()
        if kind.__module__.startswith(("sessions.", "supervisor.", "api.")):
            kinds.add(kind)
    declared = {code for r in ROUTES for codes in r.problems().values() for code in codes}
    assert {kind.code for kind in kinds} - declared == INSIDE | NEVER_AWAITED | OF_THE_LIVE_FEED
    assert set(WORKER_STATUS) <= declared


async def test_a_worker_cannot_make_up_a_code() -> None:
    async def refuse(_request: web.Request) -> web.Response:
        raise WorkerRefused("made_up", "x")

    async with api(web.get("/refuse", refuse)) as address:
        answer = await ask(address, "GET", "/refuse")
    assert (answer.status, answer.error["code"]) == (502, "failed")


def test_a_declared_answer_passes() -> None:
    check("GET", "/healthz", 200, "application/json", healthy())


@pytest.mark.parametrize(
    ("status", "kind", "body", "words"),
    [
        (200, "application/json", healthy(more=1), "more"),
        (200, "application/json", {"status": "ok"}, "version"),
        (200, "application/json", healthy(status="ill"), "status"),
        (200, "text/plain", "ok", "not one of application/json"),
        (204, "application/json", None, "not one of"),
        (
            500,
            "application/json",
            {"error": {"code": "odd", "message": "a", "hint": "b"}},
            "error/code",
        ),
        (500, "application/json", {"error": "odd"}, "error"),
    ],
)
def test_an_undeclared_status_form_field_or_code_does_not(
    status: int, kind: str, body: Any, words: str
) -> None:
    with pytest.raises(Undeclared, match=words):
        check("GET", "/healthz", status, kind, body)


def test_an_answer_without_a_header_that_is_declared_does_not() -> None:
    problem = {"error": {"code": "unauthorized", "message": "a", "hint": "b"}}
    answer = ("GET", "/sessions", 401, "application/json", problem)
    check(*answer, {"www-authenticate": "Bearer"})
    with pytest.raises(Undeclared, match="without the header WWW-Authenticate"):
        check(*answer, {"content-type": "application/json"})


def test_an_undeclared_call_does_not() -> None:
    with pytest.raises(Undeclared, match="not described"):
        check("GET", "/secret", 200, "application/json", {})
    with pytest.raises(Undeclared, match="not described"):
        check("DELETE", "/healthz", 200, "application/json", healthy())


def test_fields_further_down_are_looked_at_too() -> None:
    class Inner(msgspec.Struct):
        """A part."""

        some_thing: int

    class Outer(msgspec.Struct, rename="camel"):
        """A whole."""

        parts: list[Inner] | None

    async def look(_request: Any) -> Any:
        """Look."""

    judge = Description(spec([Route("GET", "/look", look, answers={200: Outer})]))
    judge.check("GET", "/look", 200, "application/json", {"parts": [{"someThing": 1}]})
    judge.check("GET", "/look", 200, "application/json", {"parts": None})
    with pytest.raises(Undeclared, match=r"parts/0: .*'x' was unexpected"):
        judge.check("GET", "/look", 200, "application/json", {"parts": [{"someThing": 1, "x": 2}]})


def event(**more: object) -> dict[str, object]:
    told = {"n": 1, "id": "evt_1", "type": "session.created", "time": "2026-01-01T00:00:00.000Z"}
    return told | {"session": "a", "data": {"started": True}} | more


def events(*of: dict[str, object]) -> dict[str, object]:
    page = empty_answer("/events")
    return page | {"events": list(of)}


def empty_answer(path: str) -> dict[str, object]:
    """Every field of an answer, with null or nothing in it."""
    answer = spec(ROUTES)["paths"][path]["get"]["responses"]["200"]
    name = answer["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
    fields = spec(ROUTES)["components"]["schemas"][name]["properties"]
    return {
        field: 0 if schema.get("type") == "integer" else None for field, schema in fields.items()
    }


def test_an_event_has_the_data_of_its_type() -> None:
    check("GET", "/events", 200, "application/json", events(event()))
    for wrong in (
        event(type="session.invented"),
        event(data={"started": True, "colour": "red"}),
        event(data={}),
        event(time="yesterday"),
        event(extra=1),
    ):
        with pytest.raises(Undeclared):
            check("GET", "/events", 200, "application/json", events(event(), wrong))


def test_a_client_may_meet_events_that_an_earlier_version_has_left() -> None:
    schemas = spec(ROUTES)["components"]["schemas"]
    assert {"$ref": "#/components/schemas/Event.earlier"} in schemas["EventView"]["anyOf"]


async def test_the_page_loads_what_is_its_own_and_nothing_else() -> None:
    async with api(token=TOKEN) as address:
        page = await ask(address, "GET", "/docs")
        assert page.status == 200
        assert page.headers["content-type"] == "text/html; charset=utf-8"
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        loaded = re.findall(r'(?:src|href)="([^"]*)"', page.body.decode())
        assert len(loaded) == 3
        for name in loaded:
            part = await ask(address, "GET", f"/{name}")
            assert part.status == 200, name
            assert part.headers["content-type"].startswith(("text/javascript", "text/css"))
            assert part.body


async def test_where_the_page_is_not_installed_it_says_how_to(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("api.handlers.docs.REFERENCE", tmp_path)
    async with api() as address:
        answer = await ask(address, "GET", "/docs")
        assert answer.status == 404
        assert answer.error["code"] == "not_installed"
        assert "make setup-run" in answer.error["hint"]


def test_the_page_holds_no_script_of_its_own() -> None:
    assert "<script>" not in (REFERENCE / "page.html").read_text(encoding="utf-8")
