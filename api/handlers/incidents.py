"""The handlers that explain: one session's story, and the incidents of all."""

import re
import time
from collections.abc import Sequence
from typing import Final

import msgspec
from aiohttp import web

from api.errors import BadRequest
from api.handlers.parts import FLEET, POLICY, STORE
from api.handlers.sessions import session_id
from api.responses import json
from sessions.model import parse_session_id
from sessions.records import incidents
from sessions.records.incidents import Incident, RecordedClose
from sessions.views import explanations
from sessions.views.explanations import Outage
from sessions.views.snapshot import iso
from supervisor.gate.view import HoldView

PAGE_BYTES: Final = 1024 * 1024
MOST: Final = 1000
USUAL: Final = 100


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
        outage=_outage(fleet.hold_of(session.id)),
        rules=request.app[POLICY].config.rules,
    )
    return json(explanations.explain(standing, story, figures, now))


async def list_incidents(request: web.Request) -> web.Response:
    """Incidents, oldest first, about 1 MiB at the most: the newest, or those after a number;
    `?session=`: of that one alone.

    Outages of the fleet have session null.
    """
    named = request.query.get("session")
    session = None if named is None else parse_session_id(named)
    after, limit = _whole(request, "after"), _whole(request, "limit")
    if limit is not None and not 1 <= limit <= MOST:
        raise BadRequest(f"limit is {limit}.", f"It accepts a whole number from 1 to {MOST}.")
    found = await request.app[STORE].records.incidents(session, after, limit or USUAL)
    now = time.time()
    page = _page(found if after is not None else found[::-1], now)
    shown = page if after is not None else page[::-1]
    last = found[len(page) - 1 if after is not None else -1].id if found else after or 0
    return json({"incidents": shown, "last": last})


def _page(found: Sequence[Incident], now: float) -> list[msgspec.Raw]:
    """The first of them that make a page, encoded; one at least, if there is one."""
    page, size = list[msgspec.Raw](), 0
    for incident in found:
        page.append(msgspec.Raw(msgspec.json.encode(_shown(incident, now))))
        size += len(bytes(page[-1]))
        if size >= PAGE_BYTES:
            break
    return page


def _outage(hold: HoldView | None) -> Outage | None:
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


def _shown(incident: Incident, now: float) -> dict[str, object]:
    """As stored, with times in ISO 8601 and the wire in words."""
    shown: dict[str, object] = msgspec.to_builtins(incident)
    return shown | {
        "scope": incident.scope or None,
        "beganAt": iso(incident.began_at),
        "endedAt": None if incident.ended_at is None else iso(incident.ended_at),
        "causeOnTheWire": explanations.on_the_wire(
            incident.reason, incident.code, incident.message
        ),
        "costSeconds": round(incident.down_seconds(now), 1),
        "closes": [_close(close) for close in incident.closes],
    }


def _close(close: RecordedClose) -> dict[str, object]:
    shown: dict[str, object] = msgspec.to_builtins(close)
    return shown | {"at": iso(close.at)}


def _whole(request: web.Request, name: str) -> int | None:
    text = request.query.get(name)
    if text is None:
        return None
    if re.fullmatch(r"[0-9]{1,15}", text) is None:
        raise BadRequest(f"{name} is {text[:40]!r}.", "It accepts a whole number.")
    return int(text)
