"""Webhooks as they are shown. No secret, no header's value and no event's content is in them."""

import time
from typing import Annotated, Any, NamedTuple

import msgspec

from sessions.store import StoredEvent
from sessions.store.tables.webhooks import DeliveryRow
from sessions.views.times import iso
from supervisor.delivery.deliverer import Deliverer
from supervisor.delivery.endpoint.sender import with_answer
from supervisor.delivery.explanations import ARRIVED, Fate, Standing, explained
from supervisor.delivery.webhook_settings import shown_url

_Number = Annotated[int, msgspec.Meta(ge=-1, lt=10**15)]


class Place(NamedTuple):
    """Where something stands in the list of what was not accepted: first what blocks its session
    now, by its event, then what was set aside (`is_row`), by its row.
    """

    is_row: bool = False
    number: _Number = -1


class WebhookView(msgspec.Struct, frozen=True, rename="camel"):
    """A webhook.

    `state`: delivering, failing (its endpoint is away, one event at a time is tried) or paused.
    `cursor`: everything up to this event is settled. `behind`: events that are not, wanted or not;
    `oldest_undelivered_seconds`: the age of the first of them, None: there is none. `owner`: who
    answers for where it leads, as in the audit log.
    """

    id: str
    url: str
    description: str
    sessions: tuple[str, ...]
    types: tuple[str, ...]
    payload: str
    header_names: list[str]
    owner: str
    paused: bool
    paused_because: str | None
    state: str
    created_at: str
    secrets: int
    cursor: int
    behind: int
    oldest_undelivered_seconds: float | None
    failing_since_at: str | None
    next_try_at: str | None
    last_success_at: str | None
    last_failure_at: str | None
    last_error: str | None
    blocked: int
    retrying: int
    dead: int
    gaps: int


class WebhookSecretView(WebhookView, frozen=True, rename="camel"):
    """A webhook with the secret that it has just been given, shown this once."""

    secret: str


class DeliveryView(msgspec.Struct, frozen=True, rename="camel"):
    """An event, or those from `n` to `last_n`, that was not accepted.

    `state`: blocked (its session waits behind it), retrying (set aside, later ones go on), dead
    (its time is over), gap (the event log dropped it before it was sent). `id`: None while it is
    blocked. `last_error`: with what the endpoint has said, our headers' values masked.
    """

    id: int | None
    n: int
    last_n: int
    session: str | None
    type: str | None
    state: str
    attempts: int
    first_failed_at: str | None
    next_try_at: str | None
    last_status: int | None
    last_error: str | None

    @property
    def place(self) -> Place:
        """Where it stands in the list."""
        return Place(False, self.n) if self.id is None else Place(True, self.id)


class EventDelivery(msgspec.Struct, frozen=True, rename="camel"):
    """What has become of an event at a webhook.

    `state`: delivered, not_asked, made_later, passed_over (its filter was changed later), unknown,
    paused, away (its endpoint), under_way, waiting, blocked, retrying, dead or gap; `why` and
    `what_to_do` say it in words. `behind`: the event of
    its session that it waits for. `row`: its number in /deliveries.
    """

    webhook: str
    url: str
    state: Fate
    arrived: bool
    why: str
    what_to_do: str
    behind: int | None
    attempts: int
    last_status: int | None
    last_error: str | None
    next_try_at: str | None
    row: int | None


def view(found: Deliverer, counts: dict[str, int], oldest: StoredEvent | None) -> WebhookView:
    """A webhook; `counts`: its rows by state; `oldest`: the first event that is not settled."""
    settings, circuit, now = found.settings, found.circuit, time.time()
    failure = found.last_failure
    # without one it has come since it was looked for
    since = now if oldest is None else oldest.time_ms / 1000
    return WebhookView(
        id=found.id,
        url=settings.url,
        description=settings.description,
        sessions=settings.sessions,
        types=settings.types,
        payload=settings.payload,
        header_names=sorted(settings.headers),
        owner=settings.owner.id,
        paused=found.paused_because is not None,
        paused_because=found.paused_because,
        state="paused" if found.paused_because else "failing" if circuit.is_open else "delivering",
        created_at=iso(found.created_at),
        secrets=len(settings.signing(now)),
        cursor=found.lanes.low_water,
        behind=found.behind,
        oldest_undelivered_seconds=round(max(0.0, now - since), 1) if found.behind else None,
        failing_since_at=_at(found.failing_since),
        next_try_at=_at(found.next_try()),
        last_success_at=_at(found.last_success_at),
        last_failure_at=_at(failure[0] if failure else None),
        last_error=failure[1] if failure else None,
        blocked=len(found.lanes.failing()),
        retrying=counts.get("retrying", 0),
        dead=counts.get("dead", 0),
        gaps=counts.get("gap", 0),
    )


def delivery_view(row: DeliveryRow) -> DeliveryView:
    """A row; of many events, what is left of them."""
    return DeliveryView(
        id=row.id,
        n=row.next_n,
        last_n=row.last_n,
        session=row.session,
        type=row.type,
        state=row.state,
        attempts=row.attempts,
        first_failed_at=iso(row.first_failed_at),
        next_try_at=_at(row.next_at),
        last_status=row.last_status,
        last_error=row.last_error,
    )


def event_delivery(found: Deliverer, event: StoredEvent, row: DeliveryRow | None) -> EventDelivery:
    """What has become of an event at a webhook. `row`: the one that it is in."""
    one = _standing(found, event, row)
    why, what_to_do = explained(one)
    return EventDelivery(
        webhook=found.id,
        url=shown_url(found.settings.url),
        state=one.fate,
        arrived=one.fate in ARRIVED,
        why=why,
        what_to_do=what_to_do,
        behind=one.ahead,
        attempts=one.attempts,
        last_status=one.last_status,
        last_error=one.last_error,
        next_try_at=_at(one.next_at),
        row=one.row,
    )


def _standing(found: Deliverer, event: StoredEvent, row: DeliveryRow | None) -> Standing:
    settings, happened = found.settings, event.time_ms / 1000
    known: dict[str, Any] = {
        "webhook": found.id,
        "n": event.n,
        "session": event.session,
        "kind": event.type,
        "waits_seconds": max(0.0, time.time() - happened),
        "types": settings.types,
        "sessions": settings.sessions,
        "paused_because": found.paused_because,
    }
    is_set_aside = row is not None and row.next_n <= event.n <= row.last_n
    if not settings.wants(event.session, event.type):
        return Standing(fate=Fate.NOT_ASKED, **known)
    if row is not None and is_set_aside:
        return Standing(
            fate=Fate(row.state),
            attempts=row.attempts,
            last_status=row.last_status,
            last_error=row.last_error,
            next_at=row.next_at,
            row=row.id,
            **known,
        )
    if found.has_settled(event.n, event.session):
        return Standing(fate=_settled(found, event), since=found.created_at, **known)
    if found.paused_because is not None:
        return Standing(fate=Fate.PAUSED, **known)
    return _under_way(found, event, known)


def _settled(found: Deliverer, event: StoredEvent) -> Fate:
    """Of an event that is behind it, and is asked for now."""
    if found.began is None and event.time_ms / 1000 < found.created_at:
        return Fate.UNKNOWN
    if found.began is not None and event.n <= found.began:
        return Fate.MADE_LATER
    wanted = found.settings.wanted(event.n, event.session, event.type)
    return {True: Fate.DELIVERED, False: Fate.PASSED_OVER, None: Fate.UNKNOWN}[wanted]


def _under_way(found: Deliverer, event: StoredEvent, known: dict[str, Any]) -> Standing:
    """Of an event that is not settled."""
    failure, place = found.last_failure, found.lanes.find(event.n, event.session)
    if found.circuit.is_open:
        return Standing(
            fate=Fate.AWAY,
            since=found.failing_since,
            last_error=failure[1] if failure else None,
            next_at=found.next_try(),
            **known,
        )
    if place is None:
        return Standing(fate=Fate.WAITING, **known)
    own, first = place
    tried = known | {
        "attempts": first.failures,
        "last_status": first.last_status,
        "last_error": with_answer(first.last_error, first.last_answer),
        "next_at": found.next_try(first) if first.failures and not first.under_way else None,
    }
    if own is not first:
        return Standing(fate=Fate.WAITING, ahead=first.n, **tried)
    if own.under_way:
        return Standing(fate=Fate.UNDER_WAY, **tried)
    return Standing(fate=Fate.BLOCKED if own.failures else Fate.WAITING, **tried)


def heads(found: Deliverer, after: int, limit: int) -> list[DeliveryView]:
    """What blocks its session now, oldest first: events after that one, at most so many."""
    return [
        DeliveryView(
            id=None,
            n=pending.n,
            last_n=pending.n,
            session=pending.lane or None,
            type=pending.kind,
            state="blocked",
            attempts=pending.failures,
            first_failed_at=_at(found.wall(pending.failing_since)),
            next_try_at=None if pending.under_way else _at(found.next_try(pending)),
            last_status=pending.last_status,
            last_error=with_answer(pending.last_error, pending.last_answer),
        )
        for pending in [one for one in found.lanes.failing() if one.n > after][:limit]
    ]


def _at(seconds: float | None) -> str | None:
    return None if seconds is None else iso(seconds)
