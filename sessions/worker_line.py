"""One living worker: its process and its line. It has ended when the process has, and all that it had said is read."""

import asyncio
import itertools
import signal
from collections.abc import Callable
from typing import Any, Final

import structlog

from sessions import wire
from sessions.model import WorkerGone, WorkerRefused
from sessions.ports import WorkerOwner
from sessions.worker_process import Exit, StopLadder, WatchedProcess

LAST_WORDS_SECONDS: Final = 1.0
"""How long what a process had written before it ended may take to be read. The kernel has it; only a stalled loop needs time."""

log = structlog.get_logger("workers")


class Worker:
    """One living worker process and its line."""

    def __init__(self, worker_id: str, process: WatchedProcess, ladder: StopLadder) -> None:
        self.id = worker_id
        self.pid = process.pid
        self.code = ""
        """What it runs: a hash, from its hello."""
        self.beat: wire.Beat | None = None
        self.beat_at = asyncio.get_running_loop().time()
        self.ended: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        """Done when the process has ended and its last words have been read."""
        self.connected: asyncio.Future[wire.Hello] = asyncio.get_running_loop().create_future()
        """Done when it has said hello."""
        self._owner: WorkerOwner | None = None
        self._early: list[wire.Up] = []
        self._process = process
        self._ladder = ladder
        self._stream: asyncio.StreamWriter | None = None
        self._drained = asyncio.Event()
        self._drained.set()
        self._request_ids = itertools.count(1)
        self._requests: dict[int, asyncio.Future[wire.Replied | wire.Probed]] = {}
        process.ended.add_done_callback(self._on_process_end)

    @property
    def alive(self) -> bool:
        """Whether the process lives."""
        return not self._process.ended.done()

    @property
    def owner(self) -> WorkerOwner | None:
        """Who is told of its frames. What came before there was one is told at once."""
        return self._owner

    @owner.setter
    def owner(self, owner: WorkerOwner | None) -> None:
        self._owner = owner
        early, self._early = self._early, []
        for frame in early:
            self._pass_on(frame)
        if owner is not None and self.ended.done():  # it has ended when nobody was there to be told
            owner.on_worker_end(self, self.ended.result())

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
        await self._process.stop(self._ladder, asked)
        return await asyncio.shield(self.ended)

    def let_go(self) -> None:
        """It lives on without us, and waits for our successor."""
        self._process.let_go()

    # --- the line -------------------------------------------------------------------------------------------------------

    async def wait_connected(self, seconds: float) -> wire.Hello:
        """Wait for its hello. Raises WorkerGone when it ends first, TimeoutError when it stays silent."""
        if self.connected.done():
            return self.connected.result()
        either: list[asyncio.Future[Any]] = [self.connected, self._process.ended]
        async with asyncio.timeout(seconds):
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        if not self.connected.done():
            raise WorkerGone(f"The worker {self._process.ended.result()} before it said hello.")
        return self.connected.result()

    async def serve(self, hello: wire.Hello, reader: asyncio.StreamReader, stream: asyncio.StreamWriter) -> None:
        """Read its frames until the line ends."""
        self._stream = stream
        self._drained.clear()
        self.code = hello.code
        self.beat_at = asyncio.get_running_loop().time()
        self.connected.set_result(hello)
        try:
            while line := await reader.readline():
                self._receive(wire.decode_up(line))
        finally:
            self._drained.set()

    def _receive(self, frame: wire.Up) -> None:
        match frame:
            case wire.Beat():
                self.beat, self.beat_at = frame, asyncio.get_running_loop().time()
            case wire.Replied() | wire.Probed():
                answer = self._requests.get(frame.id)
                if answer is not None and not answer.done():
                    answer.set_result(frame)
            case _:
                self._pass_on(frame)

    def _pass_on(self, frame: wire.Up) -> None:
        if self._owner is None:
            self._early.append(frame)
        else:
            self._owner.on_frame(self, frame)

    def _on_process_end(self, ended: "asyncio.Future[Exit]") -> None:
        if self._drained.is_set():
            self._end(ended.result())
        else:
            self._farewell = asyncio.create_task(self._hear_last_words(ended.result()))

    async def _hear_last_words(self, end: Exit) -> None:
        try:
            async with asyncio.timeout(LAST_WORDS_SECONDS):
                await self._drained.wait()
        except TimeoutError:  # a grandchild holds the line open
            log.warning("the line of an ended worker stays open", action="line_stays_open", worker=self.id)
        self._end(end)

    def _end(self, end: Exit) -> None:
        if self._stream is not None:
            self._stream.close()
        for answer in self._requests.values():
            if not answer.done():
                answer.set_exception(WorkerGone(f"The worker {end}."))
        self.ended.set_result(end)
        if self._owner is not None:
            self._owner.on_worker_end(self, end)
