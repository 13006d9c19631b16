"""The frames between supervisor and worker: NDJSON, as typed values.

Pure: bytes in, structs out.

docs/wire.md describes every frame; `worker/wire.js` is the Node mirror;
`sessions/worker/frames.fixtures.json` is read by the tests of both. Values of keys and credentials
stay raw JSON bytes: the supervisor carries them and never looks inside.
"""

import enum
import re
from typing import Annotated, Final

import msgspec

from sessions.model import CloseReason

PROTOCOL: Final = 2
MAX_FRAME_BYTES: Final = 32 * 1024 * 1024
"""A first pre-key upload is some 300 kB; a hundred times that is a runaway, not a frame."""


UNREADABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes that are not the JSON that was asked for."""


MAX_EXACT: Final = 2**53 - 1
"""The largest whole number that JavaScript counts exactly: no honest worker sends a larger one."""
Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_EXACT)]
Number = Annotated[int, msgspec.Meta(ge=-MAX_EXACT, le=MAX_EXACT)]
"""Where it may be negative, such as an exit status, or a time of a stranger's clock."""
Measure = Annotated[float, msgspec.Meta(ge=-1e15, le=1e15)]
Word = Annotated[str, msgspec.Meta(max_length=256)]
"""Names and words that our own worker chooses."""
Line = Annotated[str, msgspec.Meta(max_length=64 * 1024)]
"""What a server may say at an end, or a person call himself: shown shortened."""
Facts = Annotated[dict[Word, Line], msgspec.Meta(max_length=256)]
Names = Annotated[list[str], msgspec.Meta(max_length=50_000)]
"""Of keys.

A large group has some 5,000 devices; what strangers choose as names is not measured here, as they
may not end a worker.
"""
Entries = Annotated[list["KeyEntry"], msgspec.Meta(max_length=200_000)]
"""The largest write is a first history's: thousands of mappings."""


class WireError(Exception):
    """These bytes do not say what they should."""


class Frame(msgspec.Struct, frozen=True, tag_field="type", kw_only=True):
    """What every frame has: a `type`."""


class SessionFrame(Frame, frozen=True):
    """A frame about one session."""

    session: Word


# --- up: worker -> supervisor ---------------------------------------------------------------------


class HowClosed(msgspec.Struct, frozen=True, kw_only=True):
    """How an attempt or an open socket ended: told at once by the frame `closed`, and again by
    `hello`, of the last one, to a supervisor that may not have heard it.
    """

    code: Number | None
    message: Line
    data: Facts | None
    registered: bool
    reason: CloseReason


class Stage(enum.StrEnum):
    """Where the socket of a session stands, as its worker sees it."""

    IDLE = "idle"
    CONNECTING = "connecting"
    LOGIN = "login"
    QR = "qr"
    PAIRED = "paired"
    OPEN = "open"


class Stall(enum.StrEnum):
    """What does not move although the server answers probes."""

    OFFLINE_QUEUE = "offline_queue"
    """The server has announced what it kept for us, and none of it has come for a minute."""
    SENDS = "sends"
    """Two texts in a row have had no ack."""


class Held(msgspec.Struct, frozen=True, kw_only=True):
    """What a worker holds of a session when it says hello (docs/wire.md)."""

    session: Word
    epoch: Count
    attempt: Count
    stage: Stage
    qr: Line | None = None
    qr_number: Count | None = None
    pairing_code: Word | None = None
    jid: Line | None = None
    name: Line | None = None
    open_for_ms: Measure | None = None
    closed: HowClosed | None = None


class Hello(Frame, frozen=True, tag="hello"):
    """First frame of a worker on each connection: who it is, and what it holds."""

    protocol: Count
    worker: Word
    token: Word
    pid: Count
    node_version: Word
    baileys_version: Word
    code: Word
    sessions: Annotated[list[Held], msgspec.Meta(max_length=1000)]


class State(SessionFrame, frozen=True, tag="state"):
    """The attempt has come to a stage: `upgraded` (to a WebSocket), `login` (payload handed to the
    socket), `paired`, or `qr_retired` (what was shown is void).
    """

    attempt: Count
    stage: Word


class Qr(SessionFrame, frozen=True, tag="qr"):
    """What a phone may scan or type now.

    Workers of 0.1.0 send the QR alone: the rest is then unknown.
    """

    attempt: Count
    qr: Line
    qr_number: Count | None = None
    renewed: bool | None = None
    pairing_code: Word | None = None


class Opened(SessionFrame, frozen=True, tag="opened"):
    """Logged in."""

    attempt: Count
    jid: Line
    name: Line | None = None


class Closed(SessionFrame, frozen=True, tag="closed"):
    """The attempt or the open socket has ended; once for each `connect`. The facts are those of
    HowClosed.
    """

    attempt: Count
    code: Number | None
    message: Line
    data: Facts | None
    registered: bool
    reason: CloseReason


class KeysGet(SessionFrame, frozen=True, tag="keys.get"):
    """A read of Signal keys."""

    epoch: Count
    id: Count
    kind: str
    names: Names


class KeyEntry(msgspec.Struct, frozen=True):
    """One key to write; a `null` value deletes it."""

    kind: str
    name: str
    value: msgspec.Raw

    @property
    def deleted(self) -> bool:
        """Whether the entry deletes its key."""
        return bytes(self.value).strip() == b"null"


class KeysSet(SessionFrame, frozen=True, tag="keys.set"):
    """A write of Signal keys or credentials; acknowledged only when durable."""

    epoch: Count
    seq: Count
    entries: Entries


class Message(SessionFrame, frozen=True, tag="message"):
    """An inbound message."""

    epoch: Count
    seq: Count
    id: str
    sender: str = msgspec.field(name="from")
    participant: str | None
    text: str | None
    timestamp_seconds: Number
    kind: str | None
    from_me: bool
    kept: Names = []
    """Names of the entries of kind `inbound` that are no longer needed when the event is
    durable.
    """


class Receipt(SessionFrame, frozen=True, tag="receipt"):
    """What became of a message that we sent."""

    epoch: Count
    seq: Count
    id: str
    sender: str = msgspec.field(name="from")
    status: Word


class Probed(SessionFrame, frozen=True, tag="probed"):
    """Answer to `probe`."""

    id: Count
    ok: bool
    round_trip_ms: Measure | None
    silent: bool
    stalled: Stall | None = None
    """What does not move although the server answers."""


class Phone(SessionFrame, frozen=True, tag="phone"):
    """A sign of the account's own phone, sent at that second of wall clock.

    Told at most once in ten minutes.
    """

    seen_at_seconds: Number


class ReplyError(msgspec.Struct, frozen=True):
    """Why a request failed."""

    code: Word
    message: Line


class Replied(SessionFrame, frozen=True, tag="replied"):
    """Answer to `send` and `pairing-code`."""

    id: Count
    ok: bool
    result: Facts | None = None
    error: ReplyError | None = None


class Beat(Frame, frozen=True, tag="beat"):
    """Heartbeat: the worst event-loop delay since the last one, and memory."""

    lag_ms: Measure
    rss_bytes: Count
    heap_bytes: Count


Up = (
    Hello
    | State
    | Qr
    | Opened
    | Closed
    | KeysGet
    | KeysSet
    | Message
    | Receipt
    | Probed
    | Phone
    | Replied
    | Beat
)


# --- down: supervisor -> worker -------------------------------------------------------------------


class Assign(SessionFrame, frozen=True, tag="assign"):
    """The session is yours; `creds` null = never paired."""

    epoch: int
    creds: msgspec.Raw
    proxy: str | None = None
    inbound: dict[str, msgspec.Raw] = {}
    """What earlier workers have decrypted and no event has shown: the entries of kind `inbound`, by
    name.
    """


class Connect(SessionFrame, frozen=True, tag="connect"):
    """Open one socket."""

    attempt: int


class Close(SessionFrame, frozen=True, tag="close"):
    """End the socket now."""


class Logout(SessionFrame, frozen=True, tag="logout"):
    """Unlink the device."""

    id: int


class Probe(SessionFrame, frozen=True, tag="probe"):
    """Make one real round trip to the server."""

    id: int


class PairingCode(SessionFrame, frozen=True, tag="pairing-code"):
    """Ask for a pairing code for that phone."""

    id: int
    phone: str


class Send(SessionFrame, frozen=True, tag="send"):
    """Send a text; answered after the server's ack."""

    id: int
    to: str
    text: str
    others: list[str] = []
    """Other jids under which WhatsApp may know the recipient's number (a Brazilian mobile with and
    without its ninth digit).
    """


class KeysValues(SessionFrame, frozen=True, tag="keys.values"):
    """Answer to `keys.get`."""

    id: int
    values: dict[str, msgspec.Raw]


class KeysAck(SessionFrame, frozen=True, tag="keys.ack"):
    """The write is durable, or refused."""

    seq: int
    ok: bool
    error: str | None = None


class EventsAck(SessionFrame, frozen=True, tag="events.ack"):
    """All events of this epoch up to `seq` are durable."""

    epoch: int
    seq: int


class Refuse(Frame, frozen=True, tag="refuse"):
    """You are not adopted: close everything and exit."""

    reason: str


class Release(SessionFrame, frozen=True, tag="release"):
    """Forget the session."""


class Shutdown(Frame, frozen=True, tag="shutdown"):
    """Close everything and exit."""


Down = (
    Assign
    | Connect
    | Close
    | Logout
    | Probe
    | PairingCode
    | Send
    | KeysValues
    | KeysAck
    | EventsAck
    | Release
    | Refuse
    | Shutdown
)
Request = Probe | PairingCode | Send
"""Frames that are answered, by `id`."""

NULL: Final = msgspec.Raw(b"null")

_encoder: Final = msgspec.json.Encoder()
_up_decoder: Final[msgspec.json.Decoder[Up]] = msgspec.json.Decoder(Up)
_down_decoder: Final[msgspec.json.Decoder[Down]] = msgspec.json.Decoder(Down)


def encode(frame: Frame) -> bytes:
    """A frame as one line."""
    return _encoder.encode(frame) + b"\n"


def decode_up(line: bytes) -> Up:
    """A worker's line as a frame.

    Raises WireError, which never quotes the line (it may hold keys).
    """
    try:
        return _up_decoder.decode(line)
    except UNREADABLE as error:
        raise _not_a_frame(line, error) from None


def decode_down(line: bytes) -> Down:
    """A supervisor's line as a frame (for fakes and tests). Raises WireError."""
    try:
        return _down_decoder.decode(line)
    except UNREADABLE as error:
        raise _not_a_frame(line, error) from None


def _not_a_frame(line: bytes, error: Exception) -> WireError:
    """Say what is wrong and where, but never quote the line or msgspec, which quotes it: there may
    be keys in it.
    """
    where = re.search(r"at `(\$[^`]*)`$", str(error))
    return WireError(
        f"not a frame: {type(error).__name__} at {where[1] if where else 'some place'} of"
        f" {len(line)} bytes"
    )
