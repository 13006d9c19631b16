"""An event loop whose clock jumps to the next timer, and a wall clock that keeps step with it.

Nothing here waits or listens.
"""

import asyncio
import contextlib
import logging
import selectors
import sys
import time
from collections.abc import Coroutine, Iterator, Mapping
from typing import Any, TypeVar

import structlog

from tests.fakes import fake_time

T = TypeVar("T")


class Stillness(Exception):
    """Nothing is left that could ever happen: whoever still waits has been forgotten."""


class _Skipping(selectors.BaseSelector):
    """A selector that has nothing to select: in place of waiting, the clock moves on."""

    def __init__(self) -> None:
        self.now = 0.0
        self._map: dict[Any, selectors.SelectorKey] = {}

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """The loop's own pipe; it is never looked at."""
        key = selectors.SelectorKey(fileobj, int(fileobj), events, data)
        self._map[fileobj] = key
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """See register."""
        return self._map.pop(fileobj)

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Let the time pass."""
        if timeout is None:
            raise Stillness
        self.now += max(0.0, timeout)
        return []

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """See register."""
        return self._map


class SimulatedLoop(asyncio.SelectorEventLoop):
    """An event loop in simulated time: a sleep takes no time, and all that is due at one moment
    runs in its order.
    """

    def __init__(self) -> None:
        self._clock = _Skipping()
        super().__init__(self._clock)

    def time(self) -> float:
        """Simulated seconds since the loop was made."""
        return self._clock.now


def simulate(work: Coroutine[Any, Any, T]) -> T:
    """Run it to its end in simulated time.

    Raises Stillness if it never ends. What it has begun ends with it.
    """
    loop = SimulatedLoop()
    with _wall_clock_in_step(), _silence():
        try:
            return loop.run_until_complete(work)
        finally:
            _end_all(loop)
            loop.close()


def _end_all(loop: SimulatedLoop) -> None:
    while tasks := asyncio.all_tasks(loop):
        for task in tasks:
            task.cancel()
        with contextlib.suppress(Stillness):
            loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))


@contextlib.contextmanager
def _wall_clock_in_step() -> Iterator[None]:
    """What `sessions` and `supervisor` take for wall-clock time ages with the loop's clock; only so
    is a run the same every time.
    """
    clock = fake_time()
    modules = [
        module
        for name, module in list(sys.modules.items())
        if name.partition(".")[0] in {"sessions", "supervisor"} and vars(module).get("time") is time
    ]
    for module in modules:
        vars(module)["time"] = clock
    try:
        yield
    finally:
        for module in modules:
            vars(module)["time"] = time


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """A million log lines help nobody."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    try:
        yield
    finally:
        structlog.reset_defaults()
