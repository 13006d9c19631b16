"""The door: rates of keys and of guesses, other sites' pages, what every answer bears, tokens made
from keys, and that nothing of a wrong one stands in a log.
"""

import json
import time
from types import SimpleNamespace
from typing import Any

import jwt
import msgspec
import pytest
import structlog
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from pydantic import SecretStr

from api.errors import ForbiddenFleet
from api.gatehouse.principals import PRINCIPAL, named, principal_of
from supervisor.access.key import new_id, new_key
from supervisor.access.principal import Principal
from supervisor.access.scopes import Scope
from tests.api_tools import SIGNING_SECRET, TOKEN, Answer, api, ask, known_key

PANEL = "https://panel.example.com"
KEY = new_key(new_id())
OTHER = new_key(new_id())
KNOWN = [known_key(KEY, Scope.ADMIN), known_key(OTHER, Scope.ADMIN)]


async def whose(request: web.Request) -> web.Response:
    return web.json_response({"id": principal_of(request).id})


WHOSE = (web.get("/whose", whose), web.post("/whose", whose))


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def content(answer: Answer) -> Any:
    return msgspec.json.decode(answer.body)


async def test_a_key_that_calls_too_often_waits_and_neither_another_nor_the_operator() -> None:
    doorway = {"rate_per_minute": 1, "burst": 3}
    async with api(*WHOSE, token=TOKEN, known_keys=KNOWN, doorway=doorway) as address:
        for _ in range(3):
            assert (await ask(address, "GET", "/whose", **bearer(KEY))).status == 200
        refused = await ask(address, "GET", "/whose", **bearer(KEY))
        assert (refused.status, refused.error["code"]) == (429, "rate_limited")
        assert 0 < int(refused.headers["retry-after"]) <= 60
        assert (await ask(address, "GET", "/whose", **bearer(OTHER))).status == 200
        for _ in range(10):
            assert (await ask(address, "GET", "/whose", **bearer(TOKEN))).status == 200


async def test_tokens_of_a_key_count_as_the_key() -> None:
    doorway = {"rate_per_minute": 1, "burst": 4}
    async with api(*WHOSE, token=TOKEN, known_keys=KNOWN, doorway=doorway) as address:
        made = [
            content(await ask(address, "POST", "/tokens", **bearer(KEY)))["token"] for _ in range(2)
        ]
        for token in made:
            answer = await ask(address, "GET", "/whose", **bearer(token))
            assert content(answer) == {"id": f"key:{KEY.split('_')[1]}"}
        for token in (*made, KEY):
            assert (await ask(address, "GET", "/whose", **bearer(token))).status == 429


async def test_who_guesses_is_slowed_and_shuts_out_neither_keys_nor_this_machine() -> None:
    doorway = {"failures_per_minute": 3}
    proxied = {"X-Forwarded-For": "192.0.2.7"}
    async with api(*WHOSE, token=TOKEN, known_keys=KNOWN, doorway=doorway) as address:
        seen = [
            (await ask(address, "GET", "/whose", **bearer(f"guess-{n}"), **proxied)).status
            for n in range(5)
        ]
        assert seen == [401, 401, 401, 429, 429]
        right = await ask(address, "GET", "/whose", **bearer(TOKEN), **proxied)
        assert right.status == 429, "else who guesses would only have to go on"
        assert int(right.headers["retry-after"]) > 0
        assert (await ask(address, "GET", "/whose", **bearer(KEY), **proxied)).status == 200
        for _ in range(5):
            await ask(address, "GET", "/whose", **bearer("guess"))
        assert (await ask(address, "GET", "/whose", **bearer(TOKEN))).status == 200
        nothing = await ask(address, "GET", "/whose", **proxied)
        assert (nothing.status, nothing.error["reason"]) == (401, "empty_token")


async def test_where_no_token_is_set_one_that_is_sent_has_to_be_right() -> None:
    async with api(*WHOSE, known_keys=KNOWN) as address:
        assert content(await ask(address, "GET", "/whose")) == {"id": "operator"}
        assert content(await ask(address, "GET", "/whose", **bearer(KEY)))["id"].startswith("key:")
        wrong = await ask(address, "GET", "/whose", **bearer("wrong"))
        assert (wrong.status, wrong.error["reason"]) == (401, "invalid")
        proxied = await ask(address, "GET", "/whose", X_Real_IP="192.0.2.7")
        assert proxied.status == 401
        assert "comes through a proxy" in proxied.error["message"]
        let_in = await ask(address, "GET", "/whose", X_Real_IP="192.0.2.7", **bearer(KEY))
        assert let_in.status == 200


async def test_pages_of_a_site_that_is_named_may_call_with_a_token_and_no_others() -> None:
    doorway = {"origins": frozenset({PANEL})}
    cross = {"Sec-Fetch-Site": "cross-site"}
    async with api(*WHOSE, known_keys=KNOWN, doorway=doorway) as address:
        preflight = await ask(
            address,
            "OPTIONS",
            "/sessions",
            Origin=PANEL,
            Access_Control_Request_Method="POST",
            Access_Control_Request_Headers="authorization",
            **cross,
        )
        assert preflight.status == 204
        assert preflight.headers["access-control-allow-origin"] == PANEL
        assert "POST" in preflight.headers["access-control-allow-methods"]
        assert "Authorization" in preflight.headers["access-control-allow-headers"]
        assert "access-control-allow-credentials" not in preflight.headers

        answer = await ask(address, "GET", "/whose", Origin=PANEL, **cross, **bearer(KEY))
        assert answer.status == 200
        assert answer.headers["access-control-allow-origin"] == PANEL
        assert "Origin" in answer.headers["vary"]
        assert "Retry-After" in answer.headers["access-control-expose-headers"]

        nobody = await ask(address, "GET", "/whose", Origin=PANEL, **cross)
        assert nobody.status == 401, "the browser's user is nobody to a page of another site"
        assert nobody.headers["access-control-allow-origin"] == PANEL, "else it cannot read why"

        for foreign in ("https://evil.example", PANEL + ".evil.example", "null", PANEL.upper()):
            for method in ("GET", "OPTIONS"):
                refused = await ask(
                    address,
                    method,
                    "/whose",
                    Origin=foreign,
                    Access_Control_Request_Method="GET",
                    **cross,
                    **bearer(KEY),
                )
                assert (refused.status, refused.error["code"]) == (403, "forbidden")
                assert "access-control-allow-origin" not in refused.headers
        image = await ask(address, "GET", "/whose", **cross, **bearer(KEY))
        assert (image.status, image.error["code"]) == (403, "foreign_site")

    async with api(*WHOSE, known_keys=KNOWN) as address:
        off = await ask(address, "GET", "/whose", Origin=PANEL, **bearer(KEY))
        assert off.status == 403
        assert "access-control-allow-origin" not in off.headers


async def test_every_answer_bears_what_keeps_browsers_from_harm() -> None:
    async with api(*WHOSE, token=TOKEN) as address:
        answers = [
            await ask(address, "GET", "/whose", **bearer(TOKEN)),
            await ask(address, "GET", "/whose"),
            await ask(address, "GET", "/nothing", **bearer(TOKEN)),
            await ask(address, "GET", "/openapi.json"),
            await ask(address, "GET", "/whose", Expect="nothing"),
        ]
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"


async def test_a_token_is_never_wider_or_longer_than_the_key_that_asks() -> None:
    text = new_key(new_id())
    ends = time.time() + 100
    known = known_key(text, Scope.SEND, frozenset({"a", "b"}), ends)
    async with api(token=TOKEN, known_keys=[known]) as address:

        async def token(body: dict[str, Any]) -> Answer:
            return await ask(address, "POST", "/tokens", json.dumps(body).encode(), **bearer(text))

        whole = content(await ask(address, "POST", "/tokens", **bearer(text)))
        assert (whole["scope"], whole["sessions"]) == ("send", ["a", "b"])
        said = jwt.decode(whole["token"], options={"verify_signature": False})
        assert said["exp"] <= ends
        assert said["key"] == known.id
        narrow = content(await token({"scope": "read", "sessions": ["b"], "name": "ana"}))
        assert (narrow["scope"], narrow["sessions"], narrow["name"]) == ("read", ["b"], "ana")
        wider = await token({"scope": "operate"})
        assert (wider.status, wider.error["scope"]) == (403, "operate")
        foreign = await token({"sessions": ["a", "c"]})
        assert (foreign.status, foreign.error["code"]) == (404, "session_not_found")
        for wrong in ({"expiresInSeconds": 100_000}, {"sessions": []}, {"name": "\n"}, {"x": 1}):
            assert (await token(wrong)).status == 400
        of_token = content(await ask(address, "POST", "/tokens", **bearer(narrow["token"])))
        assert (of_token["scope"], of_token["sessions"]) == ("read", ["b"])


async def test_wrong_tokens_get_their_reason_and_stand_in_no_line_of_any_log() -> None:
    now = int(time.time())
    said = {"iss": "wasup", "aud": "wasup:api", "sub": "ana", "scope": "admin", "sessions": "*"}
    wrong = {
        "expired": jwt.encode(said | {"exp": now - 1}, SIGNING_SECRET, "HS256"),
        "forged": jwt.encode(said | {"exp": now + 60}, b"f" * 32, "HS256"),
        "none": jwt.encode(said | {"exp": now + 60}, None, "none"),
        "live": jwt.encode(said | {"exp": now + 60, "aud": "wasup:live"}, SIGNING_SECRET, "HS256"),
        "empty": "",
    }
    reasons = {"expired": "expired", "empty": "empty_token"}
    async with api(*WHOSE, token=TOKEN) as address:
        with structlog.testing.capture_logs() as lines:
            for name, token in wrong.items():
                answer = await ask(address, "POST", "/whose", **bearer(token))
                assert answer.status == 401, name
                assert answer.error["reason"] == reasons.get(name, "invalid"), name
                assert answer.headers["www-authenticate"] == "Bearer"
                assert not token or token not in answer.body.decode()
    told = json.dumps(lines)
    assert [line["action"] for line in lines] == ["token_refused"] * len(wrong)
    assert [line["address"] for line in lines] == ["127.0.0.1"] * len(wrong)
    for token in wrong.values():
        assert all(part not in told for part in token.split(".") if part)


def made_elsewhere(name: str, sessions: list[str]) -> str:
    claims = {
        "iss": "wasup",
        "aud": "wasup:api",
        "sub": name,
        "exp": time.time() + 60,
        "scope": "operate",
        "sessions": sessions,
    }
    return jwt.encode(claims, SIGNING_SECRET, "HS256")


def test_a_token_for_no_session_names_none_where_none_named_means_all() -> None:
    request = make_mocked_request("POST", "/webhooks")
    request[PRINCIPAL] = Principal(id="x", name="x", scope=Scope.OPERATE, sessions=frozenset())
    with pytest.raises(ForbiddenFleet):
        named(request, [])
    request[PRINCIPAL] = Principal(id="x", name="x", scope=Scope.OPERATE)
    assert named(request, []) == []


async def test_a_token_that_was_made_elsewhere_makes_none_under_anothers_name() -> None:
    async with api(token=TOKEN) as address:
        bob = bearer(made_elsewhere("bob", ["b"]))
        answer = await ask(address, "POST", "/tokens", b'{"name": "alice"}', **bob)
        assert (answer.status, answer.error["code"]) == (400, "bad_request")
        assert content(await ask(address, "POST", "/tokens", **bob))["name"] == "bob"
        operators = await ask(address, "POST", "/tokens", b'{"name": "ana"}', **bearer(TOKEN))
        assert content(operators)["name"] == "ana"


async def test_the_operators_secrets_are_judged_for_nobody_who_has_some_sessions_only() -> None:
    settings = SimpleNamespace(jwt_secret=None, api_token=SecretStr("a" * 16))
    diagnostics = SimpleNamespace(subject=lambda: SimpleNamespace(settings=settings, access=None))
    async with api(token=TOKEN, diagnostics=diagnostics) as address:
        one = content(
            await ask(address, "GET", "/diagnostics/token", **bearer(made_elsewhere("b", ["b"])))
        )
        assert (one["generation"], one["refusals"]) == (None, [])
        own = content(await ask(address, "GET", "/diagnostics/token", **bearer(TOKEN)))
        assert "can be guessed" in own["generation"]["issues"][0]["description"]
