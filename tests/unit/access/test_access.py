"""Nobody is let in with what is empty, expired, forged or meant for something else; and whoever is
let in may do what his credential says, no more, and no longer.
"""

import base64
import hashlib
import json
import time
from typing import Any

import jwt
import pytest
import structlog
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from structlog.testing import capture_logs

from supervisor.access.access import Access
from supervisor.access.key import AccessKey, id_of, new_id, new_key
from supervisor.access.principal import OPERATOR, Principal
from supervisor.access.refusals import AccessDenied, Refusals
from supervisor.access.scopes import Scope
from supervisor.access.token_validator import Audience, ImprovedTokenValidator

SECRET = b"0123456789abcdef0123456789abcdef"
TOKEN = "operators-own-token"


@pytest.fixture(autouse=True)
def _logging() -> None:
    """The unit tests' log is switched off; here it is what is tested."""
    structlog.reset_defaults()


class Keys:
    """The keys, in memory."""

    def __init__(self) -> None:
        self.known: dict[str, AccessKey] = {}
        self.uses: list[str] = []

    def find(self, key_id: str) -> AccessKey | None:
        return self.known.get(key_id)

    def used(self, key_id: str) -> None:
        self.uses.append(key_id)

    def make(
        self,
        scope: Scope = Scope.SEND,
        sessions: frozenset[str] | None = None,
        expires_at: float | None = None,
    ) -> tuple[AccessKey, str]:
        key_id = new_id()
        text = new_key(key_id)
        key = AccessKey(
            id=key_id,
            name="n8n",
            scope=scope,
            sessions=sessions,
            created_at=0.0,
            expires_at=expires_at,
            digest=hashlib.sha256(text.encode()).digest(),
        )
        self.known[key_id] = key
        return key, text


def entrance(keys: Keys | None = None, token: str | None = TOKEN) -> Access:
    refusals = Refusals()
    return Access(token, keys or Keys(), ImprovedTokenValidator(SECRET, refusals), refusals)


def claims(**changed: Any) -> dict[str, Any]:
    found = {
        "iss": "wasup",
        "aud": "wasup:api",
        "sub": "ana",
        "exp": int(time.time()) + 86_400,  # a run of all tests is long
        "scope": "read",
        "sessions": "*",
    } | changed
    return {name: value for name, value in found.items() if value is not None}


def signed(secret: bytes = SECRET, **changed: Any) -> str:
    return jwt.encode(claims(**changed), secret, "HS256")


def unsigned(algorithm: str) -> str:
    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode().rstrip("=")

    return f"{part({'alg': algorithm, 'typ': 'JWT'})}.{part(claims())}."


def by_public_key() -> str:
    """RS256: the algorithm of others, whose public key a careless reader takes for a secret."""
    private = rsa.generate_private_key(65537, 2048)
    pem = private.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return jwt.encode(claims(), pem, "RS256")


def tampered() -> str:
    head, body, signature = signed().split(".")
    wider = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4))) | {"scope": "admin"}
    again = base64.urlsafe_b64encode(json.dumps(wider).encode()).decode().rstrip("=")
    return f"{head}.{again}.{signature}"


REFUSED: dict[str, tuple[str | None, str]] = {
    "none": (None, "empty_token"),
    "empty": ("", "empty_token"),
    "blank": (" \t ", "empty_token"),
    "expired": (signed(exp=int(time.time()) - 1), "expired"),
    "forged": (signed(b"another secret, as long as that one"), "invalid"),
    "tampered with": (tampered(), "invalid"),
    "none algorithm": (unsigned("none"), "invalid"),
    "None algorithm": (unsigned("None"), "invalid"),
    "no signature": (unsigned("HS256"), "invalid"),
    "another hash": (jwt.encode(claims(), SECRET * 2, "HS512"), "invalid"),
    "a public key": (by_public_key(), "invalid"),
    "wrong audience": (signed(aud="wasup:live"), "invalid"),
    "no audience": (signed(aud=None), "invalid"),
    "wrong issuer": (signed(iss="somebody"), "invalid"),
    "no issuer": (signed(iss=None), "invalid"),
    "never ends": (signed(exp=None), "invalid"),
    "nobody's": (signed(sub=None), "invalid"),
    "not yet": (signed(nbf=int(time.time()) + 3600), "invalid"),
    "no scope": (signed(scope=None), "invalid"),
    "unknown scope": (signed(scope="root"), "invalid"),
    "no sessions said": (signed(sessions=None), "invalid"),
    "sessions of another kind": (signed(sessions="loja-1"), "invalid"),
    "of no key": (signed(key="0123456789"), "invalid"),
    "no token at all": ("hunter2-hunter2-hunter2", "invalid"),
    "much too long": ("x" * 100_000, "invalid"),
    "not even text": ("\ud800.\udfff.a", "invalid"),
    "the operator's, cut off": (TOKEN[:-1], "invalid"),
    "nobody's key": (new_key(new_id()), "invalid"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_is_refused_says_why_and_stands_in_no_log(name: str) -> None:
    credential, reason = REFUSED[name]
    access = entrance()
    with capture_logs() as lines, pytest.raises(AccessDenied) as refused:
        await access.authenticate(credential, address="192.0.2.7")
    assert refused.value.reason == reason
    assert refused.value.code == "unauthorized"
    (line,) = lines
    assert line["action"] == "token_refused"
    assert line["reason"] == reason
    assert line["address"] == "192.0.2.7"
    sent = (credential or "").strip()
    assert line["length"] == len(sent)
    told = json.dumps(lines) + str(refused.value) + refused.value.hint
    assert not any(part in told for part in sent.split(".") if len(part) > 3)
    assert access.refusals.counts == {reason: 1}


async def test_the_operators_token_and_whoever_it_is_not() -> None:
    found = await entrance().authenticate(f" {TOKEN} ")
    assert found.is_operator
    assert found.may(Scope.ADMIN)
    assert found.sees("loja-1")
    assert found.sees(None)
    with pytest.raises(AccessDenied):
        await entrance(token=None).authenticate(TOKEN)


async def test_a_key_may_what_it_was_made_for() -> None:
    keys = Keys()
    key, text = keys.make(Scope.SEND, frozenset({"loja-1"}))
    found = await entrance(keys).authenticate(text)
    assert found == Principal(
        id=f"key:{key.id}",
        name="n8n",
        scope=Scope.SEND,
        sessions=frozenset({"loja-1"}),
        key=key.id,
    )
    assert [found.may(scope) for scope in Scope] == [True, True, False, False]
    assert found.sees("loja-1")
    assert not found.sees("loja-2")
    assert not found.sees(None)
    assert not found.is_operator
    assert keys.uses == [key.id]


@pytest.mark.parametrize("digit", [0, 6, 8, 20, 60, 65])
async def test_a_key_with_one_wrong_digit_is_none(digit: int) -> None:
    keys = Keys()
    _, text = keys.make()
    wrong = text[:digit] + ("1" if text[digit] == "0" else "0") + text[digit + 1 :]
    assert id_of(text) is not None
    assert id_of(wrong) is None
    with pytest.raises(AccessDenied):
        await entrance(keys).authenticate(wrong)


async def test_a_key_of_the_right_form_with_anothers_id_is_none() -> None:
    keys = Keys()
    key, _ = keys.make()
    with pytest.raises(AccessDenied) as refused:
        await entrance(keys).authenticate(new_key(key.id))
    assert refused.value.reason == "invalid"


async def test_a_key_ends_when_it_expires_or_is_revoked_and_its_tokens_with_it() -> None:
    keys = Keys()
    access = entrance(keys)
    key, text = keys.make(expires_at=time.time() + 3600)
    token = signed(key=key.id)
    assert (await access.authenticate(text)).key == key.id
    assert (await access.authenticate(token)).key == key.id
    ended, ended_text = keys.make(expires_at=time.time() - 1)
    for credential in (ended_text, signed(key=ended.id)):
        with pytest.raises(AccessDenied) as refused:
            await access.authenticate(credential)
        assert refused.value.reason == "expired"
    del keys.known[key.id]
    for credential in (text, token):
        with pytest.raises(AccessDenied) as refused:
            await access.authenticate(credential)
        assert refused.value.reason == "invalid"


async def test_a_token_is_never_wider_than_its_key_whatever_it_says() -> None:
    keys = Keys()
    ends = time.time() + 30
    key, _ = keys.make(Scope.SEND, frozenset({"a", "b"}), expires_at=ends)
    wide = await entrance(keys).authenticate(signed(key=key.id, scope="admin"))
    assert wide.scope is Scope.SEND
    assert wide.sessions == {"a", "b"}
    assert wide.expires_at == ends
    narrow = await entrance(keys).authenticate(
        signed(key=key.id, scope="read", sessions=["b", "c"])
    )
    assert narrow.scope is Scope.READ
    assert narrow.sessions == {"b"}


async def test_a_token_made_elsewhere_with_the_secret_counts_on_its_own() -> None:
    found = await entrance().authenticate(signed(sessions=["loja-1"], scope="operate"))
    assert found.id == "token:ana"
    assert found.sessions == {"loja-1"}
    assert found.scope is Scope.OPERATE
    assert found.id != OPERATOR


async def test_a_token_is_let_in_where_it_is_meant_for() -> None:
    access = entrance()
    both = signed(aud=["wasup:api", "wasup:live"])
    await access.authenticate(both, Audience.API)
    await access.authenticate(both, Audience.LIVE)
    for meant, other in [(Audience.API, Audience.LIVE), (Audience.LIVE, Audience.API)]:
        token = signed(aud=meant.value)
        await access.authenticate(token, meant)
        with pytest.raises(AccessDenied):
            await access.authenticate(token, other)


async def test_what_is_remembered_of_a_token_ends_with_the_token(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now, decoded = [time.time()], []
    decode = jwt.decode
    monkeypatch.setattr(jwt, "decode", lambda *a, **k: decoded.append(1) or decode(*a, **k))
    validator = ImprovedTokenValidator(SECRET, clock=lambda: now[0])
    token, long_lived = signed(exp=int(now[0]) + 60), signed(exp=int(now[0]) + 3600)
    for _ in range(3):
        assert (await validator.validate(token)).valid
    assert len(decoded) == 1
    now[0] += 61  # the token has ended; the five minutes have not
    await validator.validate(token)
    assert len(decoded) == 2
    await validator.validate(long_lived)
    now[0] += 299
    await validator.validate(long_lived)
    assert len(decoded) == 3
    now[0] += 2
    await validator.validate(long_lived)
    assert len(decoded) == 4


async def test_refusals_are_remembered_by_nobody() -> None:
    validator = ImprovedTokenValidator(SECRET)
    for number in range(100):
        await validator.validate(signed(b"another secret, as long as that one", jti=str(number)))
    assert len(validator._valid) == 0


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        ImprovedTokenValidator(b"short")


async def test_what_is_made_is_valid() -> None:
    validator = ImprovedTokenValidator(SECRET)
    said = {"sub": "ana", "aud": ["wasup:live"], "scope": "read", "sessions": "*"}
    token = validator.make(said, time.time() + 60)
    result = await validator.validate(token, Audience.LIVE)
    assert result.payload is not None
    assert said.items() <= dict(result.payload).items()


def test_who_guesses_does_not_fill_the_log() -> None:
    now = [0.0]
    refusals = Refusals(lambda: now[0])
    with capture_logs() as lines:
        for _ in range(1000):
            refusals.note("guess", "invalid", "unknown")
        assert len(lines) == 30
        now[0] += 60
        refusals.note("guess", "invalid", "unknown")
    assert lines[-1]["unlogged"] == 970
    assert refusals.counts == {"invalid": 1001}


@pytest.mark.parametrize("name", ["a\nb", "a\x9bm", "\u202eana", "a\u2028b"])
async def test_a_name_that_makes_a_line_look_like_another_is_none(name: str) -> None:
    with pytest.raises(AccessDenied) as refused:
        await entrance().authenticate(signed(sub=name))
    assert refused.value.reason == "invalid"


async def test_whoever_calls_himself_as_the_operator_is_called_is_told_apart_by_the_id() -> None:
    impostor = await entrance().authenticate(signed(sub="WHATSAPP_API_TOKEN"))
    assert not impostor.is_operator
    assert impostor.id != (await entrance().authenticate(TOKEN)).id
