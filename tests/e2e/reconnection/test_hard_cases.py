"""Cases that broke an earlier version, each found by somebody who tried to break it."""

import asyncio
import os
import signal
from functools import partial

import aiohttp
import pytest

from scripts.lab import LabError, StandIn, Supervisor, eventually, pair
from scripts.lab.unkillable import unkillable
from tests.conftest import StartSupervisor

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def logins(standin: StandIn, session: str) -> int:
    return len(await standin.log("login", session=session))


async def test_half_a_character_in_a_strangers_text_harms_nobody(
    share_supervisor: StartSupervisor, standin: StandIn
) -> None:
    """A lone surrogate, as a bot makes it that cuts a text in the middle of an emoji."""
    supervisor = await share_supervisor()
    await pair(supervisor, standin, "halved")
    worker = (await supervisor.session("halved"))["performance"]["workerPid"]
    identifier = await standin.send_text("halved", "5511999990000", "oi \ud83d")
    received = await eventually(partial(supervisor.events, "message.received", "halved"))
    assert received[0]["data"]["id"] == identifier
    assert received[0]["data"]["text"] == "oi \ufffd"
    assert (await supervisor.session("halved"))["performance"]["workerPid"] == worker


async def scanned_behind_a_frozen_supervisor(
    supervisor: Supervisor, standin: StandIn, session: str
) -> "asyncio.Task[str]":
    """The phone scans while the supervisor can save nothing. The phone still waits."""
    await supervisor.must("POST", "/sessions", {"id": session})
    await supervisor.wait_state(session, "qr")
    qr = (await supervisor.get(f"/sessions/{session}/qr"))["qr"]
    assert supervisor.process is not None
    supervisor.process.signal(signal.SIGSTOP)
    scan = asyncio.create_task(standin.scan(qr))
    await asyncio.sleep(1.0)  # time enough to do the wrong thing
    assert await standin.log("paired", session=session) == [], (
        "it is confirmed to nobody before it is durable"
    )
    return scan


async def test_a_pairing_is_confirmed_when_the_next_supervisor_has_made_it_durable(
    share_supervisor: StartSupervisor, standin: StandIn
) -> None:
    supervisor = await share_supervisor()
    scan = await scanned_behind_a_frozen_supervisor(supervisor, standin, "between")
    await supervisor.kill()
    await supervisor.start()
    jid = await scan
    assert (await supervisor.wait_state("between", "open"))["jid"] == jid
    assert len(await standin.log("registered", session="between")) == 1, (
        "the phone scanned once, and that was enough"
    )


async def test_a_pairing_whose_worker_dies_with_the_supervisor_is_confirmed_to_nobody(
    share_supervisor: StartSupervisor, standin: StandIn
) -> None:
    supervisor = await share_supervisor()
    scan = await scanned_behind_a_frozen_supervisor(supervisor, standin, "neither")
    await supervisor.kill()
    for worker in supervisor.worker_processes():
        worker.kill()
    with pytest.raises(LabError, match=r"409|504"):
        await scan
    assert await standin.log("paired", session="neither") == []
    await supervisor.start()
    await supervisor.wait_state("neither", "qr")
    await standin.scan((await supervisor.get("/sessions/neither/qr"))["qr"])
    await supervisor.wait_state("neither", "open")


async def test_a_pairing_that_was_stored_and_never_confirmed_asks_for_a_new_scan(
    share_supervisor: StartSupervisor, standin: StandIn
) -> None:
    """The commit is done, its acknowledgement comes too late: the worker is dead.

    To WhatsApp this device is nobody.
    """
    supervisor = await share_supervisor()
    scan = await scanned_behind_a_frozen_supervisor(supervisor, standin, "unsigned")
    for worker in supervisor.worker_processes():
        worker.kill()
    with pytest.raises(LabError, match=r"409|504"):
        await scan
    assert supervisor.process is not None
    supervisor.process.signal(signal.SIGCONT)
    refused = await eventually(partial(standin.log, "login_refused", session="unsigned"))
    assert [(entry["reason"], entry["by"]) for entry in refused] == [(401, "server")], (
        "it was stored"
    )
    await supervisor.wait_state("unsigned", "qr")
    shown = await supervisor.session("unsigned")
    assert (shown["reconnection"]["closeReason"], shown["jid"]) == ("connection_closed", None)
    assert (await supervisor.get("/sessions/unsigned/archives"))["archives"] == []
    jid = await standin.scan((await supervisor.get("/sessions/unsigned/qr"))["qr"])
    assert (await supervisor.wait_state("unsigned", "open"))["jid"] == jid
    assert len(await standin.log("registered", session="unsigned")) == 2, (
        "once more, and that was enough"
    )
    assert len(await standin.log("login_refused", session="unsigned")) == 1
    assert "parked" not in {
        event["data"]["state"] for event in await supervisor.events("session.state", "unsigned")
    }


async def test_a_worker_whose_heart_stops_is_replaced_within_its_own_time(
    start_supervisor: StartSupervisor, standin: StandIn
) -> None:
    """Long before the next probe: those are ten minutes apart here."""
    supervisor = await start_supervisor(
        worker_heartbeat_interval=200, worker_heartbeat_timeout=1000, health_check_interval=600_000
    )
    await pair(supervisor, standin, "frozen")
    worker = (await supervisor.session("frozen"))["performance"]["workerPid"]
    os.kill(worker, signal.SIGSTOP)
    seen = await eventually(
        partial(supervisor.session, "frozen"),
        lambda seen: (
            seen["state"] == "open" and seen["performance"]["workerPid"] not in {worker, None}
        ),
    )
    assert seen["reconnection"]["closeReason"] == "worker_hung"


async def test_stop_and_start_are_no_way_round_an_open_breaker(
    start_supervisor: StartSupervisor, standin: StandIn
) -> None:
    supervisor = await start_supervisor(
        circuit_breaker_threshold=1, circuit_breaker_timeout=600_000
    )
    await pair(supervisor, standin, "impatient")
    await standin.fault("drop", "impatient")
    await supervisor.wait_state("impatient", "waiting")
    before = await logins(standin, "impatient")
    await supervisor.must("POST", "/sessions/impatient/stop")
    started = await supervisor.must("POST", "/sessions/impatient/start")
    assert started["state"] == "waiting"
    assert started["reconnection"]["breaker"]["state"] == "open"
    assert await logins(standin, "impatient") == before
    await supervisor.must("POST", "/force-reconnection/impatient")
    await supervisor.wait_state("impatient", "open")


async def test_a_supervisor_that_stops_while_a_session_is_deleted_stops_in_order(
    start_supervisor: StartSupervisor, standin: StandIn
) -> None:
    supervisor = await start_supervisor()
    await pair(supervisor, standin, "leaving", "staying")
    worker = (await supervisor.session("leaving"))["performance"]["workerPid"]
    os.kill(worker, signal.SIGSTOP)  # so that the deletion takes its time
    deleting = asyncio.create_task(supervisor.call("DELETE", "/sessions/leaving"))
    await asyncio.sleep(0.5)
    assert await supervisor.stop() == 0
    await asyncio.gather(deleting, return_exceptions=True)
    assert supervisor.process is not None
    assert "Traceback" not in supervisor.process.output.read_text()


@pytest.mark.parametrize("log_format", ["human", "json"])
async def test_no_secret_is_in_any_log_whatever_a_stranger_sends(
    log_format: str, start_supervisor: StartSupervisor, standin: StandIn
) -> None:
    token = "correct-horse-battery-staple"
    supervisor = await start_supervisor(api_token=token, log_level="debug", log_format=log_format)
    bearer = {"Authorization": f"Bearer {token}"}
    name = f"secret-{log_format}"
    await supervisor.call("POST", "/sessions", {"id": name}, headers=bearer)
    qr = await eventually(partial(qr_of, supervisor, name, bearer))
    await standin.scan(qr)
    host = supervisor.api.removeprefix("http://")
    for line in (
        b"Authorization: Bearer \xff\xfe",
        b"Origin: http://[",
        b"Content-Encoding: gzip\r\nContent-Length: 3\r\n\r\nabc",
    ):
        answer = await raw(
            host,
            b"POST /sessions HTTP/1.1\r\nHost: " + host.encode() + b"\r\n" + line + b"\r\n\r\n",
        )
        assert answer.startswith((b"HTTP/1.1 4",)), answer[:200]
    assert supervisor.process is not None
    written = [supervisor.process.output, *supervisor.directory.glob("logs/*.log")]
    for text in (path.read_text(errors="replace") for path in written):
        for secret in (token, qr.split(",")[-2], qr):
            assert secret not in text


async def qr_of(supervisor: Supervisor, session: str, headers: dict[str, str]) -> str:
    status, answer = await supervisor.call("GET", f"/sessions/{session}/qr", headers=headers)
    return str(answer["qr"]) if status == 200 else ""


async def raw(address: str, request: bytes) -> bytes:
    """What the server answers to these very bytes."""
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request)
    await writer.drain()
    answer = await reader.read(4096)
    writer.close()
    await writer.wait_closed()
    return answer


async def test_a_text_of_sixty_thousand_characters_fits_however_it_is_encoded(
    share_supervisor: StartSupervisor, standin: StandIn
) -> None:
    supervisor = await share_supervisor()
    await pair(supervisor, standin, "long")
    text = "ã" * 60_000  # json.dumps makes six bytes of each
    assert (
        await supervisor.call(
            "POST", "/sessions/long/messages", {"to": "5511988887777", "text": text}
        )
    )[0] == 200
    out = await eventually(partial(standin.messages, "long"))
    assert out[0]["text"] == text
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"{supervisor.api}/events?after=0") as response,
    ):
        assert response.status == 200


async def test_a_worker_that_nothing_ends_is_told_and_its_session_waits_for_it(
    share_supervisor: StartSupervisor, standin: StandIn
) -> None:
    """It hangs in the kernel, and may have the socket still: nobody else may log in, and nobody may
    be lied to.
    """
    supervisor = await share_supervisor()
    await pair(supervisor, standin, "immortal")
    before = await logins(standin, "immortal")
    pid = (await supervisor.session("immortal"))["performance"]["workerPid"]

    async def abandoned() -> list[tuple[str, int]]:
        return [(w["session"], w["pid"]) for w in (await supervisor.get("/workers"))["abandoned"]]

    async def alerts(which: str) -> list[str]:
        shown = (await supervisor.get("/alerts"))[which]
        return [alert["message"] for alert in shown if alert["name"] == "worker_abandoned"]

    async with unkillable(pid):
        view = await supervisor.must("POST", "/sessions/immortal/stop")
        assert view["state"] == "stopped"
        assert f"process {pid}" in view["reconnection"]["humanAction"]
        assert await abandoned() == [("immortal", pid)]
        (told,) = await alerts("alerts")
        assert "session immortal" in told
        await supervisor.must("POST", "/sessions/immortal/start")
        await asyncio.sleep(2.0)  # time enough to do the wrong thing
        assert (await supervisor.session("immortal"))["state"] == "starting"
        assert await logins(standin, "immortal") == before
    await supervisor.wait_state("immortal", "open")
    assert await abandoned() == []
    assert await alerts("alerts") == []
    assert len(await alerts("ended")) == 1
    assert await standin.log("overlap", session="immortal") == []
