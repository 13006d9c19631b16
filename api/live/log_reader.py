"""What follows a number of the event log, from memory or from the store, and what of it the log has
dropped.
"""

from typing import Final, NamedTuple

from sessions.store import Store, StoredEvent
from supervisor.fleet.feed import Feed

MOST_EVENTS: Final = 1000
"""In one stretch."""


class Stretch(NamedTuple):
    """A piece of the log.

    `dropped_to`: events up to that number were dropped before they could be read; None: none were.
    `events`: all that the log has after it (or after the number that was asked for), up to `to`.
    """

    dropped_to: int | None
    events: list[StoredEvent]
    to: int


class LogReader:
    """Reads the log in pieces."""

    def __init__(self, feed: Feed, store: Store) -> None:
        self._feed = feed
        self._store = store

    async def after(self, number: int, to: int, most: int = MOST_EVENTS) -> Stretch:
        """Events after a number and up to another, the first `most` of them at the most.

        Raises StoreUnavailable: to leave out what the store cannot give would be a gap.
        """
        here = self._feed.in_memory_after(number, most)
        if here is not None:
            return _cut(None, here, to)
        page = await self._feed.after(number, most)
        # after the page: what was dropped meanwhile shows as a gap
        dropped = await self._store.last_dropped_event()
        return _cut(dropped if dropped > number else None, page.events, to)


def _cut(dropped_to: int | None, events: list[StoredEvent], to: int) -> Stretch:
    """All up to `to`; where there are more pages before it, up to the end of this one."""
    within = [event for event in events if event.n <= to]
    if len(within) < len(events) or not events:
        return Stretch(dropped_to, within, to)
    return Stretch(dropped_to, within, within[-1].n)
