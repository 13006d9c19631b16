"""Rolling the workers over to the code that is installed: one at a time, through the gate, each
socket closed only when a successor is warm.
"""

import asyncio
import contextlib
from collections.abc import Callable, Collection
from typing import ClassVar, Final

import msgspec
import structlog

from sessions.lifecycle.inbox import Command
from sessions.lifecycle.session import Session
from sessions.model import EventData, Refused, SessionNotFound, SessionState, WasupError
from sessions.ports import Publish

LOOK_SECONDS: Final = 0.5
PATIENCE_SECONDS: Final = 360.0
"""How long one replacement may take: 5 min until the number is quiet for a moment, and the gate."""

log = structlog.get_logger("roll")


class RollView(msgspec.Struct, frozen=True, rename="camel"):
    """A roll as shown. `current`: the session whose worker is being replaced now."""

    running: bool
    total: int
    replaced: int
    failed: tuple[str, ...]
    current: str | None
    words: str


class WorkerReplaced(EventData, frozen=True):
    """A roll has given the session a worker of the installed code, or found that it needs none.

    `replaced`, `failed`, `total`: how far the roll is, in workers.
    """

    type: ClassVar[str] = "worker.replaced"
    replaced: int
    failed: int
    total: int


class WorkerNotReplaced(EventData, frozen=True):
    """A roll has not managed to: the session goes on with the worker that it has, if any."""

    type: ClassVar[str] = "worker.not_replaced"
    replaced: int
    failed: int
    total: int


class Roll:
    """At most one roll is under way."""

    def __init__(
        self, sessions: Callable[[], Collection[Session]], code: str, publish: Publish
    ) -> None:
        self._sessions = sessions
        self._code = code
        self._publish = publish
        self._task: asyncio.Task[None] | None = None
        self._total = 0
        self._replaced = 0
        self._failed: list[str] = []
        self._current: str | None = None

    @property
    def code(self) -> str:
        """What a worker started now runs."""
        return self._code

    def outdated(self) -> list[Session]:
        """The sessions whose workers run other code than is installed."""
        return [
            session
            for session in self._sessions()
            if session.worker is not None and session.worker.code != self._code
        ]

    def begin(self, everybody: bool = False) -> RollView:
        """Begin to replace the outdated workers, or all.

        Raises Refused while a roll is under way.
        """
        if self._task is not None and not self._task.done():
            raise Refused("A roll is under way.", "GET /workers shows how far it is.", "rolling")
        chosen = (
            [session for session in self._sessions() if session.worker is not None]
            if everybody
            else self.outdated()
        )
        self._total, self._replaced, self._failed, self._current = len(chosen), 0, [], None
        self._task = asyncio.create_task(self._run(chosen), name="roll")
        return self.view()

    def view(self) -> RollView:
        """How far it is."""
        running = self._task is not None and not self._task.done()
        done = self._replaced + len(self._failed)
        words = f"{done} of {self._total} workers done" + (
            f", {len(self._failed)} failed" if self._failed else ""
        )
        words = (
            f"{words}; {self._current} is being replaced."
            if running and self._current
            else f"{words}."
        )
        return RollView(
            running, self._total, self._replaced, tuple(self._failed), self._current, words
        )

    async def close(self) -> None:
        """Stop rolling; what was replaced stays so."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _run(self, chosen: list[Session]) -> None:
        for session in chosen:
            self._current = session.id
            try:
                replaced = await self._replace(session)
            except Exception as error:
                # one session's trouble is no reason to leave all others on the old code
                unforeseen = None if isinstance(error, WasupError) else error
                log.error(
                    "a worker was not replaced",
                    action="roll_failed",
                    session=session.id,
                    error=str(error),
                    exc_info=unforeseen,
                )
                replaced = False
            if replaced:
                self._replaced += 1
            else:
                self._failed.append(session.id)
            made = WorkerReplaced if replaced else WorkerNotReplaced
            self._publish(session.id, made(self._replaced, len(self._failed), self._total))
        self._current = None
        log.info(f"the roll is over: {self.view().words}", action="roll_ends")

    async def _replace(self, session: Session) -> bool:
        """Whether the session came to run on another worker, or to need none, in time."""
        before = session.worker
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while before is not None and session.worker is before:
                    if await _replaced(session) and session.worker is before:
                        return False  # its successor could not be started
                await _until_settled(session)
                return True
        return session.worker is not before


async def _replaced(session: Session) -> bool:
    """Whether a replacement was begun and has come to its end, either way; if not, it may be tried
    again.
    """
    try:
        await session.ask(Command.REPLACE)
    except SessionNotFound:  # deleted meanwhile: its worker has ended, or is about to
        return True
    except Refused:  # it connects just now, or is being replaced already
        await asyncio.sleep(LOOK_SECONDS)
        return False
    while session.replacing:  # noqa: ASYNC110 - a session has no such event
        await asyncio.sleep(LOOK_SECONDS)
    return True


async def _until_settled(session: Session) -> None:
    """The next one begins when this one is open again, or does not try to be."""
    while session.state in {SessionState.STARTING, SessionState.HELD, SessionState.CONNECTING}:  # noqa: ASYNC110
        await asyncio.sleep(LOOK_SECONDS)
