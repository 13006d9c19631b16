"""A session's worker slot for one worker: who sits in it, since which epoch, and what becomes of
what it says.

Keys and events go straight to the store, where the epoch fences them; everything else goes into the
session's inbox.
"""

import asyncio
import contextlib
from functools import partial
from typing import Final

import msgspec
import structlog

from sessions.credentials import credentials
from sessions.lifecycle.dependencies import Dependencies
from sessions.lifecycle.inbox import Event, Exceeded, FrameCame, KeysUnreadable, WorkerEnded
from sessions.model import SessionId, StaleEpoch, StoreUnavailable, WorkerGone
from sessions.ports import Origin, WorkerHandle
from sessions.records.counters import Counters
from sessions.views import events
from sessions.workers import wire
from sessions.workers.limits import MAX_UNACKNOWLEDGED, Excess, Severity
from sessions.workers.worker_process import Exit

MAX_INBOUND_BYTES: Final = 16 * 1024 * 1024
"""Of messages that earlier workers have left, in one assignment: half of what a frame may have.

Nearly always it is none, or one.
"""

log = structlog.get_logger("session")


class UnreadableCredentials(Exception):
    """What the store has as credentials are none."""


class WorkerSlot:
    """One worker at a time, each of a newer epoch than the one before (or the same one,
    adopted).
    """

    def __init__(
        self,
        session: SessionId,
        dependencies: Dependencies,
        inbox: "asyncio.Queue[Event]",
        counters: Counters,
    ) -> None:
        self.worker: WorkerHandle | None = None
        self.epoch = 0
        self._session = session
        self._dependencies = dependencies
        self._inbox = inbox
        self._counters = counters
        self._undelivered = 0
        """Messages and receipts that are on their way into the event log."""
        self._now = asyncio.get_running_loop().time

    async def bring_up(self) -> WorkerHandle:
        """A worker of a new epoch.

        The epoch first: while the store refuses, no process is started and nobody logs in.

        And before it the end of whoever is leaving: what it still says is of its own epoch.
        """
        await self._dependencies.workers.terminate_returning(self._session)
        self.epoch = await self._dependencies.store.raise_epoch(self._session)
        return await self._dependencies.workers.bring_up(self._session)

    async def succeed(self, successor: WorkerHandle) -> None:
        """A warm worker takes the place of the one that sits here, which closes its socket first
        and ends.

        Raises as `assign`; StoreError; WorkerGone when the one that sits here cannot be ended, and
        may have its socket still.
        """
        leaving = await self.clear()
        if leaving.abandoned:
            raise WorkerGone(f"The worker before {leaving}.")
        self.epoch = await self._dependencies.store.raise_epoch(self._session)
        await self.assign(successor)

    async def assign(self, worker: WorkerHandle) -> None:
        """Give the session to a worker of this epoch.

        Raises UnreadableCredentials, SameDevice, StoreError.
        """
        creds = await self._dependencies.store.creds(self._session)
        if creds is not None and (flaw := credentials.flaw(creds)) is not None:
            raise UnreadableCredentials(flaw)
        if creds is not None:
            await self._dependencies.store.claim_device(self._session, credentials.device(creds))
        proxy = await self._dependencies.store.proxy(self._session)
        # After the epoch was raised: what the worker before has said is in the event log by now,
        # without entry, or is refused.
        inbound = await self._dependencies.store.inbound(self._session, MAX_INBOUND_BYTES)
        self.worker = worker
        worker.attach(self)
        raw = {name: msgspec.Raw(value) for name, value in inbound.items()}
        given = msgspec.Raw(creds) if creds is not None else wire.NULL
        self.tell(wire.Assign(self._session, self.epoch, given, proxy.url if proxy else None, raw))

    def adopt(self, worker: WorkerHandle, epoch: int) -> None:
        """A worker of an earlier supervisor goes on as it is.

        What it has said meanwhile is heard now.
        """
        self.worker, self.epoch = worker, epoch
        worker.attach(self)

    def tell(self, frame: wire.Down) -> None:
        """Send an order, if somebody is there."""
        if self.worker is not None:
            with contextlib.suppress(WorkerGone):  # then its end is on its way into the inbox
                self.worker.send(frame)

    async def clear(self) -> Exit:
        """See the worker to its end; it closes its socket and hands over what it still holds.

        Afterwards nobody sits here.

        Never raises: one that cannot be ended is the pool's affair, which gives this session no
        other until it has ended.
        """
        leaving, self.worker = self.worker, None
        return Exit() if leaving is None else await leaving.stop()

    # --- told by the worker -----------------------------------------------------------------------

    def on_frame(self, worker: WorkerHandle, frame: wire.Up) -> None:
        """A frame came."""
        if not isinstance(frame, wire.SessionFrame) or frame.session != self._session:
            log.error(
                "a worker spoke of a session that is not its own",
                action="protocol_error",
                session=self._session,
                worker=worker.id,
            )
            worker.kill()
            return
        match frame:
            case wire.KeysGet():
                unreadable = lambda error: self._inbox.put_nowait(KeysUnreadable(worker, error))  # noqa: E731
                self._dependencies.keys.read(worker, frame, unreadable)
            case wire.KeysSet():
                self._dependencies.keys.write(worker, frame)
            case wire.Message() | wire.Receipt():
                self._deliver(worker, frame)
            case _:
                self._inbox.put_nowait(FrameCame(worker, frame))

    def on_excess(self, worker: WorkerHandle, excess: Excess) -> None:
        """It is above a limit."""
        self._inbox.put_nowait(Exceeded(worker, excess))

    def on_worker_end(self, worker: WorkerHandle, end: Exit) -> None:
        """The process has ended."""
        self._inbox.put_nowait(WorkerEnded(worker, end))

    def _deliver(self, worker: WorkerHandle, event: wire.Message | wire.Receipt) -> None:
        """Into the event log, once, however often the worker sends it; acknowledged when it is
        durable.
        """
        kept = tuple(event.kept) if isinstance(event, wire.Message) else ()
        self._undelivered += 1
        if self._undelivered > MAX_UNACKNOWLEDGED:
            words = (
                f"The worker has more than {MAX_UNACKNOWLEDGED} messages and receipts under way and"
                " was ended."
            )
            self.on_excess(worker, Excess(Severity.KILL, words))
            worker.kill()
            self._undelivered -= 1
            return
        delivered = self._dependencies.deliver(
            self._session, events.of_frame(event), Origin(event.epoch, event.seq, kept)
        )
        delivered.add_done_callback(partial(self._acknowledge, worker, event))

    def _acknowledge(
        self,
        worker: WorkerHandle,
        event: wire.Message | wire.Receipt,
        delivered: "asyncio.Future[bool]",
    ) -> None:
        self._undelivered -= 1
        error = delivered.exception()
        answer: wire.Down = wire.EventsAck(self._session, event.epoch, event.seq)
        if isinstance(error, StaleEpoch):
            answer = wire.Refuse(str(error))
        elif isinstance(error, StoreUnavailable):
            return  # the worker keeps it, for the next supervisor
        elif error is not None:
            # the store will never take it: acknowledged, or it would come for ever
            log.error(
                "an event was lost", action="event_lost", session=self._session, error=str(error)
            )
        elif delivered.result() and isinstance(event, wire.Message):
            self._counters.message(self._now())
        with contextlib.suppress(
            WorkerGone
        ):  # it says it again on its next connection, or has ended
            worker.send(answer)
