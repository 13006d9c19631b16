"""An outage of everybody, with the real parts: the fleet is held, nobody is charged, a canary
tries, and all come back under the bucket.
"""

from functools import partial

import pytest

from scripts.lab import StandIn, eventually, pair
from tests.conftest import StartSupervisor
from tests.lab_tools import must, wasup

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_an_outage_holds_the_fleet_charges_nobody_is_told_and_ends_with_a_canary(
    start_supervisor: StartSupervisor, standin: StandIn
) -> None:
    supervisor = await start_supervisor()
    names = [f"struck-{number}" for number in range(6)]
    await pair(supervisor, standin, *names)
    before, last = await standin.last_entry(), await supervisor.last_event()
    await standin.fault("refuse", how="503")
    await standin.fault("drop")

    async def holds() -> list[dict[str, object]]:
        return list((await supervisor.get("/reconnection-status"))["gate"]["holds"])

    (hold,) = await eventually(holds, what="the hold")
    assert (hold["scope"], hold["reason"]) == ("fleet", "outage")
    await eventually(
        partial(must, supervisor, "explain", names[0]),
        lambda said: "is HELD" in said and "canary" in said,
        what="the hold being explained",
    )
    await standin.mend()
    for name in names:
        back = (await supervisor.wait_state(name, "open", seconds=60))["reconnection"]
        assert (back["failures"], back["breaker"]["failures"]) == (0, 0)
    assert await holds() == []
    logins = await standin.log("login", after=before)
    assert sorted(entry["session"] for entry in logins) == names, (
        "one login each, whoever was the canary"
    )
    for kind in ("outage.began", "outage.ended"):
        assert len(await supervisor.every_event(kind, last)) == 1
    incidents = (await supervisor.get("/incidents"))["incidents"]
    assert [one["reason"] for one in incidents if one["session"] is None] == ["outage"]
    assert all(close["excused"] for one in incidents if one["session"] for close in one["closes"])


async def test_the_policy_file_is_replayed_over_real_incidents_and_reloaded_without_a_restart(
    start_supervisor: StartSupervisor, standin: StandIn
) -> None:
    supervisor = await start_supervisor()
    policy = supervisor.directory / "policy.toml"
    policy.write_text("")
    supervisor.settings = {**supervisor.settings, "WHATSAPP_POLICY_FILE": str(policy)}
    assert await supervisor.stop() == 0
    await supervisor.start()
    await pair(supervisor, standin, "replayed")
    workers, before = await supervisor.workers(), await standin.last_entry()
    await standin.fault("drop", "replayed")
    await eventually(
        partial(standin.log, "login", session="replayed", after=before),
        what="the login after the drop",
    )
    await supervisor.wait_state("replayed", "open")

    policy.write_text("[connection_closed]\nbase_seconds = 40\ncap_seconds = 400\n")
    replayed = await must(supervisor, "policy", "replay", "--file", policy)
    assert "1 differently" in replayed, replayed
    assert "connection_closed" in await must(supervisor, "policy", "reload")
    assert "base_seconds = 40" in await must(supervisor, "policy", "show")
    policy.write_text('[logged_out]\naction = "retry"\n')
    refused = await wasup(supervisor, "policy", "reload")
    assert refused.status == 1
    assert "[logged_out] action" in refused.said
    assert (await supervisor.call("POST", "/policy/reload"))[0] == 422
    assert "base_seconds = 40" in await must(supervisor, "policy", "show"), (
        "a bad file changes nothing"
    )
    assert await supervisor.workers() == workers
    assert len(await standin.log("login", session="replayed", after=before)) == 1
