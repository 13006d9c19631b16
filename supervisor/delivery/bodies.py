"""The events that webhooks are about to send: read from the log when they are needed, and kept,
within a bound, while several webhooks send the same.
"""

import asyncio
from collections import OrderedDict
from typing import Final

from sessions.store import Store, StoredEvent
from supervisor.fleet.feed import EVENT_BYTES, Feed, Page

MAX_BYTES: Final = 4 * 1024 * 1024
"""Of all webhooks together; what is in the feed's own memory is kept there, too, and costs nothing.
"""
READ_AHEAD: Final = 100
"""The next ones in the log are mostly the next ones that are wanted."""
PAGE: Final = 500


class Bodies:
    """Events by number."""

    def __init__(self, feed: Feed, store: Store) -> None:
        self._feed = feed
        self._store = store
        self._kept: OrderedDict[int, StoredEvent] = OrderedDict()
        self._bytes = 0
        self._purges = feed.purges
        self._reading = asyncio.Lock()

    @property
    def last(self) -> int:
        """The newest event's number."""
        return self._feed.last

    @property
    def purges(self) -> int:
        """How often events were dropped that others may keep: a page that was read before the
        last time may hold what nobody is to be sent.
        """
        return self._feed.purges

    async def after(self, n: int) -> Page:
        """The next events of the log. Raises StoreUnavailable."""
        return await self._read(n, PAGE)

    async def get(self, n: int) -> StoredEvent | None:
        """The event of that number; None: the log does not have it any more.

        Raises StoreUnavailable.
        """
        if (found := self._known(n)) is not None:
            return found
        async with self._reading:  # 20 requests want 20 neighbours, which one page has
            if (found := self._known(n)) is not None:
                return found
            page = await self._read(n - 1, READ_AHEAD)
        return next((event for event in page.events if event.n == n), None)

    async def first_after(self, n: int) -> StoredEvent | None:
        """The next event that the log has; None: there is none. Raises StoreUnavailable."""
        return self._known(n + 1) or next(iter((await self._page(n, 1)).events), None)

    async def last_dropped(self) -> int:
        """The newest event that the log had no room for. Raises StoreUnavailable."""
        return await self._store.last_dropped_event()

    async def last_before(self, time_ms: int) -> int:
        """The newest event that is older. Raises StoreUnavailable."""
        return await self._store.last_event_before(time_ms)

    async def _read(self, n: int, limit: int) -> Page:
        """The next ones, which are kept."""
        page = await self._page(n, limit)
        self._forget_purged()
        for event in page.events:
            self._keep(event)
        return page

    async def _page(self, n: int, limit: int) -> Page:
        """The next ones, as the log has them when this ends: what was read while a session was
        purged may hold its texts, and is read again.
        """
        while True:
            purges = self._feed.purges
            page = await self._page_now(n, limit)
            if purges == self._feed.purges:
                return page

    async def _page_now(self, n: int, limit: int) -> Page:
        """The next ones; who has followed so far is asked nothing of the store."""
        known = self._feed.in_memory_after(n, limit)
        if known is None:
            return await self._feed.after(n, limit)
        events, read_to = known
        return Page(events[:limit], None, self._feed.last, read_to)

    def _known(self, n: int) -> StoredEvent | None:
        self._forget_purged()
        return self._kept.get(n)

    def _forget_purged(self) -> None:
        """If a session was purged: its texts are sent to nobody any more."""
        if self._purges != self._feed.purges:
            self._purges = self._feed.purges
            self._kept.clear()
            self._bytes = 0

    def _keep(self, event: StoredEvent) -> None:
        if event.n in self._kept:
            return
        self._kept[event.n] = event
        self._bytes += _size(event)
        while self._bytes > MAX_BYTES and len(self._kept) > 1:
            _, dropped = self._kept.popitem(last=False)
            self._bytes -= _size(dropped)


def _size(event: StoredEvent) -> int:
    return EVENT_BYTES + len(bytes(event.data))
