"""What a session's actor finds in its inbox: the closed union of events. Whoever wants something of a session puts one of these there."""

import asyncio
import enum
from dataclasses import dataclass

from sessions import wire
from sessions.model import CloseReason
from sessions.ports import Ticket, WorkerHandle
from sessions.worker_process import Exit


class Command(enum.Enum):
    """What an operator may ask of a session."""

    START = "start"
    STOP = "stop"
    FORCE = "force-reconnection"
    RESET_BREAKER = "reset-circuit-breaker"
    LOGOUT = "logout"
    RETIRE = "retire"
    """Stop the worker and end the actor; what is wanted stays as it is (the supervisor stops, or the session is deleted)."""


@dataclass(frozen=True, slots=True)
class Asked:
    """An operator asks; `reply` is done when it is done, or refused with an error."""

    command: Command
    reply: "asyncio.Future[None]"


@dataclass(frozen=True, slots=True)
class FrameCame:
    """The worker sent a frame."""

    worker: WorkerHandle
    frame: wire.Up


@dataclass(frozen=True, slots=True)
class WorkerEnded:
    """The worker's process has ended."""

    worker: WorkerHandle
    end: Exit


@dataclass(frozen=True, slots=True)
class WorkerReady:
    """Step `number` brought a worker up."""

    number: int
    worker: WorkerHandle


@dataclass(frozen=True, slots=True)
class Admitted:
    """Step `number` got a ticket from the gate."""

    number: int
    ticket: Ticket


@dataclass(frozen=True, slots=True)
class Waited:
    """Step `number`, a wait, is over."""

    number: int
    _: None = None


@dataclass(frozen=True, slots=True)
class StepFailed:
    """Step `number` ended with an error."""

    number: int
    error: Exception


@dataclass(frozen=True, slots=True)
class StableReached:
    """The attempt's session has been open for the stable period."""

    attempt: int


@dataclass(frozen=True, slots=True)
class CheckFailed:
    """A health check found the open session lost, deaf, or its worker hung."""

    attempt: int
    verdict: CloseReason


@dataclass(frozen=True, slots=True)
class Overdue:
    """The worker should have answered by now, and has not."""

    attempt: int


Step = WorkerReady | Admitted | Waited | StepFailed
Event = Asked | FrameCame | WorkerEnded | Step | StableReached | CheckFailed | Overdue
