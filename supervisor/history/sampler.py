"""The one sampler: asks every source at the end of every ten seconds, and hands what it is told to
the history.
"""

import asyncio
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
        self._sources = sources

    async def look(self) -> None:
        """Wait for the end of the ten seconds that run, and ask.

        Raises what the first source has raised that failed, after all have been asked.
        """
        wait_seconds = SLOT_SECONDS - self._clock() % SLOT_SECONDS
        begun = asyncio.get_running_loop().time()
        await asyncio.sleep(wait_seconds)
        late_seconds = asyncio.get_running_loop().time() - begun - wait_seconds
        await self.sample(max(0.0, 1000 * late_seconds))

    async def sample(self, lag_ms: float = 0.0) -> None:
        """Ask now; the figures are those of the ten seconds that have just ended.

        Raises what the first source has raised that failed.
        """
        begun, figures = self._clock(), dict[Key, float]()
        failure: Exception | None = None
        for source in self._sources:
            try:
                figures.update(await ask(source))
            except Exception as error:  # the others are asked all the same
                failure = failure or error
        figures["supervisor.lag_ms", None] = lag_ms
        self._take(figures, begun - SLOT_SECONDS)
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
