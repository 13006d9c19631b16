"""Answers that go on until somebody ends them: bounded as all calls that wait are, and ended at
once when the program stops.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from api.gatehouse.fences import Places


class Streams:
    """Those that are open. `places`: what they share with the calls that wait."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._open: set[asyncio.Timeout] = set()
        self._stopping = False

    def __len__(self) -> int:
        return len(self._open)

    @asynccontextmanager
    async def one(self, request: web.Request) -> AsyncIterator[None]:
        """A place for a stream while the block runs. Raises Busy, and TimeoutError when the program
        stops.
        """
        with self._places.one(request):
            async with asyncio.timeout(0 if self._stopping else None) as until:
                self._open.add(until)
                try:
                    yield
                finally:
                    self._open.discard(until)

    async def end_all(self, _app: web.Application) -> None:
        """The program stops: each gets its last word."""
        self._stopping = True
        now = asyncio.get_running_loop().time()
        for until in self._open:
            until.reschedule(now)
