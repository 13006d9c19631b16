"""Sessions: made, shown, started, stopped, paired, used and deleted.

From a request to a call on the fleet and back; no policy here.
"""

import asyncio
import math
from contextlib import nullcontext
from typing import Annotated, Final

import msgspec
from aiohttp import web

from api.errors import BadRequest, TooSoon
from api.gatehouse.once import keyed
from api.gatehouse.principals import must_see, principal_of
from api.handlers import qr as qr_forms
from api.paging import PageQuery, page
from api.parts import FEED, FLEET, FORECASTER, PAIRING, STORE, WAITERS
from api.responses import Wait, body, json, listed, negotiate, query
from sessions.credentials.proxy import parse_proxy
from sessions.lifecycle.attempt import ShownQr
from sessions.lifecycle.inbox import Command, UseProxy
from sessions.lifecycle.session import Session
from sessions.messages.numbers import InvalidRecipient, number_of, phone_number
from sessions.model import (
    InvalidSessionId,
    Refused,
    SessionId,
    SessionNotFound,
    SessionState,
    parse_session_id,
)
from sessions.views.session_view import BreakerSnapshot, SessionView
from supervisor.fleet.feed import Feed

PACE_HINT: Final = (
    "WhatsApp notifies the phone of each code and counts them. The code that is shown can still be"
    " typed; a QR costs none."
)
LOOK_SECONDS: Final = 1.0
"""Events are shown when they are durable: while the store is away a QR is found by looking."""


class NewSession(msgspec.Struct, forbid_unknown_fields=True):
    """Body of POST /sessions."""

    id: str
    start: bool = True
    proxy: str | None = None


class ProxyChoice(msgspec.Struct, forbid_unknown_fields=True):
    """Body of PUT /sessions/{id}/proxy."""

    proxy: str | None


class Deletion(msgspec.Struct, forbid_unknown_fields=True):
    """What may be asked of a deletion."""

    purge: Annotated[
        bool, msgspec.Meta(description="Destroy the credentials, instead of archiving them.")
    ] = False


class Phone(msgspec.Struct, forbid_unknown_fields=True):
    """Body of POST /sessions/{id}/pairing-code."""

    phone: str


class Text(msgspec.Struct, forbid_unknown_fields=True):
    """Body of POST /sessions/{id}/messages."""

    to: Annotated[str, msgspec.Meta(min_length=1, max_length=128)]
    text: Annotated[str, msgspec.Meta(min_length=1, max_length=60_000)]


class QrQuery(msgspec.Struct, forbid_unknown_fields=True):
    """What may be asked of a QR."""

    wait: Wait = 0.0


class SessionsQuery(PageQuery, forbid_unknown_fields=True):
    """Which sessions are asked for."""

    state: (
        Annotated[str, msgspec.Meta(description="In one of these states, `,` between them.")]
        | msgspec.UnsetType
    ) = msgspec.UNSET
    search: (
        Annotated[
            str,
            msgspec.Meta(
                max_length=128, description="With this in the id, the name or the number."
            ),
        ]
        | msgspec.UnsetType
    ) = msgspec.UNSET


class SessionList(msgspec.Struct, frozen=True):
    """Sessions, the oldest first. `next`: the `after` of the next page; None: there is none."""

    sessions: list[SessionView]
    next: str | None


class Forced(SessionView, frozen=True, kw_only=True, rename="camel"):
    """The session after its wait was cut short."""

    accepted: bool


class BreakerReset(SessionView, frozen=True, kw_only=True, rename="camel"):
    """The session after its breaker was closed."""

    breaker: BreakerSnapshot


class Deleted(msgspec.Struct, frozen=True):
    """A session that is no more. `purged`: its credentials were destroyed, not archived."""

    id: SessionId
    deleted: bool
    purged: bool


class ShownCode(msgspec.Struct, frozen=True):
    """A code to type on the phone."""

    id: SessionId
    code: str


class Sent(msgspec.Struct, frozen=True):
    """A message that WhatsApp has acknowledged."""

    id: str


# --- commands that scripts have used for long (docs/evidence.md) ----------------------------------


@keyed
async def force_reconnection(request: web.Request) -> web.Response:
    """Cut any wait short and let one attempt through."""
    session = _session(request)
    await session.ask(Command.FORCE)
    return json(Forced(**msgspec.structs.asdict(session.view()), accepted=True), 202)


async def reset_circuit_breaker(request: web.Request) -> web.Response:
    """Close the session's breaker and forget its failures.

    It cuts the breaker's wait short, and no other: a server that wants time gets it.
    """
    session = _session(request)
    await session.ask(Command.RESET_BREAKER)
    view = session.view()
    breaker = view.reconnection.breaker
    return json(BreakerReset(**msgspec.structs.asdict(view), breaker=breaker))


# --- sessions -------------------------------------------------------------------------------------


async def list_sessions(request: web.Request) -> web.Response:
    """The sessions, the oldest first, page by page; `?state=` and `?search=`: only those."""
    asked = query(request, SessionsQuery)
    states, sees = _states(asked.state), principal_of(request).sees
    found = [
        session
        for session in request.app[FLEET].sessions()
        if sees(session.id)
        and (not states or session.state in states)
        and _matches(session, asked.search)
    ]
    shown, following = page(found, _age, tuple[float, str], asked)
    return json(SessionList([session.view() for session in shown], following))


@keyed
async def create_session(request: web.Request) -> web.Response:
    """Add a session; it starts at once unless told not to."""
    new = await body(request, NewSession)
    proxy = parse_proxy(new.proxy) if new.proxy is not None else None
    name = parse_session_id(new.id)
    must_see(request, name)
    if new.start:  # what is not to run takes nothing
        await request.app[FORECASTER].must_fit()
    session = await request.app[FLEET].create(name, new.start, proxy)
    response = json(session.view(), 201)
    response.headers["Location"] = f"/sessions/{session.id}"
    return response


async def get_session(request: web.Request) -> web.Response:
    """One session."""
    return json(_session(request).view())


async def delete_session(request: web.Request) -> web.Response:
    """Stop and remove a session; `?purge=true` destroys its credentials, else they are archived."""
    purge = query(request, Deletion).purge
    session = _session(request)
    await request.app[FLEET].delete(session.id, purge)
    return json(Deleted(session.id, True, purge))


async def set_proxy(request: web.Request) -> web.Response:
    """Let a session at rest use this proxy from its next start on; null: none."""
    session, wanted = _session(request), await body(request, ProxyChoice)
    await session.ask(UseProxy(parse_proxy(wanted.proxy) if wanted.proxy is not None else None))
    return json(session.view())


async def start_session(request: web.Request) -> web.Response:
    """Start a session that is stopped or parked."""
    session = _session(request)
    await request.app[FLEET].start(session.id)
    return json(session.view(), 202)


async def stop_session(request: web.Request) -> web.Response:
    """Stop a session; it stays stopped until it is started. Answers when its worker has ended."""
    return await _commanded(request, Command.STOP)


async def logout_session(request: web.Request) -> web.Response:
    """Unlink the device at WhatsApp; the credentials are archived."""
    return await _commanded(request, Command.LOGOUT)


async def session_qr(request: web.Request) -> web.Response:
    """The QR that waits for a phone, as JSON, PNG, SVG, text for a terminal or (browsers) a page;
    `?wait=`: waits for one, 60 s at most.
    """
    session, accept = _session(request), request.headers.get("Accept", "")
    form = negotiate(accept, qr_forms.FORMS)
    seconds = query(request, QrQuery).wait
    try:
        with request.app[WAITERS].one(request) if seconds else nullcontext():
            shown = await _qr_within(session, seconds, request.app[FEED])
    except Refused as error:
        if form == qr_forms.PAGE:
            return qr_forms.page_without(session.id, str(error), error.hint, session.may_show_qr)
        raise
    return qr_forms.respond(shown, form)


async def _qr_within(session: Session, seconds: float, feed: Feed) -> ShownQr:
    """The QR as soon as there is one.

    Raises Refused when the time is up, or at once when none can come by itself.
    """
    now = asyncio.get_running_loop().time
    until = now() + seconds
    while True:
        try:
            return session.qr()
        except Refused:
            left = until - now()
            if left <= 0 or not session.may_show_qr:
                raise
        await feed.news(min(left, LOOK_SECONDS))


@keyed
async def pairing_code(request: web.Request) -> web.Response:
    """A code to type on the phone instead of scanning; one in 30 s for a session, ten at once and
    then one in 6 s for all.
    """
    session = _session(request)
    given = (await body(request, Phone)).phone
    try:
        phone = phone_number(given, _home(request))
    except InvalidRecipient as error:
        raise BadRequest(str(error), error.hint) from None
    if session.awaits_phone:  # else it is refused, and nobody is notified
        seconds = request.app[PAIRING].take(session.id, asyncio.get_running_loop().time())
        if seconds > 0:
            raise TooSoon(
                f"The next pairing code may be asked for in {math.ceil(seconds)} s.",
                PACE_HINT,
                seconds,
            )
    return json(ShownCode(session.id, await session.pairing_code(phone)))


@keyed
async def send_message(request: web.Request) -> web.Response:
    """Send a text; answers after WhatsApp's ack, with the message's id.

    Refused while the store fails: a sent text's keys must be stored.
    """
    session = _session(request)
    text = await body(request, Text)
    request.app[STORE].must_work()  # else Baileys would wait for it, and the caller for Baileys
    return json(Sent(await session.send_text(text.to, text.text)))


# --- small tools ----------------------------------------------------------------------------------


async def _commanded(request: web.Request, command: Command) -> web.Response:
    session = _session(request)
    await session.ask(command)
    return json(session.view(), 202)


def _states(text: str | msgspec.UnsetType) -> frozenset[SessionState]:
    """The states that are asked for; none: all. Raises BadRequest."""
    if text is msgspec.UNSET:
        return frozenset()
    try:
        return frozenset(SessionState(word) for word in listed(text))
    except ValueError:
        raise BadRequest(
            f"state is {text[:80]!r}.", f"It accepts {', '.join(SessionState)}, `,` between them."
        ) from None


def _matches(session: Session, text: str | msgspec.UnsetType) -> bool:
    if text is msgspec.UNSET:
        return True
    row = session.row()
    return any(text.lower() in (said or "").lower() for said in (row.id, row.name, row.jid))


def _age(session: Session) -> tuple[float, str]:
    return session.row().created_at, session.id


def session_id(request: web.Request) -> SessionId:
    """The session that the path names. Raises SessionNotFound."""
    try:
        return parse_session_id(request.match_info["id"])
    except InvalidSessionId as error:  # what cannot be a session's name names no session
        raise SessionNotFound(str(error), error.hint) from None


def _home(request: web.Request) -> str | None:
    """A number of this fleet: its country is where a number without country code is taken to be
    from.
    """
    numbers = (number_of(session.view().jid) for session in request.app[FLEET].sessions())
    return next((number for number in numbers if number), None)


def _session(request: web.Request) -> Session:
    return request.app[FLEET].get(session_id(request))
