"""GET /host of a real supervisor, beside what the monitor script finds without the API, and an alert of the host."""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest

from scripts.lab import StandIn, eventually, pair
from scripts.lab.processes import ROOT
from tests.conftest import StartSupervisor

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def monitored(directory: Path) -> Any:
    """What the script says of the supervisor's data directory."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(ROOT / "scripts" / "monitor_websocket_resources.py"), "--once", "--json"),
        *("--data-dir", str(directory)),
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0
    return json.loads(said)


async def test_the_host_is_shown_with_workers_and_supervisor(
    start_supervisor: StartSupervisor, standin: StandIn
) -> None:
    supervisor = await start_supervisor(spare_workers=0)
    await pair(supervisor, standin, "host-a", "host-b")
    shown = await supervisor.get("/host")
    workers = {worker["pid"] for worker in (await supervisor.get("/workers"))["workers"]}
    assert {worker["pid"] for worker in shown["workers"]["heaviest"]} == workers
    assert (shown["workers"]["count"], shown["workers"]["weighed"]) == (2, 2)
    assert shown["workers"]["pssSumBytes"] > 2 * 20 * 2**20
    own = psutil.Process(supervisor.process.pid)
    assert shown["supervisor"]["process"]["pid"] == own.pid
    assert shown["supervisor"]["openFiles"]["soft"] == own.rlimit(psutil.RLIMIT_NOFILE)[0]
    assert shown["processLimits"]["findings"]
    assert shown["connections"]["websockets"] >= 2  # the stand-in's port is counted
    assert shown["thresholds"]["memoryFraction"] == 0.8
    assert shown["notes"] == []

    found = await monitored(supervisor.directory)
    assert found["supervisor"]["process"]["pid"] == own.pid
    assert {worker["pid"] for worker in found["workers"]["heaviest"]} == workers


async def test_a_limit_of_the_host_raises_one_alert(start_supervisor: StartSupervisor) -> None:
    """A share of descriptors that every supervisor is above."""
    supervisor = await start_supervisor(descriptor_threshold=0.000001, health_check_interval=200)

    async def alerts() -> list[str]:
        events = (await supervisor.get("/events"))["events"]
        names = [event["data"]["name"] for event in events if event["type"] == "alert"]
        return [name for name in names if name.endswith("descriptors")]

    await eventually(alerts)
    last = (await supervisor.get("/events"))["last"]
    await supervisor.get(f"/events?after={last}&wait=1")
    assert sorted(await alerts()) in (["descriptors", "supervisor_descriptors"], ["supervisor_descriptors"])
    on = {alarm["name"] for alarm in (await supervisor.get("/host"))["alarms"]}
    assert "supervisor_descriptors" in on
