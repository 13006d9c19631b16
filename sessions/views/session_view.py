"""What is shown of a session: immutable snapshots, named as the API shows them (camelCase, as in
the scripts of docs/evidence.md#names-that-scripts-use).
"""

import time
from typing import Final

import msgspec

from sessions.model import CloseReason, SessionId, SessionState
from sessions.policy import LastClose
from sessions.policy.breaker import Breaker
from sessions.ports import WorkerHandle
from sessions.records.counters import Counters
from sessions.records.stages import StageTimes
from sessions.views.times import iso

S = SessionState


class BreakerSnapshot(msgspec.Struct, frozen=True, rename="camel"):
    """The session's breaker.

    `opensUntil`: when an open one lets its trial through (ISO 8601, UTC).
    """

    state: str
    failures: int
    opens_until: str | None

    @classmethod
    def of(cls, breaker: Breaker, now: float) -> "BreakerSnapshot":
        """The breaker now."""
        return cls(breaker.state, breaker.failures, iso_at(breaker.opens_until(), now))


class Reconnection(msgspec.Struct, frozen=True, rename="camel"):
    """Why a session is where it is and what comes next. Times are ISO 8601, UTC."""

    state: SessionState
    since: str
    close_reason: CloseReason | None
    close_code: int | None
    close_message: str | None
    closed_at: str | None
    rule: str | None
    attempts: int
    failures: int
    next_attempt_at: str | None
    breaker: BreakerSnapshot
    human_action: str


class Performance(msgspec.Struct, frozen=True, rename="camel"):
    """A session's figures: milliseconds, bytes, counts since the supervisor started.

    `handshake`: what the stages of its last login took; None: none was timed yet.
    """

    state: SessionState
    connection_uptime: int
    messages_processed: int
    messages_per_minute: int
    average_response_time: float | None
    error_count: int
    reconnect_count: int
    worker_pid: int | None
    worker_memory: int | None
    worker_lag: float | None
    handshake: StageTimes | None = None

    @classmethod
    def of(
        cls,
        state: SessionState,
        opened_at: float | None,
        counters: Counters,
        worker: WorkerHandle | None,
        handshake: StageTimes | None,
        now: float,
    ) -> "Performance":
        """The figures now."""
        beat = worker.beat if worker else None
        return cls(
            state=state,
            connection_uptime=0 if opened_at is None else round((now - opened_at) * 1000),
            messages_processed=counters.messages_processed,
            messages_per_minute=counters.messages_per_minute(now),
            average_response_time=counters.average_response_ms() if state is S.OPEN else None,
            error_count=counters.error_count,
            reconnect_count=counters.reconnect_count,
            worker_pid=worker.pid if worker else None,
            worker_memory=beat.rss_bytes if beat else None,
            worker_lag=beat.lag_ms if beat else None,
            handshake=handshake,
        )


class SessionView(msgspec.Struct, frozen=True, rename="camel"):
    """A session as `/sessions` shows it.

    `proxy`: without user and password. `phoneLastSeen`: the last sign of the account's own phone.
    """

    id: str
    state: SessionState
    wanted: bool
    jid: str | None
    name: str | None
    proxy: str | None
    created_at: str
    phone_last_seen: str | None
    reconnection: Reconnection
    performance: Performance
    restored: bool = False
    """It came back with a backup of the whole store, and waits until it is started."""


def rule_shown(
    last: LastClose | None, next_attempt_at: float | None, breaker: Breaker, now: float
) -> str | None:
    """The rule of the last close; and, where the breaker puts the next try off, until when.

    Times are the monotonic clock's.
    """
    if last is None or next_attempt_at is None or not breaker.puts_off(next_attempt_at):
        return last.rule if last else None
    clock = (iso_at(next_attempt_at, now) or "")[11:19]
    return f"{last.rule}; breaker open until {clock} UTC, then one trial"


ONE_PROBE: Final = (
    "Nothing yet: WhatsApp says that the phone has unlinked this device, which so soon after a"
    " pairing may be a slip of its own. One try makes sure; nothing is archived before."
)

STUCK: Final = (
    "{whose} (process {pid}) cannot be ended, not even by SIGKILL: it hangs in the kernel (a disk"
    " that does not answer, a frozen container, swap). Until that process is gone no other logs in"
    " for its session, as it may still have the socket. See `cat /proc/{pid}/stack` and `dmesg`;"
    " thaw or mend what it waits for, or restart this machine."
)


def human_action(
    session: SessionId, state: SessionState, last: LastClose | None, stuck: int | None = None
) -> str:
    """What a human must do now, in a sentence.

    `stuck`: the pid of a worker of its that cannot be ended.
    """
    if stuck is not None and state in {S.STOPPED, S.STARTING, S.WAITING}:
        return STUCK.format(whose="Its last worker", pid=stuck)
    match state:
        case S.QR:
            return f"Scan the QR with the phone: GET /sessions/{session}/qr"
        case S.STOPPED:
            return f"Nothing, if it shall be stopped; else `wasup sessions start {session}`"
        case S.QUARANTINED:
            return (
                f"The stored credentials cannot be read. `wasup sessions restore {session}` puts"
                " the last good ones back."
            )
        case S.HELD | S.WAITING if last is not None and last.reason is CloseReason.LOGGED_OUT:
            return ONE_PROBE
        case S.PARKED | S.HELD | S.WAITING if last is not None:
            return last.human
        case S.OPEN:
            return "Nothing."
        case _:
            return "Nothing: it comes back by itself."


def iso_at(at: float | None, now: float) -> str | None:
    """A time of the monotonic clock, which shows `now` now, as ISO 8601."""
    return None if at is None else iso(time.time() + at - now)
