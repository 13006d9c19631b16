"""Keys, made, listed and revoked; and short-lived tokens made from them."""

import time
from typing import Annotated, Any, Final

import msgspec
from aiohttp import web

from api.errors import BadRequest, ForbiddenScope
from api.gatehouse.principals import must_see, principal_of
from api.paging import PageQuery, page
from api.parts import ACCESS, KEYS
from api.responses import body, json, query
from sessions.model import parse_session_id
from sessions.views.times import iso
from supervisor.access.access import ALL_SESSIONS, LONGEST_NAME, READABLE
from supervisor.access.key import AccessKey
from supervisor.access.principal import Principal
from supervisor.access.scopes import Scope, narrower
from supervisor.access.token_validator import Audience

MOST_SESSIONS: Final = 100
LONGEST_SECONDS: Final = 24 * 3600
"""A token that is to live longer is a key."""
USUAL_SECONDS: Final = 15 * 60

Name = Annotated[
    str,
    msgspec.Meta(
        min_length=1,
        max_length=LONGEST_NAME,
        pattern=READABLE,
        description="For people: whose it is.",
    ),
]
SessionNames = Annotated[
    list[str],
    msgspec.Meta(min_length=1, max_length=MOST_SESSIONS, description="For these sessions only."),
]


class NewKey(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """Body of POST /keys. Without `sessions` it is for all, without `expiresInSeconds` for ever."""

    name: Name
    scope: Scope
    sessions: SessionNames | None = None
    expires_in_seconds: Annotated[float, msgspec.Meta(gt=0, le=10 * 366 * 86_400)] | None = None


class NewToken(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """Body of POST /tokens. What is not said is as wide as the caller's own key."""

    name: Name | None = None
    scope: Scope | None = None
    sessions: SessionNames | None = None
    audience: Annotated[list[Audience], msgspec.Meta(min_length=1, max_length=len(Audience))] = (
        msgspec.field(default_factory=lambda: list(Audience))
    )
    expires_in_seconds: Annotated[float, msgspec.Meta(ge=1, le=LONGEST_SECONDS)] = USUAL_SECONDS


class KeyView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A key, never its text. `sessions` None: all; `expires_at` None: never."""

    id: str
    name: str
    scope: Scope
    sessions: list[str] | None
    created_at: str
    expires_at: str | None
    last_used_at: str | None


class KeyShown(KeyView, frozen=True, kw_only=True, rename="camel"):
    """A new key with its text, which is shown this once."""

    key: str


class KeyList(msgspec.Struct, frozen=True):
    """Keys, oldest first. `next`: the `after` of the next page; None: there is none."""

    keys: list[KeyView]
    next: str | None


class KeyRevoked(msgspec.Struct, frozen=True):
    """It lets nobody in any more, nor do the tokens that were made from it."""

    id: str
    revoked: bool


class TokenShown(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A token, and what it may."""

    token: str
    name: str
    scope: Scope
    sessions: list[str] | None
    audience: list[Audience]
    expires_at: str


async def list_keys(request: web.Request) -> web.Response:
    """All keys, with when each was last used (to the minute)."""
    keys, asked = request.app[KEYS].all(), query(request, PageQuery)
    shown, following = page(keys, lambda one: (one.created_at, one.id), tuple[float, str], asked)
    return json(KeyList([KeyView(**_fields(key)) for key in shown], following))


async def create_key(request: web.Request) -> web.Response:
    """Make a key; the answer holds it, this once.

    It takes no Idempotency-Key: its answer would have to be kept, with the key in it.
    """
    new = await body(request, NewKey)
    sessions = None if new.sessions is None else frozenset(map(parse_session_id, new.sessions))
    ends = None if new.expires_in_seconds is None else time.time() + new.expires_in_seconds
    key, text = await request.app[KEYS].create(new.name, new.scope, sessions, ends)
    response = json(KeyShown(**_fields(key), key=text), 201)
    response.headers["Location"] = f"/keys/{key.id}"
    return response


async def revoke_key(request: web.Request) -> web.Response:
    """Refuse a key from now on, and every token that was made from it."""
    key = await request.app[KEYS].revoke(request.match_info["key"])
    return json(KeyRevoked(key.id, True))


async def create_token(request: web.Request) -> web.Response:
    """A short-lived token for a browser, made from the calling key: never wider than it, never
    longer, and over when the key is revoked. `audience`: the API's calls, the live feed, or both.
    """
    wanted = await body(request, NewToken) if request.can_read_body else NewToken()
    caller = principal_of(request)
    if wanted.scope is not None and not caller.may(wanted.scope):
        raise ForbiddenScope(wanted.scope, caller.scope)
    for session in wanted.sessions or ():
        must_see(request, parse_session_id(session))
    if caller.key is None and not caller.is_operator and wanted.name not in {None, caller.name}:
        raise BadRequest(  # its name is all that tells its rate and its requests from another's
            "A token that was made without a key makes others under its own name alone.",
            f"Leave the name out, or say {caller.name!r}.",
        )
    expires_at = int(min(time.time() + wanted.expires_in_seconds, caller.expires_at or 10**12))
    if expires_at <= time.time():
        raise BadRequest("The key expires in this second.", "Use one that lives on.")
    shown = _token(caller, wanted)
    claims = {
        "sub": shown["name"],
        "aud": [audience.value for audience in wanted.audience],
        "scope": shown["scope"].value,
        "sessions": ALL_SESSIONS if shown["sessions"] is None else shown["sessions"],
    }
    if caller.key is not None:
        claims["key"] = caller.key
    token = request.app[ACCESS].validator.make(claims, expires_at)
    return json(
        TokenShown(
            token=token, audience=wanted.audience, expires_at=iso(float(expires_at)), **shown
        )
    )


def _token(caller: Principal, wanted: NewToken) -> dict[str, Any]:
    """What a token may: as wide as its maker, or as was asked."""
    sessions = caller.sessions if wanted.sessions is None else frozenset(wanted.sessions)
    return {
        "name": wanted.name or caller.name,
        "scope": caller.scope if wanted.scope is None else narrower(wanted.scope, caller.scope),
        "sessions": None if sessions is None else sorted(sessions),
    }


def _fields(key: AccessKey) -> dict[str, Any]:
    return {
        "id": key.id,
        "name": key.name,
        "scope": key.scope,
        "sessions": None if key.sessions is None else sorted(key.sessions),
        "created_at": iso(key.created_at),
        "expires_at": None if key.expires_at is None else iso(key.expires_at),
        "last_used_at": None if key.last_used_at is None else iso(key.last_used_at),
    }
