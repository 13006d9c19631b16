"""Thresholds: what is above is an alarm, what is at it is none, and alerts come on edges only."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from sessions.model import SessionId, SessionState
from sessions.snapshot import Performance
from supervisor import performance
from supervisor.performance import SystemPerformance, Thresholds, assess, monitor

SHOP = SessionId("shop")
LIMITS = Thresholds()


def _system(memory: int = 0, cpu: float = 0.0, errors: float = 0.0) -> SystemPerformance:
    return SystemPerformance(
        total_memory=1000, used_memory=memory, cpu_usage=cpu, active_connections=0, error_rate=errors
    )


def _session(average: float | None) -> dict[SessionId, Performance]:
    figures: dict[str, Any] = dict.fromkeys(Performance.__struct_fields__, 0)
    return {SHOP: Performance(**figures | {"state": SessionState.OPEN, "average_response_time": average})}


@pytest.mark.parametrize(
    ("system", "alarms"),
    [
        (_system(), set()),
        (_system(memory=800, cpu=0.9, errors=0.1), set()),  # at the threshold is not above it
        (_system(memory=801), {"memory"}),
        (_system(cpu=0.91), {"cpu"}),
        (_system(errors=0.11), {"error_rate"}),
        (_system(memory=1000, cpu=1.0, errors=1.0), {"memory", "cpu", "error_rate"}),
    ],
)
def test_what_is_above_its_threshold_is_an_alarm(system: SystemPerformance, alarms: set[str]) -> None:
    assert {name for session, name in assess(system, {}, LIMITS) if session is None} == alarms


@pytest.mark.parametrize(("average", "alarm"), [(None, False), (5000.0, False), (5000.1, True)])
def test_slow_round_trips_are_the_sessions_own_alarm(average: float | None, alarm: bool) -> None:
    assert ((SHOP, "response_time") in assess(_system(), _session(average), LIMITS)) is alarm


def test_an_alarm_says_the_figure_and_the_limit() -> None:
    assert assess(_system(memory=950), {}, LIMITS) == {(None, "memory"): "memory is 95%, above 80%"}
    words = assess(_system(), _session(7000.0), LIMITS)[SHOP, "response_time"]
    assert "7000 ms" in words
    assert "5000 ms" in words


def test_the_figures_are_named_as_the_seeds_scripts_read_them() -> None:
    assert set(SystemPerformance.__struct_encode_fields__) == {
        "totalMemory",
        "usedMemory",
        "cpuUsage",
        "activeConnections",
        "errorRate",
    }


@pytest.mark.looptime
async def test_an_alert_is_raised_once_and_taken_back_once(monkeypatch: pytest.MonkeyPatch) -> None:
    figures = [_system(), _system(cpu=1.0), _system(cpu=1.0), _system(cpu=0.95), _system(), _system()]
    remaining = iter([*figures, *[_system()] * 100])
    monkeypatch.setattr(performance, "system_performance", lambda _fleet: next(remaining))
    published: list[tuple[SessionId | None, str, str]] = []

    def publish(session: SessionId | None, kind: str, data: Mapping[str, Any]) -> None:
        assert kind == "alert"
        published.append((session, data["name"], data["message"]))

    class NoSessions:
        def sessions(self) -> list[object]:
            return []

    task = asyncio.create_task(monitor(NoSessions(), LIMITS, 30.0, publish))  # type: ignore[arg-type]
    await asyncio.sleep(30 * 7)
    task.cancel()
    await asyncio.wait([task])
    assert [(session, name) for session, name, _ in published] == [(None, "cpu"), (None, "cpu")]
    assert published[0][2] == "cpu is 100%, above 90%"
    assert published[1][2].startswith("no more")
