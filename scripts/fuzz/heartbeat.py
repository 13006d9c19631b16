"""`python -m scripts.fuzz.heartbeat`: the supervisor with a heartbeat in its loop that notes how
long nothing else could run.

What the thread spent waiting for a processor is left out.

With `FUZZ_CONTROL=1` there is no supervisor, only the heartbeat: what it notes is the machine's own
noise.
"""

import asyncio
import os
import sys
import threading
import time
import traceback
from pathlib import Path
from typing import Final

BEAT_SECONDS: Final = 0.02
NOTED_SECONDS: Final = 0.1
STACK_SECONDS: Final = 0.25
"""A stall that lasts so long leaves the loop's stack beside the notes."""


class Heart:
    """Beats in a loop. Each stall is a line in the file: its milliseconds."""

    def __init__(self, loop: asyncio.AbstractEventLoop, notes: Path) -> None:
        self._loop = loop
        self._notes = notes
        self._due = loop.time() + BEAT_SECONDS
        self._beaten_at = time.monotonic()
        self._queued = _queued_seconds()
        loop.call_later(BEAT_SECONDS, self._beat)
        threading.Thread(target=self._watch, args=(threading.get_ident(),), daemon=True).start()

    def _beat(self) -> None:
        queued, self._queued = self._queued, _queued_seconds()
        late = self._loop.time() - self._due - (self._queued - queued)
        if late > NOTED_SECONDS:
            with self._notes.open("a") as file:
                file.write(f"{late * 1000:.0f}\n")
        self._beaten_at = time.monotonic()
        self._due = self._loop.time() + BEAT_SECONDS
        self._loop.call_later(BEAT_SECONDS, self._beat)

    def _watch(self, loops_thread: int) -> None:
        """From a thread of its own: what the loop does while it does not beat. faulthandler's
        watchdog would crash: it takes no lock.
        """
        told_of = 0.0
        while True:
            time.sleep(STACK_SECONDS / 4)
            beaten_at = self._beaten_at
            frame = sys._current_frames().get(loops_thread)
            if (
                time.monotonic() - beaten_at > STACK_SECONDS
                and told_of != beaten_at
                and frame is not None
            ):
                told_of = beaten_at
                with self._notes.with_suffix(".stacks").open("a") as file:
                    file.write("".join(traceback.format_stack(frame)) + "\n")


def _queued_seconds() -> float:
    """How long this thread has waited for a processor in all: the machine's doing, not ours. 0
    where the kernel does not tell.
    """
    try:
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    except (OSError, IndexError, ValueError):
        return 0.0


def worst_ms(notes: Path) -> float:
    """The longest stall that was noted."""
    return (
        max((float(line) for line in notes.read_text().split()), default=0.0)
        if notes.exists()
        else 0.0
    )


def main() -> None:
    """Run the supervisor, or nothing, with a heartbeat."""
    notes = Path(os.environ["FUZZ_HEARTBEAT"])
    if os.environ.get("FUZZ_CONTROL"):
        loop = asyncio.new_event_loop()
        Heart(loop, notes)
        loop.run_forever()
    from supervisor import __main__, program

    make = program._loop

    def with_heart() -> asyncio.AbstractEventLoop:
        loop = make()
        Heart(loop, notes)
        return loop

    program._loop = with_heart
    __main__.main("run")


if __name__ == "__main__":
    main()
