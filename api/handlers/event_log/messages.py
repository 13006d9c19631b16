"""Messages: what has become of one's events at each webhook."""

from collections.abc import Collection
from typing import Annotated, Final

import msgspec
from aiohttp import web

from api.errors import BadRequest, MessageNotFound
from api.gatehouse.principals import must_see, principal_of
from api.handlers.webhooks import is_for
from api.parts import FEED, WEBHOOKS
from api.responses import json, query
from sessions.model import parse_session_id
from sessions.views.events import EventHead
from sessions.views.times import iso
from supervisor.delivery.explanations import arrival
from supervisor.delivery.views import EventDelivery
from supervisor.fleet.feed import Feed

LONGEST_ID: Final = 1024
"""Of a message; WhatsApp's have some thirty characters."""
USUAL: Final = 20
MOST: Final = 100
"""Events of a page: in a group each reader makes one."""


class MessageQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Which events of the message."""

    session: (
        Annotated[str, msgspec.Meta(max_length=64, description="Those of this session alone.")]
        | msgspec.UnsetType
    ) = msgspec.UNSET
    after: Annotated[
        int, msgspec.Meta(ge=0, lt=10**15, description="`next` of the page before.")
    ] = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=MOST, description="So many at the most.")] = USUAL


class MessageEvent(EventHead, frozen=True):
    """An event of the message, and what has become of it at each webhook."""

    webhooks: list[EventDelivery]


class MessageDeliveries(msgspec.Struct, frozen=True):
    """What has become of a message's events, oldest first.

    `arrived`: of each of these, each webhook that asks for it has accepted it. `next`: for `after`
    of the next page; None: this was the last.
    """

    message: str
    arrived: bool
    words: str
    events: list[MessageEvent]
    next: int | None


async def message_deliveries(request: web.Request) -> web.Response:
    """Has it arrived? For each event of a message (WhatsApp's id), and each webhook: whether its
    endpoint has accepted it, or why not yet, when it is tried next, and what to do.
    """
    asked, message = query(request, MessageQuery), request.match_info["message"]
    if len(message) > LONGEST_ID:
        raise BadRequest(
            f"{message[:64]!r}... is no id of a message: it has {len(message)} characters.",
            "It is `data.id` of the message's events (GET /events).",
        )
    sessions: Collection[str] | None = principal_of(request).sessions
    if asked.session is not msgspec.UNSET:
        must_see(request, parse_session_id(asked.session))
        sessions = [asked.session]
    feed, webhooks = request.app[FEED], request.app[WEBHOOKS]
    found = await feed.of_message(message, sessions, asked.after, asked.limit + 1)
    if not found and not asked.after:
        raise await _not_found(feed, message)
    mine = [one for one in webhooks.all() if is_for(principal_of(request), one)]
    told = []
    for event in found[: asked.limit]:
        head = msgspec.structs.asdict(EventHead.of(event))
        told.append(MessageEvent(**head, webhooks=await webhooks.deliveries_of(event, mine)))
    following = told[-1].n if len(found) > asked.limit else None
    states = [one.state for event in told for one in event.webhooks]
    arrived, words = arrival(len(told), states)
    return json(MessageDeliveries(message, arrived, words, told, following))


async def _not_found(feed: Feed, message: str) -> MessageNotFound:
    oldest = await feed.oldest_time()
    since = "is empty" if oldest is None else f"goes back to {iso(oldest)}"
    return MessageNotFound(f"The event log has no event of a message {message[:64]!r}; it {since}.")
