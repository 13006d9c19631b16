"""One look at everything: the host, its connections, the workers, the supervisor.

What may not be read is None, and a note says why.
"""

import statistics
import threading
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final, Generic, TypeVar

from supervisor.host.reading.connections import Connections, count_connections
from supervisor.host.reading.disks import DiskReading
from supervisor.host.reading.processes import (
    OPEN_FILES,
    PROC,
    PROCESSES,
    ProcessLimit,
    ProcessReading,
    find_supervisor,
    find_workers,
    process_limits,
    read_process,
)
from supervisor.host.reading.readings import HostSample, Sampler

FRESH_SECONDS: Final = 1.0
SHARE: Final = 10
"""What took a second to read is not read again before ten: so nobody who asks can take more than a
tenth of a core.
"""
WEIGHING_SECONDS: Final = 0.25
"""For the workers' PSS in one reading: some 2 ms each.

Of a larger fleet those weighed longest ago come first.
"""
HEAVIEST: Final = 5

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Targets:
    """The processes to look at: the supervisor's, and the workers'.

    Notes: why somebody is not among them.
    """

    supervisor: int | None = None
    workers: Sequence[int] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkersReading:
    """The workers together.

    None: nothing to tell it from (no worker, another user's, the first reading).
    """

    count: int
    weighed: int
    """Of how many the PSS is known; of a large fleet it becomes known over some readings."""
    pss_sum_bytes: int | None
    """Of all: the mean of those weighed, for each."""
    pss_median_bytes: int | None
    pss_max_bytes: int | None
    rss_sum_bytes: int
    cpu_seconds: float
    """Of all, since each began."""
    cpu_cores: float | None
    """How many cores they have kept busy since the reading before; those that are in both."""
    descriptors: int | None
    threads: int
    heaviest: tuple[ProcessReading, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorReading:
    """The supervisor's own process, and the limits that it really has."""

    process: ProcessReading
    open_files: ProcessLimit
    processes: ProcessLimit


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Everything at one moment (seconds since 1970)."""

    at: float
    host: HostSample
    connections: Connections | None
    workers: WorkersReading | None
    supervisor: SupervisorReading | None
    disks: tuple[DiskReading, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class _Kept(Generic[T]):
    """What was read, and until when it is good enough."""

    value: T | None = None
    good_until: float = float("-inf")
    note: str | None = None

    def fresh(self, now: float, read: Callable[[], T], what: str, fresh_seconds: float) -> T | None:
        """The value; read anew when its time is over. An error of the system is kept as a note."""
        if now < self.good_until:
            return self.value
        began = time.monotonic()
        try:
            self.value, self.note = read(), None
        except OSError as error:
            self.value, self.note = None, f"{what} cannot be read: {error.strerror or error}"
        self.good_until = now + max(fresh_seconds, SHARE * (time.monotonic() - began))
        return self.value


@dataclass(slots=True)
class _Weights:
    """The PSS of each worker as it was weighed last, and when.

    A pid that another worker has by now is weighed again in its turn.
    """

    known: dict[int, tuple[float, int]] = field(default_factory=dict)

    def weigh(self, pids: Sequence[int], proc: Path) -> None:
        """Weigh those weighed longest ago, for as long as there is time."""
        self.known = {pid: self.known[pid] for pid in pids if pid in self.known}
        until = time.monotonic() + WEIGHING_SECONDS
        for pid in sorted(pids, key=lambda pid: self.known.get(pid, (0.0, 0))[0]):
            reading = read_process(pid, proc)
            if reading is not None and reading.pss_bytes is not None:
                self.known[pid] = (time.monotonic(), reading.pss_bytes)
            if time.monotonic() > until:
                break


class HostSampler:
    """Reads it all. Threads may share it; what is fresh enough is not read again."""

    def __init__(
        self,
        host: Sampler,
        websocket_ports: Collection[int],
        proc: Path = PROC,
        fresh_seconds: float = FRESH_SECONDS,
    ) -> None:
        self._host = host
        self._ports = frozenset(websocket_ports)
        self._proc = proc
        self._fresh_seconds = fresh_seconds
        self._connections: _Kept[Connections] = _Kept()
        self._workers: _Kept[WorkersReading] = _Kept()
        self._supervisor: _Kept[SupervisorReading | None] = _Kept()
        self._weights = _Weights()
        self._cpu_before: tuple[float, dict[int, float]] | None = None
        self._lock = threading.Lock()

    def reading(self, now: float, whom: Targets, with_workers: bool = True) -> Reading:
        """Everything now (`now`: seconds of a monotonic clock); without the workers it is cheap for
        a fleet of any size.
        """
        fresh = self._fresh_seconds
        with self._lock:
            host = self._host.sample(now)
            connections = self._connections.fresh(
                now, lambda: count_connections(self._ports, self._proc), "connections", fresh
            )
            supervisor = self._supervisor.fresh(
                now, lambda: self._read_supervisor(whom), "the supervisor", fresh
            )
            workers = None
            if with_workers:
                workers = self._workers.fresh(
                    now, lambda: self._read_workers(whom.workers), "the workers", fresh
                )
            unread = [
                self._connections.note,
                self._supervisor.note,
                self._workers.note if with_workers else None,
            ]
            return Reading(
                at=time.time(),
                host=host,
                connections=connections,
                workers=workers,
                supervisor=supervisor,
                notes=(
                    *whom.notes,
                    *_unread(supervisor, workers),
                    *(note for note in unread if note),
                ),
            )

    def _read_supervisor(self, whom: Targets) -> SupervisorReading | None:
        process = None if whom.supervisor is None else read_process(whom.supervisor, self._proc)
        if process is None:
            return None
        try:
            limits = process_limits(process.pid, self._proc)
        except ProcessLookupError:
            return None  # it has ended meanwhile
        return SupervisorReading(
            process=process, open_files=limits[OPEN_FILES], processes=limits[PROCESSES]
        )

    def _read_workers(self, pids: Sequence[int]) -> WorkersReading:
        self._weights.weigh(pids, self._proc)
        found = [read_process(pid, self._proc, weigh=False) for pid in pids]
        processes = [process for process in found if process is not None]
        cores = self._cores(processes)
        return summary(
            processes, {pid: pss for pid, (_, pss) in self._weights.known.items()}, cores
        )

    def _cores(self, processes: Iterable[ProcessReading]) -> float | None:
        moment, used = time.monotonic(), {process.pid: process.cpu_seconds for process in processes}
        before, self._cpu_before = self._cpu_before, (moment, used)
        if before is None or moment <= before[0]:
            return None
        grown = sum(max(0.0, used[pid] - before[1][pid]) for pid in used.keys() & before[1].keys())
        return grown / (moment - before[0])


def summary(
    processes: Sequence[ProcessReading], pss: dict[int, int], cpu_cores: float | None
) -> WorkersReading:
    """The workers together; `pss`: the weights that are known, by pid. Pure."""
    weights = [pss[process.pid] for process in processes if process.pid in pss]
    descriptors = [process.descriptors for process in processes if process.descriptors is not None]
    weighed = [
        replace(process, pss_bytes=pss[process.pid]) for process in processes if process.pid in pss
    ]
    return WorkersReading(
        count=len(processes),
        weighed=len(weights),
        pss_sum_bytes=round(statistics.fmean(weights) * len(processes)) if weights else None,
        pss_median_bytes=round(statistics.median(weights)) if weights else None,
        pss_max_bytes=max(weights, default=None),
        rss_sum_bytes=sum(process.rss_bytes for process in processes),
        cpu_seconds=sum((process.cpu_seconds for process in processes), start=0.0),
        cpu_cores=cpu_cores,
        descriptors=sum(descriptors) if len(descriptors) == len(processes) else None,
        threads=sum(process.threads for process in processes),
        heaviest=tuple(sorted(weighed, key=lambda process: -(process.pss_bytes or 0))[:HEAVIEST]),
    )


def find_targets(data_directory: Path, proc: Path = PROC) -> Targets:
    """The supervisor of a data directory and its workers, found without an API."""
    notes = []
    supervisor = None
    try:
        supervisor = find_supervisor(data_directory, proc)
    except OSError as error:
        notes.append(
            f"the supervisor of {data_directory} cannot be found: {error.strerror}; its own user,"
            " or root, may look"
        )
    try:
        workers = find_workers(data_directory, proc)
    except OSError as error:
        return Targets(notes=(*notes, f"processes cannot be read here: {error.strerror or error}"))
    if supervisor is None and not notes:
        notes.append(f"no supervisor runs in {data_directory}")
    if workers.elsewhere:
        notes.append(f"{workers.elsewhere} workers of other data directories are not counted")
    if workers.unreadable:
        notes.append(
            f"{workers.unreadable} workers of other users are not counted: root may see where they"
            " work"
        )
    return Targets(supervisor=supervisor, workers=workers.pids, notes=tuple(notes))


def _unread(supervisor: SupervisorReading | None, workers: WorkersReading | None) -> list[str]:
    """What another user's processes do not tell."""
    notes = []
    if supervisor is not None and supervisor.process.descriptors is None:
        notes.append(
            "the supervisor is another user's: its descriptors and PSS are told only to root"
        )
    if workers is not None and workers.count > workers.weighed:
        notes.append(
            f"{workers.count - workers.weighed} of {workers.count} workers are not weighed yet, or"
            " another user's"
        )
    return notes
