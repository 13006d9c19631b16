"""The workers of an earlier supervisor: each is awaited until its session adopts it, or terminated
because nobody claims it.

So two workers never hold one session: whoever wants to start one asks here first.
"""

import asyncio
import contextlib
from collections.abc import Collection

import structlog

from sessions.model import WorkerGone
from sessions.ports import Returned, WorkerHandle
from sessions.store import Store
from sessions.workers import wire
from sessions.workers.connection import Worker
from sessions.workers.keys import KeyService
from sessions.workers.limits import Excess
from sessions.workers.worker_process import Exit

log = structlog.get_logger("workers")


class ReturningWorkers:
    """Those that have not been claimed yet, by session.

    `return_seconds`: how long one may take to call, from `open` on; it tries at least once a
    second.
    """

    def __init__(self, store: Store, return_seconds: float) -> None:
        self._return_seconds = return_seconds
        self._orphan_keys = OrphanKeySink(store)
        self._unclaimed: dict[str, list[Worker]] = {}
        """Two for a session that was being given to a successor."""
        self._terminations: dict[str, asyncio.Task[None]] = {}
        """By session: the end of those that nobody claims, until they have ended."""
        self._opened_at = 0.0

    def expect(self, worker: Worker) -> None:
        """A worker of an earlier supervisor lives, and will call."""
        self._unclaimed.setdefault(worker.session or worker.id, []).append(worker)

    def open(self) -> None:
        """They can call from now on."""
        self._opened_at = asyncio.get_running_loop().time()

    def expects(self, session: str) -> bool:
        """Whether one of them may hold this session."""
        return session in self._unclaimed

    async def await_reconnect(self, session: str) -> Returned | None:
        """The worker that holds this session, once it has called; None when there is none (any
        more). One that stays silent is killed first.
        """
        # Whoever calls it off finds them where they were: to terminate them, or to leave them to
        # our successor.
        answers = await asyncio.gather(
            *(self._holder(worker, session) for worker in self._unclaimed[session])
        )
        holders = [holder for holder in answers if holder is not None]
        if len(holders) > 1:  # each says that it is the owner: that cannot be, so neither is
            for holder in holders:
                await refuse(holder.worker, "another worker holds its session, too")
        self._unclaimed.pop(session, None)
        return holders[0] if len(holders) == 1 else None

    async def terminate(self, session: str) -> None:
        """Terminate those that may hold this session, if nobody has claimed them: politely, as soon
        as they have called.

        Returns when they have ended, whoever began that; to call this off does not call that off.
        """
        self._begin_termination(session)
        if termination := self._terminations.get(session):
            await asyncio.wait([termination])

    def terminate_unclaimed(self, claimed: Collection[str]) -> None:
        """Begin to terminate those whose sessions are not among these: stopped, deleted, or never
        given one.
        """
        for session in self._unclaimed.keys() - set(claimed):
            self._begin_termination(session)

    def close(self) -> None:
        """Terminate nobody any more: all are stopped, or wait for our successor."""
        for termination in self._terminations.values():
            termination.cancel()

    def _begin_termination(self, session: str) -> None:
        if workers := self._unclaimed.pop(session, None):
            # Once for each session: nobody returns later. And a task of its own: whoever waits for
            # it may be called off.
            termination = asyncio.create_task(self._terminate_all(workers, session))
            self._terminations[session] = termination
            termination.add_done_callback(lambda ended: self._on_terminated(session, ended))

    async def _terminate_all(self, workers: list[Worker], session: str) -> None:
        await asyncio.gather(*(self._terminate(worker, session) for worker in workers))

    async def _terminate(self, worker: Worker, session: str) -> None:
        """What it has not saved yet is saved first: the session may be started again."""
        if await self._await_hello(worker, session) is not None:
            worker.attach(self._orphan_keys)
            await worker.stop()

    def _on_terminated(self, session: str, ended: "asyncio.Task[None]") -> None:
        self._terminations.pop(session, None)
        if not ended.cancelled() and (error := ended.exception()) is not None:
            log.error(
                "a worker that nobody claims was not terminated",
                action="termination_failed",
                session=session,
                exc_info=error,
            )

    async def _holder(self, worker: Worker, session: str) -> Returned | None:
        """The worker and what it holds, once it has called; it is terminated unless it holds the
        session.
        """
        hello = await self._await_hello(worker, session)
        if hello is None:
            return None
        held = hello.sessions[0] if len(hello.sessions) == 1 else None
        if held is not None and held.session == session:
            return Returned(worker, held)
        await refuse(worker, "it does not hold the session that it was given")
        return None

    async def _await_hello(self, worker: Worker, session: str) -> wire.Hello | None:
        """A worker's hello; None when it has ended.

        One that stays silent is killed: it has had its time, and is hung or frozen.
        """
        now = asyncio.get_running_loop().time()
        left_seconds = self._opened_at + self._return_seconds - now
        try:
            return await worker.wait_connected(max(0.0, left_seconds))
        except TimeoutError:
            log.warning(
                "a worker of an earlier supervisor does not call",
                action="silent_worker",
                session=session,
            )
            worker.kill()
            await worker.stop()
        except WorkerGone:
            pass
        return None


async def refuse(worker: WorkerHandle, reason: str) -> None:
    """Tell a worker that it is not adopted, and see to its end."""
    log.warning(
        f"a worker is refused: {reason}",
        action="worker_refused",
        worker=worker.id,
        pid=worker.pid,
    )
    with contextlib.suppress(WorkerGone):  # then it is ended without a word
        worker.send(wire.Refuse(reason))
    await worker.stop()


class OrphanKeySink:
    """Owns workers that are being terminated, and whose session has no worker slot for them: saves
    the keys that they still hold.
    """

    def __init__(self, store: Store) -> None:
        self._keys = KeyService(store)

    def on_frame(self, worker: WorkerHandle, frame: wire.Up) -> None:
        """A frame came."""
        if isinstance(frame, wire.KeysSet):
            self._keys.write(worker, frame)

    def on_excess(self, worker: WorkerHandle, excess: Excess) -> None:
        """It is leaving anyway."""

    def on_worker_end(self, worker: WorkerHandle, end: Exit) -> None:
        """It has left."""
