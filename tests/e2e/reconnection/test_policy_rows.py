"""Acceptance 3, end to end: for each code that the wire can make, the fault leads to the row's
action, with the real Baileys.

All sessions live in one supervisor at the default settings; the waits are read off the API and not
waited for.
"""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from scripts.lab import StandIn, Supervisor, eventually, pair
from tests.conftest import NUMBERS, environment

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(frozen=True)
class Row:
    """A fault on the wire and what the policy makes of it.

    `wait`: seconds until the next try, at most (None: no try).
    """

    name: str
    fault: str
    reason: str
    state: str
    code: int | None = None
    parameters: dict[str, Any] = field(default_factory=dict)
    wait: tuple[float, float] | None = None
    breaker: int = 1
    force: int = 202


def stream_error(code: int, reason: str, state: str, **more: Any) -> Row:
    return Row(f"stream-{code}", "stream-error", reason, state, code, {"code": code}, **more)


def failure(code: int, reason: str, state: str, **more: Any) -> Row:
    attributes = more.pop("attributes", {})
    parameters = {"reason": code, "attributes": attributes}
    return Row(f"failure-{code}", "failure", reason, state, code, parameters, **more)


COMMON = {"state": "waiting", "wait": (0.0, 2.0)}
"""A session that has been open for less than a minute waits for at most the base delay."""
SERVER = {"state": "waiting", "wait": (0.0, 5.0)}
PARKED = {"state": "parked", "breaker": 0, "force": 409}
REPAIR = {"state": "waiting", "wait": (0.0, 30.0)}

ROWS = [
    # transport: 428, or no code
    Row("fin", "drop", "connection_closed", code=428, parameters={"how": "fin"}, **COMMON),
    Row("rst", "drop", "connection_closed", code=428, parameters={"how": "reset"}, **COMMON),
    Row("ws-close", "close", "connection_closed", code=428, parameters={"code": 1011}, **COMMON),
    Row("stream-end", "stream-end", "connection_closed", code=428, **COMMON),
    stream_error(428, "connection_closed", **COMMON),
    # 500 is Baileys' word for anything unknown
    stream_error(500, "server_error", **SERVER),
    Row("stream-unknown", "stream-error", "server_error", code=500, parameters={"child": "whatever"}, **SERVER),
    # the server's own trouble
    stream_error(501, "unavailable", **SERVER),
    stream_error(503, "unavailable", **SERVER),
    failure(503, "unavailable", **SERVER),
    # rate limited: five steps further on (2 s x 2^5), counted twice
    stream_error(429, "rate_limited", "waiting", wait=(0.0, 64.0), breaker=2),
    # somebody else holds the device: no fight
    Row("replaced", "replace", "replaced", "waiting", 440, wait=(29.0, 60.0)),
    # bans
    failure(402, "temporarily_banned", "parked", attributes={"expire": "3600"}, wait=(3590.0, 3600.0), breaker=0, force=409),
    failure(403, "locked", **PARKED),
    failure(406, "banned", **PARKED),
    # the registration is refused: two tries
    failure(409, "repair_needed", **REPAIR),
    Row("downgrade", "downgrade", "repair_needed", code=411, **REPAIR),
    failure(415, "repair_needed", **REPAIR),
    failure(418, "repair_needed", **REPAIR),
    # a failure that nobody has explained: three tries
    failure(400, "unknown_failure", **REPAIR),
]  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def standin(lab_directory: Path) -> AsyncIterator[StandIn]:
    """A stand-in of this module's own, because its event loop is."""
    standin = await StandIn.start(lab_directory / "standin-rows")
    yield standin
    overlaps = await standin.log("overlap")
    await standin.close()
    assert overlaps == []


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fleet(standin: StandIn, lab_directory: Path) -> AsyncIterator[Supervisor]:
    """One supervisor with an open session for each row.

    No probe falls into a test, and no session becomes stable.
    """
    quiet = environment(
        {
            "health_check_interval": 600_000,
            "stable_after": 600_000,
            "gate_rate": 50,
            "gate_burst": 50,
        }
    )
    directory = lab_directory / f"rows-{next(NUMBERS)}"  # other tests may come between two of these
    supervisor = await Supervisor(directory, standin.environment() | quiet).start()
    await pair(supervisor, standin, *(row.name for row in ROWS))
    yield supervisor
    assert await supervisor.stop() == 0
    await supervisor.close()


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
async def test_a_fault_on_the_wire_leads_to_its_rows_action(
    row: Row, fleet: Supervisor, standin: StandIn
) -> None:
    registered = len(await standin.log("registered", session=row.name))
    if row.state == "waiting":  # keep it closed long enough to be looked at
        await standin.fault("stall-upgrade", row.name)
    last = await fleet.last_event(row.name)
    await standin.fault(row.fault, row.name, **row.parameters)
    changes = await eventually(
        lambda: fleet.events("session.state", row.name, after=last),
        what=f"{row.name} being noticed",
    )
    change = changes[0]["data"]

    assert (change["state"], change["closeReason"]) == (row.state, row.reason)
    assert change["closeCode"] == row.code
    assert change["breaker"]["failures"] == row.breaker
    assert change["breaker"]["state"] == "closed"
    assert change["rule"]
    assert change["humanAction"]
    wait = seconds_until(change["nextAttemptAt"], changes[0]["time"])
    assert (wait is None) == (row.wait is None)
    if row.wait is not None and wait is not None:
        assert row.wait[0] - 0.1 <= wait <= row.wait[1] + 0.1

    status, answer = await fleet.call("POST", f"/force-reconnection/{row.name}")
    assert status == row.force, answer
    if status == 409:
        assert answer["error"]["hint"]
        assert (await fleet.session(row.name))["state"] == "parked", "parked stays parked"
    else:
        await standin.mend()
        await fleet.wait_state(row.name, "open", seconds=60)
    assert len(await standin.log("registered", session=row.name)) == registered, (
        "the credentials were kept"
    )


def seconds_until(shown: str | None, since: str) -> float | None:
    """Seconds between two ISO times of the API."""
    if shown is None:
        return None
    return (datetime.fromisoformat(shown) - datetime.fromisoformat(since)).total_seconds()


@pytest.mark.parametrize("refusal", ["unlink", "failure"])
async def test_a_logged_out_session_is_parked_archived_and_pairs_anew(
    refusal: str, fleet: Supervisor, standin: StandIn
) -> None:
    """Fresh from its pairing (a 515 less than 60 s ago) it gets one probe; when that is refused
    too, it is parked for good.
    """
    name = f"gone-by-{refusal}"
    await pair(fleet, standin, name)
    if refusal == "unlink":
        await standin.call("POST", "/unlink", {"session": name})
    else:
        await standin.fault("login-failure", name, reason=401)
        await standin.fault("failure", name, reason=401)
    parked = await fleet.wait_state(name, "parked")
    assert parked["reconnection"]["closeReason"] == "logged_out"
    assert parked["reconnection"]["closeCode"] == 401
    assert parked["reconnection"]["nextAttemptAt"] is None
    assert parked["jid"] is None
    assert len(await standin.log("login_refused", session=name)) == 1, "one probe, and no more"
    status, answer = await fleet.call("POST", f"/force-reconnection/{name}")
    assert (status, answer["error"]["code"]) == (409, "logged_out")
    await standin.mend()
    await fleet.must("POST", f"/sessions/{name}/start")
    await fleet.wait_state(name, "qr")
    await fleet.must("POST", f"/sessions/{name}/stop")


async def test_a_replaced_session_does_not_fight_and_parks_after_two_tries(
    fleet: Supervisor, standin: StandIn
) -> None:
    await pair(fleet, standin, "duel")
    for _ in range(2):
        await standin.fault("replace", "duel")
        await fleet.wait_state("duel", "waiting")
        await fleet.must("POST", "/force-reconnection/duel")
        await fleet.wait_state("duel", "open")
    await standin.fault("replace", "duel")
    parked = await fleet.wait_state("duel", "parked")
    assert parked["reconnection"]["closeReason"] == "replaced"
    assert parked["reconnection"]["breaker"]["state"] == "open"
    assert parked["jid"], "the credentials are kept"
    await fleet.must("POST", "/force-reconnection/duel")
    await fleet.wait_state("duel", "open")


async def test_a_restart_required_reconnects_at_once_and_counts_nothing(
    fleet: Supervisor, standin: StandIn
) -> None:
    await pair(fleet, standin, "restart")
    last = await fleet.last_event("restart")
    await standin.fault("stream-error", "restart", code=515)
    await eventually(
        lambda: fleet.events("session.state", "restart", after=last),
        lambda seen: seen[-1:] and seen[-1]["data"]["state"] == "open",
    )
    changes = await fleet.events("session.state", "restart", after=last)
    assert changes[0]["data"]["closeReason"] == "restart_required"
    assert seconds_until(changes[0]["data"]["nextAttemptAt"], changes[0]["time"]) == pytest.approx(
        0.0, abs=0.1
    )
    assert changes[-1]["data"]["breaker"]["failures"] == 0


async def test_a_405_of_one_number_holds_nobody_a_second_ones_the_fleet_and_one_canary_releases_it(
    fleet: Supervisor, standin: StandIn
) -> None:
    await pair(fleet, standin, "outdated", "outdated-too", "bystander")
    for name in ("outdated", "outdated-too"):
        await standin.fault("login-failure", name, reason=405)
    await standin.fault("failure", "outdated", reason=405)
    alone = (await fleet.wait_state("outdated", "waiting"))["reconnection"]
    assert alone["closeReason"] == "client_outdated"
    assert alone["breaker"]["failures"] == 0, "it charges nobody's breaker"
    assert seconds_until(alone["nextAttemptAt"], alone["since"]) == pytest.approx(300, abs=31)
    assert (await fleet.get("/reconnection-status"))["gate"]["holds"] == []

    await standin.fault("failure", "outdated-too", reason=405)
    held = await fleet.wait_state("outdated-too", "held")
    gate = (await fleet.get("/reconnection-status"))["gate"]
    assert gate["holds"][0]["reason"] == "client_outdated"
    assert "canary" in gate["holds"][0]["words"]
    assert held["reconnection"]["breaker"]["failures"] == 0

    await standin.fault("drop", "bystander")
    await fleet.wait_state("bystander", "held")
    await fleet.must("POST", "/force-reconnection/outdated-too")
    await eventually(lambda: standin.log("login_refused", session="outdated-too"))
    await fleet.wait_state("outdated-too", "held")
    assert (await fleet.session("bystander"))["state"] == "held", (
        "a canary that fails releases nobody"
    )

    await standin.mend()
    await fleet.must("POST", "/force-reconnection/outdated-too")
    await fleet.wait_state("outdated-too", "open")
    await fleet.wait_state("bystander", "open")
    assert (await fleet.get("/reconnection-status"))["gate"]["holds"] == []


async def test_a_deaf_session_gets_its_socket_renewed_then_its_worker_and_is_then_left_alone(
    standin: StandIn, lab_directory: Path
) -> None:
    """Bytes arrive, but no probe is answered: at most twice in six hours, and the breaker is not
    charged.
    """
    quick = environment({"health_check_interval": 300, "probe_timeout": 500})
    supervisor = await Supervisor(lab_directory / "deaf", standin.environment() | quick).start()
    await pair(supervisor, standin, "deaf")
    talking = asyncio.create_task(keep_talking(standin, "deaf"))
    workers = [(await supervisor.session("deaf"))["performance"]["workerPid"]]
    for count in (1, 2):
        last = await supervisor.last_event("deaf")
        await standin.fault("deaf", "deaf")
        await eventually(
            partial(supervisor.events, "session.state", "deaf", after=last),
            lambda seen: seen[-1:] and seen[-1]["data"]["state"] == "open",
            what=f"deafness {count} being healed",
        )
        seen = await supervisor.session("deaf")
        assert seen["reconnection"]["closeReason"] == "deaf"
        assert seen["reconnection"]["breaker"]["failures"] == 0
        workers.append(seen["performance"]["workerPid"])
    assert workers[0] == workers[1] != workers[2]

    last = await supervisor.last_event("deaf")
    await standin.fault("deaf", "deaf")
    alerts = await eventually(
        partial(supervisor.events, "alert", "deaf", after=last), what="the alert"
    )
    told = alerts[0]["data"]
    assert (told["name"], told["message"], told["state"]) == ("deaf", "leave it and alert", "began")
    assert (await supervisor.session("deaf"))["state"] == "open"
    talking.cancel()
    await asyncio.gather(talking, return_exceptions=True)
    assert await supervisor.stop() == 0
    await supervisor.close()


async def keep_talking(standin: StandIn, session: str) -> None:
    while True:
        await standin.send_text(session, "5511999990000", "alô?")
        await asyncio.sleep(0.1)


async def test_a_qr_that_nobody_scans_is_given_up_until_a_human_asks_for_a_new_one(
    standin: StandIn, lab_directory: Path
) -> None:
    quick = environment({"qr_timeout": 300})
    supervisor = await Supervisor(
        lab_directory / "unscanned", standin.environment() | quick
    ).start()
    await supervisor.must("POST", "/sessions", {"id": "unscanned"})
    parked = await supervisor.wait_state("unscanned", "parked")
    assert parked["reconnection"]["closeReason"] == "qr_expired"
    assert parked["reconnection"]["closeCode"] == 408
    assert parked["reconnection"]["breaker"]["failures"] == 0
    await eventually(
        partial(supervisor.events, "session.qr", "unscanned"),
        lambda seen: len(seen) == 6,
        what="six codes",
    )
    status, answer = await supervisor.call("POST", "/force-reconnection/unscanned")
    assert (status, answer["error"]["code"]) == (409, "qr_expired")
    await supervisor.must("POST", "/sessions/unscanned/start")
    await supervisor.wait_state("unscanned", "qr")
    assert await supervisor.stop() == 0
    await supervisor.close()
