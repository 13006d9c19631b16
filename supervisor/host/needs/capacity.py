"""How many more sessions fit on this host, which limit ends first, and what to change.

Pure: measured figures and limits in, a forecast out.

A limit ends where its alert begins: a forecast that counts on the last byte would be one of a host
in trouble.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from supervisor.host.needs.session_costs import (
    MIB,
    SUPERVISOR_DESCRIPTORS,
    WORKER_BYTES,
    WORKER_DESCRIPTORS,
    WORKER_THREADS,
)
from supervisor.host.reading.alarms import AlertLimits

GIB: Final = 1024 * MIB

OTHERS_KEPT_FRACTION: Final = 0.1
"""Of tasks, ports and conntrack entries, for which the guide names no alert: as for descriptors."""
PORTS_PER_SESSION: Final = 2
"""Towards one address: the open connection, and the one before it, which waits in TIME_WAIT for a
minute after a reconnect.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """A figure of one session or worker.

    `samples`: on how many it rests; 0: it is assumed, or (`by_design`) known without measuring.
    """

    value: float
    samples: int = 0
    by_design: bool = False

    @property
    def assumed(self) -> bool:
        """Whether nothing was measured."""
        return self.samples == 0 and not self.by_design


ASSUMED_WORKER_MEMORY: Final = Figure(value=WORKER_BYTES)
ASSUMED_WORKER_DESCRIPTORS: Final = Figure(value=WORKER_DESCRIPTORS)
ASSUMED_WORKER_THREADS: Final = Figure(value=WORKER_THREADS)
ASSUMED_WORKER_CPU: Final = Figure(value=0.0006)
ASSUMED_LOGIN: Final = Figure(value=0.06)
ASSUMED_START: Final = Figure(value=0.5)
"""What is taken until there are workers to measure: what idle ones cost on 2 cores
(session_costs.py, docs/benchmarks.md, docs/host.md).
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What the workers of this host cost, one each: medians of those that have been open for a
    while; spares are left out.

    `login_cpu_seconds`: of a worker that runs already, from connect to open. `start_cpu_seconds`:
    from its start to open.
    `worker_threads`: the most of any, as a pool that has grown stays.
    """

    sessions: int
    worker_memory_bytes: Figure = ASSUMED_WORKER_MEMORY
    worker_descriptors: Figure = ASSUMED_WORKER_DESCRIPTORS
    worker_threads: Figure = ASSUMED_WORKER_THREADS
    worker_cpu_fraction: Figure = ASSUMED_WORKER_CPU
    """Of one core, while it is open and nothing happens to the connection."""
    login_cpu_seconds: Figure = ASSUMED_LOGIN
    start_cpu_seconds: Figure = ASSUMED_START


@dataclass(frozen=True, slots=True, kw_only=True)
class Limit:
    """Something that sessions use up.

    `per_session`: what one more takes; `kept_fraction`: what is left for the alert and for others.

    `maximum`: None, when it is unlimited. `remedy`: what to change when it ends first: the very
    command or setting.
    """

    name: str
    unit: str
    maximum: float | None
    used: float
    per_session: Figure
    kept_fraction: float
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class HostLimits:
    """What the host, and the supervisor on it, have and use. None: unlimited, or nobody knows."""

    total_memory_bytes: int
    used_memory_bytes: int
    memory_remedy: str
    cores: float
    used_cores: float
    cpu_remedy: str
    supervisor_descriptors: int
    supervisor_max_descriptors: int | None
    supervisor_remedy: str
    system_descriptors: int | None
    system_max_descriptors: int | None
    optimize: str
    """The command that raises the kernel's values."""
    tasks: Sequence["TaskLimit"] = ()
    ports: int | None = None
    connections: "TaskLimit | None" = None
    """Connection tracking, where the kernel does it."""
    gate_rate_per_second: float = 5.0
    alerts: AlertLimits = field(default_factory=AlertLimits)
    """What is above these is not counted on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskLimit:
    """A limit of which a host has several kinds (processes and threads), by the kernel's name for
    it.
    """

    name: str
    maximum: int | None
    used: int
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A limit and what it leaves.

    `more_sessions`: None: without end. `missing`: for the sessions that were asked for; 0: nothing.
    """

    name: str
    unit: str
    per_session: Figure
    maximum: float | None
    used: float
    kept: float
    more_sessions: int | None
    missing: float
    remedy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Storm:
    """All sessions log in again: after an outage (the workers have lived on), or after the host's
    start (each worker starts, too).

    `gate_seconds`: what the gate's rate takes; `cpu_seconds`: what the cores take for the logins;
    the longer one decides.
    """

    name: str
    sessions: int
    cpu_per_login_seconds: Figure
    gate_seconds: float
    cpu_seconds: float

    @property
    def seconds(self) -> float:
        """Until all are back, at best."""
        return max(self.gate_seconds, self.cpu_seconds)

    @property
    def decided_by(self) -> str:
        """What decides: `gate` or `cpu`."""
        return "cpu" if self.cpu_seconds > self.gate_seconds else "gate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """The forecast.

    `rows`: what ends first, first. `more_sessions`: None: no limit is known. `asked`: how many are
    to run in all.
    """

    sessions: int
    asked: int | None
    more_sessions: int | None
    rows: tuple[Row, ...]
    storms: tuple[Storm, ...]
    words: str

    @property
    def fits(self) -> bool:
        """Whether the sessions asked for fit, or, when none were asked for, whether those that run
        do.
        """
        return not any(row.missing for row in self.rows)


def forecast(measured: Measured, host: HostLimits, sessions: int | None = None) -> Capacity:
    """How many more sessions fit beside those that run, or what is missing for so many in all.

    Raises ValueError (fewer than one).
    """
    if sessions is not None and sessions < 1:
        raise ValueError(f"{sessions} sessions were asked for; it takes 1 or more.")
    more = 0 if sessions is None else max(0, sessions - measured.sessions)
    rows = sorted((_row(limit, more) for limit in limits(measured, host)), key=_order)
    left = rows[0].more_sessions if rows else None
    storms = tuple(_storms(measured, host, max(measured.sessions, sessions or 0)))
    return Capacity(
        sessions=measured.sessions,
        asked=sessions,
        more_sessions=left,
        rows=tuple(rows),
        storms=storms,
        words=" ".join(_sentences(measured, rows, sessions, storms)),
    )


def limits(measured: Measured, host: HostLimits) -> Iterable[Limit]:
    """Everything that sessions use up."""
    yield Limit(
        name="memory",
        unit="bytes",
        maximum=host.total_memory_bytes,
        used=host.used_memory_bytes,
        per_session=measured.worker_memory_bytes,
        kept_fraction=1 - host.alerts.memory_fraction,
        remedy=host.memory_remedy,
    )
    yield Limit(
        name="CPU at rest",
        unit="cores",
        maximum=host.cores,
        used=host.used_cores,
        per_session=measured.worker_cpu_fraction,
        kept_fraction=1 - host.alerts.cpu_fraction,
        remedy=host.cpu_remedy,
    )
    yield Limit(
        name="descriptors of the supervisor",
        unit="descriptors",
        maximum=host.supervisor_max_descriptors,
        used=host.supervisor_descriptors,
        per_session=Figure(value=SUPERVISOR_DESCRIPTORS, by_design=True),
        kept_fraction=1 - host.alerts.descriptors_fraction,
        remedy=host.supervisor_remedy,
    )
    if host.system_descriptors is not None:
        of_worker = measured.worker_descriptors
        yield Limit(
            name="descriptors of the system",
            unit="descriptors",
            maximum=host.system_max_descriptors,
            used=host.system_descriptors,
            per_session=Figure(
                value=of_worker.value + SUPERVISOR_DESCRIPTORS, samples=of_worker.samples
            ),
            kept_fraction=1 - host.alerts.descriptors_fraction,
            remedy=f"fs.file-max: {host.optimize}.",
        )
    for task in host.tasks:
        yield _counted(task, "tasks", measured.worker_threads)
    if host.ports is not None:
        yield Limit(
            name="ports towards one address",
            unit="ports",
            maximum=host.ports,
            used=PORTS_PER_SESSION * measured.sessions,
            per_session=Figure(value=PORTS_PER_SESSION, by_design=True),
            kept_fraction=OTHERS_KEPT_FRACTION,
            remedy=(
                f"net.ipv4.ip_local_port_range: {host.optimize}; or proxies for some of the"
                " sessions."
            ),
        )
    if host.connections is not None:
        yield _counted(
            host.connections, "connections", Figure(value=PORTS_PER_SESSION, by_design=True)
        )


def _counted(task: TaskLimit, unit: str, per_session: Figure) -> Limit:
    return Limit(
        name=task.name,
        unit=unit,
        maximum=task.maximum,
        used=task.used,
        per_session=per_session,
        kept_fraction=OTHERS_KEPT_FRACTION,
        remedy=task.remedy,
    )


def _row(limit: Limit, more: int) -> Row:
    need = limit.per_session.value
    kept = 0.0 if limit.maximum is None else limit.maximum * limit.kept_fraction
    free = math.inf if limit.maximum is None else limit.maximum - kept - limit.used
    fits = math.inf if need <= 0 else max(0.0, free / need)
    # 1e-9: of ten times a tenth there is one, whatever the binary fractions say.
    return Row(
        name=limit.name,
        unit=limit.unit,
        per_session=limit.per_session,
        maximum=limit.maximum,
        used=limit.used,
        kept=kept,
        more_sessions=None if math.isinf(fits) else math.floor(fits + 1e-9),
        missing=0.0 if math.isinf(free) or not _short(free, need, more) else more * need - free,
        remedy=limit.remedy,
    )


def _short(free: float, need: float, more: int) -> bool:
    """Whether so many more do not fit.

    What is over its alert already is short of something even for none.
    """
    return free < more * need - 1e-9 * max(1.0, abs(free))


def _order(row: Row) -> tuple[float, float, str]:
    """What is most over first, then what ends first."""
    ends = math.inf if row.more_sessions is None else row.more_sessions
    free_fraction = 1.0 if not row.maximum else (row.maximum - row.kept - row.used) / row.maximum
    return ends, free_fraction, row.name


def _storms(measured: Measured, host: HostLimits, sessions: int) -> Iterable[Storm]:
    kinds = (
        ("after an outage", measured.login_cpu_seconds),
        ("after the host's start", measured.start_cpu_seconds),
    )
    for name, login in kinds:
        yield Storm(
            name=name,
            sessions=sessions,
            cpu_per_login_seconds=login,
            gate_seconds=sessions / host.gate_rate_per_second,
            cpu_seconds=sessions * login.value / host.cores,
        )


# --- in words -------------------------------------------------------------------------------------


def _sentences(
    measured: Measured, rows: Sequence[Row], sessions: int | None, storms: Sequence[Storm]
) -> Iterable[str]:
    first = rows[0]
    beside = f"beside the {measured.sessions:,} that run" if measured.sessions else "on this host"
    if sessions is not None:
        yield _answer(rows, sessions, measured.sessions)
    elif first.more_sessions is None:
        yield f"No limit is known that would end the number of sessions {beside}."
    elif first.more_sessions == 0:
        yield f"No more sessions fit {beside}: {first.name} has ended ({use_of(first)})."
    else:
        yield (
            f"About {first.more_sessions:,} more sessions fit {beside}; {first.name} ends first"
            f" ({use_of(first)})."
        )
    if first.more_sessions is not None and (sessions is None or any(row.missing for row in rows)):
        yield f"Change first: {first.remedy}"
    for storm in storms:
        if storm.sessions:
            yield _storm_words(storm)
    if measured.worker_memory_bytes.assumed:
        yield (
            "No session has been open for a minute yet, so what a session costs is assumed here; it"
            " is measured once sessions run."
        )


def _answer(rows: Sequence[Row], sessions: int, running: int) -> str:
    short = [row for row in rows if row.missing]
    if sessions <= running and not short:
        return f"{running:,} sessions run already, and nothing is missing for them."
    if not short:
        return f"{sessions:,} sessions fit."
    return f"{sessions:,} sessions do not fit: " + "; ".join(
        f"{row.name}: {amount(row.missing, row.unit)} missing" for row in short
    ) + "."  # fmt: skip


def use_of(row: Row) -> str:
    """How much of a limit is in use, in words."""
    assert row.maximum is not None, "what ends has an end"
    need = amount(row.per_session.value, row.unit)
    has = (
        f"{amount(row.used, row.unit)} of {amount(row.maximum, row.unit)} in use,"
        f" {amount(row.kept, row.unit)} kept"
    )
    return f"{has}, {need} a session{', assumed' if row.per_session.assumed else ''}"


def _storm_words(storm: Storm) -> str:
    cause = "the gate decides" if storm.decided_by == "gate" else "the CPU decides"
    login = storm.cpu_per_login_seconds
    basis = "assumed" if login.assumed else f"measured on {login.samples}"
    return (
        f"{storm.name.capitalize()}, all {storm.sessions:,} are back in {duration(storm.seconds)}"
        f" at best; {cause} ({login.value:.2f} s of CPU each, {basis})."
    )


def amount(value: float, unit: str) -> str:
    """A quantity for people."""
    if unit == "bytes":
        return f"{value / GIB:.1f} GiB" if abs(value) >= GIB else f"{value / MIB:.0f} MiB"
    if unit == "cores":
        return f"{value:.4f} cores" if abs(value) < 0.1 else f"{value:.1f} cores"
    return f"{math.ceil(value):,} {unit}"


def duration(seconds: float) -> str:
    """A span for people."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
