"""Where the supervisor allocates memory: Python's own tracing, for a bounded time, as everything is
slower meanwhile.
"""

import asyncio
import tracemalloc
from pathlib import Path
from typing import Final

import msgspec

MOST_SECONDS: Final = 60.0
SHOWN: Final = 10
_ROOT: Final = Path(__file__).resolve().parents[2]


class Allocation(msgspec.Struct, frozen=True, rename="camel"):
    """What one line of code has allocated while it was traced, and still holds."""

    line: str
    count: int
    size_bytes: int


class MemoryTrace(msgspec.Struct, frozen=True, rename="camel"):
    """What was allocated while it was traced: what is held at its end, and the most that was held.

    `allocations`: the lines that hold most, the largest first.
    """

    seconds: float
    current_bytes: int
    peak_bytes: int
    allocations: tuple[Allocation, ...]


class MemoryTracer:
    """Traces; one at a time."""

    def __init__(self) -> None:
        self.traces = False

    async def trace(self, seconds: float) -> MemoryTrace:
        """Trace for so long. It ends also if nobody waits for it any more."""
        assert not self.traces, "one at a time"
        self.traces = True
        tracemalloc.start()
        try:
            await asyncio.sleep(seconds)
            current, peak = tracemalloc.get_traced_memory()
            snapshot = tracemalloc.take_snapshot()
        finally:
            tracemalloc.stop()
            self.traces = False
        return MemoryTrace(seconds, current, peak, await asyncio.to_thread(_largest, snapshot))


def _largest(snapshot: tracemalloc.Snapshot) -> tuple[Allocation, ...]:
    own = tracemalloc.Filter(inclusive=False, filename_pattern=tracemalloc.__file__)
    lines = snapshot.filter_traces((own,)).statistics("lineno")[:SHOWN]
    return tuple(
        Allocation(_name(one.traceback[0]), one.count, one.size) for one in lines if one.size
    )


def _name(frame: tracemalloc.Frame) -> str:
    """A line of code, without where it is installed."""
    file = Path(frame.filename)
    parts = file.parts
    if "site-packages" in parts:
        shown = "/".join(parts[parts.index("site-packages") + 1 :])
    elif file.is_relative_to(_ROOT):
        shown = str(file.relative_to(_ROOT))
    else:
        shown = "/".join(parts[-2:])
    return f"{shown}:{frame.lineno}"
