"""The main story and the faults, with the real supervisor, real workers, real Baileys, and the
stand-in as WhatsApp.
"""

import asyncio
import os
import signal
from functools import partial
from typing import Any

import pytest

from scripts.lab import StandIn, Supervisor, eventually, pair
from sessions.workers.worker_process import started_at_ticks
from tests.conftest import StartSupervisor
from tests.lab_tools import in_database

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def logins(standin: StandIn, session: str) -> int:
    return len(await standin.log("login", session=session))


async def test_a_session_goes_from_qr_to_open_to_messages_to_a_drop_and_back(
    share_supervisor: StartSupervisor, standin: StandIn
) -> None:
    """Acceptance 2, driven only through the API and the stand-in's admin."""
    supervisor = await share_supervisor()
    status, created = await supervisor.call("POST", "/sessions", {"id": "loja-1"})
    assert (status, created["id"], created["wanted"]) == (201, "loja-1", True)

    await supervisor.wait_state("loja-1", "qr")
    shown = (await supervisor.get("/sessions/loja-1/qr"))["qr"]
    emitted = (await eventually(partial(supervisor.events, "session.qr", "loja-1")))[-1]["data"][
        "qr"
    ]
    assert shown == emitted
    jid = await standin.scan(shown)

    opened = await supervisor.wait_state("loja-1", "open")
    assert opened["jid"] == jid
    assert opened["reconnection"]["closeCode"] == 515
    assert (await supervisor.call("GET", "/sessions/loja-1/qr"))[0] == 409

    sent = await supervisor.must(
        "POST", "/sessions/loja-1/messages", {"to": "5511988887777", "text": "bom dia"}
    )
    out = await eventually(lambda: standin.messages("loja-1"))
    assert [(m["id"], m["text"]) for m in out] == [(sent["id"], "bom dia")]
    receipts = await eventually(lambda: supervisor.events("message.status", "loja-1"))
    assert receipts[0]["data"]["id"] == sent["id"]

    last = await supervisor.last_event()
    poll = asyncio.create_task(supervisor.get(f"/events?after={last}&wait=20"))
    identifier = await standin.send_text("loja-1", "5511999990000", "olá, tudo bem?")
    assert (await poll)["events"], "the long poll answers with the first event"
    received = await eventually(lambda: supervisor.events("message.received", "loja-1"))
    assert [(m["data"]["id"], m["data"]["text"]) for m in received] == [
        (identifier, "olá, tudo bem?")
    ]

    before = await logins(standin, "loja-1")
    await standin.fault("drop", "loja-1")
    await eventually(lambda: logins(standin, "loja-1"), lambda n: n == before + 1)
    again = await supervisor.wait_state("loja-1", "open")
    assert again["jid"] == jid
    assert again["performance"]["reconnectCount"] == 1
    assert again["reconnection"]["closeReason"] == "connection_closed"


async def test_a_session_is_paired_by_code(
    share_supervisor: StartSupervisor, standin: StandIn
) -> None:
    supervisor = await share_supervisor()
    await supervisor.must("POST", "/sessions", {"id": "by-code"})
    await supervisor.wait_state("by-code", "qr")
    code = (
        await supervisor.must(
            "POST", "/sessions/by-code/pairing-code", {"phone": "+55 (11) 98888-0001"}
        )
    )["code"]
    assert len(code) == 8
    status, answer = await supervisor.call(
        "POST", "/sessions/by-code/pairing-code", {"phone": "+5511988880001"}
    )
    assert (status, answer["error"]["code"]) == (429, "too_soon"), "each code rings at the phone"
    await standin.call("POST", "/enter-code", {"phone": "5511988880001", "code": code})
    assert (await supervisor.wait_state("by-code", "open"))["jid"].startswith("5511988880001")


SILENT_FAULTS: dict[str, tuple[dict[str, Any], set[str]]] = {
    # a fault that Baileys does not report -> how it is made, and the reasons under which it may be
    # noticed
    "blackhole": ({}, {"connection_lost"}),
    "silence": ({}, {"connection_lost"}),
    "bad-frame": ({}, {"undecryptable_frame"}),
}


@pytest.mark.parametrize("fault", SILENT_FAULTS)
async def test_a_silent_fault_of_an_open_session_is_noticed_and_healed(
    fault: str, share_supervisor: StartSupervisor, standin: StandIn
) -> None:
    """Acceptance 4: a short probe interval stands for the default one; the benchmark measures at
    the defaults.
    """
    parameters, reasons = SILENT_FAULTS[fault]
    supervisor = await share_supervisor(
        health_check_interval=500, probe_timeout=1000, reconnection_base_delay=100
    )
    name = f"silent-{fault}"
    await pair(supervisor, standin, name)
    before = await logins(standin, name)
    await standin.fault(fault, name, **parameters)
    if fault == "silence":  # a standing fault: it takes hold at the next login
        await supervisor.must("POST", f"/force-reconnection/{name}")
    closed = await eventually(
        lambda: supervisor.reconnection(name),
        lambda seen: seen["closeReason"] in reasons,
        what=f"{fault} being noticed",
    )
    assert closed["closeReason"] in reasons
    await standin.mend()
    await eventually(lambda: logins(standin, name), lambda n: n > before)
    await supervisor.wait_state(name, "open")


@pytest.mark.parametrize("refusal", ["503", "429", "403", "reset"])
async def test_a_refused_upgrade_is_noticed_and_healed(
    refusal: str, share_supervisor: StartSupervisor, standin: StandIn
) -> None:
    """Baileys emits nothing, ever, for an HTTP answer other than 101.

    A captive portal's 403 is no ban.
    """
    expected = {
        "503": "unavailable",
        "429": "rate_limited",
        "403": "upgrade_refused",
        "reset": "network_unreachable",
    }
    supervisor = await share_supervisor(reconnection_base_delay=100)
    name = f"refused-{refusal}"
    await pair(supervisor, standin, name)
    await standin.fault("refuse", name, how=refusal)
    await standin.fault("drop", name)
    closed = await eventually(
        lambda: supervisor.reconnection(name),
        lambda seen: seen["closeReason"] == expected[refusal],
        what=refusal,
    )
    assert closed["breaker"]["state"] == "closed"
    await standin.mend()
    await supervisor.must("POST", f"/force-reconnection/{name}")
    await supervisor.wait_state(name, "open")


@pytest.mark.parametrize("fault", ["login-silence", "stall-handshake", "stall-upgrade"])
async def test_a_login_that_is_never_answered_ends_at_its_deadline(
    fault: str, share_supervisor: StartSupervisor, standin: StandIn
) -> None:
    supervisor = await share_supervisor(connect_timeout=1500, reconnection_base_delay=100)
    name = f"never-{fault}"
    await pair(supervisor, standin, name)
    await standin.fault(fault, name)
    await standin.fault("drop", name)
    closed = await eventually(
        lambda: supervisor.reconnection(name),
        lambda seen: seen["closeReason"] in {"attempt_timed_out", "connection_lost"},
        what=f"{fault} being noticed",
    )
    assert closed["failures"] >= 1
    await standin.mend()
    await supervisor.wait_state(name, "open")


async def kill_worker(supervisor: Supervisor, session: str) -> int:
    pid = (await supervisor.session(session))["performance"]["workerPid"]
    if pid is not None:
        os.kill(pid, signal.SIGKILL)
    return pid or 0


async def test_a_killed_worker_is_replaced_with_the_same_credentials_and_no_new_qr(
    share_supervisor: StartSupervisor, standin: StandIn
) -> None:
    supervisor = await share_supervisor()
    await pair(supervisor, standin, "killed")
    jid = (await supervisor.session("killed"))["jid"]
    killed = await kill_worker(supervisor, "killed")
    await eventually(
        lambda: supervisor.session("killed"),
        lambda seen: (
            seen["state"] == "open" and seen["performance"]["workerPid"] not in {killed, None}
        ),
    )
    seen = await supervisor.session("killed")
    assert seen["jid"] == jid
    assert seen["reconnection"]["closeReason"] == "worker_exited"
    assert seen["reconnection"]["breaker"]["failures"] == 0, (
        "our own crash is not WhatsApp's failure"
    )
    assert len(await standin.log("registered", session="killed")) == 1


async def test_starting_a_fleet_never_exceeds_the_gates_rate(
    start_supervisor: StartSupervisor, standin: StandIn
) -> None:
    """Acceptance 8: in any window of the stand-in's log there are at most burst + rate x window
    logins.
    """
    rate, burst, sessions = 1, 2, 5
    names = [f"rush-{n}" for n in range(sessions)]
    supervisor = await start_supervisor(gate_rate=50, gate_burst=50)
    await pair(supervisor, standin, *names)
    await supervisor.stop()

    after = (await standin.log())[-1]["n"]
    supervisor.settings = dict(supervisor.settings) | {
        "WHATSAPP_GATE_RATE": str(rate),
        "WHATSAPP_GATE_BURST": str(burst),
    }
    await supervisor.start()
    for name in names:
        await supervisor.wait_state(name, "open", seconds=60)
    times = [entry["time_ms"] / 1000 for entry in await standin.log("login", after=after)]
    assert len(times) == sessions
    network_jitter = 1  # a login may be a little later than its token, and the next one not
    for first in range(sessions):
        for last in range(first, sessions):
            window = times[last] - times[first]
            assert last - first + 1 <= burst + rate * window + network_jitter


async def test_desired_state_survives_stop_and_kill_of_the_supervisor(
    share_supervisor: StartSupervisor, standin: StandIn
) -> None:
    supervisor = await share_supervisor()
    await pair(supervisor, standin, "wanted", "unwanted")
    await supervisor.must("POST", "/sessions/unwanted/stop")
    assert await supervisor.stop() == 0
    await supervisor.start()
    await supervisor.wait_state("wanted", "open")
    assert (await supervisor.session("unwanted"))["state"] == "stopped"
    worker = (await supervisor.session("wanted"))["performance"]["workerPid"]
    os.kill(worker, signal.SIGSTOP)  # the worst case: a worker that cannot leave by itself
    await supervisor.kill()
    await supervisor.start()
    await supervisor.wait_state("wanted", "open")
    assert started_at_ticks(worker) is None, "the stray has ended"
    assert (await supervisor.session("unwanted"))["state"] == "stopped"
    assert len(await standin.log("registered", session="wanted")) == 1


async def test_logout_and_delete_archive_the_credentials_and_purge_destroys_them(
    start_supervisor: StartSupervisor, standin: StandIn
) -> None:
    supervisor = await start_supervisor()
    await pair(supervisor, standin, "leaver", "deleted", "purged")
    assert (await supervisor.call("POST", "/sessions/leaver/logout"))[0] == 202
    seen = await supervisor.wait_state("leaver", "stopped")
    assert seen["jid"] is None
    assert seen["reconnection"]["closeReason"] == "own_logout"
    assert await standin.log("removed", session="leaver")
    await supervisor.must("DELETE", "/sessions/deleted")
    await supervisor.must("DELETE", "/sessions/purged?purge=true")
    assert [s["id"] for s in (await supervisor.get("/sessions"))["sessions"]] == ["leaver"]
    await supervisor.stop()
    assert archived(supervisor) == [("deleted", "deleted"), ("leaver", "own_logout")]
    assert snapshots(supervisor) == [
        "deleted",
        "leaver",
    ], "the one after the pairing is kept, too, but not of what was purged"
    await supervisor.start()
    await supervisor.must("POST", "/sessions/leaver/start")
    await supervisor.wait_state("leaver", "qr")


def archived(supervisor: Supervisor) -> list[tuple[str, str]]:
    """The whole archives in a stopped supervisor's database that really hold credentials."""
    query = (
        "select session, reason from archives where whole and exists (select 1 from archived_auth"
        " where archive = archives.id and kind = 'creds') order by session"
    )
    return in_database(supervisor, query)


def snapshots(supervisor: Supervisor) -> list[str]:
    """The sessions of which there is a snapshot."""
    return [
        session
        for (session,) in in_database(
            supervisor, "select session from archives where not whole order by session"
        )
    ]
