"""The line of a worker that belongs to nobody yet: what it says is kept for its owner, and not
without a bound.
"""

import asyncio
import signal
from collections.abc import Iterable

import msgspec
import pytest

from sessions.workers import wire
from sessions.workers.connection import Worker
from sessions.workers.limits import MAX_EARLY_BYTES, MAX_EARLY_FRAMES, Excess, too_much_early
from sessions.workers.worker_process import Exit, StopLadder

HELLO = wire.Hello(2, "w", "t", 1, "v0", "0", "x", [])


def message(seq: int, text: str = "oi") -> bytes:
    frame = wire.Message(
        "shop", 1, seq, f"M{seq}", "5511999990000", None, text, 1, None, from_me=False
    )
    return msgspec.json.encode(frame) + b"\n"


class Process:
    """Of a worker; what it is signalled ends it."""

    def __init__(self) -> None:
        self.pid = 1
        self.ended: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        self.signals: list[signal.Signals] = []

    def signal_group(self, number: signal.Signals) -> None:
        self.signals.append(number)

    def release(self) -> None:
        pass


class Stream:
    """The line's other direction, of which nothing is wanted here."""

    def is_closing(self) -> bool:
        return False


class Owner:
    """Who is told of its frames."""

    def __init__(self) -> None:
        self.frames: list[wire.Up] = []
        self.excesses: list[Excess] = []

    def on_frame(self, _worker: Worker, frame: wire.Up) -> None:
        self.frames.append(frame)

    def on_excess(self, _worker: Worker, excess: Excess) -> None:
        self.excesses.append(excess)


async def hear(worker: Worker, lines: Iterable[bytes]) -> None:
    reader = asyncio.StreamReader(limit=wire.MAX_FRAME_BYTES)
    for line in lines:
        reader.feed_data(line)
    reader.feed_eof()
    await worker.serve(HELLO, reader, Stream())  # type: ignore[arg-type]


def idle() -> tuple[Worker, Process]:
    process = Process()
    return Worker("w", process, StopLadder()), process  # type: ignore[arg-type]


async def test_what_an_honest_worker_says_before_it_has_an_owner_is_told_to_him_in_order() -> None:
    worker, process = idle()
    await hear(worker, [message(seq) for seq in range(5000)])
    owner = Owner()
    worker.attach(owner)  # type: ignore[arg-type]
    assert [frame.seq for frame in owner.frames if isinstance(frame, wire.Message)] == list(
        range(5000)
    )
    assert (process.signals, owner.excesses) == ([], [])


async def test_frames_without_end_before_there_is_an_owner_end_the_worker_and_are_not_kept() -> (
    None
):
    worker, process = idle()
    with pytest.raises(
        wire.WireError, match=f"more than {MAX_EARLY_FRAMES} frames before it belonged to a session"
    ):
        await hear(worker, [message(1)] * (MAX_EARLY_FRAMES + 1))
    assert process.signals == [signal.SIGKILL]
    owner = Owner()
    worker.attach(owner)  # type: ignore[arg-type]
    assert owner.frames == [], "what a flood has said is not carried any further"
    worker.release()


async def test_few_frames_of_many_bytes_end_it_too() -> None:
    worker, process = idle()
    big = message(1, "x" * (wire.MAX_FRAME_BYTES // 2))
    with pytest.raises(wire.WireError, match="MiB before it belonged to a session"):
        await hear(worker, [big] * (MAX_EARLY_BYTES // len(big) + 1))
    assert process.signals == [signal.SIGKILL]
    worker.release()


def test_the_bounds_are_above_what_ours_has_under_way() -> None:
    assert too_much_early(MAX_EARLY_FRAMES, MAX_EARLY_BYTES) is None
    assert too_much_early(5_000, 16 * 2**20) is None, "the bounds of outbox.js"
