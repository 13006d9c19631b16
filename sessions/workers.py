"""The supervisor's side of the line: listens on the Unix socket, brings workers up, carries frames to and from each.

A worker that connects has to name itself with the token that it was started with, from the process that we started; anything else is
shown out. One Worker here = one living process and its line; when either ends, the other is ended too.
"""

import asyncio
import contextlib
import hmac
import itertools
import os
import secrets
import signal
import socket
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import structlog

from sessions import wire
from sessions.model import WorkerGone, WorkerRefused
from sessions.ports import WorkerHandle, WorkerOwner
from sessions.store import Store, WorkerRow
from sessions.worker_process import Exit, StopLadder, WatchedProcess, end_stray, spawn, started_at_ticks

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
    heartbeat_seconds: float = 5.0
    concurrent_spawns: int = 4
    ladder: StopLadder = field(default_factory=StopLadder)


class Worker:
    """One living worker process and its line."""

    def __init__(self, worker_id: str, process: WatchedProcess, config: WorkerConfig) -> None:
        self.id = worker_id
        self.pid = process.pid
        self.beat: wire.Beat | None = None
        self.beat_at = asyncio.get_running_loop().time()
        self.owner: WorkerOwner | None = None
        self._process = process
        self._config = config
        self._stream: asyncio.StreamWriter | None = None
        self._connected: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._request_ids = itertools.count(1)
        self._requests: dict[int, asyncio.Future[wire.Replied | wire.Probed]] = {}
        process.ended.add_done_callback(self._on_end)

    @property
    def alive(self) -> bool:
        """Whether the process lives."""
        return not self._process.ended.done()

    @property
    def ended(self) -> asyncio.Future[Exit]:
        """Done when the process has ended."""
        return self._process.ended

    def send(self, frame: wire.Down) -> None:
        """Send a frame. Raises WorkerGone when the line is down."""
        if self._stream is None or self._stream.is_closing():
            raise WorkerGone("The worker's line is down.")
        self._stream.write(wire.encode(frame))

    async def request(self, make: Callable[[int], wire.Request], timeout_seconds: float) -> wire.Replied | wire.Probed:
        """Send a request and wait for its answer. Raises WorkerGone, WorkerRefused, TimeoutError."""
        number = next(self._request_ids)
        answer: asyncio.Future[wire.Replied | wire.Probed] = asyncio.get_running_loop().create_future()
        self._requests[number] = answer
        try:
            self.send(make(number))
            async with asyncio.timeout(timeout_seconds):
                reply = await answer
        finally:
            self._requests.pop(number, None)
        if isinstance(reply, wire.Replied) and reply.error is not None:
            raise WorkerRefused(reply.error.code, reply.error.message)
        return reply

    def kill(self) -> None:
        """SIGKILL, to the whole group."""
        self._process.signal_group(signal.SIGKILL)

    async def stop(self) -> Exit:
        """Ask it to end, and see to it."""
        try:
            self.send(wire.Shutdown())
            asked = True
        except WorkerGone:
            asked = False
        return await self._process.stop(self._config.ladder, asked)

    # --- the line -------------------------------------------------------------------------------------------------------

    async def wait_connected(self) -> None:
        """Wait for its hello. Raises WorkerGone when it ends first, TimeoutError when it stays silent."""
        either: list[asyncio.Future[Any]] = [self._connected, self._process.ended]
        async with asyncio.timeout(self._config.hello_seconds):
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not self._connected.done():
            raise WorkerGone(f"The worker {self._process.ended.result()} before it said hello.")

    async def serve(self, reader: asyncio.StreamReader, stream: asyncio.StreamWriter) -> None:
        """Read its frames until the line ends."""
        self._stream = stream
        self.beat_at = asyncio.get_running_loop().time()
        if not self._connected.done():
            self._connected.set_result(None)
        while line := await reader.readline():
            self._receive(wire.decode_up(line))

    def _receive(self, frame: wire.Up) -> None:
        match frame:
            case wire.Beat():
                self.beat, self.beat_at = frame, asyncio.get_running_loop().time()
            case wire.Replied() | wire.Probed():
                answer = self._requests.get(frame.id)
                if answer is not None and not answer.done():
                    answer.set_result(frame)
            case _ if self.owner is not None:
                self.owner.on_frame(self, frame)
            case _:
                log.debug("a frame for nobody", action="frame_dropped", worker=self.id, frame=type(frame).__name__)

    def _on_end(self, ended: "asyncio.Future[Exit]") -> None:
        if self._stream is not None:
            self._stream.close()
        for answer in self._requests.values():
            if not answer.done():
                answer.set_exception(WorkerGone(f"The worker {ended.result()}."))
        if self.owner is not None:
            self.owner.on_worker_end(self, ended.result())


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
        worker = Worker(worker_id, process, self._config)
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
