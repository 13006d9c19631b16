"""Explanations: one session's story, and the incidents of all."""

import time
from collections.abc import Sequence
from typing import Annotated, Any, Final

import msgspec
from aiohttp import web
from msgspec import UNSET, UnsetType

from api.errors import BadRequest
from api.gatehouse.principals import must_see, principal_of
from api.handlers.sessions import session_id
from api.parts import FLEET, POLICY, STORE
from api.responses import json, query
from sessions.model import CloseReason, parse_session_id
from sessions.records import incidents
from sessions.records.incidents import Ending, Incident
from sessions.views import explanations
from sessions.views.explanations import Outage
from sessions.views.times import iso
from supervisor.gate.view import PauseView

PAGE_BYTES: Final = 1024 * 1024
MOST: Final = 1000


class IncidentsQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Which incidents are asked for."""

    session: Annotated[str, msgspec.Meta(description="Of this session alone.")] | UnsetType = UNSET
    after: Annotated[
        int, msgspec.Meta(ge=0, lt=10**15, description="Those with a greater `id`.")
    ] = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=MOST, description="So many at the most.")] = MOST
    newest: (
        Annotated[
            int,
            msgspec.Meta(ge=1, le=MOST, description="The newest, so many, in place of `after`."),
        ]
        | UnsetType
    ) = UNSET


class CloseView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A close of an incident, and what was decided.

    `wait_seconds`: until the next try was planned (None: none was). `excused`: by an outage.
    """

    at: str
    reason: CloseReason
    code: int | None
    message: str
    was_open: bool
    was_stable: bool
    expire_seconds: float | None
    rule: str
    wait_seconds: float | None
    covered: bool = msgspec.field(name="excused")


class IncidentView(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """An incident. `session` None: the fleet's or a group's (`scope` says which).

    `reason`, `code`, `message`: of the first close, the cause; `rule`, `human`: of the newest.
    `ended_at` None: it is under way. `hold`: the outage that covers it. `cost_seconds`: how long
    the session was away.
    """

    id: int
    session: str | None
    scope: str | None
    began_at: str
    ended_at: str | None
    ending: Ending | None
    reason: str
    code: int | None
    message: str
    rule: str
    closes: list[CloseView]
    attempts: int
    human: str
    hold: str | None
    cause_on_the_wire: str
    cost_seconds: float


class IncidentPage(msgspec.Struct, frozen=True):
    """Incidents, oldest first.

    `next`: the `after` of the next page; None: there is nothing more now. `last`: the number after
    which to go on whenever there is.
    """

    incidents: list[IncidentView]
    next: int | None
    last: int


async def explain_session(request: web.Request) -> web.Response:
    """Why the session is where it is, when it tries next, what a human must do; and its last
    incidents.
    """
    fleet, records = request.app[FLEET], request.app[STORE].records
    session = fleet.get(session_id(request))
    begin, now = session.row().created_at, time.time()
    week = now - incidents.WEEK_SECONDS
    stored = await records.of_session(session.id, week, explanations.TIMELINE)
    story = incidents.told(incidents.since_creation(stored, begin, now), session.incident())
    figures = incidents.summary(await records.spans(session.id, week), story, now)
    standing = explanations.Standing(
        id=session.id,
        wanted=session.row().wanted,
        ever_paired=session.row().jid is not None or figures.since is not None,
        reconnection=session.reconnection(),
        budget=session.budget(),
        outage=_outage(fleet.pause_of(session.id)),
        rules=request.app[POLICY].config.rules,
    )
    return json(explanations.explain(standing, story, figures, now))


async def list_incidents(request: web.Request) -> web.Response:
    """Incidents after a number, oldest first, about 1 MiB at the most; `?newest=`: so many of the
    newest; `?session=`: of that one alone.

    Outages of the fleet have session null.
    """
    asked = query(request, IncidentsQuery)
    session = None if asked.session is UNSET else parse_session_id(asked.session)
    if session is not None:
        must_see(request, session)
    within = principal_of(request).sessions
    records, now = request.app[STORE].records, time.time()
    if asked.newest is not UNSET:
        if asked.after:
            raise BadRequest("There are both after and newest.", "Ask for one of them.")
        found = await records.incidents(session, None, asked.newest, within)
        newest: Any = _page(found[::-1], now)[::-1]
        return json(IncidentPage(newest, None, found[-1].id if found else 0))
    found = await records.incidents(session, asked.after, asked.limit + 1, within)
    shown: Any = _page(found[: asked.limit], now)
    last = found[len(shown) - 1].id if shown else asked.after
    return json(IncidentPage(shown, last if len(found) > len(shown) else None, last))


def _page(found: Sequence[Incident], now: float) -> list[msgspec.Raw]:
    """The first of them that make a page, encoded; one at least, if there is one."""
    page, size = list[msgspec.Raw](), 0
    for incident in found:
        page.append(msgspec.Raw(msgspec.json.encode(_shown(incident, now))))
        size += len(bytes(page[-1]))
        if size >= PAGE_BYTES:
            break
    return page


def _outage(hold: PauseView | None) -> Outage | None:
    if hold is None:
        return None
    return Outage(
        reason=hold.reason,
        words=hold.words,
        canary=hold.canary,
        next_canary_in_seconds=hold.next_canary_in_seconds,
        back_in_seconds=hold.estimated_seconds_until_all_back,
        way_reason=hold.way_reason,
        next_look_in_seconds=hold.next_look_in_seconds,
    )


def _shown(incident: Incident, now: float) -> IncidentView:
    """As stored, with times in ISO 8601 and the wire in words."""
    known = msgspec.structs.asdict(incident) | {
        "scope": incident.scope or None,
        "began_at": iso(incident.began_at),
        "ended_at": None if incident.ended_at is None else iso(incident.ended_at),
        "closes": [
            CloseView(**msgspec.structs.asdict(close) | {"at": iso(close.at)})
            for close in incident.closes
        ],
    }
    return IncidentView(
        **known,
        cause_on_the_wire=explanations.on_the_wire(
            incident.reason, incident.code, incident.message
        ),
        cost_seconds=round(incident.down_seconds(now), 1),
    )
