"""A worker's reads and writes of credentials: carried to the store, acknowledged only when durable, refused for an older epoch."""

import asyncio
import contextlib

import msgspec
import structlog

from sessions import wire
from sessions.model import StaleEpoch, StoreError, WorkerGone
from sessions.ports import WorkerHandle
from sessions.store import Store

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

    def read(self, worker: WorkerHandle, frame: wire.KeysGet) -> None:
        """Read and answer. A read that fails ends the worker: without its keys Baileys would make new ones."""
        task = asyncio.create_task(self._read(worker, frame), name=f"read keys of {frame.session}")
        self._reads.add(task)
        task.add_done_callback(self._reads.discard)

    async def close(self) -> None:
        """Wait for the reads under way."""
        await asyncio.gather(*self._reads)

    async def _read(self, worker: WorkerHandle, frame: wire.KeysGet) -> None:
        try:
            found = await self._store.read_keys(frame.session, frame.kind, frame.names)
        except StoreError as error:
            log.error(
                "keys cannot be read; the worker is ended",
                action="keys_unreadable",
                session=frame.session,
                error=str(error),
            )
            worker.kill()
            return
        values = {name: msgspec.Raw(value) for name, value in found.items()}
        with contextlib.suppress(WorkerGone):  # it has ended meanwhile and needs no answer
            worker.send(wire.KeysValues(frame.session, frame.id, values))


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
            "a key write was refused", action="keys_refused", session=frame.session, worker=worker.id, error=error
        )
    with contextlib.suppress(WorkerGone):  # it has ended meanwhile and needs no answer
        worker.send(wire.KeysAck(frame.session, frame.seq, error is None, error))
