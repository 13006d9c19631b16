"""Capacity, asked of a real supervisor: measured on real workers and real logins, the same by the
API and by the command.
"""

import json
import resource
from typing import Any

import pytest

from scripts.lab import StandIn, Supervisor, eventually, pair
from tests.conftest import StartSupervisor
from tests.lab_tools import wasup

pytestmark = pytest.mark.asyncio(loop_scope="session")


def limit(capacity: Any, name: str) -> Any:
    return next(row for row in capacity["limits"] if row["name"] == name)


async def told_by_command(supervisor: Supervisor, *arguments: str) -> tuple[int, str]:
    """The command's exit status and all that it printed."""
    done = await wasup(supervisor, "capacity", *arguments)
    return done.status, done.out + done.err


async def test_logins_are_measured_on_the_way(
    start_supervisor: StartSupervisor, standin: StandIn
) -> None:
    supervisor = await start_supervisor()
    before = await supervisor.get("/capacity")
    assert before["sessions"] == 0
    assert limit(before, "memory")["perSession"]["assumed"]
    assert limit(before, "memory")["moreSessions"] > 0
    await pair(supervisor, standin, "shop", "bar")
    storms = (await supervisor.get("/capacity"))["storms"]
    assert all(storm["cpuSecondsPerLogin"]["assumed"] for storm in storms), (
        "a pairing is no login, and no start"
    )
    for session in ("shop", "bar"):
        since = (await supervisor.reconnection(session))["since"]
        await supervisor.must("POST", f"/force-reconnection/{session}")
        await eventually(
            lambda session=session: supervisor.session(session),
            lambda seen, since=since: (
                seen["state"] == "open" and seen["reconnection"]["since"] != since
            ),
            what=f"{session} being open again",
        )
    seen = await supervisor.get("/capacity")
    assert seen["sessions"] == 2
    outage = seen["storms"][0]
    assert (outage["cpuSecondsPerLogin"]["samples"], outage["sessions"]) == (2, 2)
    assert 0 <= outage["cpuSecondsPerLogin"]["value"] < 30


async def test_the_command_says_what_the_api_says(share_supervisor: StartSupervisor) -> None:
    supervisor = await share_supervisor()
    status, told = await told_by_command(supervisor, "--json")
    shown = json.loads(told)
    assert set(shown) == set(await supervisor.get("/capacity"))
    assert status == 0, told
    status, told = await told_by_command(supervisor, "--sessions", "100000")
    assert status == 1
    assert "100,000 sessions do not fit" in told
    assert "memory" in told
    status, told = await told_by_command(supervisor, "--sessions", "1")
    assert status == ("1 sessions do not fit" in told), (
        f"a busy machine may be short of CPU already: {told}"
    )
    for wrong in ("0", "many"):
        assert (await told_by_command(supervisor, "--sessions", wrong))[0] == 2


@pytest.mark.parametrize("wrong", ["0", "-1", "many", "1.5", "100001", ""])
async def test_a_wrong_number_is_refused(wrong: str, share_supervisor: StartSupervisor) -> None:
    supervisor = await share_supervisor()
    status, answer = await supervisor.call("GET", f"/capacity?sessions={wrong}")
    assert status == 400
    assert "100000" in answer["error"]["hint"]


async def test_the_supervisor_raises_its_own_soft_limit(start_supervisor: StartSupervisor) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 1024), hard))
    try:
        supervisor = await start_supervisor()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    capacity = await supervisor.get("/capacity")
    assert limit(capacity, "descriptors of the supervisor")["maximum"] == min(hard, 1_048_576)
    assert [entry["level"] for entry in supervisor.logged("descriptors")] == ["info"]
