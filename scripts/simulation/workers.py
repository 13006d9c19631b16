"""Worker processes for the simulation: those of tests/fakes, each attempt of which logs in at
the simulated server.
"""

import asyncio
from typing import Final

from scripts.simulation.server import Server
from sessions.model import CloseReason
from sessions.workers import wire
from sessions.workers.worker_process import Exit
from tests.fakes import JID, FakeWorker, FakeWorkers, Outcome

ATTEMPT_SECONDS: Final = 30.0
"""A worker's own deadline for an attempt, as in SessionConfig."""
START_SECONDS: Final = 0.5
"""From the fork to hello."""


class Login:
    """An attempt of a worker, as the server sees it."""

    def __init__(self, worker: FakeWorker, attempt: int, server: Server, egress: str) -> None:
        self.session = worker.session
        self.egress = egress
        self.worker = worker
        self._attempt = attempt
        self._server = server
        worker.later(ATTEMPT_SECONDS, self._time_out)
        self._opened = False

    @property
    def ended(self) -> bool:
        """Whether the worker's socket is another one by now, or none."""
        return self.worker.socket != self._attempt

    def on_login(self) -> None:
        """The login is on the wire."""
        self.worker.report(wire.State(self.session, attempt=self._attempt, stage="login"))

    def on_open(self) -> None:
        """It is accepted."""
        self._opened = True
        self.worker.report(wire.Opened(self.session, attempt=self._attempt, jid=JID, name=None))

    def on_close(self, reason: CloseReason, data: dict[str, str] | None = None) -> None:
        """It has ended."""
        self.worker.close_socket(self._attempt, reason, data)

    def _time_out(self) -> None:
        if not self._opened and not self.ended:
            self.worker.close_socket(self._attempt, CloseReason.ATTEMPT_TIMED_OUT)


class _Recent(list[wire.Down]):
    """The last orders only: nobody reads them here, and a story is long."""

    def append(self, order: wire.Down) -> None:
        """Forget all but the last."""
        self.clear()
        super().append(order)


class SimulatedWorker(FakeWorker):
    """A worker that tells the server when its socket has ended.

    `hung`: it does nothing any more that it is told.
    """

    source: "SimulatedWorkers"
    login: Login | None = None
    hung = False

    def send(self, frame: wire.Down) -> None:
        """As the fake, but a hung one obeys nothing."""
        if not self.hung:
            super().send(frame)

    def close_socket(
        self, attempt: int, reason: CloseReason, data: dict[str, str] | None = None
    ) -> None:
        """The socket ends, and the server hears of it first."""
        if self.socket == attempt:
            self._leave()
        super().close_socket(attempt, reason, data)

    def end(self, end: Exit) -> None:
        """The process ends, and its socket with it."""
        if self.alive:
            self._leave()
            self.source.forget(self)
        super().end(end)

    def _leave(self) -> None:
        left, self.login = self.login, None
        if left is not None:
            self.source.server.gone(left)


class SimulatedWorkers(FakeWorkers):
    """Where they come from. Only those that live are kept."""

    def __init__(self, server: Server, egress_of: dict[str, str]) -> None:
        super().__init__()
        self.server = server
        self.living: dict[str, dict[str, SimulatedWorker]] = {}
        self._egress_of = egress_of
        self._count = 0

    async def bring_up(self, session: str) -> SimulatedWorker:
        """Start one."""
        await asyncio.sleep(START_SECONDS)
        self._count += 1
        worker = SimulatedWorker(self, session, self._count)
        worker.source = self
        worker.sent = _Recent()
        self.living.setdefault(session, {})[worker.id] = worker
        return worker

    def forget(self, worker: SimulatedWorker) -> None:
        """It has ended."""
        self.living.get(worker.session, {}).pop(worker.id, None)

    def of(self, session: str) -> list[SimulatedWorker]:
        """The living workers of a session."""
        return list(self.living.get(session, {}).values())

    def next_outcome(self) -> Outcome:
        """Every attempt logs in at the server."""
        self.attempts.clear()
        return self._log_in

    def check(self, worker: FakeWorker) -> None:
        """Promise 2: a session is never owned twice."""
        for other in self.of(worker.session):
            if other is not worker and other.assigned:
                self.breaches.append(
                    f"{worker.id} was given {worker.session} while {other.id} still has it"
                )

    @property
    def alive(self) -> list[FakeWorker]:
        """All that live."""
        return [worker for workers in self.living.values() for worker in workers.values()]

    def _log_in(self, worker: FakeWorker, attempt: int) -> None:
        assert isinstance(worker, SimulatedWorker), "there are no others here"
        worker.login = Login(worker, attempt, self.server, self._egress_of[worker.session])
        self.server.connect(worker.login)
