"""One living worker: its process and its connection.

It has ended when the process has, and all that it had said is read.
"""

import asyncio
import itertools
import signal
from collections.abc import Callable
from typing import Any, Final

import structlog

from sessions.model import WorkerGone, WorkerRefused
from sessions.ports import WorkerOwner
from sessions.workers import wire
from sessions.workers.limits import Excess, Meter, Severity, too_much_early
from sessions.workers.worker_process import Exit, StopLadder, WatchedProcess

LAST_WORDS_SECONDS: Final = 1.0
"""How long what a process had written before it ended may take to be read.

The kernel has it; only a stalled loop needs time.
"""

AWAKE_STEP_SECONDS: Final = 0.5
"""In steps of so long we notice that we have slept ourselves."""

CLOSE_SECONDS: Final = 1.0
"""For how long a connection that ends is written to.

Who has not read by then is hung, or frozen.
"""

log = structlog.get_logger("workers")


async def close_stream(stream: asyncio.StreamWriter) -> None:
    """Close a connection.

    What is unsent is sent, if whoever is at its other end reads within CLOSE_SECONDS.
    """
    stream.close()
    try:
        async with asyncio.timeout(CLOSE_SECONDS):
            await stream.wait_closed()
    except TimeoutError:
        stream.transport.abort()
    except OSError as error:  # broken, which is closed, too
        log.debug("a connection was broken", action="connection_broken", error=str(error))


async def awake_within(seconds: float, *futures: "asyncio.Future[Any]") -> None:
    """Wait until one of them is done, for so many seconds that this process is awake.

    While we sleep (stopped, frozen, a suspended machine) what a worker says lies unread in the
    socket's buffer, and who judged by the clock alone would end a healthy worker. So a step that
    takes far longer than it should counts for no more than two, and when the time is up in the
    midst of one there are two more to read what lies there.

    Raises TimeoutError.
    """
    clock = asyncio.get_running_loop().time
    left_seconds, before, woken = seconds, clock(), False
    while not any(future.done() for future in futures):
        if left_seconds <= 0:
            raise TimeoutError
        step_seconds = min(left_seconds, AWAKE_STEP_SECONDS)
        await asyncio.wait(futures, timeout=step_seconds, return_when=asyncio.FIRST_COMPLETED)
        now = clock()
        slept = now - before > 2 * AWAKE_STEP_SECONDS
        left_seconds -= min(now - before, 2 * AWAKE_STEP_SECONDS)
        if slept and not woken:
            left_seconds, woken = max(left_seconds, 2 * AWAKE_STEP_SECONDS), True
        before = now


class Worker:
    """One living worker process and its connection."""

    def __init__(self, worker_id: str, process: WatchedProcess, ladder: StopLadder) -> None:
        self.id = worker_id
        self.pid = process.pid
        self.code = ""
        """What it runs: a hash, from its hello."""
        self.beat: wire.Beat | None = None
        self.beat_at = asyncio.get_running_loop().time()
        self.ended: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        """Done when the process has ended and its last words have been read."""
        self.released: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        """Done when it has ended, or when it is abandoned: not even SIGKILL has ended it within the
        ladder's time.
        """
        self.session: str | None = None
        """Which one it was started for, or given to."""
        self.connected: asyncio.Future[wire.Hello] = asyncio.get_running_loop().create_future()
        """Done when it has said hello."""
        self._owner: WorkerOwner | None = None
        self._early: list[wire.Up] = []
        """What came before there was an owner."""
        self._early_bytes = 0
        self._now = asyncio.get_running_loop().time
        self._meter = Meter(self._now())
        self._process = process
        self._ladder = ladder
        self._stream: asyncio.StreamWriter | None = None
        self._drained = asyncio.Event()
        self._drained.set()
        self._request_ids = itertools.count(1)
        self._requests: dict[int, asyncio.Future[wire.Replied | wire.Probed]] = {}
        self._patience: asyncio.TimerHandle | None = None
        process.ended.add_done_callback(self._on_process_end)

    @property
    def alive(self) -> bool:
        """Whether the process lives, and is of use."""
        return not self._process.ended.done() and not self.abandoned

    @property
    def abandoned(self) -> bool:
        """Whether SIGKILL has not ended it in time: it hangs in the kernel, and may hold what it
        has until it ends after all.
        """
        return self.released.done() and self.released.result().abandoned

    @property
    def owner(self) -> WorkerOwner | None:
        """Who is notified of its frames and of its end; None: nobody yet."""
        return self._owner

    def attach(self, owner: WorkerOwner) -> None:
        """Give it to an owner, who is notified at once of what came before he was there: frames,
        and its end, if it has ended.
        """
        self._owner = owner
        early, self._early, self._early_bytes = self._early, [], 0
        for frame in early:
            owner.on_frame(self, frame)
        if self.released.done():
            owner.on_worker_end(self, self.released.result())

    def send(self, frame: wire.Down) -> None:
        """Send a frame. Raises WorkerGone when the connection is down."""
        if self._stream is None or self._stream.is_closing():
            raise WorkerGone("The worker's connection is down.")
        self._stream.write(wire.encode(frame))

    async def request(
        self, make: Callable[[int], wire.Request], timeout_seconds: float
    ) -> wire.Replied | wire.Probed:
        """Send a request and wait for its answer, for so long as this process is awake.

        Raises WorkerGone, WorkerRefused, TimeoutError.
        """
        number = next(self._request_ids)
        answer: asyncio.Future[wire.Replied | wire.Probed] = (
            asyncio.get_running_loop().create_future()
        )
        self._requests[number] = answer
        try:
            self.send(make(number))
            await awake_within(timeout_seconds, answer)
            reply = answer.result()
        finally:
            self._requests.pop(number, None)
        if isinstance(reply, wire.Replied) and reply.error is not None:
            raise WorkerRefused(reply.error.code, reply.error.message)
        return reply

    def kill(self) -> None:
        """SIGKILL, to the whole group.

        It is abandoned if even that does not end it in the ladder's time.
        """
        self._process.signal_group(signal.SIGKILL)
        if self._patience is None and not self.released.done():
            loop = asyncio.get_running_loop()
            self._patience = loop.call_later(self._ladder.kill_seconds, self._abandon)

    async def stop(self) -> Exit:
        """Bring it to its end: ask it, then SIGTERM, then SIGKILL.

        Never raises, and takes the ladder's time at the most.

        Who has to know whether it really ended looks at the answer (Exit.abandoned).
        """
        if not self.released.done() and not await self._ends_when_asked():
            self._process.signal_group(signal.SIGTERM)
            if not await self._process.ends_within(self._ladder.terminate_seconds):
                self.kill()
        return await asyncio.shield(self.released)

    async def _ends_when_asked(self) -> bool:
        try:
            self.send(wire.Shutdown())
        except WorkerGone:
            return False
        return await self._process.ends_within(self._ladder.ask_seconds)

    def release(self) -> None:
        """It lives on without us, and waits for our successor."""
        if self._patience is not None:
            self._patience.cancel()
        self._process.release()

    # --- the connection ---------------------------------------------------------------------------

    async def wait_connected(self, seconds: float) -> wire.Hello:
        """Wait for its hello, for so long as this process is awake.

        Raises WorkerGone when it ends first, TimeoutError when it stays silent.
        """
        await awake_within(seconds, self.connected, self._process.ended)
        if not self.connected.done():
            raise WorkerGone(f"The worker {self._process.ended.result()} before it said hello.")
        return self.connected.result()

    async def serve(
        self, hello: wire.Hello, reader: asyncio.StreamReader, stream: asyncio.StreamWriter
    ) -> None:
        """Read its frames until the connection ends."""
        self._stream = stream
        self._meter = Meter(self._now())
        self._drained.clear()
        self.code = hello.code
        self.beat_at = asyncio.get_running_loop().time()
        self.connected.set_result(hello)
        try:
            while line := await reader.readline():
                self._check(self._meter.read(len(line), self._now()))
                frame = wire.decode_up(line)
                self._check(self._meter.understood(frame, self._now()))
                self._receive(frame, len(line))
        finally:
            self._drained.set()

    def _check(self, too_much: str | None) -> None:
        """Nothing more is heard of a worker that floods. Raises WireError."""
        if too_much is None:
            return
        words = (
            f"The worker said {too_much} and was ended, as it would have harmed the other sessions."
        )
        self._early.clear()
        if self._owner is not None:
            self._owner.on_excess(self, Excess(Severity.KILL, words))
        self.kill()
        raise wire.WireError(f"it floods: {too_much}")

    def _receive(self, frame: wire.Up, size_bytes: int) -> None:
        match frame:
            case wire.Beat():
                self.beat, self.beat_at = frame, asyncio.get_running_loop().time()
            case wire.Replied() | wire.Probed():
                answer = self._requests.get(frame.id)
                if answer is not None and not answer.done():
                    answer.set_result(frame)
            case _:
                self._pass_on(frame, size_bytes)

    def _pass_on(self, frame: wire.Up, size_bytes: int) -> None:
        if self._owner is not None:
            self._owner.on_frame(self, frame)
            return
        self._early_bytes += size_bytes
        self._check(too_much_early(len(self._early) + 1, self._early_bytes))
        self._early.append(frame)

    def _on_process_end(self, ended: "asyncio.Future[Exit]") -> None:
        if self._drained.is_set():
            self._end(ended.result())
        else:
            self._farewell = asyncio.create_task(self._read_last_words(ended.result()))

    async def _read_last_words(self, end: Exit) -> None:
        try:
            async with asyncio.timeout(LAST_WORDS_SECONDS):
                await self._drained.wait()
        except TimeoutError:  # a grandchild holds the connection open
            log.warning(
                "the connection of an ended worker stays open",
                action="connection_stays_open",
                worker=self.id,
            )
        self._end(end)

    def _end(self, end: Exit) -> None:
        if self._patience is not None:
            self._patience.cancel()
        self._release(end)
        self.ended.set_result(end)

    def _abandon(self) -> None:
        """SIGKILL was of no use: whoever has it goes on without it, and does not take it for
        ended.
        """
        if not self._process.ended.done():
            self._release(Exit(abandoned=True))

    def _release(self, end: Exit) -> None:
        """Nobody has anything to expect of it any more. Once."""
        if self.released.done():
            return
        if self._stream is not None:
            # not close(): who does not read would never be rid of what is unsent
            self._stream.transport.abort()
        for answer in self._requests.values():
            if not answer.done():
                answer.set_exception(WorkerGone(f"The worker {end}."))
        self.released.set_result(end)
        if self._owner is not None:
            self._owner.on_worker_end(self, end)
