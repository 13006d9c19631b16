"""What a job is, and what is shown of it and of its runs."""

from collections.abc import Awaitable, Callable
from dataclasses import KW_ONLY, dataclass

import msgspec

from sessions.model import WasupError
from sessions.store.supervision.upkeep_runs import Outcome

HOUR_SECONDS = 3600.0


class JobNotFound(WasupError):
    """There is no such job."""

    code = "upkeep_not_found"
    hint = "`wasup upkeep list` shows which there are."


class JobRunning(WasupError):
    """The job is under way already."""

    code = "upkeep_running"
    hint = "It never runs twice at once: wait for its end (`wasup upkeep list`)."


class JobFailed(WasupError):
    """What a job had to do could not be done; the message and the hint are for the operator.

    `told`: an alert of its own says so already.
    """

    code = "upkeep_failed"

    def __init__(self, message: str, hint: str, *, told: bool = False) -> None:
        super().__init__(message, hint)
        self.told = told


@dataclass(frozen=True, slots=True)
class Job:
    """Something that is done by the clock.

    `schedule`: cron's five fields, in WHATSAPP_TIME_ZONE, or `off`. `run`: says in words what it
    has done; raises what went wrong (a WasupError's words are shown).
    """

    name: str
    schedule: str
    run: Callable[[], Awaitable[str]]
    _: KW_ONLY
    what: str
    """In a sentence, for who looks at the list."""
    jitter_seconds: float = 30.0
    """It begins so much later at the most, by chance: not all at the same second."""
    within_seconds: float = HOUR_SECONDS
    """After so long it is called off, and has failed."""
    heavy: bool = False
    """It takes disk and processor for minutes: no two of this kind run at once."""


class RunView(msgspec.Struct, frozen=True, rename="camel"):
    """A run of a job.

    `outcome` null: it is under way; `interrupted`: the supervisor ended before it did. `result`:
    what it did, or what went wrong. `by_hand`: somebody had asked for it.
    """

    began_at: str
    ended_at: str | None
    duration_seconds: float | None
    outcome: Outcome | None
    result: str
    by_hand: bool


class JobView(msgspec.Struct, frozen=True, rename="camel"):
    """A job. `next_at` null: only when somebody asks for it. `runs`: the newest first."""

    name: str
    what: str
    schedule: str
    next_at: str | None
    running: bool
    runs: list[RunView]
