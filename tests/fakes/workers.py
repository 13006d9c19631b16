"""Where fake workers come from, and where those that live on come back."""

import asyncio
from collections import deque
from collections.abc import Collection
from typing import Any

from sessions.ports import Returned, WorkerHandle, WorkerOwner
from sessions.workers import wire
from sessions.workers.worker_process import Exit
from tests.fakes.outcomes import Outcome, opens
from tests.fakes.worker import FakeWorker


class FakeWorkers:
    """Where fake workers come from.

    `plan` is used up first, an outcome for each attempt; then `otherwise` for ever.
    """

    def __init__(self) -> None:
        self.made: list[FakeWorker] = []
        self.plan: deque[Outcome] = deque()
        self.otherwise: Outcome = opens()
        self.startup_seconds = 0.3
        self.startup_error: Exception | None = None
        self.startups = 0
        self.held: asyncio.Future[None] | None = None
        self.probe = "ok"
        self.unacknowledged_sends = False
        self.obeys_close = True
        self.last_beat_at: float | None = None
        self.attempts: list[tuple[float, int]] = []
        self.breaches: list[str] = []
        self.others_ended = 0
        self.numbers: dict[str, int] = {}
        """Of each worker's last event."""
        self.returning: dict[str, tuple[FakeWorker, asyncio.Future[Returned | None]]] = {}
        self.reunion_error: Exception | None = None
        self.supervisor_dies = False
        self.refused: list[tuple[str, str]] = []
        self.ended = asyncio.Event()
        """Set at each worker's end."""

    def stuck(self, session: str) -> int | None:
        return next((worker.pid for worker in self._stuck(session)), None)

    def _stuck(self, session: str) -> list[FakeWorker]:
        return [
            worker
            for worker in self.made
            if worker.abandoned and worker.lives and worker.session == session
        ]

    def expects(self, session: str) -> bool:
        return session in self.returning

    async def await_reconnect(self, session: str) -> Returned | None:
        answer = await self.returning[session][1]
        self.returning.pop(session, None)
        if self.reunion_error is not None:
            raise self.reunion_error
        return answer

    async def refuse(self, worker: WorkerHandle, reason: str) -> None:
        self.refused.append((worker.id, reason))
        await worker.stop()

    async def terminate_returning(self, session: str) -> None:
        if session in self.returning:
            worker, _ = self.returning.pop(session)
            await worker.stop()

    def terminate_unclaimed(self, claimed: Collection[str]) -> None:
        for session in self.returning.keys() - set(claimed):
            worker, _ = self.returning.pop(session)
            worker.kill()

    def comes_back(self, session: str, **held: Any) -> FakeWorker:
        """A worker of an earlier supervisor calls, and holds this of the session."""
        worker = FakeWorker(self, session, len(self.made) + 1)
        worker.adoptable(wire.Held(session=session, **held))
        self.made.append(worker)
        self.calls(worker)
        return worker

    def live_on(self) -> None:
        """The supervisor is gone, and leaves its workers as they are.

        One that holds no session ends by itself.
        """
        for worker in self.alive:
            worker.alone = True
            worker.detach()
            if not worker.assigned:
                worker.end(Exit(status=0))

    def calls(self, worker: FakeWorker, after: float = 0.0) -> None:
        """A worker that has lived on calls the supervisor's successor by then, and says what it
        holds and what was not acknowledged.
        """
        returned: asyncio.Future[Returned | None] = asyncio.get_running_loop().create_future()
        self.returning[worker.session] = (worker, returned)

        def call() -> None:
            if returned.done():
                return
            worker.alone = False
            returned.set_result(Returned(worker, worker.held()) if worker.alive else None)
            for event in worker.unacknowledged.values():
                worker.report(event)

        if after:
            worker.later(after, call)
        else:
            call()

    async def close(self) -> None:
        """As the real ones, when their supervisor stops: also those that nobody has claimed end."""
        for worker, _ in self.returning.values():
            await worker.stop()
        self.returning.clear()
        await asyncio.sleep(0.01)  # one that was killed in this instant

    async def bring_up(self, session: str) -> FakeWorker:
        while self._stuck(session):  # as the real ones: never two for one session
            self.ended.clear()
            await self.ended.wait()
        self.startups += 1
        if self.held is not None:
            await self.held
        else:
            await asyncio.sleep(self.startup_seconds)
        if self.startup_error is not None:
            raise self.startup_error
        worker = FakeWorker(self, session, len(self.made) + 1)
        self.made.append(worker)
        return worker

    def end_others(self, owner: WorkerOwner, keep: WorkerHandle | None) -> None:
        self.others_ended += 1

    def next_outcome(self) -> Outcome:
        return self.plan.popleft() if self.plan else self.otherwise

    def check(self, worker: FakeWorker) -> None:
        """Promise 2: a session is never owned twice."""
        for other in self.made:
            if (
                other is not worker
                and other.session == worker.session
                and other.lives
                and other.assigned
            ):
                self.breaches.append(
                    f"{worker.id} was given {worker.session} while {other.id} still has it"
                )

    @property
    def alive(self) -> list[FakeWorker]:
        return [worker for worker in self.made if worker.alive]

    @property
    def last(self) -> FakeWorker:
        return self.made[-1]
