"""The Unix socket on which workers call, and who may.

A worker that connects has to name itself with the token that it was started with, from the process
that we, or our predecessor, started; anything else is rejected, and told so, so that it ends.
"""

import asyncio
import contextlib
import os
import socket
import struct
from pathlib import Path
from typing import Final

import structlog

from sessions.workers import wire
from sessions.workers.connection import Worker, close_stream
from sessions.workers.table import WorkerTable
from sessions.workers.worker_process import WorkerUser

SOCKET_NAME: Final = "supervisor.sock"
WITHOUT_CONNECTION_SECONDS: Final = 2.0
"""A worker whose connection ends while we live cannot be trusted any more; it may end by itself,
and after this it is killed.
"""

log = structlog.get_logger("workers")


class Listener:
    """The socket's file in the directory, and a task for each connection, until that ends.

    `user`: to whom the file belongs, None: to us; `hello_seconds`: how long a caller may take to
    name itself.
    """

    def __init__(
        self, directory: Path, user: WorkerUser | None, hello_seconds: float, table: WorkerTable
    ) -> None:
        self._directory = directory
        self._path = directory / SOCKET_NAME
        self._user = user
        self._hello_seconds = hello_seconds
        self._table = table
        self._server: asyncio.Server | None = None
        self._file: tuple[int, int] | None = None
        """Which file is the socket's, of all that may lie there."""
        self._connections: set[asyncio.Task[None]] = set()
        self._closing = False

    async def open(self) -> None:
        """Listen where workers call. The connections that stand already stay."""
        self._path.unlink(missing_ok=True)
        listener = _bind_in(self._directory)
        if self._user is not None:
            os.chown(self._path, self._user.uid, self._user.gid)
        # before the first await: spawns look at it, several at once
        self._file = _identity(self._path)
        if self._server is not None:
            self._server.close()
        self._server = await asyncio.start_unix_server(
            self._on_connection, sock=listener, limit=wire.MAX_FRAME_BYTES
        )

    async def check(self) -> None:
        """Listen again if the socket's file is no more: whoever tidies up a disk may remove it, and
        no new worker could call.
        """
        if self._closing or _identity(self._path) == self._file:
            return
        try:
            await self.open()
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

    def expect_ends(self) -> None:
        """Connections that end from now on are no faults: their workers are being stopped, or wait
        for our successor.
        """
        self._closing = True

    async def close(self) -> None:
        """End every connection; what is unsent is sent to those who read. The file stays, until
        `remove`.
        """
        self._closing = True
        if self._server is not None:
            self._server.close()
        for connection in self._connections:
            connection.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def remove(self) -> None:
        """Remove the socket's file."""
        self._path.unlink(missing_ok=True)

    async def _on_connection(
        self, reader: asyncio.StreamReader, stream: asyncio.StreamWriter
    ) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        worker = None
        try:
            worker, hello = await self._greet(reader, stream)
            await worker.serve(hello, reader, stream)
        except (
            wire.WireError,
            ConnectionError,
            TimeoutError,
            ValueError,  # a frame above the limit
        ) as error:
            log.warning(
                "a worker's connection was closed",
                action="connection_closed",
                worker=worker and worker.id,
                error=str(error),
            )
            if worker is None:
                self._reject(stream, str(error))
        except asyncio.CancelledError:
            log.debug(
                "a worker's connection was cancelled at the end",
                action="connection_cancelled",
                worker=worker and worker.id,
            )
        finally:
            self._connections.discard(task)
            if worker is not None and not self._closing:
                # before any wait: it may be the one that we would wait for
                _terminate_unconnected(worker)
            await close_stream(stream)

    async def _greet(
        self, reader: asyncio.StreamReader, stream: asyncio.StreamWriter
    ) -> tuple[Worker, wire.Hello]:
        async with asyncio.timeout(self._hello_seconds):
            hello = wire.decode_up(await reader.readline())
        if not isinstance(hello, wire.Hello) or hello.protocol != wire.PROTOCOL:
            raise wire.WireError("the first frame is not a hello of this protocol")
        return self._table.identify(hello, _peer_pid(stream)), hello

    def _reject(self, stream: asyncio.StreamWriter, reason: str) -> None:
        """Refuse whoever called.

        One of our own whose hello we do not understand is of another version: it is ended, not
        waited for.
        """
        with contextlib.suppress(OSError):
            stream.write(wire.encode(wire.Refuse(reason)))
        for worker in self._table.expected_from(_peer_pid(stream)):
            _terminate_unconnected(worker)


def _terminate_unconnected(worker: Worker) -> None:
    """A worker without a connection cannot be owned: it may leave by itself; if it does not, it is
    killed.
    """
    timer = asyncio.get_running_loop().call_later(WITHOUT_CONNECTION_SECONDS, worker.kill)
    worker.ended.add_done_callback(lambda _: timer.cancel())


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


def _peer_pid(stream: asyncio.StreamWriter) -> int:
    peer: socket.socket = stream.get_extra_info("socket")
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    pid: int = struct.unpack("3i", credentials)[0]
    return pid
