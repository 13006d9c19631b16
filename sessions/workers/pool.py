"""All workers: how they start, who of an earlier supervisor's comes back, how they end.

The parts: the table of who lives (table.py), the socket on which they call (listener.py), those
that come back (returning.py), warm spares (spares.py), and the limits that all are held to
(limits.py).
"""

import asyncio
import itertools
import secrets
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from sessions.forever import Forever, Kept
from sessions.model import SpawnRefused
from sessions.ports import Returned, WorkerHandle, WorkerOwner
from sessions.store import Store, WorkerRow
from sessions.workers import returning
from sessions.workers.connection import Worker
from sessions.workers.limit_watch import LOOK_SECONDS, LimitWatch
from sessions.workers.limits import Limits
from sessions.workers.listener import SOCKET_NAME, Listener
from sessions.workers.logs import WorkerLogs
from sessions.workers.returning import ReturningWorkers
from sessions.workers.spares import Spares
from sessions.workers.table import AbandonedWorker, WorkerTable, digest
from sessions.workers.worker_process import (
    StopLadder,
    WorkerUser,
    find,
    spawn,
    started_at_ticks,
    works_in,
)

LOG_DIRECTORY: Final = "logs"
COMPILE_CACHE: Final = "cache"
"""Where Node keeps the worker's compiled code, in the data directory.

Worthless to anybody else; it may be deleted.
"""
HOUSEKEEPING_SECONDS: Final = 60.0

log = structlog.get_logger("workers")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerConfig:
    """How workers are started and spoken to."""

    directory: Path
    command: tuple[str, ...]
    environment: Mapping[str, str]
    user: WorkerUser | None = None
    """As whom workers run; None: as we do."""
    compile_cache: str = COMPILE_CACHE
    """Where Node keeps their compiled code; from the data directory, which they work in."""
    code: str = "unknown"
    """What a worker started now runs: a hash, which its hello repeats."""
    hello_seconds: float = 20.0
    return_seconds: float = 10.0
    """How long an earlier supervisor's worker may take to call; it tries at least once a second."""
    concurrent_spawns: int = 4
    spares: int = 0
    limits: Limits = field(default_factory=Limits)
    ladder: StopLadder = field(default_factory=StopLadder)


class Workers:
    """All living workers.

    `notify`: told of each worker that cannot be ended, and of its end.
    """

    def __init__(
        self,
        config: WorkerConfig,
        store: Store,
        forever: Forever,
        notify: Callable[[AbandonedWorker], None] = lambda abandoned: None,
    ) -> None:
        self._config = config
        self._store = store
        self._forever = forever
        self._logs = WorkerLogs(config.directory / LOG_DIRECTORY)
        self._table = WorkerTable(store, self._logs, notify)
        self._listener = Listener(config.directory, config.user, config.hello_seconds, self._table)
        self._returning = ReturningWorkers(store, config.return_seconds)
        self._spares = Spares(config.spares, lambda: self._start(None), forever)
        self._spawning = asyncio.Semaphore(config.concurrent_spawns)
        self._housekeeping: list[Kept] = []
        self._run = secrets.token_hex(4)
        self._numbers = itertools.count(1)

    @property
    def alive(self) -> list[Worker]:
        """The workers whose processes live."""
        return self._table.alive

    @property
    def abandoned(self) -> list[Worker]:
        """The workers that cannot be ended."""
        return self._table.abandoned

    def stuck(self, session: str) -> int | None:
        """The pid of a worker that may hold this session and cannot be ended; None: there is
        none.
        """
        return next((worker.pid for worker in self._table.abandoned_of(session)), None)

    @property
    def code(self) -> str:
        """What a worker started now would run."""
        return self._config.code

    async def listen(self) -> None:
        """Find what an earlier supervisor left, then open the socket."""
        self._logs.forget_spares()
        gone = [row.id for row in await self._store.workers() if not self._expect(row)]
        if gone:
            await self._store.remove_workers(gone)
        await self._listener.open()
        self._returning.open()
        limits = LimitWatch(self._config.limits, lambda: self.alive)
        self._housekeeping = [
            self._forever.keep(name, look, every_seconds=seconds, at_once=False)
            for name, look, seconds in (
                ("worker limits", limits.look, LOOK_SECONDS),
                ("worker socket", self._listener.check, HOUSEKEEPING_SECONDS),
                ("worker logs", self._keep_logs_small, HOUSEKEEPING_SECONDS),
            )
        ]

    def keep_spares(self) -> None:
        """Begin to keep warm spares; before, the sessions' own workers come first."""
        self._spares.open()

    # --- those who come back ----------------------------------------------------------------------

    def expects(self, session: str) -> bool:
        """Whether a living worker of an earlier supervisor may hold this session."""
        return self._returning.expects(session)

    async def await_reconnect(self, session: str) -> Returned | None:
        """The worker that holds this session, once it has called; None when there is none (any
        more). One that stays silent is killed first.
        """
        return await self._returning.await_reconnect(session)

    async def refuse(self, worker: WorkerHandle, reason: str) -> None:
        """Tell a worker that it is not adopted, and see to its end."""
        await returning.refuse(worker, reason)

    async def terminate_returning(self, session: str) -> None:
        """Terminate the worker of an earlier supervisor that may hold this session, if nobody has
        claimed it: politely, as soon as it has called.

        Returns when it has ended, whoever began that; to call this off does not call that off.
        """
        await self._returning.terminate(session)

    def terminate_unclaimed(self, claimed: Collection[str]) -> None:
        """Begin to terminate the workers of an earlier supervisor whose sessions are not among
        these: stopped, deleted, or never given one.
        """
        self._returning.terminate_unclaimed(claimed)

    # --- new ones ---------------------------------------------------------------------------------

    async def bring_up(self, session: str) -> Worker:
        """A worker that has said hello: a warm spare, or a new process.

        While an earlier worker of the session cannot be ended it waits: that one may have the
        session's socket. Raises WorkerGone (also if this machine refuses a new process),
        TimeoutError (the process is ended), StoreError.
        """
        await self.terminate_returning(session)  # never two for one session
        while holders := [worker.ended for worker in self._table.abandoned_of(session)]:
            await asyncio.wait(holders)
            # Whoever waits for an end may run before the table's own callback of that end: a turn
            # later it is known there, too. Without it this would spin on what is done.
            await asyncio.sleep(0)
        spare = self._spares.take()
        if spare is None:
            return await self._start(session)
        try:
            await self._store.give_worker(spare.id, session)
        except BaseException:
            spare.kill()
            raise
        spare.session = session
        try:
            self._logs.give(spare.id, session)
        except OSError as error:
            # A disk that takes nothing is no reason to lose the worker, still less to leave it to
            # nobody.
            log.warning(
                "a worker's log keeps its old name",
                action="log_not_named",
                worker=spare.id,
                error=str(error),
            )
        return spare

    def end_others(self, owner: WorkerOwner, keep: WorkerHandle | None) -> None:
        """Make sure that an owner holds no worker but this one."""
        for worker in self.alive:
            if worker.owner is owner and worker is not keep:
                log.warning(
                    "a second worker of one session was killed",
                    action="second_worker_killed",
                    worker=worker.id,
                )
                worker.kill()

    async def close(self, detach: bool = False) -> None:
        """Stop every worker, all at once, then the socket.

        With `detach` only the spares end: the others wait for our successor.
        """
        self._listener.expect_ends()
        for kept in self._housekeeping:
            await kept.close()
        self._returning.close()
        stops = [] if detach else [worker.stop() for worker in self.alive]
        # at once: each may take the whole of its ladder
        await asyncio.gather(self._spares.close(), *stops)
        await self._listener.close()
        await self._table.close()
        self._listener.remove()

    # --- inside -----------------------------------------------------------------------------------

    async def _start(self, session: str | None) -> Worker:
        async with self._spawning:
            await self._listener.check()
            worker, token_digest = self._spawn(session)
            try:
                ticks = _ticks(worker.pid)
                await self._store.add_worker(
                    WorkerRow(worker.id, session, worker.pid, ticks, token_digest)
                )
                await worker.wait_connected(self._config.hello_seconds)
            except BaseException:
                worker.kill()
                raise
            return worker

    def _spawn(self, session: str | None) -> tuple[Worker, bytes]:
        worker_id = f"{self._run}-{next(self._numbers)}"
        token = secrets.token_urlsafe(24)
        config = self._config
        own = {
            "WASUP_WORKER_ID": worker_id,
            "WASUP_WORKER_TOKEN": token,
            "WASUP_WORKER_CODE": config.code,
            "WASUP_SOCKET": SOCKET_NAME,
            "NODE_COMPILE_CACHE": config.compile_cache,  # a third less CPU for each start
        }
        try:
            log_file = self._logs.begin(worker_id, session)
            process = spawn(
                config.command,
                dict(config.environment) | own,
                config.directory,
                log_file,
                config.user,
            )
        except OSError as error:
            raise SpawnRefused(error) from error
        worker = Worker(worker_id, process, config.ladder)
        worker.session = session
        token_digest = digest(token)
        self._table.register(worker, token_digest)
        return worker, token_digest

    def _expect(self, row: WorkerRow) -> bool:
        """Expect the call of a worker that an earlier supervisor started; False: it does not live
        any more.
        """
        # in a copy of the directory the table names the workers of the original
        ours = works_in(row.pid, self._config.directory)
        process = find(row.pid, row.started_at_ticks) if ours else None
        if process is None:
            return False
        worker = Worker(row.id, process, self._config.ladder)
        worker.session = row.session
        self._table.register(worker, row.token_digest or b"")
        self._returning.expect(worker)
        return True

    async def _keep_logs_small(self) -> None:
        try:
            await asyncio.to_thread(self._logs.keep_small)
        except OSError as error:
            log.warning("a worker's log stays large", action="log_stays_large", error=str(error))


def _ticks(pid: int) -> int:
    """When it was started, for the worker table.

    Raises SpawnRefused when that cannot be read: it could not be found again.
    """
    try:
        return started_at_ticks(pid) or 0
    except OSError as error:
        raise SpawnRefused(error) from error
