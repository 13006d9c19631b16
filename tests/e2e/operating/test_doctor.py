"""`wasup doctor` and GET /diagnostics beside a supervisor that runs; and two supervisors on one data
directory.
"""

import json
from typing import Any

import pytest

from scripts.lab import StandIn, Supervisor, pair
from tests.conftest import StartSupervisor
from tests.lab_tools import wasup

pytestmark = pytest.mark.asyncio(loop_scope="session")

ACUTE = {"high", "critical"}


async def doctor(supervisor: Supervisor, *arguments: str) -> tuple[int, Any]:
    done = await wasup(supervisor, "doctor", "--json", *arguments)
    return done.status, json.loads(done.out)


def acute(found: Any) -> list[str]:
    return [issue["description"] for issue in found["issues"] if issue["severity"] in ACUTE]


async def test_the_doctor_beside_a_supervisor_that_runs_and_beside_two(
    start_supervisor: StartSupervisor, standin: StandIn
) -> None:
    """One story, since a start is dear."""
    supervisor = await start_supervisor()
    await pair(supervisor, standin, "loja-1")
    logins = len(await standin.log("login"))

    # from outside: nothing acute, the supervisor was asked, the report is written for nobody else
    report = supervisor.directory.with_suffix(".report.txt")
    status, found = await doctor(supervisor, "--production", "--report", str(report))
    assert acute(found) == []
    assert status == (0 if found["success"] else 1)
    states = {one["name"]: one["state"] for one in found["checks"]}
    assert states["supervisor"] != "skipped"
    assert states["users"] != "skipped"
    for name in ("whatsapp", "database", "supervisors", "token", "keys"):
        assert states[name] == "ok", name
    usage = found["metrics"]["resourceUsage"]
    assert usage["memory"]["availableBytes"] > 0
    assert report.stat().st_mode & 0o077 == 0
    assert "Antes de Deployar" in report.read_text()

    # the checklist: each line has a verdict, and the backup is for a human to see to
    verdicts = {line["item"]: line["verdict"] for line in found["checklist"]}
    assert verdicts["Instalar todas as dependências"] == "ok"
    assert verdicts["Testar com múltiplos usuários"] in {"ok", "not ok"}, "200 have really called"
    assert verdicts["Configurar backup do banco"] == "by hand"
    assert verdicts["Verificar logs de erro"] in {"ok", "not ok"}, "its log was found and read"

    # from within, the same; one check alone; a name that there is not
    within = await supervisor.get("/diagnostics")
    assert acute(within) == []
    assert {one["name"] for one in within["checks"]} <= set(states)
    one = await supervisor.get("/diagnostics?check=disks,limits")
    assert [check["name"] for check in one["checks"]] == ["limits", "disks"]
    assert (await supervisor.call("GET", "/diagnostics?check=disk"))[0] == 400
    resources = await supervisor.get("/diagnostics/resources")
    assert resources["connections"]["sessions"] == 1
    assert resources["memory"]["connections"] >= 1
    connections = await supervisor.get("/diagnostics/connections")
    assert connections["config"]["url"].startswith("ws://127.0.0.1")
    assert connections["handshakes"] == []
    assert connections["stages"]["upgrade"]["count"] == 1
    assert connections["liveFeed"]["connections"] == 0

    # the caller's own token: by which way it came, and never its value
    plain = await supervisor.get("/diagnostics/token")
    assert (plain["carriers"]["scheme"], plain["scope"]) == (None, "admin")
    assert plain["generation"]["success"]
    _, stray = await supervisor.call(
        "GET", "/diagnostics/token?token=hush-value", headers={"Cookie": "jwt=hush-value"}
    )
    assert (stray["carriers"]["query"], stray["carriers"]["cookies"]) == (["token"], ["jwt"])
    assert stray["transmission"]["issues"][0]["severity"] == "high"
    _, bare = await supervisor.call(
        "GET", "/diagnostics/token", headers={"Authorization": "hush-value"}
    )
    assert bare["carriers"]["scheme"] == "other"
    assert "hush" not in json.dumps([stray, bare])
    _, key = await supervisor.call("POST", "/keys", {"name": "panel", "scope": "read"})
    bearer = {"Authorization": f"Bearer {key['key']}"}
    _, shown = await supervisor.call("GET", "/diagnostics/token", headers=bearer)
    assert (shown["carriers"]["scheme"], shown["name"]) == ("bearer", "panel")
    assert (shown["generation"], shown["refusals"]) == (None, []), "of those who may operate"
    assert (await supervisor.call("GET", "/diagnostics", headers=bearer))[0] == 403

    # nobody was logged in by all that
    assert len(await standin.log("login")) == logins

    # a second supervisor on the same data, after somebody has removed the lock; no number is to be
    # logged in twice for this test
    await supervisor.must("POST", "/sessions/loja-1/stop")
    await supervisor.wait_state("loja-1", "stopped")
    (supervisor.directory / "supervisor.lock").unlink()
    second = Supervisor(
        supervisor.directory, dict(supervisor.settings) | {"WHATSAPP_SHUTDOWN": "stop"}
    )
    pids = [supervisor.process.pid] if supervisor.process else []
    try:
        await second.start()
        pids += [second.process.pid] if second.process else []
        status, found = await doctor(second)
    finally:
        await second.close()
    assert status == 1
    first = found["issues"][0]
    assert "2 supervisors are at work" in first["description"]
    assert all(str(pid) in first["description"] for pid in pids)
    assert (first["severity"], first["commands"][1]) == ("critical", f"kill {pids[1]}")


async def test_bad_settings_are_the_first_finding_and_no_end_of_the_doctor(
    lab_directory: Any,
) -> None:
    home = Supervisor(lab_directory / "doctor-settings", {"WHATSAPP_API_PORT": "notaport"})
    try:
        done = await wasup(home, "doctor")
    finally:
        await home.close()
    assert done.status == 1
    assert "1. CRITICAL: The supervisor does not start with these settings" in done.said
    assert "WHATSAPP_API_PORT is 'notaport'" in done.said
    assert "Not checked: disks: the settings cannot be used." in done.said
    wrong = await wasup(home, "doctor", "--check", "disk", WHATSAPP_API_PORT="0")
    assert wrong.status == 2
    assert "There is no check disk. There are: settings, permissions" in wrong.said
