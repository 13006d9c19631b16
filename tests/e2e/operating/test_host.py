"""GET /host of a real supervisor, beside what the monitor script finds without the API, and an
alert of the host.
"""

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
        *(
            sys.executable,
            str(ROOT / "scripts" / "monitor_websocket_resources.py"),
            "--once",
            "--json",
        ),
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
    """A share of descriptors, and of the disk, that every supervisor is above: an event, a line in
    the log, and in what is on.
    """
    supervisor = await start_supervisor(
        descriptor_threshold=0.000001,
        disk_threshold=0.000001,
        health_check_interval=200,
        log_format="json",
    )

    async def alerts() -> list[str]:
        events = (await supervisor.get("/events"))["events"]
        names = [event["data"]["name"] for event in events if event["type"] == "alert.raised"]
        # else the machine's
        return [name for name in names if name == "disk_space" or name.endswith("descriptors")]

    await eventually(alerts, lambda seen: {"supervisor_descriptors", "disk_space"} <= set(seen))
    last = (await supervisor.get("/events"))["last"]
    await supervisor.get(f"/events?after={last}&wait=1")
    told = await alerts()
    assert sorted(told) == sorted(set(told))
    lines = {line["alert"]: line for line in supervisor.logged("alert")}
    assert set(lines) >= {"supervisor_descriptors", "disk_space"}
    assert lines["disk_space"]["severity"] in ("warning", "critical")
    assert lines["disk_space"]["value"] > lines["disk_space"]["limit"]
    assert str(supervisor.directory) in lines["disk_space"]["event"]
    for shown in (await supervisor.get("/alerts"), await supervisor.get("/performance-metrics")):
        on = {alert["name"]: alert for alert in shown["alerts"]}
        assert on["disk_space"]["state"] == "began"
        assert on["disk_space"]["endedAt"] is None
    host = await supervisor.get("/host")
    assert "supervisor_descriptors" in {alarm["name"] for alarm in host["alarms"]}
    assert host["disks"][0]["totalBytes"] > host["disks"][0]["availableBytes"]
    assert host["host"]["windowSeconds"] >= 0
