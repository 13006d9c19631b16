"""The words of the program: session ids, states, close reasons, what an event is, and the errors
that sessions raise.

Errors, drawn:

    WasupError
    ├── InvalidSessionId       the name given is not a session id
    ├── InvalidProxy           the URL given is not a proxy's
    ├── SessionNotFound        no session bears that id
    ├── SessionExists          a session of that id exists already
    ├── BadPolicy              a policy file cannot be used (it says where, and what is accepted)
    ├── SameDevice             another session is this linked device already
    ├── Refused                what was asked for cannot help now (it says why, and what would)
    ├── WorkerError            the worker's side failed
    │   ├── WorkerGone         its process or its line ended
    │   │   └── SpawnRefused   this machine refuses a new process
    │   └── WorkerRefused      it answered a request with an error code
    ├── Unanswered             the session did not answer in time; what was asked may still be done
    └── StoreError             the store's side failed
        ├── StaleEpoch         the session was given to a newer worker
        ├── UnreadableValue    a stored value does not decrypt or is not JSON
        ├── UnstorableValue    no database could ever take it
        ├── NoArchive          there is nothing to restore the session from
        └── StoreUnavailable   the write or read could not be made
"""

import enum
import errno
import re
from collections.abc import Mapping
from typing import ClassVar, Final, Literal, NewType

import msgspec

SessionId = NewType("SessionId", str)

DIRECT: Final = "direct"
"""The egress of a session that uses no proxy."""

SESSION_ID_RULE = "1 to 64 characters of A-Z a-z 0-9 _ . - (but not . or ..)"
_SESSION_ID = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class SessionState(enum.StrEnum):
    """Where a session stands, as shown to operators."""

    STOPPED = "stopped"
    """Not wanted: nothing runs, nothing is tried."""
    STARTING = "starting"
    """Its worker process is being brought up."""
    HELD = "held"
    """Ready to try, but the gate (rate, concurrency or an outage hold) has not admitted it yet."""
    CONNECTING = "connecting"
    """An attempt is under way."""
    QR = "qr"
    """A QR code or a pairing code waits for a phone."""
    OPEN = "open"
    """Logged in; probes are answered."""
    WAITING = "waiting"
    """Closed; the next try has a time."""
    PARKED = "parked"
    """Closed for a reason that needs a human (or an expiry); the reason says which."""
    QUARANTINED = "quarantined"
    """Its stored credentials cannot be read; nothing is tried, so that nothing is overwritten."""


ON_ITS_WAY: Final = frozenset(
    {SessionState.WAITING, SessionState.STARTING, SessionState.HELD, SessionState.CONNECTING}
)
"""Where a session is on its way to be open by itself."""


class CloseReason(enum.StrEnum):
    """Why an attempt or an open socket ended.

    What WhatsApp's code means is decided in the worker's close-reason.js; other verdicts come from
    whoever ends the socket: connection.js and session.js, the health checks, the actor. Why a way
    is closed is named by the gate's way_probe.py.
    """

    RESTART_REQUIRED = "restart_required"
    CONNECTION_CLOSED = "connection_closed"
    CONNECTION_LOST = "connection_lost"
    NETWORK_UNREACHABLE = "network_unreachable"
    DNS = "dns"
    TLS_UNTRUSTED = "tls_untrusted"
    PROXY = "proxy"
    QR_EXPIRED = "qr_expired"
    PASSKEY_REQUIRED = "passkey_required"
    SERVER_ERROR = "server_error"
    UNAVAILABLE = "unavailable"
    RATE_LIMITED = "rate_limited"
    UPGRADE_REFUSED = "upgrade_refused"
    REPLACED = "replaced"
    LOGGED_OUT = "logged_out"
    OWN_LOGOUT = "own_logout"
    TEMPORARILY_BANNED = "temporarily_banned"
    LOCKED = "locked"
    BANNED = "banned"
    CLIENT_OUTDATED = "client_outdated"
    REPAIR_NEEDED = "repair_needed"
    UNKNOWN_FAILURE = "unknown_failure"
    ATTEMPT_TIMED_OUT = "attempt_timed_out"
    UNDECRYPTABLE_FRAME = "undecryptable_frame"
    STORE_FAILED = "store_failed"
    REQUESTED = "requested"
    DEAF = "deaf"
    SAME_DEVICE = "same_device"
    WORKER_EXITED = "worker_exited"
    WORKER_HUNG = "worker_hung"


class EventData(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What an event tells, as its field `data` shows it.

    Each type of event is a class of its own, beside whatever publishes it; docs/events.md lists
    all. A new field needs a default, since older events stay in the log without it.
    """

    type: ClassVar[str]
    """The name under which scripts know it: a group, a dot, and what has happened."""

    @property
    def about_message(self) -> str | None:
        """The id of the message that it is about; None: of none."""
        return None


def event_types() -> list[type[EventData]]:
    """Every type of event that the loaded parts of this program publish, by name."""
    found, left = list[type[EventData]](), [EventData]
    while left:
        kind = left.pop()
        left += kind.__subclasses__()
        ours = kind.__module__.startswith(("sessions.", "supervisor."))
        if ours and isinstance(kind.__dict__.get("type"), str):
            found.append(kind)
    return sorted(found, key=lambda kind: kind.type)


class AlertChange(msgspec.Struct, frozen=True, kw_only=True):
    """What a session says of one of its alerts, to whoever keeps them (supervisor/alerts/alerts.py)
    and makes an event of it.

    `goes_on`: an earlier supervisor has told of it already. `cause`: the close reason of a session
    that is parked.
    """

    name: str
    message: str
    state: Literal["began", "ended", "happened"] = "happened"
    severity: Literal["warning", "critical"] = "warning"
    goes_on: bool = False
    cause: str | None = None


REFUSED_BECAUSE: Final[Mapping[str, str]] = {
    "EAGAIN": (
        "too many run for this user, or in this container. Look at `ulimit -u`, pids.max and"
        " TasksMax."
    ),
    "ENOMEM": "memory is used up. Look at `free -m` and at the container's limit.",
    "EMFILE": (
        "the supervisor's descriptors are used up. Look at `ulimit -n`; wasup's docs/host.md says"
        " how to raise it."
    ),
    "ENFILE": (
        "the whole system's descriptors are used up. Look at /proc/sys/fs/file-nr and fs.file-max."
    ),
    "ENOENT": (
        "the program that a worker runs, or the data directory, is gone. Run `make setup-run`"
        " again."
    ),
    "EACCES": (
        "the program that a worker runs may not be run by this user. Look at its permissions, and"
        " for noexec."
    ),
    "ENOSPC": "the disk with the data directory is full. Look at `df -h`.",
    "EROFS": "the disk with the data directory is read-only. Look at `dmesg`.",
}
"""What is behind a refused process, and where to look, by the name of the system's error."""
REFUSED_OTHERWISE: Final = "look at the supervisor's log and at `dmesg`."


class WasupError(Exception):
    """Something went wrong."""

    code = "wasup_error"
    """The word by which scripts tell errors apart; every kind declares its own."""

    hint = "See the supervisor's log."

    def __init__(self, message: str | None = None, hint: str | None = None) -> None:
        super().__init__(message or self.__doc__)
        if hint is not None:
            self.hint = hint


class InvalidSessionId(WasupError):
    """That is not a session id."""

    code = "invalid_session_id"
    hint = f"A session id is {SESSION_ID_RULE}."


class InvalidProxy(WasupError):
    """That is not a proxy's URL."""

    code = "invalid_proxy"
    hint = (
        "A proxy is scheme://host:port or scheme://user:password@host:port; schemes: http, https,"
        " socks4, socks5 (names are looked up here), socks5h (by the proxy). Other characters than"
        " letters, digits and - . _ ~ in user and password are written as %xx, @ as %40."
    )


class SessionNotFound(WasupError):
    """There is no such session."""

    code = "session_not_found"
    hint = "GET /sessions lists them; POST /sessions creates one."


class SessionExists(WasupError):
    """A session of that id exists already."""

    code = "session_exists"
    hint = "Choose another id, or DELETE the existing session first (its credentials are archived)."


class SameDevice(WasupError):
    """Another session is this linked device already: two logins of one device throw each other
    out.
    """

    code = "same_device"

    def __init__(self, session: str, owner: str | None, device: str) -> None:
        """`owner`: the other session; None: whoever is told may not see it."""
        other = "Another session" if owner is None else f"Session {owner!r}"
        super().__init__(
            f"{other} is this device ({device}) already, and {session!r} would be it a second"
            " time.",
            f"Two logins of one device throw each other out. Go on with"
            f" {'the other one' if owner is None else repr(owner)}; or DELETE it first (its"
            " credentials are archived). For a second session of the number, create one and pair"
            " it: that makes a device of its own.",
        )
        self.owner = owner
        self._refused = session, device

    def without_owner(self) -> "SameDevice":
        """The same, for those who may not see the other session."""
        session, device = self._refused
        return SameDevice(session, None, device)


class Refused(WasupError):
    """That cannot help in the session's present state."""

    code = "refused"

    def __init__(self, message: str, hint: str, code: str = "refused") -> None:
        super().__init__(message, hint)
        self.code = code


class BadPolicy(WasupError):
    """The policy file cannot be used."""

    code = "bad_policy"
    hint = (
        "docs/policy.md says what a policy file may hold; `wasup policy check --file F` checks one."
    )


class WorkerError(WasupError):
    """The worker failed."""

    code = "worker_error"
    hint = "GET /reconnection-status says what the session does next."


class WorkerGone(WorkerError):
    """The worker's process or its line ended."""

    code = "worker_gone"


class SpawnRefused(WorkerGone):
    """No new process is to be had of this machine."""

    code = "spawn_refused"

    def __init__(self, error: OSError) -> None:
        name = errno.errorcode.get(error.errno or 0, type(error).__name__)
        super().__init__(f"This machine refuses a new process: {error.strerror or error} ({name}).")
        self.human = (
            f"This machine refuses new processes ({name}):"
            f" {REFUSED_BECAUSE.get(name, REFUSED_OTHERWISE)} The session tries again by itself."
        )


MAX_REFUSAL = 1000
"""Characters of what a worker says when it refuses: the caller reads it."""


class WorkerRefused(WorkerError):
    """The worker answered with an error."""

    code = "worker_refused"

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message[:MAX_REFUSAL])
        self.code = code


class Unanswered(WasupError):
    """The session has not answered in time."""

    code = "unanswered"
    hint = (
        "What was asked is done when its turn comes: GET /sessions/{id} shows whether it was. Look"
        " at the supervisor's log."
    )


class StoreError(WasupError):
    """The store failed."""

    code = "store_error"


class StaleEpoch(StoreError):
    """The session was given to a newer worker; this write is refused."""

    code = "stale_epoch"


class UnreadableValue(StoreError):
    """A stored value does not decrypt or is not JSON.

    Its message names the row, never the value.
    """

    code = "unreadable_value"
    hint = (
        "Was WHATSAPP_STORE_KEY changed, or the database edited? The value is kept as it is; an"
        " archive or a snapshot can be restored."
    )


class UnstorableValue(StoreError):
    """The store can never take this. Its message names the row, never the value."""

    code = "unstorable_value"
    hint = (
        "A key's kind has at most 64 characters and its name 256, none of them NUL. Trying again"
        " cannot help: please report it."
    )


class NoArchive(StoreError):
    """There is no such archive of that session."""

    code = "no_archive"
    hint = (
        "The session's archives and snapshots are listed with their numbers; a number belongs to"
        " one session."
    )


class StoreUnavailable(StoreError):
    """The store could not do that now."""

    code = "store_unavailable"
    hint = (
        "Is the disk full or read-only, or the data directory gone? Nothing unsaved is"
        " acknowledged; work resumes when it can be written."
    )


class StoreUnanswered(StoreUnavailable):
    """The store has not answered in time: whether it was done is not known."""

    code = "store_unanswered"
    hint = (
        "It may have been done all the same: look before you ask again. Is the disk slow, or the"
        " database locked?"
    )


def parse_session_id(text: str) -> SessionId:
    """Check a session id's form. Raises InvalidSessionId."""
    if _SESSION_ID.fullmatch(text) is None or text in {".", ".."}:
        raise InvalidSessionId(f"{text[:80]!r} is not a session id.")
    return SessionId(text)
