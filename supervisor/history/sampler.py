"""The one sampler: asks every source at the end of every ten seconds, and hands what it is told to
the history.
"""

import asyncio
import inspect
import time
from collections.abc import Callable, Mapping, Sequence

from sessions.forever import Forever, Kept
from supervisor.history.history import History
from supervisor.history.series import Key
from supervisor.history.sources import Source, ask
from supervisor.history.tiers import SLOT_SECONDS


class Sampler:
    """Asks. A source that fails leaves gaps in its own series, and no others."""

    def __init__(
        self,
        take: Callable[[Mapping[Key, float], float], None],
        sources: Sequence[Source],
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`take`: the history's; `clock`: seconds since 1970."""
        self._take = take
        self._clock = clock
        # Those that wait come first: a session that is deleted meanwhile is told of by none of the
        # others, which are asked when nothing is awaited any more.
        self._sources = sorted(sources, key=inspect.iscoroutinefunction, reverse=True)

    async def look(self) -> None:
        """Wait for the end of the ten seconds that run, and ask.

        Raises what the first source has raised that failed, after all have been asked.
        """
        start, late_seconds = self._clock() // SLOT_SECONDS * SLOT_SECONDS, 0.0
        loop = asyncio.get_running_loop()
        # A sleep may end a little early, and the clock may be adjusted meanwhile; asked before the
        # end, counts would be told of within ten seconds that have had their figures.
        while (left_seconds := start + SLOT_SECONDS - self._clock()) > 0:
            if left_seconds > SLOT_SECONDS:
                return  # the clock was set back: anew, by what it says now
            begun = loop.time()
            await asyncio.sleep(left_seconds)
            late_seconds = max(late_seconds, loop.time() - begun - left_seconds)
        await self.sample(start, 1000 * late_seconds)

    async def sample(self, start: float, lag_ms: float = 0.0) -> None:
        """Ask now; the figures are those of the ten seconds that began at `start`.

        Raises what the first source has raised that failed.
        """
        figures = dict[Key, float]()
        failure: Exception | None = None
        for source in self._sources:
            try:
                figures.update(await ask(source))
            except Exception as error:  # the others are asked all the same
                failure = failure or error
        figures["supervisor.lag_ms", None] = lag_ms
        self._take(figures, start)
        if failure is not None:
            raise failure


def begin_measuring(forever: Forever, sampler: Sampler, history: History) -> list[Kept]:
    """Measure and write from now on; whoever ends the tasks ends it."""
    return [
        forever.keep("history", sampler.look),
        # a store that is away is waited for: the next turn then writes what has gathered
        forever.keep(
            "history writer", history.write_due, every_seconds=SLOT_SECONDS, within_seconds=None
        ),
    ]
