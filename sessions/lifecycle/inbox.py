"""What a session's actor finds in its inbox: the closed union of events.

Whoever wants something of a session puts one of these there.
"""

import asyncio
import enum
from dataclasses import dataclass
from typing import Any

from sessions.credentials.proxy import Proxy
from sessions.model import CloseReason, UnreadableValue
from sessions.policy import Config
from sessions.ports import Permit, Returned, WorkerHandle
from sessions.workers import wire
from sessions.workers.limits import Excess
from sessions.workers.worker_process import Exit


class Command(enum.Enum):
    """What an operator may ask of a session."""

    START = "start"
    STOP = "stop"
    FORCE = "force-reconnection"
    RESET_BREAKER = "reset-circuit-breaker"
    LOGOUT = "logout"
    REPLACE = "replace-worker"
    """A successor takes the worker's place: warmed up first, then let through the gate, then the
    socket changes hands.
    """
    RETIRE = "retire"
    """Stop the worker and end the actor; what is wanted stays as it is (the supervisor stops, or
    the session is deleted).
    """
    LEAVE = "leave"
    """End the actor and leave the worker as it is, with its socket: the supervisor's successor
    adopts it.
    """


@dataclass(frozen=True, slots=True)
class Restore:
    """Put archived credentials back (`archive` None: the newest that fit), and start the session if
    asked to.
    """

    archive: int | None
    start: bool


@dataclass(frozen=True, slots=True)
class UseProxy:
    """Use this proxy from the next start on, or none."""

    proxy: Proxy | None


@dataclass(frozen=True, slots=True)
class Asked:
    """An operator asks; `reply` is done when it is done, or refused with an error."""

    command: Command | Restore | UseProxy
    reply: "asyncio.Future[Any]"


@dataclass(frozen=True, slots=True)
class FrameCame:
    """The worker sent a frame."""

    worker: WorkerHandle
    frame: wire.Up


@dataclass(frozen=True, slots=True)
class KeysUnreadable:
    """The worker asked for keys that the store has, but that cannot be read."""

    worker: WorkerHandle
    error: UnreadableValue


@dataclass(frozen=True, slots=True)
class Exceeded:
    """The worker is above a limit."""

    worker: WorkerHandle
    excess: Excess


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
class WorkerReturned:
    """Step `number` heard the worker of an earlier supervisor that holds the session, or learned
    that there is none.
    """

    number: int
    returned: Returned | None


@dataclass(frozen=True, slots=True)
class SuccessorReady:
    """Step `number` has warmed up a successor for the worker of the open session, and the gate lets
    it through.
    """

    number: int
    successor: tuple[WorkerHandle, Permit]


@dataclass(frozen=True, slots=True)
class Admitted:
    """Step `number` got a permit from the gate."""

    number: int
    permit: Permit


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
    """A check found the open session lost, deaf, its worker hung, or its device in another
    session's hands.
    """

    attempt: int
    verdict: CloseReason
    words: str | None = None
    """The close message, where the verdict does not say it all."""


@dataclass(frozen=True, slots=True)
class PhoneDue:
    """It is time to look when the account's phone was last seen."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Overdue:
    """The worker should have answered by now, and has not."""

    attempt: int


@dataclass(frozen=True, slots=True)
class CanaryOverdue:
    """The attempt, on which the others wait, should have its login on the wire by now."""

    attempt: int


@dataclass(frozen=True, slots=True)
class Uncharged:
    """An outage was what has just closed the session: what that has cost it is taken back, and it
    is held with the others.
    """


@dataclass(frozen=True, slots=True)
class PolicyChanged:
    """The policy was reloaded: judge by this one from the next close on."""

    config: Config


Step = WorkerReady | WorkerReturned | SuccessorReady | Admitted | Waited | StepFailed
Told = FrameCame | KeysUnreadable | Exceeded | WorkerEnded
"""By a worker."""
Event = (
    Asked
    | Told
    | Step
    | StableReached
    | CheckFailed
    | PhoneDue
    | Overdue
    | CanaryOverdue
    | Uncharged
    | PolicyChanged
)
