"""Sends what happens to everybody who asked for it.

Who asks for the same stands in one room, and what goes to a room is made once. Whoever comes from
behind reads the log at his own pace, and enters his room at the number up to which it was served:
no gap, and nothing twice. Nobody waits for anybody: a client that does not read fast enough is told
to resync, and leaves its room.
"""

import asyncio
from typing import Final

import structlog
from engineio import packet

from api.live.admission.connection import Connection
from api.live.client_queue import Frame
from api.live.frames import EventTexts, event_frames, notice
from api.live.log_reader import LogReader, Piece
from api.live.observer import FeedObserver, Resync
from sessions.forever import describe
from supervisor.fleet.event_filter import EventFilter
from supervisor.fleet.feed import Feed, Gap

QUIET_SECONDS: Final = 25.0
"""So often at least, while things happen, a room is told up to which number there was nothing for
it: else its clients could not tell silence from loss, and would come back with an old number.
"""
AHEAD_BYTES: Final = 128 * 1024
"""Of a client that catches up, what may wait to be sent before more of the log is made ready: twice
a frame, so that its writer never waits for one.
"""
MOST_EVENTS: Final = 256
"""Of one turn: each is held against what each room asks for, without a pause."""
MOST_WAITING_BYTES: Final = 256 * 1024 * 1024
"""What may wait for all clients in rooms together; beyond it whoever has most waiting is told to
resync. Whoever catches up has AHEAD_BYTES and a frame of its own, and a page of the log
(log_reader.py).
"""
FAILED_RETRY_SECONDS: Final = 1.0
"""After the store has refused a page to somebody who catches up."""

log = structlog.get_logger("live")


class _Room:
    """Those who ask for the same.

    `told_to`: up to which number they have been told what there is; `told_at`: when.
    """

    def __init__(self, told_to: int, told_at: float) -> None:
        self.members = set[Connection]()
        self.told_to = told_to
        self.told_at = told_at


class Broadcast:
    """The rooms, and how far they have been served."""

    def __init__(self, feed: Feed, reader: LogReader, observer: FeedObserver) -> None:
        self.position = feed.last
        """Rooms have been served up to this number."""
        self._feed = feed
        self._reader = reader
        self._observer = observer
        self._rooms: dict[EventFilter, _Room] = {}
        self._room_of: dict[Connection, EventFilter] = {}
        self._moved = asyncio.Event()
        """Set, and replaced, when the position has moved on."""
        self._texts = EventTexts()
        self._purges = 0

    async def turn(self) -> None:
        """Serve the rooms what has happened since the turn before; waits for something if there is
        nothing.
        """
        if self._feed.last <= self.position:
            await self._feed.news(QUIET_SECONDS)
        if self._rooms:
            piece = await self._reader.every_event(self.position, self._feed.last, MOST_EVENTS)
            self._forget_purged()
            # without a pause: whoever enters a room meanwhile would miss the piece
            for wanted, room in list(self._rooms.items()):
                self._serve(wanted, room, piece)
            self.position = piece.to
        else:
            self.position = self._feed.last
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()

    def begin(self, connection: Connection, after: int) -> None:
        """Serve a client what it asks for after a number, instead of what it was served before."""
        self.end(connection)
        connection.position = after
        if not connection.queue.queued_bytes:  # else: what waits is still to be handed out
            connection.queue.sent_to = after
        if after == self.position:
            self._enter(connection)
            return
        work = self._catch_up(connection)
        connection.catching_up = asyncio.create_task(work, name=f"catch-up of {connection.id}")

    def end(self, connection: Connection) -> None:
        """Serve it no more; what waits for it goes on its way."""
        if connection.catching_up is not None:
            connection.catching_up.cancel()
            connection.catching_up = None
        wanted = self._room_of.pop(connection, None)
        if wanted is not None:
            room = self._rooms[wanted]
            room.members.discard(connection)
            connection.position = self.position
            if not room.members:
                del self._rooms[wanted]

    def cut(self, connection: Connection) -> int:
        """Serve it no more, nor what waits for it; how many bytes that had. It goes on where it was
        handed something last.
        """
        self.end(connection)
        dropped_bytes = connection.queue.drop()
        if connection.position is not None:
            connection.position = connection.queue.sent_to
        return dropped_bytes

    def resync(self, connection: Connection) -> None:
        """It does not read fast enough: drop what waits for it, and tell it where to go on."""
        dropped_bytes = self.cut(connection)
        connection.asked = None
        told = {
            "reason": "slow",
            "after": connection.queue.sent_to,
            "last": self._feed.last,
            "droppedBytes": dropped_bytes,
            "message": "You do not read as fast as things happen; what waited for you was dropped.",
            "hint": "Subscribe again: after `after` for all that you have missed, after `last` for"
            " what comes.",
        }
        connection.queue.put_nowait(notice("resync", told))
        log.warning(
            "a client of the live feed is too slow and was told to resync",
            action="feed_slow",
            client=connection.principal.name,
            dropped_bytes=dropped_bytes,
            after=connection.queue.sent_to,
        )
        try:
            self._observer.on_resync(
                Resync(principal=connection.principal.name, queued_bytes=dropped_bytes)
            )
        except Exception as error:  # whoever counts must not stop what is sent to others
            log.error(
                "an observer of the live feed failed", action="observer_failed", exc_info=error
            )

    def bound(self) -> None:
        """Let no more wait for all clients in rooms together than may.

        In a room they wait for the same frames, so it weighs as much as its slowest member.
        """
        slowest = {
            id(room): max(room.members, key=lambda one: one.queue.queued_bytes)
            for room in self._rooms.values()
            if room.members
        }
        waiting = sorted(slowest.values(), key=lambda one: one.queue.queued_bytes)
        total = sum(one.queue.queued_bytes for one in waiting)
        while total > MOST_WAITING_BYTES:
            worst = waiting.pop()
            total -= worst.queue.queued_bytes
            self.resync(worst)

    # --- rooms ------------------------------------------------------------------------------------

    def _serve(self, wanted: EventFilter, room: _Room, piece: Piece) -> None:
        events = [event for event in piece.events if wanted.wants(event.session, event.type)]
        now = asyncio.get_running_loop().time()
        quiet = not events and piece.gap is None
        if quiet and (piece.to == room.told_to or now - room.told_at < QUIET_SECONDS):
            return
        frames = [] if piece.gap is None else [_gap_frame(piece.gap)]
        frames += event_frames(self._texts, events, room.told_to, piece.to)
        room.told_to, room.told_at = piece.to, now
        for connection in list(room.members):
            if not all(connection.queue.offer(frame) for frame in frames):
                self.resync(connection)

    def _enter(self, connection: Connection) -> None:
        wanted = connection.wanted
        assert wanted is not None, "who begins has asked for something"
        room = self._rooms.get(wanted)
        if room is None:
            now = asyncio.get_running_loop().time()
            room = self._rooms[wanted] = _Room(self.position, now)
        room.members.add(connection)
        self._room_of[connection] = wanted

    async def _catch_up(self, connection: Connection) -> None:
        """Read the log for one client until it stands where the rooms do, and let it in."""
        while True:
            try:
                await self._read_on(connection)
            except asyncio.CancelledError:
                raise
            except Exception as error:
                # the store, mostly; what cannot be read now is read later, never left out
                log.warning(
                    "a client of the live feed cannot catch up; it is tried again",
                    action="feed_catch_up",
                    client=connection.principal.name,
                    error=describe(error),
                )
                await asyncio.sleep(FAILED_RETRY_SECONDS)
                continue
            connection.catching_up = None
            self._enter(connection)
            return

    async def _read_on(self, connection: Connection) -> None:
        wanted = connection.wanted
        assert wanted is not None, "it has asked for something"
        while (position := connection.position) != self.position:
            assert position is not None, "it has begun"
            if position > self.position:  # it has read elsewhere what the rooms are about to get
                await self._moved.wait()
                continue
            piece = await self._reader.wanted(position, self.position, wanted)
            self._forget_purged()
            if piece.gap is not None:
                await self._give(_gap_frame(piece.gap), connection)
            if piece.events or piece.to >= self.position:
                for frame in event_frames(self._texts, piece.events, position, piece.to):
                    await self._give(frame, connection)
                    connection.position = frame.to
            connection.position = piece.to

    async def _give(self, frame: Frame, connection: Connection) -> None:
        await connection.queue.room(AHEAD_BYTES)
        while not connection.queue.offer(frame):
            await connection.queue.room(0)

    def _forget_purged(self) -> None:
        if self._feed.purges != self._purges:
            self._purges = self._feed.purges
            self._texts.clear()


def _gap_frame(gap: Gap) -> Frame:
    """The news that events were dropped from the log before they could be sent."""
    told = {
        "first": gap.first,
        "last": gap.last,
        "message": f"The log had no room for events {gap.first} to {gap.last} any more.",
        "hint": "Read the present state (GET /sessions); see WHATSAPP_EVENT_LOG_DAYS and"
        " WHATSAPP_EVENT_LOG_MAX_MIB.",
    }
    made: packet.Packet = notice("gap", told)
    return Frame(made, len(made.encode()), gap.last, 0)
