"""Alarms, the history with its statistics, the document, and one look at everything."""

import json
import os
from pathlib import Path

import pytest

from supervisor.host.reading import host_sampler
from supervisor.host.reading.alarms import AlertLimits, alarms, percent
from supervisor.host.reading.documents import document
from supervisor.host.reading.host_sampler import (
    HostSampler,
    Reading,
    Targets,
    find_targets,
    summary,
)
from supervisor.host.reading.monitor import ResourceMonitor, iso, measure
from supervisor.host.reading.readings import Host
from supervisor.process.lock import DirectoryLock
from tests.host_tools import connections, host, process, reading, supervisor

LIMITS = AlertLimits()


@pytest.mark.parametrize(
    ("seen", "raised"),
    [
        (reading(), set()),
        # at it
        (
            reading(
                host=host(cpu_fraction=0.8, used_memory_bytes=850, open_descriptors=900, load_1=4.0)
            ),
            set(),
        ),
        (reading(connections=connections(500), supervisor=supervisor(90, 100)), set()),
        (reading(host=host(cpu_fraction=0.801)), {"cpu"}),
        (reading(host=host(used_memory_bytes=851)), {"memory"}),
        (reading(host=host(open_descriptors=901)), {"descriptors"}),
        (reading(host=host(load_1=4.01)), {"load"}),
        (reading(connections=connections(501)), {"websockets"}),
        (reading(supervisor=supervisor(91, 100)), {"supervisor_descriptors"}),
        (
            reading(
                supervisor=supervisor(10**6, None),
                host=host(open_descriptors=10**6, max_descriptors=None),
            ),
            set(),
        ),
        (
            reading(
                connections=None, supervisor=supervisor(None, 100), host=host(open_descriptors=None)
            ),
            set(),
        ),
    ],
)
def test_what_is_above_the_seeds_limits_is_an_alarm(seen: Reading, raised: set[str]) -> None:
    assert set(alarms(seen, LIMITS)) == raised


def test_an_alarm_says_the_figure_and_the_limit() -> None:
    seen = reading(
        host=host(cpu_fraction=0.95, used_memory_bytes=1000, open_descriptors=950, load_1=5.26),
        connections=connections(612),
        supervisor=supervisor(19_000, 20_000),
    )
    assert alarms(seen, LIMITS) == {
        "cpu": "cpu is 95%, above 80%",
        "memory": "memory is 100%, above 85%",
        "descriptors": "the host: 950 of 1000 descriptors are open (95%), above 90%",
        "supervisor_descriptors": (
            "the supervisor: 19000 of 20000 descriptors are open (95%), above 90%"
        ),
        "websockets": "612 WebSocket connections, above 500",
        "load": "load is 5.26, above 4",
    }


def test_a_figure_just_above_is_not_told_as_the_limit() -> None:
    assert (percent(0.801), percent(0.8), percent(1.0), percent(0.0)) == (
        "80.1%",
        "80%",
        "100%",
        "0%",
    )


def test_the_last_hundred_readings_are_kept_and_all_are_counted() -> None:
    monitor = ResourceMonitor()
    for number in range(130):
        monitor.add(reading(at=float(number), host=host(cpu_fraction=number / 1000)))
    assert (len(monitor.readings), monitor.count) == (100, 130)
    assert monitor.readings[0].at == 30.0
    cpu = monitor.statistics()["cpuFraction"]
    assert (cpu.readings, cpu.min, cpu.max, cpu.p95) == (100, 0.030, 0.129, 0.124)
    assert cpu.mean == pytest.approx(0.0795)


@pytest.mark.parametrize(
    ("values", "p95"),
    [([5.0], 5.0), ([1.0, 2.0], 2.0), (list(range(1, 21)), 19), (list(range(1, 22)), 20)],
)
def test_the_95th_percentile_is_one_of_the_values(values: list[float], p95: float) -> None:
    assert measure(values).p95 == p95
    assert measure(list(reversed(values))).p95 == p95


def test_what_could_not_be_read_is_in_no_statistics() -> None:
    monitor = ResourceMonitor()
    monitor.add(reading(connections=None))
    assert "websockets" not in monitor.statistics()
    monitor.add(reading(connections=connections(4)))
    assert monitor.statistics()["websockets"].readings == 1


def test_an_alarm_is_remembered_from_first_to_last_beyond_the_history() -> None:
    monitor = ResourceMonitor(most=2)
    for at, cpu in enumerate((0.9, 0.1, 0.95, 0.1, 0.1, 0.1)):
        monitor.add(reading(at=float(at), host=host(cpu_fraction=cpu)))
    seen = monitor.seen["cpu"]
    assert (seen.first_at, seen.last_at, seen.readings, seen.message) == (
        0.0,
        2.0,
        2,
        "cpu is 95%, above 80%",
    )
    assert monitor.active == {}


def test_the_document_is_json_and_whole() -> None:
    monitor = ResourceMonitor()
    monitor.add(
        reading(at=1_700_000_000.0, supervisor=supervisor(95, 100), notes=("something is unknown",))
    )
    told = json.loads(json.dumps(monitor.document(5.0, 1_700_000_009.5)))
    assert told["endedAt"] == "2023-11-14T22:13:29.500Z"
    assert (told["format"], told["intervalSeconds"], told["readingsTaken"]) == (1, 5.0, 1)
    assert told["limits"]["websockets"] == 500
    assert told["notes"] == ["something is unknown"]
    (one,) = told["readings"]
    assert one["at"] == "2023-11-14T22:13:20.000Z"
    assert one["host"]["openDescriptors"] == 0
    assert one["supervisor"]["openFiles"] == {"soft": 100, "hard": 100}
    assert one["alarms"][0]["name"] == told["alarms"][0]["name"] == "supervisor_descriptors"
    assert told["alarms"][0]["firstAt"] == one["at"]
    assert told["statistics"]["supervisorDescriptors"] == {
        "readings": 1,
        "min": 95,
        "mean": 95.0,
        "max": 95,
        "p95": 95,
    }


def test_a_monitor_that_was_ended_at_once_has_a_document_too() -> None:
    told = ResourceMonitor().document(5.0, 0.0)
    assert (told["readings"], told["statistics"], told["oldestReadingAt"]) == ([], {}, iso(0.0))


def test_documents_have_the_names_of_the_api() -> None:
    shown = document(connections(3))
    assert shown == {
        "total": 3,
        "established": 3,
        "websockets": 3,
        "byState": {"established": 3},
        "byPort": {"443": 3},
    }


# --- one look -------------------------------------------------------------------------------------


def test_a_fleet_that_is_weighed_in_part_is_extrapolated_and_says_so() -> None:
    processes = [process(pid, pss_bytes=None, cpu_seconds=float(pid)) for pid in range(1, 11)]
    workers = summary(processes, {1: 100, 2: 300, 99: 10**9}, cpu_cores=0.5)
    assert (workers.count, workers.weighed, workers.pss_sum_bytes) == (10, 2, 2000)
    assert (workers.pss_median_bytes, workers.pss_max_bytes) == (200, 300)
    assert [one.pid for one in workers.heaviest] == [2, 1]
    assert (workers.rss_sum_bytes, workers.threads, workers.descriptors, workers.cpu_seconds) == (
        2000,
        30,
        100,
        55.0,
    )


def test_no_workers_weigh_nothing_known() -> None:
    workers = summary([], {}, None)
    assert (workers.count, workers.pss_sum_bytes, workers.pss_max_bytes, workers.heaviest) == (
        0,
        None,
        None,
        (),
    )


def test_a_look_at_ourselves_finds_us() -> None:
    look = HostSampler(Host(), {443})
    seen = look.reading(0.0, Targets(supervisor=os.getpid(), workers=[os.getpid()]))
    assert seen.supervisor is not None
    assert seen.supervisor.process.pid == os.getpid()
    assert seen.workers is not None
    assert (seen.workers.count, seen.workers.weighed) == (1, 1)
    assert seen.connections is not None
    assert seen.notes == ()
    assert look.reading(0.5, Targets(supervisor=os.getpid()), with_workers=False).workers is None


def test_what_is_fresh_is_not_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what cannot be read, and what is dear is left alone for ten times as long as it took."""
    counted: list[float] = []
    clock = {"now": 0.0}

    def dear(*_: object) -> None:
        counted.append(clock["now"])
        clock["now"] += 3.0
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(host_sampler, "count_connections", dear)
    monkeypatch.setattr(host_sampler.time, "monotonic", lambda: clock["now"])
    look = HostSampler(Host(), {443})
    for now in (0.0, 1.0, 29.0, 30.5):
        seen = look.reading(now, Targets(), with_workers=False)
        assert seen.connections is None
        assert seen.notes == ("connections cannot be read: Permission denied",)
    assert len(counted) == 2


def test_of_a_large_fleet_some_are_weighed_each_time_until_all_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = {"now": 0.0}

    def weighing(pid: int, _proc: Path, weigh: bool = True) -> object:
        clock["now"] += 0.1 if weigh else 0.0
        return process(pid, pss_bytes=pid * 100 if weigh else None)

    monkeypatch.setattr(host_sampler, "read_process", weighing)
    monkeypatch.setattr(host_sampler.time, "monotonic", lambda: clock["now"])
    look = HostSampler(Host(), {443}, fresh_seconds=0)
    pids = list(range(1, 9))
    weighed = []
    for _ in range(4):
        clock["now"] += 1000.0
        seen = look.reading(clock["now"], Targets(workers=pids))
        assert seen.workers is not None
        weighed.append(seen.workers.weighed)
    assert weighed == [3, 6, 8, 8]
    clock["now"] += 1000.0
    more = look.reading(clock["now"], Targets(workers=[*pids, 11, 12, 13, 14, 15]))
    assert "2 of 13 workers are not weighed yet, or another user's" in more.notes


def test_the_cores_of_the_workers_are_the_growth_since_the_reading_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, used = {"now": 100.0}, {1: 5.0, 2: 1.0}

    def reading_of(pid: int, _proc: Path, weigh: bool = True) -> object:
        return process(pid, cpu_seconds=used[pid])

    monkeypatch.setattr(host_sampler, "read_process", reading_of)
    monkeypatch.setattr(host_sampler.time, "monotonic", lambda: clock["now"])
    look = HostSampler(Host(), {443}, fresh_seconds=0)
    first = look.reading(clock["now"], Targets(workers=[1, 2])).workers
    clock["now"], used[1], used[2] = 110.0, 9.0, 0.0  # pid 2 is another process by now
    second = look.reading(clock["now"], Targets(workers=[1, 2])).workers
    assert first is not None
    assert second is not None
    assert (first.cpu_cores, second.cpu_cores) == (None, pytest.approx(0.4))


def test_who_is_looked_at_is_found_by_the_data_directory(tmp_path: Path) -> None:
    nobody = find_targets(tmp_path)
    assert nobody.supervisor is None
    assert nobody.workers == ()
    assert nobody.notes[0] == f"no supervisor runs in {tmp_path}"
    with DirectoryLock(tmp_path, "127.0.0.1:4001"):
        assert find_targets(tmp_path).supervisor == os.getpid()


def test_without_proc_it_is_said_and_nothing_fails(tmp_path: Path) -> None:
    found = find_targets(tmp_path, tmp_path / "no-proc")
    assert found.workers == ()
    assert any("processes cannot be read here" in note for note in found.notes)
    seen = HostSampler(Host(), {443}, proc=tmp_path / "no-proc").reading(
        0.0, Targets(supervisor=1, workers=[1])
    )
    assert (seen.connections, seen.supervisor, seen.workers) == (None, None, None)
    assert len(seen.notes) == 3
