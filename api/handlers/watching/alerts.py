"""Alerts: which are on, who was told, what is silenced, and who cares for them."""

import time
from collections.abc import Iterable
from typing import Annotated, Final

import msgspec
from aiohttp import web

from api.errors import BadRequest
from api.gatehouse.principals import principal_of
from api.paging import PageQuery, page
from api.parts import ALERTS, NOTIFIER
from api.responses import body, json, moment, query
from sessions.views.times import iso
from supervisor.access.access import READABLE, READABLE_OR_EMPTY
from supervisor.alerts.alerts import RANKS, Alert
from supervisor.alerts.decision import identity
from supervisor.alerts.ledger import LONGEST_SILENCE_SECONDS, AlertNotFound
from supervisor.alerts.muting import Silence
from supervisor.alerts.notifier import ChannelStatus, Notifier
from supervisor.alerts.rules import Kind, rule_of
from supervisor.alerts.words.rendering import action

MOST_PATTERNS: Final = 100

Comment = Annotated[
    str,
    msgspec.Meta(max_length=500, pattern=READABLE_OR_EMPTY, description="Why; for people."),
]
Pattern = Annotated[str, msgspec.Meta(min_length=1, max_length=128, pattern=READABLE)]
Patterns = Annotated[list[Pattern], msgspec.Meta(max_length=MOST_PATTERNS)]


class ShownAlert(Alert, frozen=True, rename="camel", kw_only=True):
    """An alert that is on.

    `kind`: performance, connectivity, system or application. `whatToDo`, `runbook`: what an
    operator does about it. `silencedBy`: a silence's id, or `outage`, which explains it; then
    nobody is told. `timesInAnHour`: of one that comes and goes.
    """

    kind: Kind
    what_to_do: str
    runbook: str
    silenced_by: str | None
    acknowledged_at: str | None
    acknowledged_by: str | None
    comment: str | None
    times_in_an_hour: int | None


class AlertsView(msgspec.Struct, frozen=True):
    """The alerts that are on, and those that have ended of late, the newest first.

    `next`: the `after` of the next page of those that are on; None: there is none.
    """

    timestamp: str
    alerts: list[ShownAlert]
    next: str | None
    ended: list[Alert]


class NewAcknowledgement(msgspec.Struct, forbid_unknown_fields=True):
    """Body of POST /alerts/{alert}/acknowledge."""

    comment: Comment = ""


class NewSilence(msgspec.Struct, forbid_unknown_fields=True, rename="camel"):
    """Body of POST /alerts/silences. `names`, `sessions`: patterns such as `disk_*`; none: all.

    It begins at `startsAt` (else now), and ends at `endsAt` or after `durationSeconds`.
    """

    names: Patterns = msgspec.field(default_factory=list)
    sessions: Patterns = msgspec.field(default_factory=list)
    starts_at: str | None = None
    ends_at: str | None = None
    duration_seconds: Annotated[float, msgspec.Meta(gt=0, le=LONGEST_SILENCE_SECONDS)] | None = None
    comment: Comment = ""


class SilenceList(msgspec.Struct, frozen=True):
    """The silences that are on or to come. `next`: the `after` of the next page."""

    silences: list[Silence]
    next: str | None


class ChannelList(msgspec.Struct, frozen=True):
    """The channels by which alerts are told. `next`: the `after` of the next page."""

    channels: list[ChannelStatus]
    next: str | None


async def alerts(request: web.Request) -> web.Response:
    """The alerts that are on (the critical ones first), and those that have ended of late.

    From memory: also while the store fails.
    """
    known, notifier = request.app[ALERTS], request.app[NOTIFIER]
    asked, active = query(request, PageQuery), seen(request, known.active())
    listed, following = page(active, _urgency, tuple[int, str, str, str, str], asked)
    shown = _shown(notifier, listed)
    return json(AlertsView(iso(time.time()), shown, following, seen(request, known.ended())))


async def acknowledge(request: web.Request) -> web.Response:
    """Say that somebody cares for an alert: no reminders of it until it is over.

    It ends with the alert; if that begins again, it is told again.
    """
    has_body = request.can_read_body
    given = await body(request, NewAcknowledgement) if has_body else NewAcknowledgement()
    wanted = request.match_info["alert"]
    notifier = request.app[NOTIFIER]
    found = [one for one in seen(request, request.app[ALERTS].active()) if one.id == wanted]
    if not found:
        raise AlertNotFound(wanted)
    notifier.ledger.acknowledge(found[0], principal_of(request).name, given.comment)
    return json(_shown(notifier, found)[0])


async def silences(request: web.Request) -> web.Response:
    """The silences that are on or to come, the oldest first."""
    asked = query(request, PageQuery)
    shown, following = page(
        request.app[NOTIFIER].ledger.silences(),
        lambda one: (one.starts_at, one.id),
        tuple[str, str],
        asked,
    )
    return json(SilenceList(shown, following))


async def silence(request: web.Request) -> web.Response:
    """Tell nobody of some alerts for a while: maintenance, or what is known.

    They stay on and are shown; what is still on when it ends is told then.
    """
    given, now = await body(request, NewSilence), time.time()
    starts_at = None if given.starts_at is None else moment("startsAt", given.starts_at)
    if (given.ends_at is None) == (given.duration_seconds is None):
        raise BadRequest(
            "A silence needs an end.", "Say one of endsAt and durationSeconds, and not both."
        )
    if given.ends_at is not None:
        ends_at = moment("endsAt", given.ends_at)
    else:
        ends_at = (now if starts_at is None else starts_at) + (given.duration_seconds or 0.0)
    made = request.app[NOTIFIER].ledger.silence(
        given.names,
        given.sessions,
        starts_at,
        ends_at,
        given.comment,
        principal_of(request).name,
    )
    response = json(made, status=201)
    response.headers["Location"] = f"/alerts/silences/{made.id}"
    return response


async def end_silence(request: web.Request) -> web.Response:
    """End a silence; what it has kept quiet, and is still on, is told."""
    return json(request.app[NOTIFIER].ledger.end_silence(request.match_info["silence"]))


async def channels(request: web.Request) -> web.Response:
    """The channels by which alerts are told, and how that went: the last success, since when it
    fails, and why.
    """
    asked = query(request, PageQuery)
    shown, following = page(
        request.app[NOTIFIER].channels(), lambda one: (one.name,), tuple[str], asked
    )
    return json(ChannelList(shown, following))


def seen(request: web.Request, alerts: Iterable[Alert]) -> list[Alert]:
    """The alerts that exist for who calls: of his sessions, and of the fleet if he may see that."""
    sees = principal_of(request).sees
    return [alert for alert in alerts if sees(alert.session)]


def _shown(notifier: Notifier, alerts: Iterable[Alert]) -> list[ShownAlert]:
    times = notifier.flapping()
    listed = list(alerts)
    silent = notifier.silenced(listed)
    found = []
    for alert in listed:
        key, rule = identity(alert), rule_of(alert)
        mine = notifier.acknowledgement(alert)
        found.append(
            ShownAlert(
                **msgspec.structs.asdict(alert),
                kind=rule.kind,
                what_to_do=action(alert, notifier.language),
                runbook=rule.runbook,
                silenced_by=silent.get(alert.id),
                acknowledged_at=None if mine is None else iso(mine.at),
                acknowledged_by=None if mine is None else mine.by,
                comment=None if mine is None else mine.comment,
                times_in_an_hour=times.get(key),
            )
        )
    return found


def _urgency(alert: Alert) -> tuple[int, str, str, str, str]:
    """The critical ones first, then the oldest."""
    return (
        -RANKS[alert.severity],
        alert.began_at,
        alert.session or "",
        alert.name,
        alert.about or "",
    )
