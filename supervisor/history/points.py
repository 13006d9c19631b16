"""Figures that belong together: how many there were, their sum, the least and the greatest. Pure.

Of these four every coarser point can be made exactly, which a mean of means cannot.
"""

from array import array
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final, NamedTuple

from sessions.records.distribution import quantile
from supervisor.history.tiers import SLOT_SECONDS

GAP: Final = -(2**63)
"""In a row of numbers: nothing was measured. It is no zero."""


class Run(NamedTuple):
    """Figures of slots in a row, in the series' steps, with gaps. `first`: the first one's slot."""

    first: int
    values: "array[int]"

    def cells(self) -> "Iterator[Cell]":
        """The figures, oldest first."""
        for slot, value in enumerate(self.values, self.first):
            if value != GAP:
                yield Cell(slot * SLOT_SECONDS, 1, value, value, value)


class Cell(NamedTuple):
    """The `n` figures of an interval as they are kept: whole numbers of the series' steps.

    `at_seconds`: when it begins, in seconds since 1970.
    """

    at_seconds: int
    n: int
    total: int
    least: int
    most: int


@dataclass(frozen=True, slots=True)
class Point:
    """The figures of an interval, in the series' unit.

    `at`: when it begins, in seconds since 1970. Of a count, `sum` is what was counted, and the
    others tell of intervals of ten seconds.
    """

    at: float
    count: int
    sum: float
    minimum: float
    maximum: float

    @property
    def mean(self) -> float:
        """Over all figures of the interval."""
        return self.sum / self.count


@dataclass(frozen=True, slots=True)
class Spread:
    """How the figures of an interval are distributed: how many there were in each bucket.

    `at`: when it begins, in seconds since 1970.
    """

    at: float
    counts: Mapping[int, int]

    @property
    def count(self) -> int:
        """How many figures there were."""
        return sum(self.counts.values())

    def quantile(self, fraction: float) -> float | None:
        """Below which so large a part of them is, in the series' unit; None: there are none."""
        return quantile(self.counts, fraction)


def joined(cells: Iterable[Cell], step_seconds: int) -> list[Cell]:
    """The cells of each step in one, in order; a step without any has none."""
    found: dict[int, Cell] = {}
    for at, n, total, least, most in cells:
        begin = at - at % step_seconds
        known = found.get(begin)
        if known is not None:
            n, total = known.n + n, known.total + total
            least, most = min(known.least, least), max(known.most, most)
        found[begin] = Cell(begin, n, total, least, most)
    return [found[begin] for begin in sorted(found)]


def point(cell: Cell, steps: int) -> Point:
    """A cell in the unit of its series."""
    at, n, total, least, most = cell
    return Point(float(at), n, total / steps, least / steps, most / steps)
