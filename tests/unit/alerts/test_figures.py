"""Thresholds: what is above is an alarm, what is at it is none, and alerts come on edges only."""

import asyncio
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest

from sessions.forever import Forever
from sessions.model import SessionId, SessionState
from sessions.views.session_view import Performance
from supervisor.alerts.alerts import Alerts
from supervisor.alerts.judging.figures import assess, monitor
from supervisor.alerts.judging.thresholds import Thresholds
from supervisor.host.reading.disks import DiskReading
from supervisor.host.reading.host_sampler import Reading
from supervisor.host.reading.readings import Host
from supervisor.watch import host_watch
from supervisor.watch.host_watch import HostWatch
from supervisor.watch.performance import SystemPerformance
from tests.host_tools import connections, host, reading, supervisor

SHOP = SessionId("shop")
LIMITS = Thresholds()


def _reading(memory: int = 0, cpu: float = 0.0, **more: Any) -> Reading:
    return reading(host=host(used_memory_bytes=memory, cpu_fraction=cpu), **more)


def _session(average: float | None) -> dict[SessionId, Performance]:
    figures: dict[str, Any] = dict.fromkeys(Performance.__struct_fields__, 0)
    return {
        SHOP: Performance(
            **figures | {"state": SessionState.OPEN, "average_response_time": average}
        )
    }


@pytest.mark.parametrize(
    ("seen", "errors", "alarms"),
    [
        (_reading(), 0.0, set()),
        (_reading(memory=800, cpu=0.9), 0.1, set()),  # at the threshold is not above it
        (_reading(memory=801), 0.0, {"memory"}),
        (_reading(cpu=0.91), 0.0, {"cpu"}),
        (_reading(), 0.11, {"error_rate"}),
        (_reading(memory=1000, cpu=1.0), 1.0, {"memory", "cpu", "error_rate"}),
        (
            _reading(supervisor=supervisor(91, 100), connections=connections(501)),
            0.0,
            {"supervisor_descriptors", "websockets"},
        ),
        (_reading(connections=None), 0.0, set()),
    ],
)
def test_what_is_above_its_threshold_is_an_alarm(
    seen: Reading, errors: float, alarms: set[str]
) -> None:
    found = assess(seen, errors, {}, LIMITS)
    assert {
        name for (session, name), judged in found.items() if session is None and judged.above
    } == alarms


@pytest.mark.parametrize(("average", "alarm"), [(None, False), (5000.0, False), (5000.1, True)])
def test_slow_round_trips_are_the_sessions_own_alarm(average: float | None, alarm: bool) -> None:
    judged = assess(_reading(), 0.0, _session(average), LIMITS).get((SHOP, "response_time"))
    assert (judged is not None and judged.above) is alarm


def test_an_alarm_says_the_figure_and_the_limit() -> None:
    assert (
        assess(_reading(memory=850), 0.0, {}, LIMITS)[None, "memory"].message
        == "memory is 85%, above 80%"
    )
    critical = assess(_reading(memory=950), 0.0, {}, LIMITS)[None, "memory"]
    assert (critical.message, critical.severity) == ("memory is 95%, above 90%", "critical")
    assert (
        assess(_reading(), 0.25, {}, LIMITS)[None, "error_rate"].message
        == "error_rate is 25%, above 10%"
    )
    slow = assess(_reading(), 0.0, _session(7000.0), LIMITS)[SHOP, "response_time"]
    assert slow.message == "round trips take 7000 ms, above 5000 ms"
    assert (slow.value, slow.limit) == (7000.0, 5000.0)


@pytest.mark.parametrize(
    ("thresholds", "cores", "sessions", "load", "websockets"),
    [
        (LIMITS, 2, 10, 4.0, 500),
        (LIMITS, 16, 250, 16.0, 500),
        (LIMITS, 2, 251, 4.0, 502),
        (Thresholds(load=1.5, websockets=100), 16, 1000, 1.5, 100),
    ],
)
def test_load_and_websockets_grow_with_the_machine_and_the_fleet_unless_they_are_set(
    thresholds: Thresholds, cores: int, sessions: int, load: float, websockets: int
) -> None:
    limits = thresholds.of_host(cores, sessions)
    assert (limits.load, limits.websockets) == (load, websockets)
    assert (limits.memory_fraction, limits.cpu_fraction, limits.descriptors_fraction) == (
        0.8,
        0.9,
        0.9,
    )


def test_the_figures_are_named_as_the_seeds_scripts_read_them() -> None:
    assert set(SystemPerformance.__struct_encode_fields__) == {
        "totalMemory",
        "usedMemory",
        "cpuUsage",
        "activeConnections",
        "errorRate",
    }


class NoSessions:
    """A fleet without sessions, and so without errors."""

    def sessions(self) -> list[object]:
        return []

    def outcomes(self) -> tuple[int, int]:
        return 0, 0


class Watch:
    """A host of which every look is written down beforehand; afterwards it rests."""

    def __init__(self, *readings: Reading) -> None:
        self.left = list(readings)
        self.weighed_workers = False

    async def reading(self, with_workers: bool = True) -> Reading:
        self.weighed_workers |= with_workers
        return self.left.pop(0) if self.left else _reading()


@pytest.mark.looptime
async def test_an_alert_is_raised_once_and_taken_back_once() -> None:
    """One peak is none. A figure that falls below its threshold for a reading or two is not back; the end tells the
    figure as it is now.
    """
    watch = Watch(
        *(
            _reading(cpu=cpu)
            for cpu in (0.0, 0.99, 0.0, 1.0, 1.0, 0.0, 0.0, 0.95, 0.0, 0.0, 0.12, 0.0)
        )
    )
    published: list[tuple[SessionId | None, str, dict[str, Any]]] = []
    alerts = Alerts(
        lambda session, told: published.append((session, told.type, msgspec.to_builtins(told)))
    )
    look = monitor(NoSessions(), watch, LIMITS, alerts)  # type: ignore[arg-type]
    kept = Forever().keep("performance monitor", look, every_seconds=30.0, at_once=False)
    await asyncio.sleep(30 * 14)
    await kept.close()
    assert [(session, kind, data["name"], data["state"]) for session, kind, data in published] == [
        (None, "alert.raised", "cpu", "began"),
        (None, "alert.ended", "cpu", "ended"),
    ]
    began, ended = (data for _, _, data in published)
    assert (began["message"], began["value"], began["limit"]) == (
        "cpu is 100%, above 90%",
        1.0,
        0.9,
    )
    assert (ended["message"], ended["value"], ended["limit"]) == (
        "cpu is 12%, not above 90%",
        0.12,
        0.9,
    )
    assert alerts.active() == []
    assert not watch.weighed_workers  # 5,000 of them would cost seconds, every half minute


@pytest.mark.looptime
async def test_a_disk_that_goes_on_filling_is_told_again_when_it_becomes_critical() -> None:
    disks = [
        (DiskReading(directories=("/data",), used_fraction=used),)
        for used in (0.84, 0.86, 0.96, 0.97, 0.5)
    ]
    watch = Watch(*(reading(disks=one) for one in disks))
    published: list[dict[str, Any]] = []
    alerts = Alerts(lambda _, told: published.append(msgspec.to_builtins(told)))
    look = monitor(NoSessions(), watch, LIMITS, alerts)  # type: ignore[arg-type]
    kept = Forever().keep("performance monitor", look, every_seconds=30.0, at_once=False)
    await asyncio.sleep(30 * 10)
    await kept.close()
    assert [(one["name"], one["severity"], one["state"], one["limit"]) for one in published] == [
        ("disk_space", "warning", "began", 0.85),
        ("disk_space", "critical", "began", 0.95),
        ("disk_space", "critical", "ended", 0.95),
    ]
    assert (
        published[1]["message"] == "96% of the room of the file system of /data is used, above 95%"
    )


async def test_many_callers_take_one_thread_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    threads: list[int] = []
    busy = threading.Lock()

    @dataclass
    class SimpleReading:
        whom: Any
        disks: object = ()

    class Slow:
        def __init__(self, *_: object) -> None:
            pass

        def reading(self, _now: float, whom: Any, _with_workers: bool) -> SimpleReading:
            assert busy.acquire(blocking=False)
            threads.append(threading.get_ident())
            threading.Event().wait(0.005)  # long enough for another one to begin, if it could
            busy.release()
            return SimpleReading(whom)

    monkeypatch.setattr(host_watch, "HostSampler", Slow)
    watch = HostWatch(Host(), {443}, lambda: (1, 2))
    readings = await asyncio.gather(*(watch.reading() for _ in range(20)))
    assert len(threads) == 20
    assert threading.get_ident() not in threads  # the program's own thread goes on meanwhile
    assert {one.whom for one in readings} == {
        host_watch.Targets(supervisor=os.getpid(), workers=(1, 2))
    }  # type: ignore[attr-defined]


async def test_many_readers_of_the_file_systems_need_one_look_and_no_thread_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch, threads = HostWatch(Host(), {443}, tuple, [tmp_path]), list[object]()
    begin = asyncio.to_thread

    async def counted(work: Any, *given: Any) -> Any:
        threads.append(work)
        return await begin(work, *given)

    monkeypatch.setattr(host_watch.asyncio, "to_thread", counted)
    first = await watch.disks()
    assert len(first) == 1
    assert [await watch.disks() for _ in range(20)] == [first] * 20
    assert len(threads) == 1


async def test_the_supervisor_looks_at_itself() -> None:
    seen = await HostWatch(Host(), {443}, lambda: (os.getpid(),)).reading()
    assert seen.supervisor is not None
    assert seen.supervisor.process.pid == os.getpid()
    assert seen.workers is not None
    assert seen.workers.count == 1
