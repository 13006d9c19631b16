"""What a session needs from the rest of the program, as protocols: the fleet gives the real ones, tests give fakes."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from sessions import wire
from sessions.model import SessionId
from sessions.worker_process import Exit


class WorkerOwner(Protocol):
    """Whoever holds a worker: told of each of its frames and of its end."""

    def on_frame(self, worker: "WorkerHandle", frame: wire.Up) -> None:
        """A frame came."""

    def on_worker_end(self, worker: "WorkerHandle", end: Exit) -> None:
        """The process has ended."""


class WorkerHandle(Protocol):
    """One living worker process and its line."""

    id: str
    pid: int
    beat: wire.Beat | None
    beat_at: float
    owner: WorkerOwner | None

    @property
    def alive(self) -> bool:
        """Whether the process lives."""

    def send(self, frame: wire.Down) -> None:
        """Send a frame. Raises WorkerGone."""

    async def request(self, make: Callable[[int], wire.Request], timeout_seconds: float) -> wire.Replied | wire.Probed:
        """Send a request and wait for its answer. Raises WorkerGone, WorkerRefused, TimeoutError."""

    def kill(self) -> None:
        """SIGKILL, to the whole group."""

    async def stop(self) -> Exit:
        """Ask it to end, and see to it."""


class WorkerSource(Protocol):
    """Where workers come from."""

    async def bring_up(self, session: str) -> WorkerHandle:
        """Start a worker and wait for its hello. Raises WorkerGone, TimeoutError, StoreError."""

    def end_others(self, owner: WorkerOwner, keep: WorkerHandle | None) -> None:
        """Make sure that an owner holds no worker but this one."""


class Ticket(Protocol):
    """An admission to make one attempt."""

    def landed(self) -> None:
        """The login is on the wire: the attempt has cost its token."""

    def finish(self, succeeded: bool) -> None:
        """The attempt is over (or shows a QR, which is as good as over). Further calls do nothing."""


class Admission(Protocol):
    """The gate, as a session sees it."""

    def try_admit(self, session: SessionId, urgent: bool = False) -> Ticket | None:
        """A ticket, if one is free at once."""

    async def admit(self, session: SessionId, urgent: bool = False) -> Ticket:
        """Wait for a ticket. `urgent`: ahead of the queue, as an operator asked."""

    def hold(self, reason: str) -> None:
        """Hold the fleet for this reason: one canary at a time tries, and the first that succeeds releases all."""


Publish = Callable[[SessionId | None, str, Mapping[str, Any]], None]
"""Add an event to the event log: session, type, data."""
