"""What runs for ever: looks that are taken again and again, whatever they raise.

A task that ends at its first surprise takes what it watches over with it, and nobody notices. So
everything in this program that shall never end is kept here: a look that fails is logged (once, not
at every turn), and taken again; who fails for long, or has ended although nobody asked it to, is
told to whoever is to be notified, and stands in `/readyz`.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Final, Literal

import msgspec
import structlog

from sessions.model import WasupError

FIRST_RETRY_SECONDS: Final = 1.0
LAST_RETRY_SECONDS: Final = 60.0
"""The longest that a look which fails waits for its next turn, in addition to its own pace."""
FAILING_AFTER: Final = 3
"""So many failures in a row are no hiccup (a moment without descriptors or memory): then it is
told.
"""
LOOK_SECONDS: Final = 120.0
"""After so long a look hangs, and is called off, unless whoever keeps it says otherwise: the
dearest takes seconds.
"""

Look = Callable[[], Awaitable[None] | None]
TaskState = Literal["ok", "failing", "ended"]

log = structlog.get_logger("forever")


class TaskHealth(msgspec.Struct, frozen=True, rename="camel"):
    """How a task is that runs for ever.

    `failures`: in a row. `error`: the last one, without what it may quote.
    """

    name: str
    state: TaskState = "ok"
    failures: int = 0
    error: str | None = None

    @property
    def words(self) -> str:
        """The same, for whoever is woken by it."""
        match self.state:
            case "ok":
                return f"The supervisor's task {self.name!r} works again."
            case "failing":
                return (
                    f"The supervisor's task {self.name!r} has failed {self.failures} times in a"
                    f" row: {self.error}. It is tried again, at least once a minute; what it does"
                    " is not done meanwhile. See the supervisor's log."
                )
            case "ended":
                return (
                    f"The supervisor's task {self.name!r} has ended: {self.error}. What it does is"
                    " not done any more. Restart the supervisor (pm2 restart wasup; the sessions"
                    " stay open) and report its log."
                )


Notify = Callable[[TaskHealth], None]


class Kept:
    """One task that runs for ever; whoever has it may end it."""

    def __init__(self, name: str, notify: Notify) -> None:
        self.health = TaskHealth(name)
        self._notify = notify
        self._task: asyncio.Task[None] | None = None
        self._stopped = False

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self._task is not None and self._task.done()

    def stop(self) -> None:
        """End it, in the middle of a look if need be."""
        self._stopped = True
        if self._task is not None:
            self._task.cancel()

    async def ended(self, timeout_seconds: float | None = None) -> None:
        """Wait until it has ended, whatever it raised; for so long at the most."""
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=timeout_seconds)

    async def close(self) -> None:
        """End it, and wait for that."""
        self.stop()
        await self.ended()

    def begin(self, work: Coroutine[None, None, None], until: Callable[[], bool]) -> None:
        """Begin; once."""
        self._task = asyncio.create_task(work, name=self.health.name)
        self._task.add_done_callback(lambda task: self._on_end(task, until))

    async def run(
        self,
        look: Look,
        first_seconds: float,
        every_seconds: float,
        within_seconds: float | None,
        until: Callable[[], bool],
    ) -> None:
        """Look, wait, look again; the work that is begun."""
        task = asyncio.current_task()
        assert task is not None
        await asyncio.sleep(first_seconds)
        while not until():
            try:
                async with asyncio.timeout(within_seconds):
                    looking = look()
                    if looking is not None:
                        await looking
            except asyncio.CancelledError:
                if (
                    task.cancelling()
                    # it is ended; else what it waited for was called off, which is a failure like
                    # others
                ):
                    raise
                self._failed(asyncio.InvalidStateError("what it waited for was cancelled"))
            except Exception as error:
                self._failed(error)
            else:
                self._worked()
            if not until():
                await asyncio.sleep(every_seconds + self._retry_seconds())

    def _retry_seconds(self) -> float:
        failures = self.health.failures
        if not failures:
            return 0.0
        return float(min(LAST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** min(failures - 1, 10)))

    def _failed(self, error: Exception) -> None:
        failures, before = self.health.failures + 1, self.health.state
        state: TaskState = "failing" if failures >= FAILING_AFTER else "ok"
        self.health = TaskHealth(self.health.name, state, failures, describe(error))
        if failures == 1:
            name = self.health.name
            log.error("a task failed; it goes on", action="task_failed", task=name, exc_info=error)
        if state != before:
            self._tell_of_change()

    def _worked(self) -> None:
        before = self.health
        if not before.failures:
            return
        self.health = TaskHealth(before.name)
        log.info(
            "a task works again", action="task_works", task=before.name, failures=before.failures
        )
        if before.state != "ok":
            self._tell_of_change()

    def _on_end(self, task: "asyncio.Task[None]", until: Callable[[], bool]) -> None:
        if self._stopped or (not task.cancelled() and task.exception() is None and until()):
            return
        cause = "it was cancelled" if task.cancelled() else describe(task.exception())
        self.health = TaskHealth(self.health.name, "ended", self.health.failures, cause)
        error = None if task.cancelled() else task.exception()
        log.critical("a task has ended", action="task_ended", task=self.health.name, exc_info=error)
        self._tell_of_change()

    def _tell_of_change(self) -> None:
        try:
            self._notify(self.health)
        except Exception as error:  # whoever is told must not end what tells it
            log.error("an alert of a task was not raised", action="task_not_told", exc_info=error)


class Forever:
    """All that runs for ever, by name. Make it first: everything else is given it.

    `notify`: told of each task that begins or ceases to be in trouble.
    """

    def __init__(self, notify: Notify = lambda health: None) -> None:
        self._kept: list[Kept] = []
        self._notify = notify

    def keep(
        self,
        name: str,
        look: Look,
        *,
        every_seconds: float = 0.0,
        at_once: bool = True,
        within_seconds: float | None = LOOK_SECONDS,
        until: Callable[[], bool] = lambda: False,
    ) -> Kept:
        """Look now (or, not `at_once`, after the first pause), and again and again, with a pause of
        `every_seconds`, for ever.

        A look that lasts longer than `within_seconds` is called off, and has failed (None: it waits
        for as long as it has to).
        `until`: looked at before each turn; when it is so, there is no other. Needs a running loop.
        """
        kept = Kept(name, self._notify)
        self._kept = [one for one in self._kept if not one.done or one.health.state == "ended"] + [
            kept
        ]
        first_seconds = 0.0 if at_once else every_seconds
        kept.begin(kept.run(look, first_seconds, every_seconds, within_seconds, until), until)
        return kept

    def health(self) -> list[TaskHealth]:
        """How each of them is."""
        return [kept.health for kept in self._kept if not kept.done or kept.health.state == "ended"]

    async def close(self) -> None:
        """End them all."""
        for kept in self._kept:
            kept.stop()
        for kept in self._kept:
            await kept.ended()


def describe(error: BaseException | None) -> str:
    """An error in few words.

    Only those are quoted that hold no stored value and no secret: the system's, and our own.
    """
    if isinstance(error, TimeoutError) and not str(error):
        return "it hangs, and was called off"
    if isinstance(error, OSError | WasupError):
        return f"{type(error).__name__}: {error}"
    return type(error).__name__
