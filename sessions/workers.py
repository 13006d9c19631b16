"""All workers: the Unix socket on which they call, who may call, how they are started, and their end.

A worker that connects has to name itself with the token that it was started with, from the process that we started; anything else is
shown out.
"""

import asyncio
import contextlib
import hmac
import itertools
import os
import secrets
import socket
import struct
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from sessions import wire
from sessions.ports import WorkerHandle, WorkerOwner
from sessions.store import Store, WorkerRow
from sessions.worker_line import Worker
from sessions.worker_process import StopLadder, end_stray, spawn, started_at_ticks

SOCKET_NAME: Final = "supervisor.sock"
LOG_DIRECTORY: Final = "logs"
MAX_LOG_BYTES: Final = 5 * 1024 * 1024
STRAY_PATIENCE_SECONDS: Final = 2.0
"""A worker that has lost its supervisor closes its socket and exits at once; one that has not after this is killed."""

log = structlog.get_logger("workers")


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerConfig:
    """How workers are started and spoken to."""

    directory: Path
    command: tuple[str, ...]
    environment: Mapping[str, str]
    hello_seconds: float = 20.0
    concurrent_spawns: int = 4
    ladder: StopLadder = field(default_factory=StopLadder)


class Workers:
    """All living workers, and the socket on which they call."""

    def __init__(self, config: WorkerConfig, store: Store) -> None:
        self._config = config
        self._store = store
        self._spawning = asyncio.Semaphore(config.concurrent_spawns)
        self._expected: dict[str, tuple[str, Worker]] = {}
        self._alive: dict[str, Worker] = {}
        self._lines: set[asyncio.Task[None]] = set()
        self._farewells: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None
        self._run = secrets.token_hex(4)
        self._numbers = itertools.count(1)

    @property
    def alive(self) -> list[Worker]:
        """The workers whose processes live."""
        return list(self._alive.values())

    async def listen(self) -> None:
        """End what an earlier supervisor left, then open the socket."""
        await self._end_strays()
        directory = self._config.directory
        (directory / LOG_DIRECTORY).mkdir(mode=0o700, exist_ok=True)
        (directory / SOCKET_NAME).unlink(missing_ok=True)
        handle = os.open(directory, os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # Through /proc, because a socket's own path may have 107 bytes and a data directory lies where it lies.
            path = f"/proc/self/fd/{handle}/{SOCKET_NAME}"
            self._server = await asyncio.start_unix_server(self._on_line, path, limit=wire.MAX_FRAME_BYTES)
        finally:
            os.close(handle)

    async def bring_up(self, session: str) -> Worker:
        """Start a worker and wait for its hello. Raises WorkerGone or TimeoutError (the process is then ended)."""
        async with self._spawning:
            worker = self._spawn(session)
            try:
                ticks = started_at_ticks(worker.pid) or 0
                await self._store.add_worker(WorkerRow(worker.id, session, worker.pid, ticks))
                await worker.wait_connected()
            except BaseException:
                worker.kill()
                raise
            return worker

    def end_others(self, owner: WorkerOwner, keep: WorkerHandle | None) -> None:
        """Make sure that an owner holds no worker but this one."""
        for worker in self.alive:
            if worker.owner is owner and worker is not keep:
                log.warning(
                    "a second worker of one session was killed", action="second_worker_killed", worker=worker.id
                )
                worker.kill()

    async def close(self) -> None:
        """Stop every worker, all at once, then the socket."""
        await asyncio.gather(*(worker.stop() for worker in self.alive))
        if self._server is not None:
            self._server.close()
        for line in self._lines:
            line.cancel()
        await asyncio.gather(*self._lines, *self._farewells, return_exceptions=True)
        (self._config.directory / SOCKET_NAME).unlink(missing_ok=True)

    # --- inside ---------------------------------------------------------------------------------------------------------

    def _spawn(self, session: str) -> Worker:
        worker_id = f"{self._run}-{next(self._numbers)}"
        token = secrets.token_urlsafe(24)
        own = {"WASUP_WORKER_ID": worker_id, "WASUP_WORKER_TOKEN": token, "WASUP_SOCKET": SOCKET_NAME}
        log_file = self._config.directory / LOG_DIRECTORY / f"worker-{session}.log"
        _keep_small(log_file)
        process = spawn(self._config.command, dict(self._config.environment) | own, self._config.directory, log_file)
        worker = Worker(worker_id, process, self._config.ladder, self._config.hello_seconds)
        self._expected[worker_id] = (token, worker)
        self._alive[worker_id] = worker
        process.ended.add_done_callback(lambda _: self._on_worker_end(worker))
        return worker

    def _on_worker_end(self, worker: Worker) -> None:
        self._expected.pop(worker.id, None)
        self._alive.pop(worker.id, None)
        farewell = asyncio.ensure_future(self._forget(worker.id))
        self._farewells.add(farewell)
        farewell.add_done_callback(self._farewells.discard)

    async def _forget(self, worker_id: str) -> None:
        try:
            await self._store.remove_worker(worker_id)
        except (
            Exception
        ) as error:  # the row is harmless: pid and start time tell the next supervisor that it is history
            log.warning("a worker's row stays behind", action="worker_row_stays", worker=worker_id, error=str(error))

    async def _end_strays(self) -> None:
        rows = await self._store.workers()
        lived = await asyncio.gather(*(end_stray(r.pid, r.started_at_ticks, STRAY_PATIENCE_SECONDS) for r in rows))
        for row, alive in zip(rows, lived, strict=True):
            if alive:
                log.info(
                    "ended a worker of an earlier supervisor", action="stray_ended", pid=row.pid, session=row.session
                )
            await self._store.remove_worker(row.id)

    async def _on_line(self, reader: asyncio.StreamReader, stream: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._lines.add(task)
        worker = None
        try:
            worker = await self._greet(reader, stream)
            await worker.serve(reader, stream)
        except (
            wire.WireError,
            ConnectionError,
            TimeoutError,
            ValueError,
        ) as error:  # ValueError: a line above the limit
            log.warning("a line was closed", action="line_closed", worker=worker and worker.id, error=str(error))
        except asyncio.CancelledError:
            log.debug("a line was cancelled at the end", action="line_cancelled", worker=worker and worker.id)
        finally:
            self._lines.discard(task)
            stream.close()
            with contextlib.suppress(ConnectionError):
                await stream.wait_closed()
            if worker is not None:
                self._end_without_line(worker)

    async def _greet(self, reader: asyncio.StreamReader, stream: asyncio.StreamWriter) -> Worker:
        async with asyncio.timeout(self._config.hello_seconds):
            hello = wire.decode_up(await reader.readline())
        if not isinstance(hello, wire.Hello) or hello.protocol != wire.PROTOCOL:
            raise wire.WireError("the first frame is not a hello of this protocol")
        token, worker = self._expected.get(hello.worker, ("", None))
        if worker is None or not hmac.compare_digest(token.encode(), hello.token.encode()):
            raise wire.WireError("a hello with a name or token that was not given out")
        if _peer_pid(stream) != worker.pid:
            raise wire.WireError("a hello from another process than the one that was started")
        del self._expected[hello.worker]
        return worker

    @staticmethod
    def _end_without_line(worker: Worker) -> None:
        """A worker without a line cannot be owned: it leaves by itself; if it does not, it is killed."""
        loop = asyncio.get_running_loop()
        timer = loop.call_later(STRAY_PATIENCE_SECONDS, worker.kill)
        worker.ended.add_done_callback(lambda _: timer.cancel())


def _keep_small(log_file: Path) -> None:
    """Put a log that has grown aside, in place of the one put aside before: a crash loop must not fill the disk."""
    if log_file.exists() and log_file.stat().st_size > MAX_LOG_BYTES:
        log_file.replace(log_file.with_suffix(".log.1"))


def _peer_pid(stream: asyncio.StreamWriter) -> int:
    peer: socket.socket = stream.get_extra_info("socket")
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid: int = struct.unpack("3i", credentials)[0]
    return pid
