"""Whether there is room for another client: by whatever figure, in no time, and open where a figure
cannot be read.
"""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
import structlog

from api.live.admission.resource_monitor import ResourceMonitor
from supervisor.fleet.live_feed_limits import LiveFeedLimits


@pytest.fixture(autouse=True)
def _loud() -> None:
    """What is logged is looked at here."""
    structlog.reset_defaults()


pytestmark = [pytest.mark.looptime, pytest.mark.usefixtures("no_tasks_left")]
MIB = 2**20


class Host:
    """A host as it is read, with figures that the test chooses."""

    def __init__(self, rss_mib: float = 100, cpu: float = 0.1, seconds: float = 0.0) -> None:
        self.rss_mib, self.cpu, self.seconds = rss_mib, cpu, seconds
        self.broken = False
        self.looks = 0

    async def read(self) -> Any:
        self.looks += 1
        await asyncio.sleep(self.seconds)
        if self.broken:
            raise OSError("unreadable")
        return SimpleNamespace(
            host=SimpleNamespace(cpu_fraction=self.cpu),
            supervisor=SimpleNamespace(process=SimpleNamespace(rss_bytes=self.rss_mib * MIB)),
        )


def monitor(host: Host, connections: int = 0) -> ResourceMonitor:
    return ResourceMonitor(LiveFeedLimits(), host.read, lambda: connections)


async def test_there_is_room_below_the_limits_and_none_at_them() -> None:
    assert await monitor(Host(), 499).has_capacity()
    assert not await monitor(Host(), 500).has_capacity()
    assert await monitor(Host(rss_mib=1023)).has_capacity()
    assert not await monitor(Host(rss_mib=1024)).has_capacity()
    assert await monitor(Host(cpu=0.80)).has_capacity()
    assert not await monitor(Host(cpu=0.81)).has_capacity()


async def test_what_is_short_is_said_with_its_setting_and_logged_with_figure_and_limit() -> None:
    with structlog.testing.capture_logs() as lines:
        assert "MEMORY_THRESHOLD_MB" in str(await monitor(Host(rss_mib=2000)).shortage())
        assert "CPU_THRESHOLD" in str(await monitor(Host(cpu=0.95)).shortage())
        assert "MAX_WEBSOCKET_CONNECTIONS" in str(await monitor(Host(), 500).shortage())
    told = [
        {n: v for n, v in line.items() if n.endswith(("mb", "percent", "max", "current"))}
        for line in lines
    ]
    assert told == [
        {"current_mb": 2000, "threshold_mb": 1024},
        {"current_percent": 95, "threshold_percent": 80.0},
        {"current": 500, "max": 500},
    ]


async def test_a_check_that_fails_counts_as_passed_and_is_told() -> None:
    host = Host()
    host.broken = True
    with structlog.testing.capture_logs() as lines:
        assert await monitor(host).has_capacity()
        # the others still count
        assert not await monitor(host, 500).has_capacity()
    assert {line["error"] for line in lines if "error" in line} == {"OSError"}


async def test_a_thousand_who_come_at_once_are_one_look_at_the_host() -> None:
    host = Host(seconds=0.5)
    one = monitor(host)
    assert all(await asyncio.gather(*(one.has_capacity() for _ in range(1000))))
    assert host.looks == 1
    await asyncio.sleep(1.1)
    host.cpu = 0.99
    assert not await one.has_capacity()
    assert host.looks == 2


async def test_a_host_that_is_slow_to_be_read_holds_nobody_up_for_long() -> None:
    host = Host()
    one = monitor(host)
    assert await one.has_capacity()
    host.seconds, host.cpu = 60.0, 0.99
    await asyncio.sleep(2)
    began = asyncio.get_running_loop().time()
    assert await one.has_capacity()  # by what was last known
    assert asyncio.get_running_loop().time() - began <= 2.0
    await asyncio.sleep(61)
    assert not await one.has_capacity()
    await asyncio.sleep(61)
