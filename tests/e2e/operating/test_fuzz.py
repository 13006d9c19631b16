"""A short run of `make fuzz`, always with the same seed: what strangers may send breaks nothing."""

import pytest

from scripts.fuzz.__main__ import TARGETS, arguments, run

RUNS = {
    "settings": 150,
    "policy": 150,
    "alerts": 150,
    "restore": 8,
    "http": 150,
    "calls": 25,
    "worker": 15,
}
"""Some seconds of each."""


@pytest.mark.parametrize("target", TARGETS)
async def test_nothing_that_is_thrown_breaks_an_invariant(target: str) -> None:
    given = arguments(["--seed", "1", "--only", target, "--runs", str(RUNS[target]), "--no-stalls"])
    assert await run(given) == []
