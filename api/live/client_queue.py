"""What waits to be sent to one client: bounded, and taken by the one writer of its connection.

Engine.IO asks its server for a queue for each client; this is that queue. What the library puts
into it (answers, pings) goes first; the frames of the feed are offered to it, and refused when the
client does not read as fast as things happen, so that whoever publishes never waits for anybody.
What one client may have waiting stands in feed_server.py (MOST_QUEUED_BYTES), what all of them may
have together in broadcast.py.
"""

import asyncio
from collections import deque
from typing import Final, NamedTuple

from engineio import packet

MOST_ANSWERS: Final = 64
"""Packets of the library that may wait. A client that asks and asks, and reads no answer, has
overrun it; whoever keeps the clients ends it.
"""
BURST_BYTES: Final = 256 * 1024
"""So much is handed out at once, in one long poll above all."""


class Frame(NamedTuple):
    """Events on their way, encoded once for all who get them.

    `to`: the number up to which who has it has all that he asked for. `events`: how many.
    """

    packet: packet.Packet
    size_bytes: int
    to: int
    events: int


class ClientQueue:
    """The queue of one client. `most_bytes`: of frames that may wait."""

    def __init__(self, most_bytes: int, now: float) -> None:
        self.opened_at = now
        """When the client's transport was opened, by the loop's clock."""
        self.admitted = False
        """Whether the client is let in."""
        self.ends_at = float("inf")
        """When its connection is to be closed, by the loop's clock."""
        self.calls = 0
        """Its client's HTTP calls that are under way."""
        self.overrun = False
        """Whether the client has left too many answers unread."""
        self.queued_bytes = 0
        self.sent_to = 0
        """The number up to which it was handed what it asked for."""
        self.sent_events = 0
        self._most_bytes = most_bytes
        self._answers = deque[packet.Packet]()
        self._frames = deque[Frame]()
        self._left_bytes = 0
        self._closed = False
        self._getters = deque[asyncio.Future[packet.Packet | None]]()
        self._drained = asyncio.Event()

    # --- the feed's side --------------------------------------------------------------------------

    def offer(self, frame: Frame) -> bool:
        """Add events; False: too much waits already, and nothing was added.

        After the end nothing waits any more: then they are let go.
        """
        if self._closed:
            return True
        if self.queued_bytes + frame.size_bytes > self._most_bytes and self._frames:
            return False
        self._frames.append(frame)
        self.queued_bytes += frame.size_bytes
        self._hand_out()
        return True

    def drop(self) -> int:
        """Drop the frames that wait; how many bytes they had."""
        dropped, self.queued_bytes = self.queued_bytes, 0
        self._frames.clear()
        self._drained.set()
        return dropped

    async def room(self, most_bytes: int) -> None:
        """Wait until no more than that waits. Whoever ends the client ends this, too."""
        while self.queued_bytes > most_bytes:
            self._drained.clear()
            await self._drained.wait()

    # --- the writer's side: what Engine.IO asks of a queue ---------------------------------------

    async def put(self, item: packet.Packet | None) -> None:
        """Add a packet of the library's; None, or its CLOSE, is the last one."""
        self.put_nowait(item)

    def put_nowait(self, item: packet.Packet | None) -> None:
        """The same; never waits: what a client leaves unread must hold up nobody."""
        if item is None:
            self._closed = True
        elif len(self._answers) >= MOST_ANSWERS:
            self.overrun = True
        else:
            self._answers.append(item)
            self._closed = self._closed or item.packet_type == packet.CLOSE
        if self._closed:
            self.drop()
        self._hand_out()

    def get(self) -> asyncio.Future[packet.Packet | None]:
        """The next packet; None: the connection is to be closed.

        A future and no coroutine: of that the library would make a task for each packet.
        """
        self._left_bytes = BURST_BYTES
        getter: asyncio.Future[packet.Packet | None] = asyncio.get_running_loop().create_future()
        self._getters.append(getter)
        self._hand_out()
        return getter

    def get_nowait(self) -> packet.Packet:
        """What else may go with the packet before. Raises asyncio.QueueEmpty."""
        taken = self._take() if self._left_bytes > 0 else None
        if taken is None:
            raise asyncio.QueueEmpty
        return taken

    def task_done(self) -> None:
        """Asked for by the library; nobody here waits for a client."""

    async def join(self) -> None:
        """The same: who closes a connection does not wait until its client has read."""

    def _hand_out(self) -> None:
        while self._getters and (self._answers or self._frames or self._closed):
            getter = self._getters.popleft()
            if not getter.done():  # else: whoever waited has given up
                getter.set_result(self._take())

    def _take(self) -> packet.Packet | None:
        if self._answers:
            return self._answers.popleft()
        if not self._frames:
            return None
        frame = self._frames.popleft()
        self.queued_bytes -= frame.size_bytes
        self._left_bytes -= frame.size_bytes
        self.sent_to, self.sent_events = frame.to, self.sent_events + frame.events
        self._drained.set()
        return frame.packet
