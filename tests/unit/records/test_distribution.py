"""Buckets can be added, and tell percentiles to within some percent."""

import random

import pytest

from sessions.records.distribution import (
    GREATEST,
    Distribution,
    begin_of,
    bucket_of,
    quantile,
)


def test_every_figure_is_in_the_bucket_that_begins_below_it() -> None:
    for value in (0, 0.5, 1, 1.5, 2, 3, 180, 2_000, 5_000, 60_000, 999_999):
        bucket = bucket_of(value)
        assert begin_of(bucket) <= value < begin_of(bucket + 1), value
    assert bucket_of(1e12) == GREATEST
    assert bucket_of(-1) == 0


@pytest.mark.parametrize("fraction", [0.5, 0.9, 0.95, 0.99])
def test_a_percentile_is_right_to_within_some_percent_also_of_what_was_added_up(
    fraction: float,
) -> None:
    rng, halves = random.Random(1), (Distribution(), Distribution())
    values = sorted(180 * rng.lognormvariate(0, 0.8) for _ in range(5_000))
    for value in values:
        rng.choice(halves).add(value)
    found = quantile(halves[0].counts + halves[1].counts, fraction)
    assert found == pytest.approx(values[int(fraction * len(values))], rel=0.05)


def test_of_nothing_there_is_no_percentile() -> None:
    assert quantile({}, 0.95) is None
    assert quantile({3: 0}, 0.95) is None
