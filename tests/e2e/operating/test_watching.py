"""What an operator hears of a real supervisor: an alert that disconnects nobody, and cron's monitor
in an outage.
"""

import asyncio
import sys
from functools import partial
from typing import Any
from urllib.parse import urlsplit

import pytest

from scripts.lab import StandIn, Supervisor, eventually, pair
from scripts.lab.processes import ROOT
from tests.conftest import StartSupervisor
from tests.e2e.operating.test_pm2 import UNALARMED
from tests.lab_tools import logins

pytestmark = pytest.mark.asyncio(loop_scope="session")

CALM = {name.removeprefix("WHATSAPP_").lower(): value for name, value in UNALARMED.items()}


async def cron(supervisor: Supervisor) -> tuple[int, str]:
    """One run of the monitor, beside a supervisor that is run by hand."""
    environment = UNALARMED | {
        "PATH": "/usr/bin:/bin",
        "WHATSAPP_DATA_DIR": str(supervisor.directory),
        "WHATSAPP_API_PORT": str(urlsplit(supervisor.api).port),
        "PM2": "/bin/true",
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        str(ROOT / "scripts" / "monitor.py"),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
    )
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def test_a_tight_alert_rings_and_disconnects_nobody(
    start_supervisor: StartSupervisor, standin: StandIn
) -> None:
    supervisor = await start_supervisor(
        response_time_threshold=100, health_check_interval=300, **CALM
    )
    await pair(supervisor, standin, "slow", "quick")

    async def told(state: str) -> list[Any]:
        events = await supervisor.events("alert", "slow")
        return [
            event["data"]
            for event in events
            if event["data"]["name"] == "response_time" and event["data"]["state"] == state
        ]

    await standin.fault("delay", session="slow", ms=400)  # from its next connection on
    before = await logins(standin, "slow")
    await standin.fault("drop", session="slow")
    await eventually(
        partial(logins, standin, "slow"), lambda seen: seen == before + 1, 60, "its next login"
    )
    await supervisor.wait_state("slow", "open")
    (began,) = await eventually(partial(told, "began"), seconds=60, what="the alert")
    assert began["limit"] == 100
    assert began["value"] > 100
    assert (await supervisor.session("slow"))["state"] == "open"
    await standin.mend()
    (ended,) = await eventually(partial(told, "ended"), seconds=60, what="its end")
    assert ended["value"] <= 100
    assert (await supervisor.session("slow"))["state"] == "open"
    assert await logins(standin, "slow") == before + 1
    assert await supervisor.events("alert", "quick") == []
    await must_be_in_the_history(supervisor)


async def must_be_in_the_history(supervisor: Supervisor) -> None:
    """What was just seen of sessions and host is what the history has of it."""

    async def points(asked: str, call: str = "/history") -> list[dict[str, float]]:
        told = await supervisor.get(f"{call}?{asked}&step=10")
        found: list[dict[str, float]] = told["points"]
        return found

    trips = partial(points, "series=fleet.response_ms", "/history/distribution")
    await eventually(trips, lambda seen: any(one["p99"] > 100 for one in seen), 60, "the delay")
    up = await points("series=session.up&subject=quick")
    assert up[-1]["mean"] == 1
    came_back = await points("series=session.reconnects&subject=slow")
    assert sum(one["sum"] for one in came_back) >= 1
    for series in ("host.cpu", "host.memory_used_bytes", "supervisor.memory_bytes", "fleet.open"):
        assert await points(f"series={series}"), series


async def test_cron_is_told_of_an_outage_when_it_begins_and_when_it_is_over(
    start_supervisor: StartSupervisor, standin: StandIn
) -> None:
    supervisor = await start_supervisor(**CALM)
    names = [f"cron-{number}" for number in range(5)]
    await pair(supervisor, standin, *names)
    assert await cron(supervisor) == (0, "")
    await standin.fault("refuse", how="503", seconds=3600)
    await standin.fault("drop")

    async def holds() -> list[Any]:
        return list((await supervisor.get("/reconnection-status"))["gate"]["holds"])

    await eventually(holds, seconds=60, what="the hold")
    status, said = await cron(supervisor)
    assert status == 1
    assert "the fleet is held" in said
    assert await cron(supervisor) == (1, "")
    await standin.mend()
    for name in names:
        await supervisor.wait_state(name, "open", seconds=90)
    await eventually(holds, lambda seen: not seen, 60, "the end of the hold")
    status, said = await cron(supervisor)
    assert status == 0
    assert "over, after" in said
