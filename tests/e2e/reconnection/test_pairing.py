"""What WhatsApp does to a pairing since July 2026: what is shown is retired, or a passkey is asked
for. Real Baileys, whole supervisor.
"""

import asyncio
import os
import signal
from typing import Any

import pytest

from scripts.lab import StandIn, Supervisor, eventually
from scripts.lab.processes import LabError
from tests.conftest import StartSupervisor

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def shown(supervisor: Supervisor, session: str) -> Any:
    """What `/qr` serves, once it serves something; not since when, which an adoption does not
    know.
    """
    path = f"/sessions/{session}/qr"
    _, served = await eventually(
        lambda: supervisor.call("GET", path), lambda answer: answer[0] == 200, what=path
    )
    return {name: served[name] for name in ("qr", "number", "pairingCode")}


async def begin(supervisor: Supervisor, *sessions: str) -> dict[str, Any]:
    for session in sessions:
        await supervisor.must("POST", "/sessions", {"id": session})
    return {session: await shown(supervisor, session) for session in sessions}


def secret(qr: str) -> str:
    return qr.split(",")[3]


async def renewed(supervisor: Supervisor, session: str, old: Any) -> Any:
    """What `/qr` serves in place of a QR that was retired."""

    async def look() -> Any:
        answer = await shown(supervisor, session)
        return answer if secret(answer["qr"]) != secret(old["qr"]) else None

    return await eventually(look, what=f"a new QR of {session}")


async def refresh(supervisor: Supervisor, standin: StandIn, session: str, old: Any) -> Any:
    await standin.fault("refresh-registration", session, qr=old["qr"])
    return await renewed(supervisor, session, old)


async def test_what_is_retired_is_shown_anew_and_the_pairing_lasts(
    share_supervisor: StartSupervisor, standin: StandIn
) -> None:
    supervisor = await share_supervisor()
    old = (await begin(supervisor, "refreshed"))["refreshed"]
    new = await refresh(supervisor, standin, "refreshed", old)
    assert (old["number"], new["number"]) == (1, 2)
    events = await eventually(
        lambda: supervisor.events("session.qr", "refreshed"), lambda seen: len(seen) == 2
    )
    assert [event["data"] for event in events] == [
        {"qr": old["qr"], "number": 1, "renewed": False},
        {"qr": new["qr"], "number": 2, "renewed": True},
    ]
    with pytest.raises(LabError, match="retired"):
        await standin.scan(old["qr"])
    jid = await standin.scan(new["qr"])
    assert (await supervisor.wait_state("refreshed", "open"))["jid"] == jid

    # The device works, and stays: neither a new process nor a new start pairs anew.
    os.kill((await supervisor.workers())["refreshed"], signal.SIGKILL)
    await eventually(
        lambda: standin.log("login", session="refreshed"), lambda logins: len(logins) == 2
    )
    assert await supervisor.stop() == 0
    await supervisor.start()
    assert (await supervisor.wait_state("refreshed", "open"))["jid"] == jid
    assert len(await standin.log("registered", session="refreshed")) == 1

    # With a pairing code: the next one is asked for by itself, and told.
    await begin(supervisor, "typed")
    phone = "5511988880031"
    code = (await supervisor.must("POST", "/sessions/typed/pairing-code", {"phone": phone}))["code"]
    assert (await eventually(lambda: shown(supervisor, "typed"), lambda seen: seen["pairingCode"]))[
        "pairingCode"
    ] == code
    await standin.fault("refresh-registration", "typed")
    told = await eventually(
        lambda: supervisor.events("session.pairing_code", "typed"), lambda seen: len(seen) == 2
    )
    assert [event["data"]["renewed"] for event in told] == [False, True]
    next_code = told[1]["data"]["code"]
    assert (await shown(supervisor, "typed"))["pairingCode"] == next_code != code
    with pytest.raises(LabError, match="wrong_code"):
        await standin.call("POST", "/enter-code", {"phone": phone, "code": code})
    await standin.call("POST", "/enter-code", {"phone": phone, "code": next_code})
    assert (await supervisor.wait_state("typed", "open"))["jid"].startswith(phone)


async def test_a_retired_qr_survives_nobodys_death(
    start_supervisor: StartSupervisor, standin: StandIn
) -> None:
    """Kill -9 of the worker and of the supervisor: before the new secret is durable or shown, when
    it is shown, and when it was scanned.
    """
    supervisor = await start_supervisor(shutdown="detach")
    moments = ["durable", "shown", "scanned"]
    old = await begin(
        supervisor, *(f"{whose}-{moment}" for whose in ("worker", "all") for moment in moments)
    )
    new = {
        name: await refresh(supervisor, standin, name, qr)
        for name, qr in old.items()
        if not name.endswith("durable")
    }
    workers = await supervisor.workers()
    assert supervisor.process is not None

    supervisor.process.signal(signal.SIGSTOP)  # what it makes durable now, nobody can show any more
    await standin.fault("refresh-registration", "worker-durable", qr=old["worker-durable"]["qr"])
    os.kill(workers["worker-durable"], signal.SIGKILL)
    supervisor.process.signal(signal.SIGCONT)
    new["worker-durable"] = await renewed(supervisor, "worker-durable", old["worker-durable"])
    jids = {"worker-scanned": await standin.scan(new["worker-scanned"]["qr"])}
    for name in ("worker-shown", "worker-scanned"):
        os.kill(workers[name], signal.SIGKILL)
    new["worker-shown"] = await renewed(supervisor, "worker-shown", new["worker-shown"])

    supervisor.process.signal(signal.SIGSTOP)
    await standin.fault("refresh-registration", "all-durable", qr=old["all-durable"]["qr"])
    await supervisor.kill()
    scan = asyncio.create_task(standin.scan(new["all-scanned"]["qr"]))
    await supervisor.start()
    jids["all-scanned"] = await scan
    assert await shown(supervisor, "all-shown") == new["all-shown"], "adopted with its QR"
    new["all-durable"] = await renewed(supervisor, "all-durable", old["all-durable"])

    for name in (name for name in old if name not in jids):
        with pytest.raises(LabError):
            await standin.scan(old[name]["qr"])
        jids[name] = await standin.scan(new[name]["qr"])
    for name, jid in jids.items():
        assert (await supervisor.wait_state(name, "open"))["jid"] == jid
    registered = [entry["session"] for entry in await standin.log("registered")]
    assert {name: registered.count(name) for name in old} == {
        name: 2 if name in {"worker-durable", "worker-shown"} else 1 for name in old
    }, "only an unpaired session whose worker died registers again"


async def test_a_passkey_parks_with_words_and_no_further_qr(
    share_supervisor: StartSupervisor, standin: StandIn
) -> None:
    supervisor = await share_supervisor()
    await begin(supervisor, "early", "late", "by-code")
    await supervisor.must("POST", "/sessions/by-code/pairing-code", {"phone": "5511988880032"})
    await standin.fault("passkey-at-scan", "late", count=1)
    await standin.fault("passkey-request", "early")
    await standin.fault("passkey-request", "by-code")
    with pytest.raises(LabError, match="passkey_wanted"):
        await standin.scan((await shown(supervisor, "late"))["qr"])
    for name in ("early", "late", "by-code"):
        parked = await supervisor.wait_state(name, "parked")
        why = parked["reconnection"]
        assert (why["closeReason"], why["nextAttemptAt"], why["failures"]) == (
            "passkey_required",
            None,
            0,
        )
        assert "passkey" in why["humanAction"]
        assert f"`wasup sessions start {name}`" in why["humanAction"]
        assert (await supervisor.call("GET", f"/sessions/{name}/qr"))[0] == 409
        status, refused = await supervisor.call("POST", f"/force-reconnection/{name}")
        assert (status, refused["error"]["code"]) == (409, "passkey_required")
    assert len(await standin.log("registered", session="late")) == 1
    await supervisor.must("POST", "/sessions/late/start")
    assert await standin.scan((await shown(supervisor, "late"))["qr"])
    await supervisor.wait_state("late", "open")
