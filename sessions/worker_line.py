"""One living worker: its process and its line. When either ends, the other is ended too."""

import asyncio
import itertools
import signal
from collections.abc import Callable
from typing import Any

import structlog

from sessions import wire
from sessions.model import WorkerGone, WorkerRefused
from sessions.ports import WorkerOwner
from sessions.worker_process import Exit, StopLadder, WatchedProcess

log = structlog.get_logger("workers")


class Worker:
    """One living worker process and its line."""

    def __init__(self, worker_id: str, process: WatchedProcess, ladder: StopLadder, hello_seconds: float) -> None:
        self.id = worker_id
        self.pid = process.pid
        self.beat: wire.Beat | None = None
        self.beat_at = asyncio.get_running_loop().time()
        self.owner: WorkerOwner | None = None
        self._process = process
        self._ladder = ladder
        self._hello_seconds = hello_seconds
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
        return await self._process.stop(self._ladder, asked)

    # --- the line -------------------------------------------------------------------------------------------------------

    async def wait_connected(self) -> None:
        """Wait for its hello. Raises WorkerGone when it ends first, TimeoutError when it stays silent."""
        either: list[asyncio.Future[Any]] = [self._connected, self._process.ended]
        async with asyncio.timeout(self._hello_seconds):
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
