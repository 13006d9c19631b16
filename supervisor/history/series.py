"""What is measured: the table of all series, each with its unit, whose figure it is, and what its
numbers mean. Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

Subject = Literal[
    "none", "session", "disk", "webhook", "key", "route", "statement", "reason", "state"
]
"""Whose figure it is: `none`: the host's, the supervisor's or the whole fleet's."""

Kind = Literal["gauge", "count", "buckets"]
"""gauge: what it is now. count: a total since the supervisor started, of which the history keeps
what was added in each interval. buckets: a count for each bucket of a distribution, whose
keys are `buckets_of`.
"""

Key = tuple[str, str | None]
"""A series and its subject (a session's id, a directory ...); a bucket is `series#number`."""

TENTHS: Final = 10
THOUSANDTHS: Final = 1000
TEN_THOUSANDTHS: Final = 10_000
MILLIONTHS: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class Series:
    """A series.

    `steps`: a figure is a whole number of so many to a unit. It is rounded once, when it is
    measured, so that all who read it, from memory or from the disk, read the same. `summed_as`: the
    series that is the sum over all subjects.
    """

    name: str
    unit: str
    words: str
    subject: Subject = "none"
    kind: Kind = "gauge"
    steps: int = 1
    summed_as: str | None = None


_HOST: Final = (
    Series("host.cpu", "fraction", "CPU time in use, of all there is", steps=TEN_THOUSANDTHS),
    Series("host.load_1", "processes", "processes that run or wait for a core", steps=TENTHS),
    Series("host.memory", "fraction", "memory in use, of all there is", steps=TEN_THOUSANDTHS),
    Series("host.memory_used_bytes", "bytes", "memory that is not available"),
    Series("host.memory_total_bytes", "bytes", "memory of the machine, or of its control group"),
    Series("host.swap_used_bytes", "bytes", "what was moved out of memory"),
    Series("host.descriptors", "descriptors", "open descriptors of the whole system"),
    Series("host.network_in_bytes", "bytes/s", "received by the host's devices"),
    Series("host.network_out_bytes", "bytes/s", "sent by the host's devices"),
    Series(
        "host.tcp_resent",
        "fraction",
        "TCP segments that were sent again, of those sent",
        steps=TEN_THOUSANDTHS,
    ),
    Series("host.connections", "connections", "TCP connections, without listening sockets"),
    Series("host.websockets", "connections", "TCP connections at WebSocket ports"),
)

_DISKS: Final = (
    Series("disk.used", "fraction", "room in use, as df reckons", "disk", steps=TEN_THOUSANDTHS),
    Series("disk.available_bytes", "bytes", "room for an ordinary user", "disk"),
    Series("disk.inodes_used", "fraction", "inodes in use", "disk", steps=TEN_THOUSANDTHS),
)

_SUPERVISOR: Final = (
    Series("supervisor.memory_bytes", "bytes", "the supervisor's resident memory"),
    Series("supervisor.descriptors", "descriptors", "the supervisor's open descriptors"),
    Series("supervisor.threads", "threads", "the supervisor's threads"),
    Series(
        "supervisor.cpu_seconds",
        "seconds",
        "CPU time of the supervisor",
        kind="count",
        steps=THOUSANDTHS,
    ),
    Series("supervisor.lag_ms", "ms", "how late the supervisor's event loop is", steps=TENTHS),
)

_FLEET: Final = (
    Series("fleet.sessions", "sessions", "sessions that there are"),
    Series("fleet.open", "sessions", "sessions that are open"),
    Series("fleet.away", "sessions", "paired sessions that are on their way to be open"),
    Series("fleet.workers", "processes", "worker processes that live"),
    Series("fleet.worker_memory_bytes", "bytes", "resident memory of all workers"),
    Series("fleet.messages", "messages", "messages of all sessions, in and out", kind="count"),
    Series("fleet.errors", "operations", "failed operations of all sessions", kind="count"),
    Series("fleet.response_ms", "ms", "round trips of all sessions", kind="buckets"),
    Series("fleet.reconnects", "logins", "logins that brought a session back", kind="count"),
)

_STATES: Final = (
    Series("state.sessions", "sessions", "sessions in that state", "state"),
    Series("reason.closes", "closes", "closes for that reason", "reason", "count"),
)

_SESSIONS: Final = (
    Series(
        "session.up",
        "open",
        "1: it is open; 0: it is not, though it shall be",
        "session",
        summed_as="fleet.open",
    ),
    Series(
        "session.response_time_ms",
        "ms",
        "the mean of its last 20 round trips",
        "session",
        steps=TENTHS,
    ),
    Series(
        "session.messages",
        "messages",
        "messages, in and out",
        "session",
        "count",
        summed_as="fleet.messages",
    ),
    Series(
        "session.errors",
        "operations",
        "failed operations",
        "session",
        "count",
        summed_as="fleet.errors",
    ),
    Series(
        "session.reconnects",
        "logins",
        "logins that brought it back",
        "session",
        "count",
        summed_as="fleet.reconnects",
    ),
    Series(
        "session.worker_memory_bytes",
        "bytes",
        "its worker's resident memory",
        "session",
        summed_as="fleet.worker_memory_bytes",
    ),
    Series(
        "session.worker_lag_ms",
        "ms",
        "how late its worker's event loop is",
        "session",
        steps=TENTHS,
    ),
)

_DATABASE: Final = (
    Series("database.pool_in_use", "connections", "connections to the database that are in use"),
    Series("database.pool_limit", "connections", "connections to the database at the most"),
    Series("database.pool_waiting", "reads", "reads that wait for a connection"),
    Series("database.writes_waiting", "operations", "writes that are not durable yet"),
    Series("database.size_bytes", "bytes", "the database"),
    Series("database.wal_bytes", "bytes", "its write-ahead log"),
    Series(
        "database.cache_hits",
        "fraction",
        "pages that were read from PostgreSQL's memory, of all that were read",
        steps=TEN_THOUSANDTHS,
    ),
    Series("database.locks", "locks", "locks in PostgreSQL's database"),
    Series("database.locks_waiting", "locks", "of those, waited for"),
    Series("statement.count", "statements", "statements of that kind", "statement", "count"),
    Series("statement.errors", "statements", "of those, that failed", "statement", "count"),
    Series("statement.slow", "statements", "of those, of more than 200 ms", "statement", "count"),
    Series("statement.seconds", "seconds", "time that they took", "statement", "count", MILLIONTHS),
    Series("statement.took_ms", "ms", "how long each took", "statement", "buckets"),
)

_FEED: Final = (
    Series("feed.clients", "connections", "clients of the live feed"),
    Series("feed.admitted", "connections", "clients that the live feed let in", kind="count"),
    Series("feed.refused", "connections", "clients that the live feed turned away", kind="count"),
    Series("feed.resyncs", "resyncs", "clients that did not read fast enough", kind="count"),
)

_WEBHOOKS: Final = (
    Series("webhook.behind", "events", "events that are not settled yet", "webhook"),
    Series(
        "webhook.blocked",
        "events",
        "events that were refused, and block their session's",
        "webhook",
    ),
    Series("webhook.away", "away", "1: its endpoint accepts nothing; 0: it does", "webhook"),
    Series("webhook.paused", "paused", "1: nothing is sent; 0: it is", "webhook"),
)

_API: Final = (
    Series("api.requests", "requests", "calls of the API", kind="count"),
    Series("api.refused", "requests", "calls that were answered with 4xx", kind="count"),
    Series("api.errors", "requests", "calls that were answered with 5xx", kind="count"),
    Series(
        "api.seconds",
        "seconds",
        "time that calls took, but for those that wait",
        "none",
        "count",
        MILLIONTHS,
    ),
    Series("api.response_ms", "ms", "how long calls took, but for those that wait", kind="buckets"),
    Series(
        "route.requests",
        "requests",
        "calls of the route",
        "route",
        "count",
        summed_as="api.requests",
    ),
    Series(
        "route.refused",
        "requests",
        "of those, answered with 4xx",
        "route",
        "count",
        summed_as="api.refused",
    ),
    Series(
        "route.errors",
        "requests",
        "of those, answered with 5xx",
        "route",
        "count",
        summed_as="api.errors",
    ),
    Series(
        "route.seconds",
        "seconds",
        "time that its calls took, but for those that wait",
        "route",
        "count",
        MILLIONTHS,
        summed_as="api.seconds",
    ),
    Series(
        "route.response_ms",
        "ms",
        "how long its calls took, but for those that wait",
        "route",
        "buckets",
    ),
    Series(
        "key.requests", "requests", "calls of the caller (a key, or the operator)", "key", "count"
    ),
    Series("key.refused", "requests", "of those, answered with 4xx", "key", "count"),
    Series("key.errors", "requests", "of those, answered with 5xx", "key", "count"),
    Series(
        "key.seconds",
        "seconds",
        "time that its calls took, but for those that wait",
        "key",
        "count",
        MILLIONTHS,
    ),
)

SERIES: Final[Mapping[str, Series]] = {
    series.name: series
    for series in (
        *_HOST,
        *_DISKS,
        *_SUPERVISOR,
        *_FLEET,
        *_STATES,
        *_SESSIONS,
        *_FEED,
        *_WEBHOOKS,
        *_DATABASE,
        *_API,
    )
}
"""All series by name."""


def series_of(name: str) -> Series:
    """A series by its name, or by that of one of its buckets. Raises KeyError."""
    return SERIES[name.partition("#")[0]]


def buckets_of(series: str, subject: str | None, counts: Mapping[int, int]) -> dict[Key, float]:
    """The figures of a series of kind `buckets`: the totals of its buckets (distribution.py)."""
    return {(f"{series}#{bucket}", subject): count for bucket, count in counts.items()}
