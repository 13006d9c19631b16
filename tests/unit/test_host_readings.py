"""The sampler: what it makes of the kernel's counters, and how seldom it looks."""

from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from supervisor.host.readings import (
    Counters,
    Host,
    Traffic,
    count_now,
    counted_interfaces,
    cpu_fraction,
    read_descriptors,
    traffic_per_second,
)

BEFORE = Counters(
    at_seconds=100.0,
    busy_seconds=50.0,
    all_seconds=200.0,
    traffic={"eth0": Traffic(1000, 2000, 10, 20), "gone": Traffic(5, 5, 5, 5)},
)
AFTER = Counters(
    at_seconds=102.0,
    busy_seconds=51.0,
    all_seconds=204.0,
    traffic={"eth0": Traffic(3000, 2500, 30, 21), "new": Traffic(9, 9, 9, 9)},
)


class Counting:
    """Counters one after the other, the last one for ever."""

    def __init__(self, *counters: Counters) -> None:
        self.left = list(counters)
        self.asked = 0

    def __call__(self) -> Counters:
        self.asked += 1
        return self.left.pop(0) if len(self.left) > 1 else self.left[0]


def test_rates_are_the_differences_between_two_counts() -> None:
    sample = Host(count=Counting(BEFORE, AFTER)).sample(0.0)
    assert sample.cpu_fraction == 0.25
    assert (sample.network_in_bytes_per_second, sample.network_out_bytes_per_second) == (1000.0, 250.0)
    assert (sample.network_in_packets_per_second, sample.network_out_packets_per_second) == (10.0, 0.5)


def test_an_interface_that_was_reset_is_silent_and_never_negative() -> None:
    reset = replace(AFTER, traffic={"eth0": Traffic(1, 2600, 1, 25)})
    assert traffic_per_second(BEFORE, reset) == (0.0, 300.0, 0.0, 2.5)


def test_without_time_between_there_is_no_rate() -> None:
    assert traffic_per_second(BEFORE, BEFORE) == (0.0, 0.0, 0.0, 0.0)
    assert cpu_fraction(BEFORE, BEFORE) == 0.0


@pytest.mark.parametrize(("busy", "fraction"), [(49.0, 0.0), (60.0, 1.0)])
def test_a_share_is_a_share_even_when_the_kernel_counts_backwards(busy: float, fraction: float) -> None:
    assert cpu_fraction(BEFORE, replace(AFTER, busy_seconds=busy)) == fraction


def test_a_sample_is_taken_at_most_once_a_second() -> None:
    counting = Counting(BEFORE, AFTER)
    host = Host(count=counting)
    first = host.sample(10.0)
    assert host.sample(10.9) is first
    assert counting.asked == 2
    assert host.sample(11.0) is not first
    assert counting.asked == 3


def test_a_clock_that_was_set_back_does_not_stop_it() -> None:
    counting = Counting(BEFORE, AFTER)
    host = Host(count=counting)
    host.sample(1000.0)
    host.sample(3.0)
    assert counting.asked == 3


def test_the_figures_are_the_hosts() -> None:
    sample = Host().sample(0.0)
    memory = psutil.virtual_memory()
    assert sample.total_memory_bytes == memory.total
    assert sample.used_memory_bytes + sample.available_memory_bytes == memory.total
    assert sample.available_memory_bytes == pytest.approx(memory.available, rel=0.1)
    assert sample.cores == psutil.cpu_count()
    assert 0 <= sample.cpu_fraction <= 1


def test_cpu_time_is_counted_as_psutil_counts_it() -> None:
    times, counters = psutil.cpu_times(), count_now()
    assert counters.all_seconds == pytest.approx(sum(times[:8]), rel=0.01)  # guest time is in user time already
    assert counters.all_seconds - counters.busy_seconds == pytest.approx(times.idle + times.iowait, rel=0.01)


def test_only_devices_are_counted_where_there_are_any(tmp_path: Path) -> None:
    """A bridge and a container's interface carry the device's traffic once more."""
    for name in ("lo", "eth0", "docker0", "veth1"):
        (tmp_path / name).mkdir()
    names = dict.fromkeys(("lo", "eth0", "docker0", "veth1"))
    assert counted_interfaces(names, tmp_path) == {"eth0", "docker0", "veth1"}  # inside a container, say
    (tmp_path / "eth0" / "device").mkdir()
    assert counted_interfaces(names, tmp_path) == {"eth0"}
    assert counted_interfaces({"lo": None, "Loopback Pseudo-Interface 1": None}, tmp_path) == frozenset()


@pytest.mark.parametrize(
    ("text", "found"),
    [("1003\t0\t2466170\n", (1003, 2466170)), ("1003\t0\t9223372036854775807\n", (1003, None))],
)
def test_descriptors_of_the_whole_system(tmp_path: Path, text: str, found: tuple[int | None, int | None]) -> None:
    (tmp_path / "file-nr").write_text(text)
    assert read_descriptors(tmp_path / "file-nr") == found


def test_where_the_kernel_does_not_tell_descriptors_are_unknown(tmp_path: Path) -> None:
    assert read_descriptors(tmp_path / "file-nr") == (None, None)
