"""The table of workers: who lives, who is expected to call, whom nothing ends; and their rows in
the store, by which a successor finds them.
"""

import asyncio
import hashlib
import hmac
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final, NamedTuple

import structlog

from sessions.store import Store
from sessions.workers import wire
from sessions.workers.connection import Worker
from sessions.workers.logs import WorkerLogs

LAST_ROWS_SECONDS: Final = 1.0
"""How long a stop waits until the rows of workers that have ended are removed; one that stays is
harmless.
"""

log = structlog.get_logger("workers")


@dataclass(frozen=True, slots=True)
class AbandonedWorker:
    """A worker that not even SIGKILL ends; or, `ended`, that has ended after all.

    `session`: which one it may hold; None: it is a spare.
    """

    worker: str
    pid: int
    session: str | None
    ended: bool


class _Expected(NamedTuple):
    token_digest: bytes
    worker: Worker


class WorkerTable:
    """All workers of this supervisor and of the one before it, until they have ended.

    `notify`: told of each worker that cannot be ended, and of its end.
    """

    def __init__(
        self, store: Store, logs: WorkerLogs, notify: Callable[[AbandonedWorker], None]
    ) -> None:
        self._store = store
        self._logs = logs
        self._notify = notify
        self._expected: dict[str, _Expected] = {}
        self._alive: dict[str, Worker] = {}
        self._abandoned: dict[str, Worker] = {}
        """Those that SIGKILL does not end: they hang in the kernel, and what they hold is theirs
        until they have ended.
        """
        self._removals: set[asyncio.Task[None]] = set()

    @property
    def alive(self) -> list[Worker]:
        """The workers whose processes live."""
        return list(self._alive.values())

    @property
    def abandoned(self) -> list[Worker]:
        """The workers that cannot be ended."""
        return list(self._abandoned.values())

    def abandoned_of(self, session: str) -> list[Worker]:
        """Those of them that may hold this session."""
        return [worker for worker in self._abandoned.values() if worker.session == session]

    def register(self, worker: Worker, token_digest: bytes) -> None:
        """A worker is there, and expected to call with that token, once."""
        self._expected[worker.id] = _Expected(token_digest, worker)
        self._alive[worker.id] = worker
        worker.released.add_done_callback(lambda _: self._on_release(worker))
        worker.ended.add_done_callback(lambda _: self._on_end(worker))

    def identify(self, hello: wire.Hello, caller_pid: int) -> Worker:
        """Who has called. Raises WireError unless it is expected, has its token, and is the process
        that was started.
        """
        expected = self._expected.get(hello.worker)
        if expected is None or not hmac.compare_digest(expected.token_digest, digest(hello.token)):
            raise wire.WireError("a hello with a name or token that was not given out")
        if caller_pid != expected.worker.pid:
            raise wire.WireError("a hello from another process than the one that was started")
        del self._expected[hello.worker]
        return expected.worker

    def expected_from(self, pid: int) -> Iterator[Worker]:
        """The workers that are expected to call from this process."""
        return (
            expected.worker
            for expected in list(self._expected.values())
            if expected.worker.pid == pid
        )

    async def close(self) -> None:
        """Remove the rows of those that have ended, for LAST_ROWS_SECONDS at the most, and let go
        of the others.
        """
        if self._removals:
            # a store that fails must not keep us here
            await asyncio.wait(self._removals, timeout=LAST_ROWS_SECONDS)
        for removal in self._removals:
            removal.cancel()
        await asyncio.gather(*self._removals, return_exceptions=True)
        for worker in [*self.alive, *self.abandoned]:
            worker.release()

    def _on_release(self, worker: Worker) -> None:
        """It has ended, or is abandoned: then its row stays, for us and for our successor, until it
        has ended.
        """
        self._expected.pop(worker.id, None)
        self._alive.pop(worker.id, None)
        if worker.abandoned and not worker.ended.done():
            self._abandoned[worker.id] = worker
            log.error(
                "a worker cannot be ended",
                action="worker_abandoned",
                worker=worker.id,
                pid=worker.pid,
                session=worker.session,
            )
            self._notify(AbandonedWorker(worker.id, worker.pid, worker.session, ended=False))

    def _on_end(self, worker: Worker) -> None:
        try:
            self._logs.end(worker.id)
        except OSError as error:
            log.warning(
                "a spare worker's log stays", action="log_stays", worker=worker.id, error=str(error)
            )
        if self._abandoned.pop(worker.id, None) is not None:
            log.info(
                "an abandoned worker has ended",
                action="abandoned_ended",
                worker=worker.id,
                pid=worker.pid,
            )
            self._notify(AbandonedWorker(worker.id, worker.pid, worker.session, ended=True))
        removal = asyncio.create_task(self._remove_row(worker.id))
        self._removals.add(removal)
        removal.add_done_callback(self._removals.discard)

    async def _remove_row(self, worker_id: str) -> None:
        try:
            await self._store.remove_worker(worker_id)
        except Exception as error:
            # The row is harmless: pid and start time tell the next supervisor that it is history.
            log.warning(
                "a worker's row stays behind",
                action="worker_row_stays",
                worker=worker_id,
                error=str(error),
            )


def digest(token: str) -> bytes:
    """What is kept of a worker's token."""
    return hashlib.sha256(token.encode()).digest()
