"""Who measures: each source tells, when it is asked, what its figures are now."""

import asyncio
import inspect
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from sessions.model import SessionId, SessionState
from sessions.records.changes import Changes
from sessions.records.distribution import Distribution
from sessions.store import Store
from sessions.store.engine.statistics import DatabaseFigures
from sessions.views.events import SessionDeleted
from supervisor.delivery.webhook_registry import Webhooks
from supervisor.fleet.fleet import Fleet
from supervisor.history.series import Key, buckets_of
from supervisor.host.reading.disks import DiskReading
from supervisor.host.reading.host_sampler import Reading
from supervisor.watch.host_watch import HostWatch
from supervisor.watch.performance import is_away

Figures = Mapping[Key, float]
Source = Callable[[], Figures | Awaitable[Figures]]
"""A figure that is not known now is left out. Of series of kind `count` and `buckets` it tells
totals since the supervisor started. One that waits is an `async def`: it is asked first."""

SOURCE_SECONDS: Final = 5.0
"""A source that has not answered after so long has failed."""


async def ask(source: Source) -> Figures:
    """What a source tells. Raises TimeoutError, and what the source raises."""
    told = source()
    if inspect.isawaitable(told):
        async with asyncio.timeout(SOURCE_SECONDS):
            told = await told
    return told


def host_source(host: HostWatch) -> Source:
    """The host, its file systems and the supervisor's own process."""

    async def measure() -> Figures:
        return figures_of(await host.reading(with_workers=False))

    return measure


def figures_of(reading: Reading) -> Figures:
    """What a look at the host has found, by series; what could not be read is left out. Pure."""
    host, own, connections = reading.host, reading.supervisor, reading.connections
    found: dict[str, float | None] = {
        "host.cpu": host.cpu_fraction,
        "host.load_1": host.load_1,
        "host.memory": host.used_memory_bytes / host.total_memory_bytes
        if host.total_memory_bytes
        else None,
        "host.memory_used_bytes": host.used_memory_bytes,
        "host.memory_total_bytes": host.total_memory_bytes,
        "host.swap_used_bytes": host.swap_used_bytes,
        "host.descriptors": host.open_descriptors,
        "host.network_in_bytes": host.network_in_bytes_per_second,
        "host.network_out_bytes": host.network_out_bytes_per_second,
        "host.tcp_resent": host.tcp_resent_fraction,
        "host.connections": connections.total if connections else None,
        "host.websockets": connections.websockets if connections else None,
        "supervisor.memory_bytes": own.process.rss_bytes if own else None,
        "supervisor.descriptors": own.process.descriptors if own else None,
        "supervisor.threads": own.process.threads if own else None,
        "supervisor.cpu_seconds": own.process.cpu_seconds if own else None,
    }
    figures: dict[Key, float] = {
        (name, None): value for name, value in found.items() if value is not None
    }
    for disk in reading.disks:
        figures |= _of_disk(disk)
    return figures


def _of_disk(disk: DiskReading) -> dict[Key, float]:
    """Each directory has the figures of its file system."""
    found = {
        "disk.used": disk.used_fraction,
        "disk.available_bytes": disk.available_bytes,
        "disk.inodes_used": disk.inodes_used_fraction,
    }
    return {
        (name, directory): value
        for directory in disk.directories
        for name, value in found.items()
        if value is not None
    }


def fleet_source(fleet: Fleet, round_trips: Distribution) -> Source:
    """Every session, and how many there are; sums over all are made by the history."""

    def measure() -> Figures:
        figures: dict[Key, float] = {}
        workers, states = 0, dict.fromkeys(SessionState, 0)
        for session in fleet.sessions():
            name, now = session.id, session.performance()
            workers += now.worker_pid is not None
            states[now.state] += 1
            figures["session.messages", name] = now.messages_processed
            figures["session.errors", name] = now.error_count
            figures["session.reconnects", name] = now.reconnect_count
            if now.state is not SessionState.STOPPED:
                figures["session.up", name] = now.state is SessionState.OPEN
            if now.average_response_time is not None:
                figures["session.response_time_ms", name] = now.average_response_time
            if now.worker_memory is not None:
                figures["session.worker_memory_bytes", name] = now.worker_memory
            if now.worker_lag is not None:
                figures["session.worker_lag_ms", name] = now.worker_lag
        figures |= buckets_of("fleet.response_ms", None, round_trips.counts)
        figures["fleet.sessions", None] = len(fleet.sessions())
        figures["fleet.away", None] = sum(is_away(session) for session in fleet.sessions())
        figures["fleet.workers", None] = workers
        figures |= {("state.sessions", state.value): count for state, count in states.items()}
        return figures

    return measure


def store_source(store: Store) -> Source:
    """The database, and what its statements cost."""

    async def measure() -> Figures:
        now = await store.figures()
        figures: dict[Key, float] = {
            (f"database.{name}", None): value
            for name in DatabaseFigures.__dataclass_fields__
            if (value := getattr(now, name)) is not None
        }
        for kind, those in store.statistics.statements.items():
            figures["statement.count", kind] = those.count
            figures["statement.errors", kind] = those.errors
            figures["statement.slow", kind] = those.slow
            figures["statement.seconds", kind] = those.seconds
            figures |= buckets_of("statement.took_ms", kind, those.took_ms.counts)
        return figures

    return measure


class Closes:
    """Counts the closes of all sessions by their reason, as they are recorded."""

    def __init__(self) -> None:
        self._counts = Counter[str]()
        self._since = time.time()
        self._newest: dict[SessionId, float] = {}
        """When the last one was that was counted, by session."""

    def on_changes(self, session: SessionId | None, changes: Changes) -> None:
        """What has changed of a session: perhaps that it has closed."""
        closes = () if changes.incident is None else changes.incident.closes
        if session is None or not closes:
            return
        if closes[-1].at > self._newest.get(session, self._since):
            self._newest[session] = closes[-1].at
            self._counts[closes[-1].reason.value] += 1

    def on_deleted(self, session: SessionId | None, _deleted: SessionDeleted) -> None:
        """A session is gone."""
        if session is not None:
            self._newest.pop(session, None)

    def figures(self) -> Figures:
        """The totals since the supervisor started (a Source)."""
        return {("reason.closes", reason): count for reason, count in self._counts.items()}


def webhook_source(webhooks: Webhooks) -> Source:
    """Every webhook: how far it is behind, and whether it gets through."""

    def measure() -> Figures:
        figures: dict[Key, float] = {}
        for webhook in webhooks.all():
            figures["webhook.behind", webhook.id] = webhook.behind
            figures["webhook.blocked", webhook.id] = len(webhook.lanes.failing())
            figures["webhook.away", webhook.id] = webhook.circuit.is_open
            figures["webhook.paused", webhook.id] = webhook.paused_because is not None
        return figures

    return measure
