"""All workers: the Unix socket on which they call, who may call, how they start, who comes back
from an earlier supervisor, how they end.

A worker that connects has to name itself with the token that it was started with, from the process
that we, or our predecessor, started; anything else is refused, and told so, so that it ends.
"""

import asyncio
import contextlib
import hashlib
import hmac
import itertools
import os
import secrets
import socket
import struct
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, NamedTuple

import structlog

from sessions.forever import Forever, Kept
from sessions.model import SpawnRefused, WorkerGone
from sessions.ports import Returned, WorkerHandle, WorkerOwner
from sessions.store import Store, WorkerRow
from sessions.workers import wire
from sessions.workers.keys import KeyService
from sessions.workers.limit_watch import LOOK_SECONDS, LimitWatch
from sessions.workers.limits import Excess, Limits
from sessions.workers.line import Worker, close_stream
from sessions.workers.logs import WorkerLogs
from sessions.workers.spares import Spares
from sessions.workers.worker_process import (
    Exit,
    StopLadder,
    WorkerUser,
    find,
    spawn,
    started_at_ticks,
    works_in,
)

SOCKET_NAME: Final = "supervisor.sock"
LOG_DIRECTORY: Final = "logs"
COMPILE_CACHE: Final = "cache"
"""Where Node keeps the worker's compiled code, in the data directory.

Worthless to anybody else; it may be deleted.
"""
WITHOUT_LINE_SECONDS: Final = 2.0
"""A worker whose line ends while we live cannot be trusted any more; it may end by itself, and
after this it is killed.
"""
HOUSEKEEPING_SECONDS: Final = 60.0
LAST_ROWS_SECONDS: Final = 1.0
"""How long a stop waits for the worker table; a row that stays is harmless."""

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
    """What a worker started now runs (code.py)."""
    hello_seconds: float = 20.0
    return_seconds: float = 10.0
    """How long an earlier supervisor's worker may take to call; it tries at least once a second."""
    concurrent_spawns: int = 4
    spares: int = 0
    limits: Limits = field(default_factory=Limits)
    ladder: StopLadder = field(default_factory=StopLadder)


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


class Workers:
    """All living workers, and the socket on which they call."""

    def __init__(
        self,
        config: WorkerConfig,
        store: Store,
        forever: Forever,
        notify: Callable[["AbandonedWorker"], None] = lambda abandoned: None,
    ) -> None:
        """`notify`: told of each worker that cannot be ended, and of its end."""
        self._config = config
        self._notify = notify
        self._store = store
        self._forever = forever
        self._kept: list[Kept] = []
        self._logs = WorkerLogs(config.directory / LOG_DIRECTORY)
        self._spawning = asyncio.Semaphore(config.concurrent_spawns)
        self._spares = Spares(config.spares, lambda: self._start(None), forever)
        self._expected: dict[str, _Expected] = {}
        self._returning: dict[str, list[Worker]] = {}
        """By session: workers of an earlier supervisor that have not been claimed yet.

        Two, if it was being given to a successor.
        """
        self._dismissals: dict[str, asyncio.Task[None]] = {}
        """By session: the end of those that nobody claims, until they have ended."""
        self._alive: dict[str, Worker] = {}
        self._abandoned: dict[str, Worker] = {}
        """Those that SIGKILL does not end: they hang in the kernel, and what they hold is theirs
        until they have ended.
        """
        self._lines: set[asyncio.Task[None]] = set()
        self._background: set[asyncio.Task[None]] = set()
        self._executor = _Executor(store)
        self._server: asyncio.Server | None = None
        self._socket_file: tuple[int, int] | None = None
        """Which file is the socket's, of all that may lie there."""
        self._listening_since = 0.0
        self._closing = False
        self._run = secrets.token_hex(4)
        self._numbers = itertools.count(1)

    @property
    def alive(self) -> list[Worker]:
        """The workers whose processes live."""
        return list(self._alive.values())

    @property
    def abandoned(self) -> list[Worker]:
        """The workers that cannot be ended."""
        return list(self._abandoned.values())

    def stuck(self, session: str) -> int | None:
        """The pid of a worker that may hold this session and cannot be ended; None: there is
        none.
        """
        return next(
            (worker.pid for worker in self._abandoned.values() if worker.session == session), None
        )

    @property
    def code(self) -> str:
        """What a worker started now would run."""
        return self._config.code

    async def listen(self) -> None:
        """Find what an earlier supervisor left, then open the socket."""
        self._logs.forget_spares()
        gone = [row.id for row in await self._store.workers() if not self._remember(row)]
        if gone:
            await self._store.remove_workers(gone)
        await self._open_socket()
        self._listening_since = asyncio.get_running_loop().time()
        limits = LimitWatch(self._config.limits, lambda: self.alive)
        self._kept = [
            self._forever.keep(
                "worker limits", limits.look, every_seconds=LOOK_SECONDS, at_once=False
            ),
            self._forever.keep(
                "worker socket",
                self._check_socket,
                every_seconds=HOUSEKEEPING_SECONDS,
                at_once=False,
            ),
            self._forever.keep(
                "worker logs",
                self._keep_logs_small,
                every_seconds=HOUSEKEEPING_SECONDS,
                at_once=False,
            ),
        ]

    def keep_spares(self) -> None:
        """Begin to keep warm spares; before, the sessions' own workers come first."""
        self._spares.open()

    # --- those who come back ----------------------------------------------------------------------

    def expects(self, session: str) -> bool:
        """Whether a living worker of an earlier supervisor may hold this session."""
        return session in self._returning

    async def await_reconnect(self, session: str) -> Returned | None:
        """The worker that holds this session, once it has called; None when there is none (any
        more). One that stays silent is killed first.
        """
        # Whoever calls it off finds them where they were: to dismiss them, or to leave them to our
        # successor.
        answers = await asyncio.gather(
            *(self._hear(worker, session) for worker in self._returning[session])
        )
        holders = [holder for holder in answers if holder is not None]
        if len(holders) > 1:  # each says that it is the owner: that cannot be, so neither is
            for holder in holders:
                await self.refuse(holder.worker, "another worker holds its session, too")
        self._returning.pop(session, None)
        return holders[0] if len(holders) == 1 else None

    async def refuse(self, worker: WorkerHandle, reason: str) -> None:
        """Tell a worker that it is not adopted, and see to its end."""
        log.warning(
            f"a worker is refused: {reason}",
            action="worker_refused",
            worker=worker.id,
            pid=worker.pid,
        )
        with contextlib.suppress(WorkerGone):  # then it is ended without a word
            worker.send(wire.Refuse(reason))
        await worker.stop()

    async def dismiss(self, session: str) -> None:
        """End the worker of an earlier supervisor that may hold this session, if nobody has claimed
        it: politely, as soon as it has called.

        Returns when it has ended, whoever began that; to call this off does not call that off.
        """
        self._begin_dismissal(session)
        if dismissal := self._dismissals.get(session):
            await asyncio.wait([dismissal])

    def dismiss_unclaimed(self, claimed: Collection[str]) -> None:
        """End the returning workers whose sessions are not among these: stopped, deleted, or never
        given one.
        """
        for session in self._returning.keys() - set(claimed):
            self._begin_dismissal(session)

    # --- new ones ---------------------------------------------------------------------------------

    async def bring_up(self, session: str) -> Worker:
        """A worker that has said hello: a warm spare, or a new process.

        While an earlier worker of the session cannot be ended it waits: that one may have the
        session's socket. Raises WorkerGone (also if this machine refuses a new process),
        TimeoutError (the process is ended), StoreError.
        """
        await self.dismiss(session)  # never two for one session
        while holders := [
            worker.ended for worker in self._abandoned.values() if worker.session == session
        ]:
            await asyncio.wait(holders)
            await asyncio.sleep(0)  # until that is known here
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
        except (
            OSError
            # a disk that takes nothing: no reason to lose the worker, still less to leave it to
            # nobody
        ) as error:
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
        self._closing = True
        for kept in self._kept:
            await kept.close()
        for work in self._background:
            work.cancel()
        stops = [] if detach else [worker.stop() for worker in self.alive]
        # at once: each may take the whole of its ladder
        await asyncio.gather(self._spares.close(), *stops)
        if self._server is not None:
            self._server.close()
        for line in self._lines:
            line.cancel()
        await asyncio.gather(*self._lines, return_exceptions=True)
        if self._background:
            # rows of workers that have ended: a store that fails must not keep us here
            await asyncio.wait(self._background, timeout=LAST_ROWS_SECONDS)
        for work in self._background:
            work.cancel()
        await asyncio.gather(*self._background, return_exceptions=True)
        for worker in [*self.alive, *self.abandoned]:
            worker.release()
        (self._config.directory / SOCKET_NAME).unlink(missing_ok=True)

    # --- inside -----------------------------------------------------------------------------------

    async def _open_socket(self) -> None:
        """Listen where workers call. The lines that stand already stay."""
        directory = self._config.directory
        (directory / SOCKET_NAME).unlink(missing_ok=True)
        listener = _bind_in(directory)
        if (user := self._config.user) is not None:
            os.chown(directory / SOCKET_NAME, user.uid, user.gid)
        self._socket_file = _identity(
            directory / SOCKET_NAME
        )  # before the first await: spawns look at it, several at once
        if self._server is not None:
            self._server.close()
        self._server = await asyncio.start_unix_server(
            self._on_line, sock=listener, limit=wire.MAX_FRAME_BYTES
        )

    async def _check_socket(self) -> None:
        """Listen again if the socket's file is no more: whoever tidies up a disk may remove it, and
        no new worker could call.
        """
        if self._closing or _identity(self._config.directory / SOCKET_NAME) == self._socket_file:
            return
        try:
            await self._open_socket()
        except OSError as error:
            log.error(
                "the workers' socket was removed and cannot be made",
                action="no_socket",
                error=str(error),
            )
        else:
            log.warning(
                "the workers' socket was removed; there is a new one", action="socket_made_again"
            )

    async def _start(self, session: str | None) -> Worker:
        async with self._spawning:
            await self._check_socket()
            worker, digest = self._spawn(session)
            try:
                ticks = _ticks(worker.pid)
                await self._store.add_worker(
                    WorkerRow(worker.id, session, worker.pid, ticks, digest)
                )
                await worker.wait_connected(self._config.hello_seconds)
            except BaseException:
                worker.kill()
                raise
            return worker

    def _spawn(self, session: str | None) -> tuple[Worker, bytes]:
        worker_id = f"{self._run}-{next(self._numbers)}"
        token = secrets.token_urlsafe(24)
        own = {
            "WASUP_WORKER_ID": worker_id,
            "WASUP_WORKER_TOKEN": token,
            "WASUP_WORKER_CODE": self._config.code,
            "WASUP_SOCKET": SOCKET_NAME,
            "NODE_COMPILE_CACHE": self._config.compile_cache,  # a third less CPU for each start
        }
        config = self._config
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
        worker = Worker(worker_id, process, self._config.ladder)
        worker.session = session
        digest = _digest(token)
        self._take_in(worker, digest)
        return worker, digest

    def _remember(self, row: WorkerRow) -> bool:
        """Expect the call of a worker that an earlier supervisor started; False: it does not live
        any more.
        """
        process = None
        if works_in(
            row.pid, self._config.directory
        ):  # in a copy of the directory the table names the workers of the original
            process = find(row.pid, row.started_at_ticks)
        if process is None:
            return False
        worker = Worker(row.id, process, self._config.ladder)
        worker.session = row.session
        self._take_in(worker, row.token_digest or b"")
        self._returning.setdefault(row.session or row.id, []).append(worker)
        return True

    async def _call_of(self, worker: Worker, session: str) -> wire.Hello | None:
        """A returning worker's hello; None when it has ended.

        One that stays silent is killed: it has had its time, and is hung or frozen.
        """
        left_seconds = (
            self._listening_since + self._config.return_seconds - asyncio.get_running_loop().time()
        )
        try:
            return await worker.wait_connected(max(0.0, left_seconds))
        except TimeoutError:
            log.warning(
                "a worker of an earlier supervisor does not call",
                action="silent_worker",
                session=session,
            )
            worker.kill()
            await worker.stop()
        except WorkerGone:
            pass
        return None

    def _begin_dismissal(self, session: str) -> None:
        if leaving := self._returning.pop(session, None):
            # Once for each session: nobody returns later. And a task of its own: whoever waits for
            # it may be called off.
            dismissal = self._in_background(self._part_with_all(leaving, session))
            self._dismissals[session] = dismissal
            dismissal.add_done_callback(lambda _: self._dismissals.pop(session, None))

    async def _part_with_all(self, workers: Sequence[Worker], session: str) -> None:
        await asyncio.gather(*(self._part_with(worker, session) for worker in workers))

    async def _part_with(self, worker: Worker, session: str) -> None:
        """End a returning worker whose session nobody wants now.

        What it has not saved yet is saved: the session may be started again.
        """
        if await self._call_of(worker, session) is not None:
            worker.attach(self._executor)
            await worker.stop()

    async def _hear(self, worker: Worker, session: str) -> Returned | None:
        """Wait for a returning worker's call; it is ended unless it holds the session."""
        hello = await self._call_of(worker, session)
        if hello is None:
            return None
        held = hello.sessions[0] if len(hello.sessions) == 1 else None
        if held is not None and held.session == session:
            return Returned(worker, held)
        await self.refuse(worker, "it does not hold the session that it was given")
        return None

    def _take_in(self, worker: Worker, digest: bytes) -> None:
        self._expected[worker.id] = _Expected(digest, worker)
        self._alive[worker.id] = worker
        worker.released.add_done_callback(lambda _: self._on_release(worker))
        worker.ended.add_done_callback(lambda _: self._on_worker_end(worker))

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

    def _on_worker_end(self, worker: Worker) -> None:
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
        self._in_background(self._forget(worker.id))

    async def _forget(self, worker_id: str) -> None:
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

    async def _keep_logs_small(self) -> None:
        try:
            await asyncio.to_thread(self._logs.keep_small)
        except OSError as error:
            log.warning("a worker's log stays large", action="log_stays_large", error=str(error))

    def _in_background(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)
        task.add_done_callback(_log_failure)
        return task

    async def _on_line(self, reader: asyncio.StreamReader, stream: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._lines.add(task)
        worker = None
        try:
            worker, hello = await self._greet(reader, stream)
            await worker.serve(hello, reader, stream)
        except (
            wire.WireError,
            ConnectionError,
            TimeoutError,
            ValueError,
        ) as error:  # ValueError: a line above the limit
            log.warning(
                "a line was closed",
                action="line_closed",
                worker=worker and worker.id,
                error=str(error),
            )
            if worker is None:
                self._show_out(stream, str(error))
        except asyncio.CancelledError:
            log.debug(
                "a line was cancelled at the end",
                action="line_cancelled",
                worker=worker and worker.id,
            )
        finally:
            self._lines.discard(task)
            if worker is not None and not self._closing:
                # before any wait: it may be the one that we would wait for
                _end_without_line(worker)
            await close_stream(stream)

    async def _greet(
        self, reader: asyncio.StreamReader, stream: asyncio.StreamWriter
    ) -> tuple[Worker, wire.Hello]:
        async with asyncio.timeout(self._config.hello_seconds):
            hello = wire.decode_up(await reader.readline())
        if not isinstance(hello, wire.Hello) or hello.protocol != wire.PROTOCOL:
            raise wire.WireError("the first frame is not a hello of this protocol")
        expected = self._expected.get(hello.worker)
        if expected is None or not hmac.compare_digest(expected.token_digest, _digest(hello.token)):
            raise wire.WireError("a hello with a name or token that was not given out")
        if _peer_pid(stream) != expected.worker.pid:
            raise wire.WireError("a hello from another process than the one that was started")
        del self._expected[hello.worker]
        return expected.worker, hello

    def _show_out(self, stream: asyncio.StreamWriter, reason: str) -> None:
        """Refuse whoever called.

        One of our own whose hello we do not understand is of another version: it is ended, not
        waited for.
        """
        with contextlib.suppress(OSError):
            stream.write(wire.encode(wire.Refuse(reason)))
        caller = _peer_pid(stream)
        for expected in list(self._expected.values()):
            if expected.worker.pid == caller:
                _end_without_line(expected.worker)


class _Executor:
    """Owns workers that are leaving, and whose session has no worker slot for them: saves the keys
    that they still hold.
    """

    def __init__(self, store: Store) -> None:
        self._keys = KeyService(store)

    def on_frame(self, worker: WorkerHandle, frame: wire.Up) -> None:
        """A frame came."""
        if isinstance(frame, wire.KeysSet):
            self._keys.write(worker, frame)

    def on_excess(self, worker: WorkerHandle, excess: Excess) -> None:
        """It is leaving anyway."""

    def on_worker_end(self, worker: WorkerHandle, end: Exit) -> None:
        """It has left."""


def _bind_in(directory: Path) -> socket.socket:
    """A listening socket in the directory, by way of /proc: a socket's own path may have 107 bytes,
    and a data directory lies where it lies.
    """
    listener = socket.socket(socket.AF_UNIX)
    handle = os.open(directory, os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        listener.bind(f"/proc/self/fd/{handle}/{SOCKET_NAME}")
        listener.listen()
        listener.setblocking(False)
    except BaseException:
        listener.close()
        raise
    finally:
        os.close(handle)
    return listener


def _identity(file: Path) -> tuple[int, int] | None:
    """Device and inode, which nothing else has while the socket lives.

    None: there is no such file.
    """
    try:
        found = file.lstat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _end_without_line(worker: Worker) -> None:
    """A worker without a line cannot be owned: it may leave by itself; if it does not, it is
    killed.
    """
    timer = asyncio.get_running_loop().call_later(WITHOUT_LINE_SECONDS, worker.kill)
    worker.ended.add_done_callback(lambda _: timer.cancel())


def _log_failure(work: "asyncio.Task[None]") -> None:
    if not work.cancelled() and work.exception() is not None:
        log.error(
            "work in the background failed", action="background_failed", exc_info=work.exception()
        )


def _ticks(pid: int) -> int:
    """When it was started, for the worker table.

    Raises SpawnRefused when that cannot be read: it could not be found again.
    """
    try:
        return started_at_ticks(pid) or 0
    except OSError as error:
        raise SpawnRefused(error) from error


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()


def _peer_pid(stream: asyncio.StreamWriter) -> int:
    peer: socket.socket = stream.get_extra_info("socket")
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid: int = struct.unpack("3i", credentials)[0]
    return pid
