"""Buckets can be added, and a quantile of the sum is one of all."""

import pytest

from supervisor.history.buckets import BOUNDS, bucket, quantile


@pytest.mark.parametrize(
    ("seconds", "upper"), [(0.0, 1e-4), (1e-4, 1e-4), (0.00011, 2e-4), (2.0, 2.0), (2.01, 5.0)]
)
def test_a_duration_is_in_the_bucket_up_to_whose_bound_it_lasted(
    seconds: float, upper: float
) -> None:
    assert BOUNDS[bucket(seconds)] == pytest.approx(upper)


def test_what_is_longer_than_all_bounds_has_a_bucket_too_and_is_told_as_at_least_so_long() -> None:
    assert bucket(3600.0) == len(BOUNDS)
    assert quantile({bucket(3600.0): 1}, 0.95) == BOUNDS[-1] == 50.0


def test_a_quantile_is_within_the_bucket_that_the_true_one_is_in() -> None:
    durations = [0.001 * number for number in range(1, 1001)]
    counts: dict[int, float] = {}
    for seconds in durations:
        counts[bucket(seconds)] = counts.get(bucket(seconds), 0) + 1
    for fraction in (0.5, 0.95, 0.99, 1.0):
        assert quantile(counts, fraction) == pytest.approx(fraction, rel=0.02)


def test_of_nothing_there_is_no_quantile() -> None:
    assert quantile({}, 0.95) is None
    assert quantile({3: 0}, 0.95) is None


def test_the_quantile_of_added_buckets_is_that_of_all() -> None:
    quick, slow = {bucket(0.01): 90.0}, {bucket(4.0): 10.0}
    assert (quantile(quick | slow, 0.5) or 0) < 0.011
    assert 2.0 < (quantile(quick | slow, 0.95) or 0) <= 5.0
