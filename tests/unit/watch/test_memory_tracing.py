"""Tracing finds the line that allocates, is bounded, and is off afterwards."""

import asyncio
import tracemalloc

import pytest

from supervisor.watch.memory_tracing import SHOWN, MemoryTracer


async def test_the_line_that_holds_most_comes_first() -> None:
    tracer, held = MemoryTracer(), []

    async def allocate() -> None:
        await asyncio.sleep(0.01)
        held.append(bytearray(3_000_000))

    trace, _ = await asyncio.gather(tracer.trace(0.1), allocate())
    first = trace.allocations[0]
    assert first.line.startswith("tests/unit/watch/test_memory_tracing.py:")
    assert first.size_bytes >= 3_000_000
    assert trace.peak_bytes >= trace.current_bytes >= 3_000_000
    assert len(trace.allocations) <= SHOWN
    assert not tracemalloc.is_tracing()


async def test_who_hangs_up_ends_it() -> None:
    tracer = MemoryTracer()
    task = asyncio.create_task(tracer.trace(60))
    await asyncio.sleep(0.01)
    assert tracer.traces
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not tracer.traces
    assert not tracemalloc.is_tracing()
