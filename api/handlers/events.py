"""Events: what has happened, read on from a number, and waited for."""

from contextlib import nullcontext
from typing import Annotated, Final

import msgspec
from aiohttp import web

from api.errors import Gone
from api.parts import FEED, WAITERS
from api.responses import Wait, json, query
from sessions.views.events import EventView

MAX_EVENTS: Final = 1000


class EventsQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Which events are asked for."""

    after: Annotated[
        int, msgspec.Meta(ge=0, lt=10**15, description="Those with a greater `n`.")
    ] = 0
    wait: Wait = 0.0
    limit: Annotated[int, msgspec.Meta(ge=0, le=MAX_EVENTS, description="So many at the most.")] = (
        MAX_EVENTS
    )


class EventPage(msgspec.Struct, frozen=True):
    """Events in order.

    `next`: the `after` of the next page; None: there is nothing more now. `oldest`: the number of
    the oldest that is kept; `last`: of the newest.
    """

    events: list[EventView]
    next: int | None
    oldest: int | None
    last: int


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
    shown = [EventView.of(event) for event in page.events]
    following = shown[-1].n if shown and shown[-1].n < page.last else None
    return json(EventPage(shown, following, page.oldest, page.last))
