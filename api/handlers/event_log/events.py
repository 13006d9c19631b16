"""Events: what has happened, read on from a number, waited for, or streamed."""

from contextlib import nullcontext
from typing import Annotated, Final

import msgspec
from aiohttp import web

from api.errors import BadRequest, Gone
from api.gatehouse.principals import must_see, principal_of
from api.handlers.event_log import stream
from api.parts import FEED, WAITERS
from api.responses import JSON, Wait, json, listed, negotiate, query
from sessions.views.events import EventView
from supervisor.fleet.event_filter import EventFilter
from supervisor.fleet.feed import Feed

MAX_EVENTS: Final = 1000
OF_PAGES: Final = ("wait", "limit", "before")
"""What a stream has no use for."""


class EventsQuery(msgspec.Struct, forbid_unknown_fields=True):
    """Which events are asked for."""

    after: Annotated[
        int, msgspec.Meta(ge=0, lt=10**15, description="Those with a greater `n`.")
    ] = 0
    before: (
        Annotated[int, msgspec.Meta(ge=1, lt=10**15, description="Those with a smaller `n`.")]
        | msgspec.UnsetType
    ) = msgspec.UNSET
    type: (
        Annotated[
            str,
            msgspec.Meta(
                max_length=4096,
                description="Of these types, `,` between them: names, groups (`message.*`) or `*`.",
            ),
        ]
        | msgspec.UnsetType
    ) = msgspec.UNSET
    session: (
        Annotated[
            str,
            msgspec.Meta(max_length=4096, description="Of these sessions, `,` between them."),
        ]
        | msgspec.UnsetType
    ) = msgspec.UNSET
    wait: Wait = 0.0
    limit: Annotated[int, msgspec.Meta(ge=0, le=MAX_EVENTS, description="So many at the most.")] = (
        MAX_EVENTS
    )


class EventGap(msgspec.Struct, frozen=True):
    """Events, from number to number, that the log had no room for before they were read."""

    first: int
    last: int


class EventPage(msgspec.Struct, frozen=True):
    """Events in order.

    `next`: the `after` of the next page; None: there is nothing more now, go on with `last`.
    `oldest`: the number of the oldest event that is kept; `last`: of the newest. `gap`: what was
    dropped before it was read; None: nothing.
    """

    events: list[EventView]
    next: int | None
    oldest: int | None
    last: int
    gap: EventGap | None


async def events(request: web.Request) -> web.StreamResponse:
    """Events after a number, about 1 MiB at the most (`oldest`: of those still kept, `last`: the
    newest); `?wait=`: waits for the first. `?type=` and `?session=` choose.

    Who chooses may get an empty page that has a `next`: so much of the log was looked through, and
    it goes on from there. With `Accept: text/event-stream` they come as they happen
    (docs/events.md). A number beyond the newest is answered with 410: the log has begun anew (a
    restore?). `?limit=0`: `last` alone.
    """
    form = negotiate(request.headers.get("Accept", ""), (JSON, stream.EVENT_STREAM))
    asked, feed = query(request, EventsQuery), request.app[FEED]
    before = None if asked.before is msgspec.UNSET else asked.before
    sessions = listed(asked.session)
    for session in sessions:
        must_see(request, session)
    wanted = EventFilter.of(listed(asked.type), sessions, asked.after, before)
    wanted = wanted.within(principal_of(request).sessions)
    if form == stream.EVENT_STREAM:
        return await _streamed(request, feed, wanted)
    _check(wanted.after, feed)
    with request.app[WAITERS].one(request) if asked.wait else nullcontext():
        page = await feed.after(wanted.after, asked.limit, asked.wait, wanted)
    end = page.last if wanted.last is None else min(page.last, wanted.last)
    following = page.read_to if page.read_to < end and asked.limit else None
    shown = [EventView.of(event) for event in page.events]
    gap = None if page.gap is None else EventGap(*page.gap)
    return json(EventPage(shown, following, page.oldest, page.last, gap))


async def _streamed(request: web.Request, feed: Feed, wanted: EventFilter) -> web.StreamResponse:
    for name in OF_PAGES:
        if name in request.query:
            raise BadRequest(
                f"{name} is of pages, and this is a stream.",
                "A stream takes after, type and session, and the header Last-Event-ID.",
            )
    after = stream.last_seen(request)
    if after is None:
        after = wanted.after if "after" in request.query else feed.last
    _check(after, feed)
    return await stream.tell(request, feed, after, wanted)


def _check(after: int, feed: Feed) -> None:
    if after > feed.last:
        hint = (
            "The log has begun anew (a restore?). Go on with after=0 (all that is kept) or"
            f" after={feed.last} (only what comes)."
        )
        raise Gone(f"There was no event {after}: the newest is {feed.last}.", hint)
