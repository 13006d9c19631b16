"""Acceptance 7, end to end: waits obey their bounds, the breaker opens at its threshold and lets
exactly one trial through.
"""

import asyncio
from itertools import pairwise

import pytest

from scripts.lab import StandIn, Supervisor, eventually, pair
from tests.conftest import StartSupervisor

pytestmark = pytest.mark.asyncio(loop_scope="session")

THRESHOLD = 3
TIMEOUT_SECONDS = 3.0
SETTINGS = {
    "circuit_breaker_threshold": THRESHOLD,
    "circuit_breaker_timeout": int(TIMEOUT_SECONDS * 1000),
    "reconnection_base_delay": 100,
    "reconnection_max_delay": 400,
}


async def breaker(supervisor: Supervisor, session: str) -> str:
    return str((await supervisor.reconnection(session))["breaker"]["state"])


async def refused(standin: StandIn, session: str) -> list[float]:
    """When the session's attempts were refused, in seconds of the stand-in's clock."""
    return [
        entry["time_ms"] / 1000 for entry in await standin.log("login_refused", session=session)
    ]


async def sicken(standin: StandIn, session: str) -> None:
    """From now on WhatsApp hangs up on its logins: the way to WhatsApp is open, and the trouble is
    the session's own.
    """
    await standin.fault("login-stream-error", session, code=428)
    await standin.fault("drop", session)


async def test_the_breaker_opens_at_its_threshold_and_lets_one_trial_through(
    share_supervisor: StartSupervisor, standin: StandIn
) -> None:
    supervisor = await share_supervisor(**SETTINGS)
    await pair(supervisor, standin, "fused")
    await sicken(standin, "fused")
    seen = await eventually(
        lambda: supervisor.reconnection("fused"),
        lambda seen: seen["breaker"]["state"] == "open",
        what="the breaker opening",
    )
    assert seen["breaker"]["failures"] == THRESHOLD
    assert seen["breaker"]["opensUntil"] is not None
    tries = await refused(standin, "fused")
    assert len(tries) == THRESHOLD - 1, "the drop itself was the first failure"

    await eventually(
        lambda: refused(standin, "fused"),
        lambda seen: len(seen) == len(tries) + 2,
        what="two trials",
    )
    times = await refused(standin, "fused")
    for earlier, later in pairwise(times[THRESHOLD - 2 :]):
        assert later - earlier >= TIMEOUT_SECONDS - 0.1, "one trial per time-out, and none between"

    await standin.mend()
    await supervisor.wait_state("fused", "open")
    assert await breaker(supervisor, "fused") == "closed"


async def test_a_reset_closes_the_breaker_and_lets_the_session_try(
    share_supervisor: StartSupervisor, standin: StandIn
) -> None:
    supervisor = await share_supervisor(**SETTINGS | {"circuit_breaker_timeout": 600_000})
    await pair(supervisor, standin, "reset")
    await sicken(standin, "reset")
    await eventually(lambda: breaker(supervisor, "reset"), lambda state: state == "open")
    await standin.mend()
    answer = await supervisor.must("POST", "/reset-circuit-breaker/reset")
    assert answer["breaker"] == {"state": "closed", "failures": 0, "opensUntil": None}
    await supervisor.wait_state("reset", "open")


@pytest.mark.parametrize("end", ["stop", "kill"])
async def test_waits_and_breaker_survive_a_restart_of_the_supervisor(
    end: str, share_supervisor: StartSupervisor, standin: StandIn
) -> None:
    name = f"remembers-{end}"
    supervisor = await share_supervisor(**SETTINGS | {"circuit_breaker_timeout": 600_000})
    await pair(supervisor, standin, name)
    await sicken(standin, name)
    await eventually(lambda: breaker(supervisor, name), lambda state: state == "open")
    before = await supervisor.reconnection(name)
    tries = len(await refused(standin, name))
    # the memory is written behind; a kill right now may lose the last of it
    await asyncio.sleep(0.2)
    await (supervisor.stop() if end == "stop" else supervisor.kill())
    await supervisor.start()
    after = (await supervisor.wait_state(name, "waiting"))["reconnection"]
    assert after["breaker"]["state"] == "open"
    assert after["breaker"]["failures"] == before["breaker"]["failures"]
    assert after["breaker"]["opensUntil"][:18] == before["breaker"]["opensUntil"][:18], (
        "to ten seconds: no attempt was gained"
    )
    assert after["closeReason"] == "connection_closed"
    assert len(await refused(standin, name)) == tries, "a restart is no way round the breaker"
    await standin.mend()
    await supervisor.must("POST", f"/force-reconnection/{name}")
    await supervisor.wait_state(name, "open")
    assert await breaker(supervisor, name) == "closed"
