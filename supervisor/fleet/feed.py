"""The event log: bounded, numbered, durable; whoever follows it waits here.

An event is shown only when its number is durable, so that no number is ever shown twice with
another content.
"""

import asyncio
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Collection, Iterable
from itertools import islice
from typing import Final, NamedTuple

import msgspec
import structlog

from sessions.model import EventData, SessionId, StoreUnavailable
from sessions.ports import Origin
from sessions.records.changes import Changes
from sessions.store import Store, StoredEvent
from sessions.store.tables.events import Wanted
from supervisor.fleet.event_filter import EVERYTHING as EVERY_TYPE
from supervisor.fleet.event_filter import EventFilter
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
LOOKED_THROUGH: Final = 20_000
"""Events in memory that one call looks through at the most, some 10 ms; who asks goes on where it
has ended.
"""
OLDEST_SECONDS: Final = 1.0
"""So long is believed which event is the oldest. Asking the store for it was two thirds of what a
page costs, and one event wakes everybody who waits: of 200, each would ask.
"""
EVERY_EVENT: Final = EventFilter()

log = structlog.get_logger("feed")


class _About(msgspec.Struct):
    """What an event says of the message that it is about."""

    id: str


class Gap(NamedTuple):
    """Events, from number to number, that the log had no room for before they were read."""

    first: int
    last: int


class Page(NamedTuple):
    """Events, oldest first.

    `oldest`: the number of the oldest event that is still kept: who comes from before it has missed
    some.

    `last`: that of the newest one when the page was made. `read_to`: up to it no other event was
    asked for: whoever follows goes on from there.
    """

    events: list[StoredEvent]
    oldest: int | None
    last: int
    read_to: int = 0
    gap: Gap | None = None


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
        self._oldest_asked_at = float("-inf")
        self.purges = 0
        """How often events were dropped that others may keep; who does looks whether it has grown.
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
        encoded = msgspec.json.encode(event)
        future = self._store.append_event(session, event.type, encoded, event.about_message)
        future.add_done_callback(self._on_durable)

    def record(self, changes: Changes) -> None:
        """Have what has changed of a session made durable, and add the event that tells of it."""
        self._store.commit(changes).add_done_callback(self._on_durable)

    def deliver(self, session: SessionId, event: EventData, origin: Origin) -> asyncio.Future[bool]:
        """Add a worker's event, once.

        Done when it is durable: False if it was there already. Raises StaleEpoch, StoreError.
        """
        delivered: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        encoded = msgspec.json.encode(event)
        durable = self._store.append_worker_event(
            session,
            origin.epoch,
            origin.seq,
            event.type,
            encoded,
            origin.kept,
            event.about_message,
        )
        durable.add_done_callback(lambda done: self._on_delivered(done, delivered))
        return delivered

    async def after(
        self,
        number: int,
        limit: int,
        wait_seconds: float = 0.0,
        wanted: EventFilter = EVERY_EVENT,
    ) -> Page:
        """The events after a number that are wanted, at most so many and about PAGE_BYTES; waits
        for the first if told to. So many are looked through, and no more: then the page may be
        empty, and `read_to` says from where to go on.

        Raises StoreUnavailable if the store cannot give those that are no longer in memory: to
        leave them out would be a gap.
        """
        begin = await self._first_wanted(number, wait_seconds, wanted) if wait_seconds else number
        if begin >= self._not_here or not limit:
            (here, read_to), last = self._here_after(begin, limit, wanted), self._last
            # no gap: all that came after it is in memory, also what the store has dropped since
            return Page(here, await self._last_known_oldest(), last, read_to)
        async with self._reading:
            border = self._not_here  # the store is read up to it, and memory from there on
            (here, read_to), last = self._here_after(border, limit, wanted), self._last
            begin = max(begin, min(border, (self._oldest or 1) - 1))
            most = border if wanted.last is None else min(border, wanted.last)
            before, before_to = await self._store.events_between(
                begin, most, limit, PAGE_BYTES, _in_store(wanted)
            )
            # after them: what was dropped meanwhile shows as a gap
            self._oldest = await self._store.oldest_event()
        before = [
            event for event in map(of_today, before) if wanted.wants(event.session, event.type)
        ]
        gap = await self._gap(number, self._oldest, last)
        if before_to < border:
            return Page(before, self._oldest, last, before_to, gap)
        both = _page(before + here, limit)
        if len(both) < len(before) + len(here):
            read_to = both[-1].n
        return Page(both, self._oldest, last, read_to, gap)

    async def of_message(
        self, message: str, sessions: Collection[str] | None, after: int, limit: int
    ) -> list[StoredEvent]:
        """The events about a message, of these sessions (None: of all), after a number, oldest
        first. Raises StoreUnavailable.
        """
        found = await self._store.events_of_message(message, sessions, after, limit)
        return [event for event in found if _is_about(event, message)]

    async def oldest_time(self) -> float | None:
        """When the oldest event happened that is kept, seconds of wall clock; None: none is.

        Raises StoreUnavailable.
        """
        page = await self.after(0, 1)
        return page.events[0].time_ms / 1000 if page.events else None

    def in_memory_after(self, number: int, limit: int) -> tuple[list[StoredEvent], int] | None:
        """All events after a number, and up to which number that are all; without the store, so
        that following costs next to nothing. None: some of them are in the store alone.
        """
        return None if number < self._not_here else self._here_after(number, limit, EVERY_EVENT)

    async def news(self, seconds: float) -> None:
        """Wait for the next event, for so long at the most."""
        await self._arrives_after(self._last, seconds)

    async def trim(self) -> None:
        """Drop what is too old, or too much, also while nothing happens.

        Raises StoreUnavailable.
        """
        await self._store.trim_events()
        dropped = await self._store.last_dropped_event()
        if self._events and self._events[0].n <= dropped:
            self.purges += 1
            self._keep_those(lambda event: event.n > dropped)
            self._not_here = max(self._not_here, dropped)

    def _here_after(
        self, number: int, limit: int, wanted: EventFilter
    ) -> tuple[list[StoredEvent], int]:
        """Those of them that are in memory; and up to which number that are all."""
        first = bisect_right(self._events, number, key=lambda event: event.n)
        found, looked = list[StoredEvent](), number
        for event in islice(self._events, first, first + LOOKED_THROUGH):
            if wanted.last is not None and event.n > wanted.last:
                looked = max(number, wanted.last)  # also where its last numbers are of no event
                break
            looked = event.n
            if wanted.wants(event.session, event.type):
                found.append(event)
                if len(found) > limit:
                    break
        else:
            if len(self._events) - first <= LOOKED_THROUGH:
                looked = max(number, self._last)
        page = _page(found, limit)
        if len(page) < len(found):  # the next one begins with what did not fit
            looked = page[-1].n if page else number
        return page, looked

    async def _first_wanted(self, number: int, seconds: float, wanted: EventFilter) -> int:
        """Wait until there is an event after a number that is wanted, for so long at the most; from
        where on to read.
        """
        try:
            async with asyncio.timeout(seconds):
                while number >= self._not_here:
                    if wanted.last is not None and number >= wanted.last:
                        break  # no more can come
                    found, looked = self._here_after(number, 1, wanted)
                    if found:
                        break
                    if looked < self._last:
                        number = looked
                        await asyncio.sleep(0)  # much is looked through: others have their turn
                        continue
                    number = looked
                    await asyncio.shield(self._arrival)
        except TimeoutError:
            pass
        return number

    async def _gap(self, number: int, oldest: int | None, last: int) -> Gap | None:
        """What the log has dropped after a number; who has read nothing yet misses nothing."""
        if not number or number >= last or (oldest is not None and oldest <= number + 1):
            return None
        dropped = await self._store.last_dropped_event()
        return Gap(number + 1, dropped) if dropped > number else None

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
        now = asyncio.get_running_loop().time()
        if self._store.health.state == "ok" and now - self._oldest_asked_at >= OLDEST_SECONDS:
            self._oldest_asked_at = now
            try:
                self._oldest = await self._store.oldest_event()
            except StoreUnavailable as error:
                log.warning(
                    "the oldest event is not known now",
                    action="events_oldest_unknown",
                    error=str(error),
                )
        return self._oldest

    def _on_durable(
        self, done: "asyncio.Future[StoredEvent] | asyncio.Future[StoredEvent | None]"
    ) -> None:
        error = done.exception()
        if error is not None:
            # the store has said so, once for all
            log.debug("an event was lost", action="event_lost", error=str(error))
            return
        event = done.result()
        if event is not None:
            self._show(event)

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
        self._keep_those(lambda event: event.session != session)

    def _keep_those(self, stays: Callable[[StoredEvent], bool]) -> None:
        self._events = deque(event for event in self._events if stays(event))
        self._bytes = sum(_size(event) for event in self._events)

    def _keep(self, event: StoredEvent) -> None:
        self._events.append(event)
        self._bytes += _size(event)
        while len(self._events) > self._limit or self._bytes > MAX_BYTES:
            dropped = self._events.popleft()
            self._bytes -= _size(dropped)
            self._not_here = dropped.n


def _is_about(event: StoredEvent, message: str) -> bool:
    """Whether it is: the store goes by a part of a digest."""
    try:
        return msgspec.json.decode(event.data, type=_About).id == message
    except msgspec.MsgspecError:
        return False


def _in_store(wanted: EventFilter) -> Wanted:
    """The same for the store, which knows types by the names that they had."""
    if EVERY_TYPE in wanted.types:
        return Wanted(wanted.sessions)
    groups = {kind.removesuffix(".*") for kind in wanted.types if kind.endswith(".*")}
    return Wanted(wanted.sessions, set(wanted.types), groups)


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
