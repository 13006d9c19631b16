"""What a session needs from the rest of the program, as protocols: the fleet gives the real ones,
tests give fakes.
"""

import asyncio
from collections.abc import Callable, Collection
from typing import NamedTuple, Protocol

from sessions.model import AlertChange, EventData, SessionId
from sessions.policy import Close, ClosedWay, Verdict
from sessions.records.changes import Changes
from sessions.workers import wire
from sessions.workers.limits import Excess
from sessions.workers.worker_process import Exit


class WorkerOwner(Protocol):
    """Whoever holds a worker: told of each of its frames and of its end."""

    def on_frame(self, worker: "WorkerHandle", frame: wire.Up) -> None:
        """A frame came."""

    def on_excess(self, worker: "WorkerHandle", excess: Excess) -> None:
        """It is above a limit."""

    def on_worker_end(self, worker: "WorkerHandle", end: Exit) -> None:
        """The process has ended, and all that it had said was told."""


class WorkerHandle(Protocol):
    """One living worker process and its line."""

    id: str
    pid: int
    code: str
    beat: wire.Beat | None
    beat_at: float

    @property
    def owner(self) -> WorkerOwner | None:
        """Who is notified of its frames and of its end."""

    def attach(self, owner: WorkerOwner) -> None:
        """Give it to an owner, who is notified at once of what came before."""

    @property
    def alive(self) -> bool:
        """Whether the process lives."""

    def send(self, frame: wire.Down) -> None:
        """Send a frame. Raises WorkerGone."""

    async def request(
        self, make: Callable[[int], wire.Request], timeout_seconds: float
    ) -> wire.Replied | wire.Probed:
        """Send a request and wait for its answer.

        Raises WorkerGone, WorkerRefused, TimeoutError.
        """

    def kill(self) -> None:
        """SIGKILL, to the whole group."""

    async def stop(self) -> Exit:
        """Bring it to its end, in bounded time; never raises.

        Exit.abandoned: not even SIGKILL has ended it.
        """


class Returned(NamedTuple):
    """A worker of an earlier supervisor that has called, and what it holds of the session."""

    worker: WorkerHandle
    held: wire.Held


class WorkerSource(Protocol):
    """Where workers come from."""

    def expects(self, session: str) -> bool:
        """Whether a living worker of an earlier supervisor may hold this session."""

    async def await_reconnect(self, session: str) -> Returned | None:
        """The worker that holds this session, once it has called; None when there is none (any
        more).
        """

    async def refuse(self, worker: WorkerHandle, reason: str) -> None:
        """Tell a worker that it is not adopted, and see to its end."""

    async def terminate_returning(self, session: str) -> None:
        """See the worker of an earlier supervisor that may hold this session to its end, if nobody
        has claimed it.
        """

    def terminate_unclaimed(self, claimed: Collection[str]) -> None:
        """End the workers of an earlier supervisor whose sessions are not among these."""

    async def bring_up(self, session: str) -> WorkerHandle:
        """Start a worker and wait for its hello; first for the end of one of the session's that
        cannot be ended.

        Raises WorkerGone (SpawnRefused: there is no process to be had), TimeoutError, StoreError.
        """

    def stuck(self, session: str) -> int | None:
        """The pid of a worker that may hold this session and cannot be ended; None: there is
        none.
        """

    def end_others(self, owner: WorkerOwner, keep: WorkerHandle | None) -> None:
        """Make sure that an owner holds no worker but this one."""


class Permit(Protocol):
    """An admission to make one attempt."""

    deadline_seconds: float | None
    """The login is to be on the wire by then, since others wait for the outcome; None: the attempt
    has the common deadline only.
    """

    def login_sent(self) -> None:
        """The login is on the wire: the attempt has cost its token."""

    def finish(self, succeeded: bool) -> None:
        """The attempt is over (or shows a QR, which is as good as over).

        Further calls do nothing.
        """


class Admission(Protocol):
    """The gate, as a session sees it."""

    def try_admit(self, session: SessionId, urgent: bool = False) -> Permit | None:
        """A permit, if one is free at once."""

    async def admit(self, session: SessionId, urgent: bool = False) -> Permit:
        """Wait for a permit. `urgent`: ahead of the queue, as an operator asked."""

    def adopt(self, session: SessionId, login_sent: bool, through: bool = False) -> Permit:
        """A permit for an attempt that an earlier supervisor admitted: under way still, or
        `through` (open, or showing a QR).
        """

    def pause(self, session: SessionId, reason: str) -> bool:
        """The session was closed for a reason that may concern all.

        True: the fleet is held, and it with it; False: it waits alone.
        """

    def registered(self, session: SessionId, egress: str, uncharge: Callable[[], None]) -> None:
        """The session is part of the fleet, and reaches WhatsApp this way (its proxy without user
        and password, or DIRECT).

        `uncharge` is called when an outage turns out to have closed it which was not seen then:
        what its closes have charged is to be taken back, and its wait to be cut short.
        """

    def opened(self, session: SessionId) -> None:
        """The session is open, since just now or (adopted) for some time."""

    def closed(self, session: SessionId, close: Close, weight: float) -> Verdict:
        """The session, or its attempt, has ended; told before the policy judges it.

        `weight`: how busy the session was. If an outage covers it, no wait is to be planned: it
        goes to the gate, which holds it.
        """

    def left(self, session: SessionId) -> None:
        """The session is not part of the fleet any more: stopped, parked, retired."""

    def closed_way(self, session: SessionId) -> ClosedWay | None:
        """Why the session could not come through now; None: it could, or nobody knows."""


Publish = Callable[[SessionId | None, EventData | AlertChange], None]
"""Add an event to the event log, or tell of an alert."""

Record = Callable[[Changes], None]
"""Make durable what has changed of a session, show the event that tells of it then, and tell
whoever watches in this process.
"""


class Origin(NamedTuple):
    """Where a worker's event comes from: its number, of which epoch, and the entries of kind
    `inbound` that it makes needless.
    """

    epoch: int
    seq: int
    kept: tuple[str, ...] = ()


Deliver = Callable[[SessionId, EventData, Origin], "asyncio.Future[bool]"]
"""Add a worker's event, once.

Done when it is durable: False if it was there already.
"""
