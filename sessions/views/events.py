"""Events as they are told, in `/events`, the live feed and webhooks: the one envelope of all; and
what a session and its messages tell in it.

The names and the fields are a contract with scripts of others (docs/events.md); what a worker's
frames are called is none of theirs.
"""

from typing import Any, ClassVar, Final, Self

import msgspec

from sessions.messages.numbers import USER_SERVER
from sessions.model import EventData
from sessions.store.tables.rows import StoredEvent
from sessions.views.session_view import Reconnection
from sessions.views.times import iso
from sessions.workers import wire

MAX_TEXT: Final = 256 * 1024
"""Characters of a message's text that are shown; WhatsApp's own clients send 65,536 at the most."""
MAX_IDENTIFIER: Final = 1024
"""Characters of everything else in a message: ids and jids, some of which strangers choose."""
LID_SERVER: Final = "lid"
KINDS: Final = {
    "conversation": "text",
    "extendedTextMessage": "text",
    "ptvMessage": "video",
    "contactsArrayMessage": "contacts",
    "pollCreationMessage": "poll",
    "pollCreationMessageV2": "poll",
    "pollCreationMessageV3": "poll",
}
"""WhatsApp's own names of contents, where an operator would say it otherwise. Of all others only
the word "Message" at their end is left out: `image`, `audio`, `document`, `sticker`, `location`.
"""


# --- the envelope ---------------------------------------------------------------------------------


class EventHead(msgspec.Struct, frozen=True):
    """An event without its `data`.

    `n` grows; `id` names it for ever; `session` None: the fleet's, or the host's.
    """

    n: int
    id: str
    type: str
    time: str
    session: str | None

    @classmethod
    def of(cls, event: StoredEvent) -> "EventHead":
        """The head of an event of the log."""
        return EventHead(event.n, event.id, event.type, iso(event.time_ms / 1000), event.session)


class EventView(EventHead, frozen=True):
    """Something that has happened (docs/events.md).

    `n` grows; `id` names it for ever; `session` None: the fleet's, or the host's.
    """

    data: dict[str, Any]

    @classmethod
    def of(cls, event: StoredEvent) -> "EventView":
        """An event of the log."""
        data: Any = event.data  # stored as JSON, and encoded as it is
        return EventView(
            event.n, event.id, event.type, iso(event.time_ms / 1000), event.session, data
        )


# --- sessions -------------------------------------------------------------------------------------


class SessionCreated(EventData, frozen=True):
    """There is a new session, or a deleted one is back. `started`: whether it runs."""

    type: ClassVar[str] = "session.created"
    started: bool


class SessionDeleted(EventData, frozen=True):
    """A session is gone. `purged`: its credentials were destroyed; else they are archived."""

    type: ClassVar[str] = "session.deleted"
    purged: bool


class SessionMoved(Reconnection, EventData, frozen=True, kw_only=True, rename="camel"):
    """A session has come to another state; the fields are those of `/reconnection-status`."""

    type: ClassVar[str] = "session.state"
    previous_state: str


class QrShown(EventData, frozen=True):
    """A QR waits for a phone. `number`: which one of this attempt; `renewed`: WhatsApp has retired
    the one before.
    """

    type: ClassVar[str] = "session.qr"
    qr: str
    number: int
    renewed: bool


class PairingCodeShown(EventData, frozen=True):
    """A code waits to be typed on the phone. `renewed`: it replaces one that became void."""

    type: ClassVar[str] = "session.pairing_code"
    code: str
    renewed: bool


class SessionPaired(EventData, frozen=True):
    """A phone has linked the session as its device; it logs in next."""

    type: ClassVar[str] = "session.paired"


class SessionAdopted(EventData, frozen=True):
    """A new supervisor has taken over the session's living worker.

    `stage`: where its socket stood: `idle`, `connecting`, `login`, `qr`, `paired` or `open`.
    """

    type: ClassVar[str] = "session.adopted"
    worker: str
    pid: int
    stage: str


class SessionRestored(EventData, frozen=True):
    """Archived credentials were put back. `archive`: its number; `reason`: why it was made."""

    type: ClassVar[str] = "session.restored"
    archive: int
    reason: str


class ProxyChanged(EventData, frozen=True):
    """The session goes out another way. `proxy`: without user and password; null: directly."""

    type: ClassVar[str] = "session.proxy_changed"
    proxy: str | None


# --- messages -------------------------------------------------------------------------------------


class Party(msgspec.Struct, frozen=True, rename="camel"):
    """A person or a group.

    `jid`: WhatsApp's id; `phone`: digits with the country code; `lid`: the id that WhatsApp gives
    to people whose number it does not show. Each of the three can be written to.
    """

    jid: str
    phone: str | None = None
    lid: str | None = None

    @classmethod
    def of(cls, jid: str) -> Self:
        """What a jid alone says."""
        jid = jid[:MAX_IDENTIFIER]
        user, _, server = jid.rpartition("@")
        number = user.partition(":")[0]
        return cls(
            jid,
            phone=number if server == USER_SERVER else None,
            lid=f"{number}@{server}" if server == LID_SERVER else None,
        )


class _Message(EventData, frozen=True, kw_only=True):
    """A message.

    `chat`: the person or the group; `sender`: who wrote it (null: this account); `at`: when, by
    WhatsApp's clock (null: it names no time); `kind`: what it holds, as `text` or `image`; `text`:
    its text or caption, if it has one.
    """

    id: str
    chat: Party
    sender: Party | None
    from_me: bool
    push_name: str | None = None
    """What the sender calls himself; null: not known."""
    at: str | None
    kind: str | None
    text: str | None

    @property
    def about_message(self) -> str:
        """Its own."""
        return self.id


class MessageReceived(_Message, frozen=True, kw_only=True):
    """Somebody has written to the session."""

    type: ClassVar[str] = "message.received"


class MessageSent(_Message, frozen=True, kw_only=True):
    """The account itself has written, on its phone or another of its devices."""

    type: ClassVar[str] = "message.sent"


class MessageStatus(EventData, frozen=True):
    """What has become of a message that the account has sent.

    `by`: who answers for it: the chat, or in a group each reader.
    """

    type: ClassVar[str] = "message.status"
    id: str
    by: Party
    status: str
    """`server_ack`, `delivered`, `read`, `played` or `error`."""

    @property
    def about_message(self) -> str:
        """Its own."""
        return self.id


def of_frame(frame: wire.Message | wire.Receipt) -> MessageReceived | MessageSent | MessageStatus:
    """What a worker reports of a message, for whoever reads events.

    What a stranger may make as long as he likes is cut, not refused: he must not be able to end a
    worker.
    """
    if isinstance(frame, wire.Receipt):
        return MessageStatus(
            id=frame.id[:MAX_IDENTIFIER], by=Party.of(frame.sender), status=frame.status
        )
    made = MessageSent if frame.from_me else MessageReceived
    author = frame.participant or (None if frame.from_me else frame.sender)
    return made(
        id=frame.id[:MAX_IDENTIFIER],
        chat=Party.of(frame.sender),
        sender=None if author is None else Party.of(author),
        from_me=frame.from_me,
        at=_instant(frame.timestamp_seconds),
        kind=None if frame.kind is None else _kind(frame.kind),
        text=None if frame.text is None else frame.text[:MAX_TEXT],
    )


def _kind(name: str) -> str:
    return KINDS.get(name, name[:MAX_IDENTIFIER].removesuffix("Message"))


def _instant(seconds: int) -> str | None:
    try:
        return iso(seconds)
    except (OverflowError, OSError, ValueError):  # a stranger's clock may say anything
        return None
