"""Looks at what the workers weigh and how late they are, and tells their owners.

Memory is read from /proc and not asked of the worker: one whose loop is stuck in what eats the
memory could not answer.
"""

import contextlib
import resource
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from sessions.ports import WorkerHandle
from sessions.workers.limits import Limits, judge

PAGE_BYTES: Final = resource.getpagesize()
LOOK_SECONDS: Final = 3.0
"""How often to look; pm2 looks every 30 s, and a runaway worker fills a machine in less (2 to 5 s
is what others take).
"""


class LimitWatch:
    """Looks at all workers every few seconds and tells the owner of each that is above a limit
    (once for each look).
    """

    def __init__(self, limits: Limits, workers: Callable[[], Iterable[WorkerHandle]]) -> None:
        self._limits = limits
        self._workers = workers
        self._late: dict[str, tuple[float, int]] = {}
        """By worker: when the last beat came, and how many in a row were late."""

    def look(self) -> None:
        """Look once.

        One worker that cannot be looked at keeps nobody from looking at the others; then it raises,
        at the end.
        """
        alive, failed = list(self._workers()), list[OSError]()
        self._late = {worker.id: self._count_late(worker) for worker in alive}
        for worker in alive:
            try:
                resident = resident_bytes(worker.pid)
            except OSError as error:  # no descriptor is free, most likely
                failed.append(error)
                resident = 0
            excess = judge(resident, self._late[worker.id][1], self._limits)
            if excess is not None and worker.owner is not None:
                worker.owner.on_excess(worker, excess)
        if failed:
            raise failed[0]

    def _count_late(self, worker: WorkerHandle) -> tuple[float, int]:
        seen_at, late = self._late.get(worker.id, (0.0, 0))
        if worker.beat is None or worker.beat_at == seen_at:
            return seen_at, late
        return worker.beat_at, late + 1 if worker.beat.lag_ms > self._limits.lag_ms else 0


def resident_bytes(pid: int) -> int:
    """What a process holds of memory; 0 when it has ended."""
    with contextlib.suppress(FileNotFoundError, ProcessLookupError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1]) * PAGE_BYTES
    return 0
