"""What is shown of a session: immutable snapshots, named as the API shows them (camelCase, as in the seed's scripts)."""

import msgspec

from sessions.model import CloseReason, SessionState


class BreakerSnapshot(msgspec.Struct, frozen=True, rename="camel"):
    """The session's breaker. `opensUntil`: when an open one lets its trial through (ISO 8601, UTC)."""

    state: str
    failures: int
    opens_until: str | None


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
    next_attempt: str | None
    breaker: BreakerSnapshot
    human_action: str


class Performance(msgspec.Struct, frozen=True, rename="camel"):
    """A session's figures: milliseconds, bytes, counts since the supervisor started."""

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


class SessionView(msgspec.Struct, frozen=True, rename="camel"):
    """A session as `/sessions` shows it."""

    id: str
    state: SessionState
    wanted: bool
    jid: str | None
    name: str | None
    created_at: str
    reconnection: Reconnection
    performance: Performance
