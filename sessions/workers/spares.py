"""Warm spares: idle workers with Baileys loaded, so that a session in need of one does not pay for
Node's start.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, wait_exponential

from sessions.forever import Forever, Kept
from sessions.model import StoreError, WorkerGone
from sessions.workers.connection import Worker

FIRST_RETRY_SECONDS: Final = 1.0
LAST_RETRY_SECONDS: Final = 60.0
REFILL_DELAY_SECONDS: Final = 1.0

log = structlog.get_logger("workers")


class Spares:
    """Keeps `count` idle workers once it is opened; whoever takes one has it replaced in the
    background.
    """

    def __init__(
        self, count: int, start: Callable[[], Awaitable[Worker]], forever: Forever
    ) -> None:
        self._count = count
        self._forever = forever
        self._start = start
        self._idle: list[Worker] = []
        self._keeping: Kept | None = None
        self._wanted = asyncio.Event()
        self._taken = False
        self._deaths = 0
        """Spares that have ended by themselves since one was of use."""

    @property
    def idle(self) -> list[Worker]:
        """The spares that are ready."""
        return [worker for worker in self._idle if worker.alive]

    def open(self) -> None:
        """Begin to keep spares."""
        self._wanted.set()
        self._keeping = self._forever.keep("spare workers", self._refill, within_seconds=None)

    def take(self) -> Worker | None:
        """A spare, if one is ready."""
        worker = next(iter(self.idle), None)
        if worker is not None:
            self._idle.remove(worker)
            self._taken = True
            self._deaths = 0
            self._wanted.set()
        return worker

    async def close(self) -> None:
        """No more spares: those there are end."""
        if self._keeping is not None:
            await self._keeping.close()
        await asyncio.gather(*(worker.stop() for worker in self.idle))

    async def _refill(self) -> None:
        """Wait until one is wanted, and start it.

        After an error of our own there is another turn, which looks for itself.
        """
        if len(self.idle) >= self._count:
            await self._wanted.wait()
        self._wanted.clear()
        if self._taken:
            # whoever has taken one is just logging in, and needs the processor more than we do
            await asyncio.sleep(REFILL_DELAY_SECONDS)
            self._taken = False
        while len(self.idle) < self._count:
            await asyncio.sleep(self._pause_seconds())
            await self._add()

    def _pause_seconds(self) -> float:
        """None, unless spares die as they lie: then longer and longer."""
        return (
            min(LAST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2.0 ** (self._deaths - 1))
            if self._deaths
            else 0.0
        )

    def _on_end(self, worker: Worker) -> None:
        if worker in self._idle:  # nobody has taken it
            self._idle.remove(worker)
            self._deaths += 1
        self._wanted.set()

    async def _start_one(self) -> Worker:
        return await self._start()

    async def _add(self) -> None:
        again = AsyncRetrying(
            retry=retry_if_exception_type((WorkerGone, TimeoutError, StoreError, OSError)),
            wait=wait_exponential(FIRST_RETRY_SECONDS, LAST_RETRY_SECONDS),
            after=_log_first,
        )
        worker: Worker = await again(self._start_one)
        if again.statistics.get("attempt_number", 1) > 1:
            log.info("spare workers can be started again", action="spare_works")
        self._idle = [*self.idle, worker]
        worker.ended.add_done_callback(lambda _: self._on_end(worker))


def _log_first(state: RetryCallState) -> None:
    """Once, at the edge: a machine that refuses processes for an hour is told of by its first
    refusal.
    """
    if state.attempt_number == 1 and state.outcome is not None:
        log.warning(
            "no spare worker could be started; tried again, at least once a minute",
            action="spare_failed",
            error=str(state.outcome.exception()),
        )
