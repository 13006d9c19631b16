"""A worker's reads and writes of credentials: carried to the store, acknowledged only when durable,
refused for an older epoch.

A read is answered with the truth or not at all: without its keys Baileys would make new ones. While
the store cannot be read the worker waits; a value that cannot be read at all is its session's
affair.
"""

import asyncio
import contextlib
from collections.abc import Callable
from typing import Final

import msgspec
import structlog
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type

from sessions.model import StaleEpoch, StoreError, StoreUnavailable, UnreadableValue, WorkerGone
from sessions.ports import WorkerHandle
from sessions.store import Store
from sessions.store.writing.writer import RETRY_WAIT
from sessions.workers import wire

_SAID_AT_ATTEMPT: Final = 1
"""A read that has to be repeated is logged once; the store itself tells how long it fails."""

log = structlog.get_logger("keys")


class KeyService:
    """Serves the workers' `keys.get` and `keys.set`."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._reads: set[asyncio.Task[None]] = set()

    def write(self, worker: WorkerHandle, frame: wire.KeysSet) -> None:
        """Queue the write; the worker is told when its transaction is durable or refused."""
        future = self._store.write_keys(frame.session, frame.epoch, frame.entries)
        future.add_done_callback(lambda done: _acknowledge(worker, frame, done))

    def read(
        self,
        worker: WorkerHandle,
        frame: wire.KeysGet,
        on_unreadable: Callable[[UnreadableValue], None],
    ) -> None:
        """Read and answer; while the store cannot be read, try again until it can or the worker has
        ended.

        A value that cannot be read at all is not answered: `on_unreadable` is told.
        """
        task = asyncio.create_task(
            self._read(worker, frame, on_unreadable), name=f"read keys of {frame.session}"
        )
        self._reads.add(task)
        task.add_done_callback(self._reads.discard)

    async def close(self) -> None:
        """Give up the reads under way: a worker that lives on asks its next supervisor again."""
        for task in self._reads:
            task.cancel()
        await asyncio.gather(*self._reads, return_exceptions=True)

    async def _read(
        self,
        worker: WorkerHandle,
        frame: wire.KeysGet,
        on_unreadable: Callable[[UnreadableValue], None],
    ) -> None:
        retrying = AsyncRetrying(
            wait=RETRY_WAIT,
            retry=retry_if_exception_type(StoreUnavailable),
            stop=lambda _: not worker.alive,
            before_sleep=lambda state: _log_wait(frame, state),
            reraise=True,
        )
        try:
            found: dict[str, bytes] = await retrying(
                self._store.read_keys, frame.session, frame.kind, frame.names
            )
        except UnreadableValue as error:
            log.error(
                "a key cannot be read",
                action="keys_unreadable",
                session=frame.session,
                error=str(error),
            )
            on_unreadable(error)
            return
        except StoreError as error:
            log.warning(
                "a worker ended before its keys could be read",
                action="keys_read_given_up",
                session=frame.session,
                worker=worker.id,
                error=str(error),
            )
            return
        values = {name: msgspec.Raw(value) for name, value in found.items()}
        with contextlib.suppress(WorkerGone):  # it has ended meanwhile and needs no answer
            worker.send(wire.KeysValues(frame.session, frame.id, values))


def _log_wait(frame: wire.KeysGet, state: RetryCallState) -> None:
    if state.attempt_number == _SAID_AT_ATTEMPT and state.outcome is not None:
        log.warning(
            "keys cannot be read now; the worker waits",
            action="keys_read_waits",
            session=frame.session,
            error=str(state.outcome.exception()),
        )


def _acknowledge(worker: WorkerHandle, frame: wire.KeysSet, done: "asyncio.Future[None]") -> None:
    error = None
    match done.exception():
        case None:
            pass
        case StaleEpoch():
            error = "stale_epoch"
        case _:
            error = "store_failed"
    if error is not None:
        log.warning(
            "a key write was refused",
            action="keys_refused",
            session=frame.session,
            worker=worker.id,
            error=error,
        )
    with contextlib.suppress(WorkerGone):  # it has ended meanwhile and needs no answer
        worker.send(wire.KeysAck(frame.session, frame.seq, error is None, error))
