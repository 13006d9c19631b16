"""The one sampler: asks every source at the end of every ten seconds, and hands what it is told to
the history.
"""

import asyncio
import time
from collections.abc import Sequence

import structlog

from supervisor.history.history import History
from supervisor.history.recent import SLOT_SECONDS
from supervisor.history.series import Key
from supervisor.history.sources import Source, ask

log = structlog.get_logger("history")


class Sampler:
    """Asks. A source that fails leaves gaps in its own series, and no others."""

    def __init__(self, history: History, sources: Sequence[Source]) -> None:
        self._history = history
        self._sources = sources

    async def look(self) -> None:
        """Wait for the end of the ten seconds that run, and ask.

        Raises what the first source has raised that failed, after all have been asked.
        """
        wait_seconds = SLOT_SECONDS - time.time() % SLOT_SECONDS
        begun = asyncio.get_running_loop().time()
        await asyncio.sleep(wait_seconds)
        late_seconds = asyncio.get_running_loop().time() - begun - wait_seconds
        await self.sample(max(0.0, 1000 * late_seconds))

    async def sample(self, lag_ms: float = 0.0) -> None:
        """Ask now; the figures are those of the ten seconds that have just ended.

        Raises what the first source has raised that failed.
        """
        begun, figures = time.time(), dict[Key, float]()
        failure: Exception | None = None
        for source in self._sources:
            try:
                figures.update(await ask(source))
            except Exception as error:  # the others are asked all the same
                failure = failure or error
        figures["supervisor.lag_ms", None] = lag_ms
        self._history.take(figures, begun - SLOT_SECONDS)
        if failure is not None:
            raise failure
