"""Reads the event log piece by piece, for the rooms of the live feed and for who catches up."""

from typing import Final, NamedTuple

import msgspec

from sessions.store import StoredEvent
from supervisor.fleet.event_filter import EventFilter
from supervisor.fleet.feed import EVERY_EVENT, Feed, Gap

MOST_EVENTS: Final = 1000
"""In one piece."""


class Piece(NamedTuple):
    """A piece of the log: of the numbers behind the one that was asked for, up to `to`, these are
    all events that are wanted. `gap`: what was dropped before it could be read; None: nothing.
    """

    events: list[StoredEvent]
    to: int
    gap: Gap | None = None


class LogReader:
    """Reads the log."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed

    async def every_event(self, number: int, to: int, most: int) -> Piece:
        """What follows a number, up to another at the most; from memory, mostly.

        Raises StoreUnavailable: to leave out what the store cannot give would be a gap.
        """
        here = self._feed.in_memory_after(number, most)
        if here is None:
            return await self.wanted(number, to, EVERY_EVENT, most)
        events, read_to = here
        within = [event for event in events if event.n <= to]
        return Piece(within, _end(number, read_to, to))

    async def wanted(
        self, number: int, to: int, wanted: EventFilter, most: int = MOST_EVENTS
    ) -> Piece:
        """Of what follows a number, up to another at the most, what is wanted.

        Raises StoreUnavailable.
        """
        within = msgspec.structs.replace(wanted, before=to + 1)
        page = await self._feed.after(number, most, wanted=within)
        return Piece(page.events, _end(number, page.read_to, to), page.gap)


def _end(number: int, read_to: int, to: int) -> int:
    """Up to which number a piece is whole; where nothing was found at all, there is nothing."""
    return min(read_to, to) if read_to > number else to
