"""The one thread that touches the backups' directory: its disk may be a network's, and a look at
one that hangs never comes back.

So none of the threads that the rest of the program needs, and that its end waits for, ever looks
there; and while one look hangs, no other is begun.
"""

import asyncio
import errno
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, TypeVar

from supervisor.process.daemon_threads import in_thread

PATIENCE_SECONDS: Final = 120.0
"""For what a job does there itself: renaming, removing, writing a record. Copies are made by a
process.
"""

T = TypeVar("T")


class DirectorySilent(OSError):
    """The directory has not answered."""


class Hand:
    """Does one thing after the other."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._turn = asyncio.Lock()
        self._doing: asyncio.Task[Any] | None = None
        self._began = 0.0

    @property
    def silent_seconds(self) -> float:
        """For how long what is being done has been going on; 0: nothing is."""
        if self._doing is None or self._doing.done():
            return 0.0
        return time.monotonic() - self._began

    async def do(self, work: Callable[[], T], patience_seconds: float = PATIENCE_SECONDS) -> T:
        """The result of what may block. Nothing waits for longer than it says, nor for what has
        been going on for as long already.

        Raises DirectorySilent, and whatever the work raises.
        """
        if self.silent_seconds >= patience_seconds:
            raise self._silent()
        try:
            async with asyncio.timeout(patience_seconds):
                async with self._turn:
                    if self._doing is not None:
                        await asyncio.wait([self._doing])
                    doing = asyncio.create_task(in_thread(work), name="backups' directory")
                    doing.add_done_callback(_seen)
                    self._doing, self._began = doing, time.monotonic()
                    await asyncio.wait([doing])  # whoever is called off leaves it to end by itself
        except TimeoutError:
            raise self._silent() from None
        return doing.result()

    def _silent(self) -> DirectorySilent:
        words = f"has not answered for {max(1, round(self.silent_seconds))} s"
        return DirectorySilent(errno.ETIMEDOUT, words, str(self._directory))


def _seen(doing: "asyncio.Task[Any]") -> None:
    """Nobody may be left who asks how it went."""
    if not doing.cancelled():
        doing.exception()
