"""Sockets that answer every ping and are of no use: found by what does not move, and renewed."""

import asyncio

import pytest

from scripts.lab import StandIn, Supervisor, pair
from tests.conftest import StartSupervisor

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def deaf_at(supervisor: Supervisor, session: str, seconds: float) -> str:
    """Wait until it was found deaf; what the log says does not move."""
    async with asyncio.timeout(seconds):
        while True:
            for entry in supervisor.logged("stalled"):
                if entry["session"] == session:
                    return str(entry["stalled"])
            await asyncio.sleep(0.5)


async def send(supervisor: Supervisor, session: str) -> int:
    status, _ = await supervisor.call(
        "POST",
        f"/sessions/{session}/messages",
        {"to": "5511999990000", "text": "is anybody there?"},
    )
    return status


async def test_a_queue_that_stalls_and_sends_without_acks_are_deafness_and_a_new_socket_heals_it(
    start_supervisor: StartSupervisor, standin: StandIn
) -> None:
    """Two sessions at once, because each needs a minute."""
    supervisor = await start_supervisor(health_check_interval=10_000)
    await pair(supervisor, standin, "queue-stalls", "sends-unacked", "deaf-neighbour")
    await standin.fault("stall-queue", session="queue-stalls", count=1, messages=3)
    await standin.fault("drop", session="queue-stalls")
    await standin.fault("unacked", session="sends-unacked")
    statuses = await asyncio.gather(
        send(supervisor, "sends-unacked"), send(supervisor, "sends-unacked")
    )
    assert statuses == [504, 504]
    assert await deaf_at(supervisor, "sends-unacked", seconds=3) == "sends", (
        "at once, not with the next check"
    )
    assert await deaf_at(supervisor, "queue-stalls", seconds=60) == "offline_queue"
    for session in ("queue-stalls", "sends-unacked"):
        await supervisor.wait_state(session, "open")
        assert (await supervisor.reconnection(session))["closeReason"] == "deaf"
        assert await send(supervisor, session) == 200
        alerts = [event["data"] for event in await supervisor.events("alert", session)]
        assert [alert["message"] for alert in alerts if alert["name"] == "deaf"] == [
            "reconnect the socket"
        ]
    assert (await supervisor.reconnection("deaf-neighbour"))["closeReason"] in {
        None,
        "restart_required",
    }
    assert (await supervisor.session("deaf-neighbour"))["phoneLastSeen"] is not None, (
        "it has just paired"
    )
