"""A wall clock in step with the fast-forwarded loop."""

import asyncio
from types import SimpleNamespace

EPOCH = 1_700_000_000.0
"""The wall clock's time at the loop's time 0."""


def fake_time() -> SimpleNamespace:
    """A `time` module whose wall clock runs with the (fast-forwarded) loop."""
    return SimpleNamespace(time=lambda: EPOCH + asyncio.get_running_loop().time())
