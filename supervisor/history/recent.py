"""What was measured and is not written yet, in memory: of each series and subject a row of whole
numbers, one for every interval of ten seconds. Pure.

A gap is a gap: where nothing was measured there is no number, and no zero either.
"""

from array import array
from collections.abc import Iterator
from typing import Final

from supervisor.history.points import Cell

SLOT_SECONDS: Final = 10
"""Every so many seconds, counted from 1970, there is one figure of each series."""
GAP: Final = -(2**63)
"""In a row of numbers: nothing was measured."""


class Recent:
    """One series of one subject."""

    __slots__ = ("_first", "_values", "seen", "total")

    def __init__(self) -> None:
        self._first = 0
        """The slot of the first value."""
        self._values = array("q")
        self.total: int | None = None
        """Of a count: what was told last."""
        self.seen = 0
        """The slot in which a figure came last."""

    def add(self, slot: int, value: int) -> None:
        """The figure of a slot. One that is not later than the last is not taken: a clock that was
        set back measures nothing twice.
        """
        if not self._values:
            self._first = slot
        missing = slot - self._first - len(self._values)
        if missing < 0:
            return
        if missing:
            self._values.extend([GAP] * missing)
        self._values.append(value)
        self.seen = slot

    def added(self, total: int) -> int:
        """What a count has grown by since it was told last; a smaller total has begun anew."""
        before, self.total = self.total or 0, total
        return total - before if total >= before else total

    def cells(self, after: int = -1) -> Iterator[Cell]:
        """The figures of the slots after that one, oldest first."""
        first = self._first
        for place, value in enumerate(self._values):
            if value != GAP and first + place > after:
                yield Cell((first + place) * SLOT_SECONDS, 1, value, value, value)

    def forget(self, through: int) -> None:
        """Drop the figures up to and with a slot: they are written."""
        count = min(max(0, through + 1 - self._first), len(self._values))
        del self._values[:count]
        self._first += count
