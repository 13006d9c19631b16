"""How figures are distributed: counted by size, in buckets that are the same for ever. Pure.

A 95th percentile cannot be made of other 95th percentiles, but buckets can be added: of sessions,
of minutes, of days. Each bucket is a fifth wider than the one before, so what is read from them is
right to within some percent.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

PER_DOUBLING: Final = 4
GREATEST: Final = 80
"""The last bucket, which has no end: what is a million and more (of milliseconds, a quarter of an
hour).
"""


@dataclass(slots=True)
class Distribution:
    """Counts since it was made, by bucket."""

    counts: Counter[int] = field(default_factory=Counter)

    def add(self, value: float) -> None:
        """Count a figure."""
        self.counts[bucket_of(value)] += 1


def bucket_of(value: float) -> int:
    """The bucket that a figure belongs to; 0: less than 1."""
    if value < 1:
        return 0
    return min(GREATEST, 1 + math.floor(PER_DOUBLING * math.log2(value)))


def begin_of(bucket: int) -> float:
    """The least figure of a bucket."""
    return 0.0 if bucket == 0 else 2.0 ** ((bucket - 1) / PER_DOUBLING)


def quantile(counts: Mapping[int, int], fraction: float) -> float | None:
    """Below which so large a part of the figures is; None: there are none.

    Within a bucket they are taken to be spread evenly.
    """
    total = sum(counts.values())
    left = fraction * total
    for bucket in sorted(counts):
        count = counts[bucket]
        if count and left <= count:
            begin, end = begin_of(bucket), begin_of(bucket + 1)
            return round(begin + (end - begin) * left / count, 1)
        left -= count
    return None
