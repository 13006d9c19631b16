"""What clients of the live feed are sent, encoded: each event once for all of them. Pure."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec
from cachetools import LRUCache
from engineio import packet

from api.live.client_queue import Frame
from sessions.store import StoredEvent
from sessions.views.events import EventView

MOST_FRAME_BYTES: Final = 64 * 1024
"""A frame ends with the event that reaches this: a browser handles one at a time."""
MOST_TEXTS_BYTES: Final = 4 * 1024 * 1024
"""Of encoded events that are kept for those who come a little later."""


class EventTexts:
    """Events as JSON text; the latest are remembered."""

    def __init__(self) -> None:
        self._texts: LRUCache[int, str] = LRUCache(MOST_TEXTS_BYTES, len)

    def of(self, event: StoredEvent) -> str:
        """The event in its envelope."""
        text = self._texts.get(event.n)
        if text is None:
            text = msgspec.json.encode(EventView.of(event)).decode()
            if len(text) <= MOST_TEXTS_BYTES:
                self._texts[event.n] = text
        return text

    def clear(self) -> None:
        """Forget them: a session's were purged."""
        self._texts.clear()


def event_frames(
    texts: EventTexts, events: Iterable[StoredEvent], after: int, to: int
) -> Iterator[Frame]:
    """Frames with these events, and the news that there are no others after `after` up to `to`;
    one frame at least.
    """
    part, size, begin, last = list[str](), 0, after, after
    for event in events:
        if size >= MOST_FRAME_BYTES:
            yield _frame(part, begin, last)
            part, size, begin = [], 0, last
        text = texts.of(event)
        part.append(text)
        size, last = size + len(text), event.n
    yield _frame(part, begin, to)


def _frame(texts: Sequence[str], after: int, to: int) -> Frame:
    text = f'2["events",{{"after":{after},"to":{to},"events":[{",".join(texts)}]}}]'
    made = packet.Packet(packet.MESSAGE, text)
    # remembered in the packet: encoded once, whoever it is sent to
    return Frame(made, len(made.encode().encode()), to, len(texts))


def notice(name: str, told: Any) -> packet.Packet:
    """An event of the connection itself, as Socket.IO has it."""
    return packet.Packet(packet.MESSAGE, "2" + msgspec.json.encode([name, told]).decode())
