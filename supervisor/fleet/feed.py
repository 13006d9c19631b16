"""The event log: bounded, numbered, durable; whoever follows it waits here.

An event is shown only when its number is durable, so that no number is ever shown twice with
another content.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from itertools import islice
from typing import Final, NamedTuple

import msgspec
import structlog

from sessions.model import EventData, SessionId, StoreUnavailable
from sessions.ports import Origin
from sessions.store import Store, StoredEvent
from supervisor.fleet.older_events import of_today

MAX_BYTES: Final = 16 * 1024 * 1024
"""What /events keeps in memory at the most, however long the texts are that strangers send."""
PAGE_BYTES: Final = 1024 * 1024
"""A page ends with the event that reaches this; who follows goes on from its last number anyway."""
READERS: Final = 4
"""How many pages are read back from the store at once: what a fleet of consumers that catch up may
hold in memory is bounded by it.
"""
EVENT_BYTES: Final = 200
"""An event without its data, roughly."""

log = structlog.get_logger("feed")


class Page(NamedTuple):
    """Events, oldest first.

    `oldest`: the number of the oldest event that is still kept: who comes from before it has missed
    some.

    `last`: that of the newest one when the page was made.
    """

    events: list[StoredEvent]
    oldest: int | None
    last: int


class Feed:
    """Publish and follow. Publishing never waits for anybody who follows."""

    def __init__(self, store: Store, events: list[StoredEvent], limit: int) -> None:
        self._store = store
        self._events: deque[StoredEvent] = deque()
        self._limit = limit
        self._bytes = 0
        self._reading = asyncio.Semaphore(READERS)
        self._not_here = events[0].n - 1 if events else 0
        """Events up to this number are in the store alone."""
        self._oldest: int | None = None
        self.purges = 0
        """How often a session's events were dropped; who keeps events looks whether it has grown.
        """
        for event in events:
            self._keep(event)
        self._arrival: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._last = events[-1].n if events else 0

    @classmethod
    async def open(cls, store: Store, limit: int) -> "Feed":
        """The feed, with what the store keeps of earlier events."""
        kept = await store.last_events(MAX_BYTES)
        feed = cls(store, [of_today(event) for event in kept], limit)
        feed._oldest = await store.oldest_event()
        return feed

    @property
    def last(self) -> int:
        """The newest event's number."""
        return self._last

    def publish(self, session: SessionId | None, event: EventData) -> None:
        """Add an event."""
        future = self._store.append_event(session, event.type, msgspec.json.encode(event))
        future.add_done_callback(self._on_durable)

    def deliver(self, session: SessionId, event: EventData, origin: Origin) -> asyncio.Future[bool]:
        """Add a worker's event, once.

        Done when it is durable: False if it was there already. Raises StaleEpoch, StoreError.
        """
        delivered: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        encoded = msgspec.json.encode(event)
        durable = self._store.append_worker_event(
            session, origin.epoch, origin.seq, event.type, encoded, origin.kept
        )
        durable.add_done_callback(lambda done: self._on_delivered(done, delivered))
        return delivered

    async def after(self, number: int, limit: int, wait_seconds: float = 0.0) -> Page:
        """The events after a number, at most so many and about PAGE_BYTES, and some if there are
        any; waits for the first if told to.

        Raises StoreUnavailable if the store cannot give those that are no longer in memory: to
        leave them out would be a gap.
        """
        if wait_seconds:
            await self._arrives_after(number, wait_seconds)
        if number >= self._not_here or not limit:
            here, last = self._here_after(number, limit), self._last
            return Page(here, await self._last_known_oldest(), last)
        async with self._reading:
            here, last = (
                self._here_after(number, limit),
                self._last,
            )  # together with the border that the store reads up to
            before, all_of_them = await self._store.events_between(
                number, self._not_here, limit, PAGE_BYTES
            )
            # after them: what was dropped meanwhile shows as a gap
            self._oldest = await self._store.oldest_event()
        before = [of_today(event) for event in before]
        return Page(_page(before + here if all_of_them else before, limit), self._oldest, last)

    def in_memory_after(self, number: int, limit: int) -> list[StoredEvent] | None:
        """The same without the store, so that following costs next to nothing; None: some of them
        are in the store alone.
        """
        return None if number < self._not_here else self._here_after(number, limit)

    async def news(self, seconds: float) -> None:
        """Wait for the next event, for so long at the most."""
        await self._arrives_after(self._last, seconds)

    def _here_after(self, number: int, limit: int) -> list[StoredEvent]:
        """Those of them that are in memory."""
        newer = 0
        for event in reversed(self._events):
            if event.n <= number:
                break
            newer += 1
        first = len(self._events) - newer
        return _page(islice(self._events, first, None), limit)

    async def _arrives_after(self, number: int, seconds: float) -> None:
        """Wait until there is an event after a number, for so long at the most."""
        try:
            async with asyncio.timeout(seconds):
                while self._last <= number:
                    await asyncio.shield(self._arrival)
        except TimeoutError:
            return

    async def _last_known_oldest(self) -> int | None:
        """Who has followed so far misses nothing: for him a store in trouble need not be asked."""
        if self._store.health.state == "ok":
            try:
                self._oldest = await self._store.oldest_event()
            except StoreUnavailable as error:
                log.warning(
                    "the oldest event is not known now",
                    action="events_oldest_unknown",
                    error=str(error),
                )
        return self._oldest

    def _on_durable(self, done: "asyncio.Future[StoredEvent]") -> None:
        error = done.exception()
        if error is not None:
            # the store has said so, once for all
            log.debug("an event was lost", action="event_lost", error=str(error))
            return
        self._show(done.result())

    def _on_delivered(
        self, done: "asyncio.Future[StoredEvent | None]", delivered: asyncio.Future[bool]
    ) -> None:
        error = done.exception()
        if error is not None:
            delivered.set_exception(error)
            return
        event = done.result()
        if event is not None:
            self._show(event)
        delivered.set_result(event is not None)

    def _show(self, event: StoredEvent) -> None:
        self._keep(event)
        self._last = event.n
        if self._oldest is None:
            self._oldest = event.n  # the log was empty
        arrival, self._arrival = self._arrival, asyncio.get_running_loop().create_future()
        arrival.set_result(None)

    def forget(self, session: SessionId) -> None:
        """Drop a session's events, as it was purged."""
        self.purges += 1
        self._events = deque(event for event in self._events if event.session != session)
        self._bytes = sum(_size(event) for event in self._events)

    def _keep(self, event: StoredEvent) -> None:
        self._events.append(event)
        self._bytes += _size(event)
        while len(self._events) > self._limit or self._bytes > MAX_BYTES:
            dropped = self._events.popleft()
            self._bytes -= _size(dropped)
            self._not_here = dropped.n


def _page(events: Iterable[StoredEvent], limit: int) -> list[StoredEvent]:
    """The first of them that make a page."""
    page, size = list[StoredEvent](), 0
    for event in islice(events, limit):
        page.append(event)
        size += _size(event)
        if size >= PAGE_BYTES:
            break
    return page


def _size(event: StoredEvent) -> int:
    return EVENT_BYTES + len(bytes(event.data))
