"""The capacity of this host for this fleet: what its workers cost, what the host has, and the
forecast made of the two.
"""

import asyncio
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from statistics import median
from typing import Final

from sessions.model import DIRECT, SessionId, WasupError
from supervisor.alerts.judging.thresholds import Thresholds
from supervisor.fleet.fleet import Fleet
from supervisor.host.needs.capacity import (
    ASSUMED_WORKER_DESCRIPTORS,
    ASSUMED_WORKER_MEMORY,
    ASSUMED_WORKER_THREADS,
    Capacity,
    Figure,
    HostLimits,
    Measured,
    Row,
    forecast,
    use_of,
)
from supervisor.host.needs.capacity_readings import OwnUse, host_limits, read_kernel_use
from supervisor.host.needs.facts import Facts, read_facts
from supervisor.host.needs.process_limits import StartedBy, started_by
from supervisor.host.needs.requirements import SESSIONS_MOST
from supervisor.host.reading.processes import (
    OPEN_FILES,
    ProcessReading,
    process_limits,
    read_process,
)
from supervisor.watch.login_costs import LoginCosts

MOST_WEIGHED: Final = 60
"""Workers whose memory is looked at: each costs 2 ms, and the median of 60 is that of 5,000 within
a percent or two.
"""
FRESH_SECONDS: Final = 5.0
"""How long a look at workers and host is used: callers cannot make it dear."""
FIGURES: Final = tuple(field.name for field in fields(Measured) if field.name != "sessions")
AHEAD: Final = 2
"""Remedies are to be enough for twice the sessions that fit now, unless a number was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Look:
    """What was seen: of the workers that were weighed, and of the supervisor itself."""

    workers: Mapping[SessionId, ProcessReading]
    own: ProcessReading
    max_descriptors: int | None
    started_by: StartedBy
    facts: Facts
    gate_rate_per_second: float


class BeyondCapacity(WasupError):
    """One more session does not fit on this host."""

    code = "beyond_capacity"


class Forecaster:
    """Forecasts for one fleet. `refuses`: whether a new session that does not fit is refused."""

    def __init__(
        self, fleet: Fleet, costs: LoginCosts, thresholds: Thresholds, *, refuses: bool = True
    ) -> None:
        self._refuses = refuses
        self._fleet = fleet
        self._thresholds = thresholds
        self._costs = costs
        self._now = asyncio.get_running_loop().time
        self._lock = asyncio.Lock()
        self._looked_at = float("-inf")
        self._look: _Look | None = None
        self._measured = Measured(sessions=0)

    async def forecast(self, sessions: int | None = None) -> Capacity:
        """How many more sessions fit, or what is missing for so many in all.

        Raises ValueError (fewer than one).
        """
        look = await self._fresh_look()
        running = sum(1 for session in self._fleet.sessions() if session.worker is not None)
        measured = self._measured = remember(
            measure(running, look.workers, self._costs), self._measured
        )
        if sessions is None:
            fits = (
                forecast(measured, self._limits(look, measured, max(1, running))).more_sessions or 0
            )
            return forecast(
                measured,
                self._limits(look, measured, min(SESSIONS_MOST, AHEAD * (running + fits + 1))),
            )
        return forecast(measured, self._limits(look, measured, max(sessions, running)), sessions)

    async def must_fit(self) -> None:
        """One more session fits. Raises BeyondCapacity."""
        if not self._refuses:
            return
        full = first_that_ended((await self.forecast()).rows)
        if full is not None:
            raise BeyondCapacity(
                f"No more sessions fit on this host: {full.name} has ended ({use_of(full)}).",
                f"{full.remedy} `wasup capacity` shows every limit. A session can be added without"
                " being started, or WHATSAPP_BEYOND_CAPACITY=allow lets more run.",
            )

    async def _fresh_look(self) -> _Look:
        async with self._lock:
            if self._look is None or self._now() - self._looked_at >= FRESH_SECONDS:
                chosen = spread(list(self._costs.settled().items()), MOST_WEIGHED)
                self._look = await asyncio.to_thread(_take_a_look, chosen, self._rate())
                self._looked_at = self._now()
            return self._look

    def _limits(self, look: _Look, measured: Measured, sessions: int) -> HostLimits:
        own = OwnUse(
            cpu_cores=measured.sessions * measured.worker_cpu_fraction.value
            + look.own.cpu_seconds / max(1.0, look.own.age_seconds),
            tasks=round(measured.sessions * measured.worker_threads.value) + look.own.threads,
            descriptors=look.own.descriptors or 0,
            max_descriptors=look.max_descriptors,
            runs_as_root=os.getuid() == 0,
            started_by=look.started_by,
        )
        sample = self._fleet.host.sample(self._now())
        alerts = self._thresholds.of_host(sample.cores, sessions)
        return host_limits(
            sample, look.facts, read_kernel_use(), own, look.gate_rate_per_second, sessions, alerts
        )

    def _rate(self) -> float:
        """Logins a second of the whole fleet, as its egresses allow: the busiest one may hold it
        up.
        """
        gate = self._fleet.gate()
        egresses = [session.row().proxy or DIRECT for session in self._fleet.sessions()]
        return effective_rate(gate.rate_per_second, gate.egress_rate_per_second, egresses)


def first_that_ended(rows: Sequence[Row]) -> Row | None:
    """The limit for which one more session is refused. Not the CPU, whose use is the load of the
    last minutes, everybody's: a login waits for it, and fails of nothing. Pure.
    """
    return next((row for row in rows if row.more_sessions == 0 and row.unit != "cores"), None)


def measure(
    running: int, workers: Mapping[SessionId, ProcessReading], costs: LoginCosts
) -> Measured:
    """What the workers cost: medians over these, which have been open for a while; assumed where
    there are none.
    """
    seen = list(workers.values())
    memory = [reading.pss_bytes for reading in seen if reading.pss_bytes is not None]
    descriptors = [reading.descriptors for reading in seen if reading.descriptors is not None]
    return Measured(
        sessions=running,
        worker_memory_bytes=Figure(value=median(memory), samples=len(memory))
        if memory
        else ASSUMED_WORKER_MEMORY,
        worker_descriptors=Figure(value=median(descriptors), samples=len(descriptors))
        if descriptors
        else ASSUMED_WORKER_DESCRIPTORS,
        worker_threads=Figure(value=max(reading.threads for reading in seen), samples=len(seen))
        if seen
        else ASSUMED_WORKER_THREADS,
        worker_cpu_fraction=costs.at_rest(
            {session: reading.cpu_seconds for session, reading in workers.items()}
        ),
        login_cpu_seconds=costs.login(),
        start_cpu_seconds=costs.start(),
    )


def remember(now: Measured, before: Measured) -> Measured:
    """With what was measured before in place of what can only be assumed now: just after an outage
    no session has been open for a while.
    """
    figures = {
        name: value
        for name in FIGURES
        if not (value := getattr(before, name)).assumed and getattr(now, name).assumed
    }
    return replace(now, **figures)


def effective_rate(
    rate_per_second: float, egress_rate_per_second: float, egresses: Sequence[str]
) -> float:
    """Logins a second until all sessions are back: the gate's rate, or less where one egress has
    too many of them for its own rate.
    """
    if not egresses:
        return min(rate_per_second, egress_rate_per_second)
    busiest = max(Counter(egresses).values())
    return min(rate_per_second, egress_rate_per_second * len(egresses) / busiest)


def spread(workers: Sequence[tuple[SessionId, int]], most: int) -> Sequence[tuple[SessionId, int]]:
    """So many of them at the most, evenly from the oldest to the newest."""
    if len(workers) <= most:
        return workers
    return [workers[place * len(workers) // most] for place in range(most)]


def cpu_seconds(pid: int) -> float | None:
    """What a process has used; None: it is gone."""
    reading = read_process(pid, weigh=False)
    return None if reading is None else reading.cpu_seconds


def _take_a_look(workers: Sequence[tuple[SessionId, int]], gate_rate_per_second: float) -> _Look:
    pid = os.getpid()
    own = read_process(pid)
    assert own is not None, "we live"
    seen = ((session, read_process(worker)) for session, worker in workers)
    return _Look(
        workers={session: reading for session, reading in seen if reading is not None},
        own=own,
        max_descriptors=process_limits(pid)[OPEN_FILES].soft,
        started_by=started_by(pid),
        facts=read_facts(),
        gate_rate_per_second=gate_rate_per_second,
    )
