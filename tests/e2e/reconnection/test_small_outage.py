"""One number alone, default settings: an outage of the way charges nobody, costs no login, is
explained, and ends when it ends.
"""

from functools import partial
from typing import Any

import pytest

from scripts.lab import StandIn, Supervisor, eventually, pair
from scripts.lab.proxies import http_proxy
from tests.conftest import StartSupervisor
from tests.lab_tools import must

pytestmark = pytest.mark.asyncio(loop_scope="session")

LOGINS = ("login", "login_refused")


async def held(supervisor: Supervisor) -> list[Any]:
    """The gate's holds, as /reconnection-status shows them."""
    return list((await supervisor.get("/reconnection-status"))["gate"]["holds"])


async def in_an_outage(supervisor: Supervisor, session: str, reason: str) -> Any:
    """Wait until it is held because the way is closed, and for that reason; how it is shown
    then.
    """
    hold = await eventually(
        partial(held, supervisor),
        lambda holds: bool(holds) and holds[0]["wayReason"] == reason,
        what=f"{reason} held",
    )
    assert "WhatsApp cannot be reached" in hold[0]["words"]
    assert hold[0]["nextLookInSeconds"] is not None
    return await eventually(
        partial(supervisor.session, session),
        lambda seen: seen["state"] == "held" and seen["reconnection"]["closeReason"] == reason,
        what=f"{session} held for {reason}",
    )


def assert_uncharged(reconnection: Any) -> None:
    assert (
        reconnection["failures"],
        reconnection["breaker"]["failures"],
        reconnection["breaker"]["state"],
    ) == (
        0,
        0,
        "closed",
    )


async def test_one_number_alone_is_back_when_whatsapp_is_whatever_kept_it_away(
    start_supervisor: StartSupervisor, standin: StandIn
) -> None:
    supervisor = await start_supervisor()
    await pair(supervisor, standin, "alone")
    for how, reason in (
        ("reset", "network_unreachable"),
        ("503", "unavailable"),
        ("403", "upgrade_refused"),
    ):
        before = await standin.last_entry()
        await standin.fault("refuse", how=how)
        await standin.fault("drop", how="reset")
        seen = await in_an_outage(supervisor, "alone", reason)
        assert_uncharged(seen["reconnection"])
        told = await must(supervisor, "explain", "alone")
        assert "WhatsApp cannot be reached" in told
        assert "looks again" in told
        if how == "403":
            assert "not WhatsApp" in seen["reconnection"]["humanAction"]
        await standin.mend()
        back = await supervisor.wait_state("alone", "open")
        assert back["reconnection"]["breaker"]["state"] == "closed"
        assert len(await standin.log(*LOGINS, session="alone", after=before)) == 1, (
            "looks are no logins"
        )
    kinds = [event["data"]["words"] for event in await supervisor.events("outage.began")]
    assert len(kinds) == 3
    assert all("WhatsApp" in words for words in kinds)
    assert {"network_unreachable", "unavailable", "upgrade_refused"} <= {
        look["reason"] for look in supervisor.logged("look")
    }


async def test_whom_whatsapp_itself_turns_away_is_held_for_a_while_and_logs_in_gently(
    start_supervisor: StartSupervisor, standin: StandIn
) -> None:
    supervisor = await start_supervisor()
    await pair(supervisor, standin, "turned-away")
    before = await standin.last_entry()
    await standin.fault("login-failure", reason=503)
    await standin.fault("failure", reason=503)
    (hold,) = await eventually(partial(held, supervisor), what="the hold")
    assert "turns the only session away: unavailable; for 10 min at most" in hold["words"]
    await eventually(
        partial(standin.log, "login_refused", session="turned-away", after=before), what="a canary"
    )
    assert_uncharged(await supervisor.reconnection("turned-away"))
    await standin.mend()
    await supervisor.wait_state("turned-away", "open")
    assert len(await standin.log(*LOGINS, session="turned-away", after=before)) <= 3


async def test_a_number_whose_proxy_is_away_is_held_told_what_to_do_and_back_with_its_proxy(
    start_supervisor: StartSupervisor, standin: StandIn
) -> None:
    supervisor = await start_supervisor()
    async with http_proxy() as proxy:
        await supervisor.must("POST", "/sessions", {"id": "by-proxy", "proxy": proxy.url})
        await supervisor.wait_state("by-proxy", "qr")
        await standin.scan((await supervisor.get("/sessions/by-proxy/qr"))["qr"])
        await supervisor.wait_state("by-proxy", "open")
        await pair(supervisor, standin, "by-none")
        port = proxy.port
    seen = await in_an_outage(supervisor, "by-proxy", "proxy")
    assert_uncharged(seen["reconnection"])
    assert "wasup sessions proxy set by-proxy" in seen["reconnection"]["humanAction"]
    (hold,) = await held(supervisor)
    assert (hold["scope"], hold["value"]) == ("egress", proxy.name)
    assert (await supervisor.session("by-none"))["state"] == "open"
    async with http_proxy(port=port):
        await supervisor.wait_state("by-proxy", "open")
    await supervisor.must("POST", "/sessions/by-proxy/stop")
