"""What a session waits for: at most one *step* (a worker, a permit, the end of a wait), and the
deadlines of what it is owed.
"""

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from typing import Any, Final

from sessions.lifecycle.inbox import Event, Step, StepFailed

SLEPT_SECONDS: Final = 1.0
"""A deadline that comes so late was not kept by a busy machine: nothing of this process ran."""
SECOND_LOOK_SECONDS: Final = 1.0
"""How long what lies in the socket's buffer may take to be read then."""


class Pending:
    """Puts what has come into the session's inbox.

    A step that was replaced or cancelled is of the past, even if it is in the inbox already.
    """

    def __init__(self, session: str, inbox: "asyncio.Queue[Event]") -> None:
        self._session = session
        self._inbox = inbox
        self._step: asyncio.Task[None] | None = None
        self._number = 0
        self._deadlines: dict[int, asyncio.Handle] = {}
        """Those to come.

        One that has come is let go: an open session that is looked at for months would keep them
        all.
        """
        self._deadline_numbers = itertools.count()

    @property
    def idle(self) -> bool:
        """Whether no step is under way."""
        return self._step is None

    @property
    def owes(self) -> bool:
        """Whether a deadline is still to come."""
        return bool(self._deadlines)

    @property
    def arriving(self) -> bool:
        """Whether the step has ended, and its event is in the inbox."""
        return self._step is not None and self._step.done()

    def begin(self, work: Callable[[], Awaitable[Any]], done: Callable[[int, Any], Step]) -> None:
        """Begin a step, in place of the one under way.

        Its result arrives as `done(number, result)`, an error as StepFailed.
        """
        self.cancel()
        self._step = asyncio.create_task(
            self._run(self._number, work, done), name=f"step of {self._session}"
        )

    def cancel(self) -> None:
        """Give up the step under way."""
        self._number += 1
        if self._step is not None:
            self._step.cancel()
            self._step = None

    def ends_with(self, event: Step) -> bool:
        """Whether the event, just taken from the inbox, is the end of the step under way: then none
        is any more.
        """
        if event.number != self._number or self._step is None:
            return False
        self._step = None
        return True

    def clear(self) -> None:
        """Nothing is waited for any more, and nothing is owed."""
        self.cancel()
        self.clear_deadlines()

    def owe(self, seconds: float, event: Event) -> None:
        """Nothing is owed but this: the event is put into the inbox then."""
        self.clear_deadlines()
        self.later(seconds, event)

    def later(self, seconds: float, event: Event) -> None:
        """Put an event into the inbox then, unless the deadlines are cleared before.

        A deadline that passed while we slept (stopped, frozen, a suspended machine) comes a little
        later: what was owed may lie in the socket's buffer unread.
        """
        loop, number = asyncio.get_running_loop(), next(self._deadline_numbers)
        due_at = loop.time() + seconds

        def come() -> None:
            if loop.time() - due_at > SLEPT_SECONDS:
                self._deadlines[number] = loop.call_later(
                    SECOND_LOOK_SECONDS, self._come, number, event
                )
            else:
                self._come(number, event)

        self._deadlines[number] = loop.call_at(due_at, come)

    def clear_deadlines(self) -> None:
        """Nothing is owed any more."""
        for timer in self._deadlines.values():
            timer.cancel()
        self._deadlines.clear()

    def _come(self, number: int, event: Event) -> None:
        del self._deadlines[number]
        self._inbox.put_nowait(event)

    async def _run(
        self, number: int, work: Callable[[], Awaitable[Any]], done: Callable[[int, Any], Step]
    ) -> None:
        try:
            event = done(number, await work())
        except Exception as error:
            event = StepFailed(number, error)
        self._inbox.put_nowait(event)
