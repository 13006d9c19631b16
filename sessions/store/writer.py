"""Group commit: all the writes that wait go into one transaction, so that many sessions share one fsync.

An operation checks first and writes after: a WasupError that it raises refuses that operation alone, before it has written anything;
any other error fails the whole batch, and nobody's write is acknowledged.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from sessions.model import StoreUnavailable, WasupError

T = TypeVar("T")
Operation = Callable[[AsyncConnection], Awaitable[T]]

MAX_BATCH: Final = 500
"""Operations in one transaction: enough to share an fsync, few enough that the first does not wait long."""

log = structlog.get_logger("store")


class Writer:
    """The only writer of the database."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._queue: asyncio.Queue[tuple[Operation[Any], asyncio.Future[Any]] | None] = asyncio.Queue()
        self._task = asyncio.create_task(self._write_forever(), name="store writer")

    def submit(self, operation: Operation[T]) -> asyncio.Future[T]:
        """Queue an operation; the future is done when its transaction is durable, or with a StoreError."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        if self._task.done():
            future.set_exception(StoreUnavailable("The store is closed."))
        else:
            self._queue.put_nowait((operation, future))
        return future

    async def close(self) -> None:
        """Write what is queued, then end."""
        self._queue.put_nowait(None)
        await self._task

    async def _write_forever(self) -> None:
        ending = False
        while not ending:
            batch = []
            item = await self._queue.get()
            while item is not None:
                batch.append(item)
                if self._queue.empty() or len(batch) >= MAX_BATCH:
                    break
                item = self._queue.get_nowait()
            ending = item is None
            if batch:
                await self._commit(batch)

    async def _commit(self, batch: list[tuple[Operation[Any], asyncio.Future[Any]]]) -> None:
        outcomes: list[tuple[asyncio.Future[Any], Any]] = []
        try:
            async with self._engine.begin() as connection:
                for operation, future in batch:
                    outcomes.append((future, await _outcome(operation, connection)))
        except Exception as error:
            ours = not isinstance(error, SQLAlchemyError | OSError)  # then a traceback, or nobody could ever mend it
            log.error(
                "the store could not write",
                action="store_write_failed",
                error=str(error.__cause__ or error),
                exc_info=ours,
            )
            outcomes = [
                (future, StoreUnavailable(f"The store could not write: {error.__cause__ or error}"))
                for _, future in batch
            ]
        for future, outcome in outcomes:
            _settle(future, outcome)


async def _outcome(operation: Operation[Any], connection: AsyncConnection) -> Any:
    try:
        return await operation(connection)
    except WasupError as refusal:
        return refusal


def _settle(future: asyncio.Future[Any], outcome: Any) -> None:
    if future.done():  # whoever waited was cancelled; the write itself stands
        return
    if isinstance(outcome, WasupError):
        future.set_exception(outcome)
        future.exception()  # a write whose outcome nobody awaits must not be reported as "never retrieved": it was logged
    else:
        future.set_result(outcome)
