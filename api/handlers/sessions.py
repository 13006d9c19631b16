"""The handlers: from a request to a call on the fleet and back. No policy here."""

import asyncio
import math
from contextlib import nullcontext
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import msgspec
from aiohttp import web

from api.errors import BadRequest, Gone, TooSoon
from api.handlers import qr as qr_forms
from api.handlers.parts import ALERTS, FEED, FLEET, HOST, PAIRING, STORE, WAITERS
from api.responses import body, json, query
from sessions.credentials.proxy import parse_proxy
from sessions.lifecycle.attempt import ShownQr
from sessions.lifecycle.inbox import Command, UseProxy
from sessions.lifecycle.session import Session
from sessions.messages.numbers import InvalidRecipient, number_of, phone_number
from sessions.model import InvalidSessionId, Refused, SessionId, SessionNotFound, parse_session_id
from sessions.store import StoredEvent, StoreHealth
from sessions.views.snapshot import BreakerSnapshot, Performance, Reconnection, SessionView
from supervisor.fleet.feed import Feed
from supervisor.gate.view import GateView
from supervisor.host.reading.disks import DiskReading
from supervisor.host.reading.documents import document
from supervisor.watch.alerts import Alert
from supervisor.watch.performance import SystemPerformance, system_performance

PACE_HINT: Final = (
    "WhatsApp notifies the phone of each code and counts them. The code that is shown can still be"
    " typed; a QR costs none."
)
MAX_WAIT_SECONDS: Final = 60.0
LOOK_SECONDS: Final = 1.0
"""Events are shown when they are durable: while the store is away a QR is found by looking."""
MAX_EVENTS: Final = 1000


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


Wait = Annotated[
    float,
    msgspec.Meta(
        ge=0, le=MAX_WAIT_SECONDS, description="Seconds to wait for one if there is none."
    ),
]


class QrQuery(msgspec.Struct, forbid_unknown_fields=True):
    """What may be asked of a QR."""

    wait: Wait = 0.0


class EventsQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Which events are asked for."""

    after: Annotated[
        int, msgspec.Meta(ge=0, lt=10**15, description="Those with a greater `n`.")
    ] = 0
    wait: Wait = 0.0
    limit: Annotated[int, msgspec.Meta(ge=0, le=MAX_EVENTS, description="So many at the most.")] = (
        MAX_EVENTS
    )


class PerformanceMetrics(msgspec.Struct, frozen=True):
    """The figures at one moment."""

    timestamp: str
    system: SystemPerformance
    disks: tuple[DiskReading, ...]
    sessions: dict[SessionId, Performance]
    alerts: list[Alert]


class ReconnectionStatus(msgspec.Struct, frozen=True):
    """What every session waits for at one moment."""

    timestamp: str
    sessions: dict[SessionId, Reconnection]
    gate: GateView
    store: StoreHealth
    alerts: list[Alert]


class Forced(msgspec.Struct, frozen=True):
    """A session after its wait was cut short."""

    id: SessionId
    accepted: bool
    reconnection: Reconnection


class BreakerReset(msgspec.Struct, frozen=True):
    """A session's breaker after it was closed."""

    id: SessionId
    breaker: BreakerSnapshot


class SessionList(msgspec.Struct, frozen=True):
    """All sessions."""

    sessions: list[SessionView]


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


class AlertsView(msgspec.Struct, frozen=True):
    """The alerts that are on, and those that have ended of late, the newest first."""

    timestamp: str
    alerts: list[Alert]
    ended: list[Alert]


class EventView(msgspec.Struct, frozen=True, rename="camel"):
    """Something that has happened (docs/events.md).

    `n` grows; `id` names it for ever; `session` None: the fleet's, or the host's.
    """

    n: int
    id: str
    type: str
    time: str
    session: str | None
    data: dict[str, Any]


class EventPage(msgspec.Struct, frozen=True):
    """Events in order. `oldest`: the number of the oldest that is kept; `last`: of the newest."""

    events: list[EventView]
    oldest: int | None
    last: int


# --- the four calls that scripts use (docs/evidence.md) -------------------------------------------


async def performance_metrics(request: web.Request) -> web.Response:
    """Figures of the host, its file systems and every session, and the alerts that are on."""
    fleet = request.app[FLEET]
    disks = await request.app[HOST].disks()
    return json(
        PerformanceMetrics(
            timestamp=_now(),
            system=system_performance(fleet),
            disks=document(disks),
            sessions={session.id: session.performance() for session in fleet.sessions()},
            alerts=request.app[ALERTS].active(),
        )
    )


async def reconnection_status(request: web.Request) -> web.Response:
    """Why each session is where it is, what comes next, the gate, whether the store works, and the
    alerts that are on.
    """
    fleet = request.app[FLEET]
    return json(
        ReconnectionStatus(
            timestamp=_now(),
            sessions={session.id: session.reconnection() for session in fleet.sessions()},
            gate=fleet.gate(),
            store=request.app[STORE].health,
            alerts=request.app[ALERTS].active(),
        )
    )


async def force_reconnection(request: web.Request) -> web.Response:
    """Cut any wait short and let one attempt through."""
    session = _session(request)
    await session.ask(Command.FORCE)
    return json(Forced(session.id, True, session.reconnection()), 202)


async def reset_circuit_breaker(request: web.Request) -> web.Response:
    """Close the session's breaker and forget its failures.

    It cuts the breaker's wait short, and no other: a server that wants time gets it.
    """
    session = _session(request)
    await session.ask(Command.RESET_BREAKER)
    return json(BreakerReset(session.id, session.reconnection().breaker))


# --- sessions -------------------------------------------------------------------------------------


async def list_sessions(request: web.Request) -> web.Response:
    """All sessions."""
    return json(SessionList([session.view() for session in request.app[FLEET].sessions()]))


async def create_session(request: web.Request) -> web.Response:
    """Add a session; it starts at once unless told not to."""
    new = await body(request, NewSession)
    proxy = parse_proxy(new.proxy) if new.proxy is not None else None
    session = await request.app[FLEET].create(parse_session_id(new.id), new.start, proxy)
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
    return json(session.view())


async def stop_session(request: web.Request) -> web.Response:
    """Stop a session; it stays stopped until it is started. Answers when its worker has ended."""
    return await _commanded(request, Command.STOP, 200)


async def logout_session(request: web.Request) -> web.Response:
    """Unlink the device at WhatsApp; the credentials are archived."""
    return await _commanded(request, Command.LOGOUT, 202)


async def session_qr(request: web.Request) -> web.Response:
    """The QR that waits for a phone, as JSON, PNG, SVG, text for a terminal or (browsers) a page;
    `?wait=`: waits for one, 60 s at most.
    """
    session, accept = _session(request), request.headers.get("Accept", "")
    form = qr_forms.negotiate(accept)
    seconds = query(request, QrQuery).wait
    try:
        with request.app[WAITERS].one() if seconds else nullcontext():
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


async def send_message(request: web.Request) -> web.Response:
    """Send a text; answers after WhatsApp's ack, with the message's id.

    Refused while the store fails: a sent text's keys must be stored.
    """
    session = _session(request)
    text = await body(request, Text)
    request.app[STORE].must_work()  # else Baileys would wait for it, and the caller for Baileys
    return json(Sent(await session.send_text(text.to, text.text)))


async def alerts(request: web.Request) -> web.Response:
    """The alerts that are on (the critical ones first), and those that have ended of late.

    From memory: also while the store fails.
    """
    known = request.app[ALERTS]
    return json(AlertsView(_now(), known.active(), known.ended()))


# --- events ---------------------------------------------------------------------------------------


async def events(request: web.Request) -> web.Response:
    """Events after a number, about 1 MiB at the most (`oldest`: of those still kept, `last`: the
    newest); `?wait=`: waits for the first.

    A number beyond the newest is answered with 410: the log has begun anew (a restore?).
    `?limit=0`: `last` alone.
    """
    asked, feed = query(request, EventsQuery), request.app[FEED]
    if asked.after > feed.last:
        hint = (
            "The log has begun anew (a restore?). Go on with after=0 (all that is kept) or"
            f" after={feed.last} (only what comes)."
        )
        raise Gone(f"There was no event {asked.after}: the newest is {feed.last}.", hint)
    with request.app[WAITERS].one() if asked.wait else nullcontext():
        page = await feed.after(asked.after, asked.limit, asked.wait)
    return json(EventPage([_event(event) for event in page.events], page.oldest, page.last))


# --- small tools ----------------------------------------------------------------------------------


async def _commanded(request: web.Request, command: Command, status: int) -> web.Response:
    session = _session(request)
    await session.ask(command)
    return json(session.view(), status)


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


def _event(event: StoredEvent) -> EventView:
    time = (
        datetime.fromtimestamp(event.time_ms / 1000, UTC)
        .isoformat(timespec="milliseconds")
        .replace("+00:00", "Z")
    )
    data: Any = event.data  # stored as JSON
    return EventView(event.n, event.id, event.type, time, event.session, data)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
