"""The figures of the system and of the fleet as scripts read them.

What is judged by them: supervisor/alerts/judging/figures.py.
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping

import msgspec

from sessions.lifecycle.session import Session
from sessions.model import ON_ITS_WAY, SessionState
from supervisor.fleet.fleet import Fleet
from supervisor.history.series import Key
from supervisor.history.tiers import SLOT_SECONDS


class SystemPerformance(msgspec.Struct, frozen=True, rename="camel"):
    """The system's figures that scripts read: bytes and fractions of 1."""

    total_memory: int
    used_memory: int
    cpu_usage: float
    active_connections: int
    error_rate: float


class ServicePerformance(msgspec.Struct, frozen=True):
    """The service's figures of the last ten seconds, by the names that scripts read.

    `requests_per_second`: calls of the API. `active_connections`: WebSocket connections, to
    WhatsApp and of the live feed. `db_connections`: the store's to its database that are
    in use. `memory_usage`: of
    the host, a fraction of 1. None: not measured.
    """

    requests_per_second: float | None
    active_connections: float | None
    db_connections: float | None
    memory_usage: float | None


def service_performance(latest: Mapping[Key, float]) -> ServicePerformance:
    """From the history's last figures. Pure."""
    requests = latest.get(("api.requests", None))
    return ServicePerformance(
        requests_per_second=None if requests is None else requests / SLOT_SECONDS,
        active_connections=latest.get(("host.websockets", None)),
        db_connections=latest.get(("database.pool_in_use", None)),
        memory_usage=latest.get(("host.memory", None)),
    )


def system_performance(fleet: Fleet, sessions: Collection[Session]) -> SystemPerformance:
    """The host's figures now, and those of these sessions."""
    sample = fleet.host.sample(asyncio.get_running_loop().time())
    return SystemPerformance(
        total_memory=sample.total_memory_bytes,
        used_memory=sample.used_memory_bytes,
        cpu_usage=sample.cpu_fraction,
        active_connections=sum(session.state is SessionState.OPEN for session in sessions),
        error_rate=error_rate(sessions),
    )


def error_rate(sessions: Iterable[Session]) -> float:
    """Their failed operations of the last minutes, as a fraction of all."""
    failed, total = operations(sessions)
    return failed / total if total else 0.0


def is_away(session: Session) -> bool:
    """Whether it is on its way to be open by itself, and was paired: what counts as time down."""
    return session.state in ON_ITS_WAY and not session.may_show_qr


def operations(sessions: Iterable[Session]) -> tuple[int, int]:
    """Their failed and all operations of the last minutes."""
    outcomes = [session.outcomes() for session in sessions]
    return sum(failed for failed, _ in outcomes), sum(total for _, total in outcomes)
