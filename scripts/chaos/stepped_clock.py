"""`python -m scripts.chaos.stepped_clock`: the supervisor, with a wall clock, and trouble
(trouble.py), that the campaign sets.

`time.time` and `time.time_ns` are ahead of the truth by the seconds that stand in the file
CHAOS_CLOCK. The monotonic clock is left
alone, as a real step of the clock leaves it. What `datetime.now` and SQLite say is left alone, too:
nothing is decided by it.
"""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

from scripts.chaos import trouble

VARIABLE: Final = "CHAOS_CLOCK"
LOOK_SECONDS: Final = 0.05


class SteppedClock:
    """A wall clock with an offset that is read from a file now and then."""

    def __init__(
        self,
        file: Path,
        wall_ns: Callable[[], int] = time.time_ns,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._file = file
        self._wall_ns = wall_ns
        self._monotonic = monotonic
        self._offset_ns = 0
        self._look_at = 0.0

    def time_ns(self) -> int:
        """Stands in for `time.time_ns`."""
        if self._monotonic() >= self._look_at:
            with suppress(OSError):
                # a clock that has no descriptor left for its file goes on as it is: no real one
                # raises
                self._offset_ns = offset_ns(self._file)
            self._look_at = self._monotonic() + LOOK_SECONDS
        return self._wall_ns() + self._offset_ns

    def time(self) -> float:
        """Stands in for `time.time`."""
        return self.time_ns() / 1e9


def offset_ns(file: Path) -> int:
    """The offset that stands in the file; none if it is not there."""
    try:
        return round(float(file.read_text()) * 1e9)
    except FileNotFoundError:
        return 0


def set_offset(file: Path, offset_seconds: float) -> None:
    """Step the clock: whole, so that it is never read half-written."""
    half = file.with_suffix(".new")
    half.write_text(str(offset_seconds))
    half.replace(file)


def main() -> None:
    """Patch the clock, then run the supervisor.

    Its modules come afterwards, so that none has the true clock by another name.
    """
    clock = SteppedClock(Path(os.environ[VARIABLE]))
    time.time, time.time_ns = clock.time, clock.time_ns
    trouble.install(Path(os.environ[trouble.VARIABLE]))
    from supervisor.__main__ import main as supervise

    supervise("run")


if __name__ == "__main__":
    main()
