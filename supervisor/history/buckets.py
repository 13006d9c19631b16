"""Distributions that can be added: how many durations fell into each bucket. Pure.

A 95th percentile of percentiles means nothing; buckets of many intervals, or of many routes, are
added, and the sum is a distribution again. The bounds go 1, 2, 5, 10 ..., so the limits that people
set (2 s, 5 s) are bounds themselves.
"""

from bisect import bisect_left
from collections.abc import Mapping
from typing import Final

BOUNDS: Final = tuple(
    mantissa * 10.0**exponent for exponent in range(-4, 2) for mantissa in (1, 2, 5)
)
"""Seconds, from 0.1 ms to 50 s: up to and with its bound a duration is in a bucket; one more bucket
is for what is longer.
"""


def bucket(seconds: float) -> int:
    """The number of the bucket of a duration."""
    return bisect_left(BOUNDS, seconds)


def quantile(counts: Mapping[int, float], fraction: float) -> float | None:
    """Below which duration that fraction of all was, in seconds; None: there was none.

    Within a bucket durations are taken as evenly spread. Of the last bucket, which has no upper
    bound, its lower one is told.
    """
    whole = sum(counts.values())
    if not whole:
        return None
    wanted, below = fraction * whole, 0.0
    for number in sorted(counts):
        if counts[number] and below + counts[number] >= wanted:
            if number >= len(BOUNDS):
                break
            lower = BOUNDS[number - 1] if number else 0.0
            return lower + (BOUNDS[number] - lower) * max(0.0, wanted - below) / counts[number]
        below += counts[number]
    return BOUNDS[-1]
