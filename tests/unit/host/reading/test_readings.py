"""The sampler: what it makes of the kernel's counters, and how seldom it looks."""

import os
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from supervisor.host.reading.control_groups import GroupCpu, GroupMemory
from supervisor.host.reading.readings import (
    Counters,
    Host,
    Segments,
    Traffic,
    WindowedHost,
    count_now,
    counted_interfaces,
    cpu_fraction,
    memory_bytes,
    read_descriptors,
    read_segments,
    resent_fraction,
    traffic_per_second,
    usable_cores,
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


def _busy(at: float, busy: float) -> Counters:
    """Of one core that has been busy for so long."""
    return Counters(at_seconds=at, busy_seconds=busy, all_seconds=at, traffic={})


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
    assert (sample.network_in_bytes_per_second, sample.network_out_bytes_per_second) == (
        1000.0,
        250.0,
    )
    assert (sample.network_in_packets_per_second, sample.network_out_packets_per_second) == (
        10.0,
        0.5,
    )


def test_an_interface_that_was_reset_is_silent_and_never_negative() -> None:
    reset = replace(AFTER, traffic={"eth0": Traffic(1, 2600, 1, 25)})
    assert traffic_per_second(BEFORE, reset) == (0.0, 300.0, 0.0, 2.5)


def test_what_tcp_had_to_send_again_is_a_share_of_what_it_has_sent() -> None:
    before = replace(BEFORE, segments=Segments(1000, 10))
    assert resent_fraction(before, replace(AFTER, segments=Segments(1200, 20))) == 0.05
    assert resent_fraction(before, before) is None, "nothing was sent"
    assert resent_fraction(BEFORE, AFTER) is None, "not told"


def test_the_kernel_s_own_counts_of_tcp_are_read(tmp_path: Path) -> None:
    here, elsewhere = read_segments(), read_segments(tmp_path / "none")
    assert here is not None
    assert here.sent >= here.again >= 0
    assert elsewhere is None


def test_without_time_between_there_is_no_rate() -> None:
    assert traffic_per_second(BEFORE, BEFORE) == (0.0, 0.0, 0.0, 0.0)
    assert cpu_fraction(BEFORE, BEFORE) == 0.0


@pytest.mark.parametrize(("busy", "fraction"), [(49.0, 0.0), (60.0, 1.0)])
def test_a_share_is_a_share_even_when_the_kernel_counts_backwards(
    busy: float, fraction: float
) -> None:
    assert cpu_fraction(BEFORE, replace(AFTER, busy_seconds=busy)) == fraction


@pytest.mark.parametrize(
    ("group", "told"),
    [
        (None, (1000, 400)),
        (GroupMemory(limit_bytes=200, available_bytes=50), (200, 50)),
        # the machine has less than the group may take
        (GroupMemory(limit_bytes=900, available_bytes=700), (900, 400)),
        (GroupMemory(limit_bytes=5000, available_bytes=4900), (1000, 400)),
    ],
)
def test_memory_is_the_control_groups_where_it_has_less(
    group: GroupMemory | None, told: tuple[int, int]
) -> None:
    assert memory_bytes(1000, 400, group) == told


@pytest.mark.parametrize(
    ("used_before", "used", "fraction"),
    [(10.0, 11.5, 0.5), (10.0, 10.1, 0.25), (None, 11.5, 0.25), (10.0, None, 0.25)],
)
def test_cpu_is_the_quotas_where_that_is_used_up_further(
    used_before: float | None, used: float | None, fraction: float
) -> None:
    before = replace(BEFORE, group=GroupCpu(cores=1.5, used_seconds=used_before))
    assert (
        cpu_fraction(before, replace(AFTER, group=GroupCpu(cores=1.5, used_seconds=used)))
        == fraction
    )
    assert (
        cpu_fraction(BEFORE, replace(AFTER, group=GroupCpu(cores=1.5, used_seconds=used))) == 0.25
    )


def test_the_cores_are_those_that_quota_and_affinity_leave() -> None:
    assert usable_cores(None) == len(os.sched_getaffinity(0))
    assert usable_cores(GroupCpu(cores=0.5, used_seconds=None)) == 0.5
    assert usable_cores(GroupCpu(cores=4096.0, used_seconds=None)) == len(os.sched_getaffinity(0))


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
    assert 0 < sample.total_memory_bytes <= memory.total  # less, where a control group says so
    assert sample.used_memory_bytes + sample.available_memory_bytes == sample.total_memory_bytes
    assert 0 < sample.available_memory_bytes <= memory.available * 1.1
    assert 0 < sample.usable_cores <= sample.cores
    assert sample.cores == psutil.cpu_count()
    assert 0 <= sample.cpu_fraction <= 1


def test_cpu_time_is_counted_as_psutil_counts_it() -> None:
    times, counters = psutil.cpu_times(), count_now()
    # guest time is in user time already
    assert counters.all_seconds == pytest.approx(sum(times[:8]), rel=0.01)
    assert counters.all_seconds - counters.busy_seconds == pytest.approx(
        times.idle + times.iowait, rel=0.01
    )


def test_only_devices_are_counted_where_there_are_any(tmp_path: Path) -> None:
    """A bridge and a container's interface carry the device's traffic once more."""
    for name in ("lo", "eth0", "docker0", "veth1"):
        (tmp_path / name).mkdir()
    names = dict.fromkeys(("lo", "eth0", "docker0", "veth1"))
    # inside a container, say
    assert counted_interfaces(names, tmp_path) == {"eth0", "docker0", "veth1"}
    (tmp_path / "eth0" / "device").mkdir()
    assert counted_interfaces(names, tmp_path) == {"eth0"}
    assert (
        counted_interfaces({"lo": None, "Loopback Pseudo-Interface 1": None}, tmp_path)
        == frozenset()
    )


@pytest.mark.parametrize(
    ("text", "found"),
    [("1003\t0\t2466170\n", (1003, 2466170)), ("1003\t0\t9223372036854775807\n", (1003, None))],
)
def test_descriptors_of_the_whole_system(
    tmp_path: Path, text: str, found: tuple[int | None, int | None]
) -> None:
    (tmp_path / "file-nr").write_text(text)
    assert read_descriptors(tmp_path / "file-nr") == found


def test_where_the_kernel_does_not_tell_descriptors_are_unknown(tmp_path: Path) -> None:
    assert read_descriptors(tmp_path / "file-nr") == (None, None)


def test_whoever_asks_gets_the_same_window_however_often_others_ask() -> None:
    """A dashboard that polls each second must not leave the alert a window of a second."""
    counts = [_busy(at, busy) for at, busy in ((0, 0), (10, 10), (20, 10), (30, 10), (40, 30))]
    host = WindowedHost(window_seconds=30.0, count=Counting(*counts))
    shares = []
    for step in range(4):
        host.count()
        shares.append({host.sample(10.0 * step + tick).cpu_fraction for tick in range(10)})
    assert [{round(share, 2) for share in seen} for seen in shares] == [
        {1.0},
        {0.5},
        {0.33},
        {0.67},
    ]
    assert host.sample(99.0).window_seconds == 30.0
