"""Memory that grows is told of when it says something: over hours, steadily, and by much."""

import random
from typing import Any, cast

from supervisor.watch.memory_growth import (
    KEPT,
    LEAST_SAMPLES,
    MOST_TOLD,
    SAMPLE_SECONDS,
    MemoryWatch,
    Worker,
    growth_of,
)

MIB = 2**20
HOUR = 3600.0
TIMES = [SAMPLE_SECONDS * number for number in range(KEPT)]


def test_a_steady_growth_is_a_leak_and_its_slope_is_told() -> None:
    rng = random.Random(1)
    sizes = [round(200 * MIB + 5 * MIB * at / HOUR + rng.uniform(-1, 1) * MIB) for at in TIMES]
    found = growth_of(TIMES, sizes)
    assert found is not None
    assert abs(found.bytes_per_hour - 5 * MIB) < 0.3 * MIB
    assert found.leaks
    assert found.hours == 5.9


def test_a_plateau_noise_and_a_slow_growth_are_none() -> None:
    rng = random.Random(1)
    filled = [round((200 if at < HOUR else 260) * MIB) for at in TIMES]
    noisy = [round(rng.uniform(150, 250) * MIB) for _ in TIMES]
    slow = [round(200 * MIB + 0.5 * MIB * at / HOUR) for at in TIMES]
    still = [200 * MIB for _ in TIMES]
    for sizes in (filled, noisy, slow, still):
        found = growth_of(TIMES, sizes)
        assert found is not None
        assert not found.leaks, sizes


def test_what_has_just_begun_is_told_of_no_growth() -> None:
    few = TIMES[: LEAST_SAMPLES - 1]
    assert growth_of(few, [round(MIB * at) for at in few]) is None


def test_the_workers_that_leak_are_told_the_fastest_first_and_those_that_are_gone_forgotten() -> (
    None
):
    watch = MemoryWatch(cast("Any", None), dict)
    slow, fast, fine = Worker("slow", 1), Worker("fast", 2), Worker("fine", 3)
    for at in [*TIMES, KEPT * SAMPLE_SECONDS]:
        grown = round(at / HOUR * MIB)
        workers = {slow: 100 * MIB + 3 * grown, fast: 100 * MIB + 9 * grown, fine: 100 * MIB}
        watch.sample(at, 300 * MIB, workers)
    shown = watch.view()
    assert [one.session for one in shown.workers] == ["fast", "slow"]
    assert shown.supervisor is not None
    assert (shown.supervisor.bytes_per_hour, shown.supervisor.leaks) == (0, False)
    # a worker that was replaced begins anew
    watch.sample(KEPT * SAMPLE_SECONDS + 300, 300 * MIB, {Worker("fast", 9): 500 * MIB})
    assert watch.view().workers == []


def test_what_is_kept_and_told_is_bounded() -> None:
    watch = MemoryWatch(cast("Any", None), dict)
    workers = [Worker(f"s{number}", number) for number in range(MOST_TOLD + 5)]
    for number in range(3 * KEPT):
        watch.sample(SAMPLE_SECONDS * number, MIB, dict.fromkeys(workers, MIB * (number + 10)))
    assert len(watch.view().workers) == MOST_TOLD
    assert all(len(sizes) == KEPT for sizes in watch._of.values())
