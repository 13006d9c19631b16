"""`explain`, end to end: a real session is dropped, killed over, logged out and stopped, and API
and command tell its story.
"""

from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from scripts.lab import StandIn, Supervisor, eventually, pair
from sessions.model import CloseReason as R
from sessions.views.explanations import TEXTS
from tests.conftest import StartSupervisor
from tests.lab_tools import must, wasup

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def told(supervisor: Supervisor, session: str) -> Any:
    return await supervisor.get(f"/sessions/{session}/explain")


async def story(supervisor: Supervisor, session: str, incidents: int, ending: str) -> Any:
    """The explanation, once its newest incident of so many has ended so: the store writes soon, not
    at once.
    """
    return await eventually(
        partial(told, supervisor, session),
        lambda seen: len(seen["timeline"]) == incidents and seen["timeline"][0]["ending"] == ending,
        what=f"{incidents} incidents of {session}, the last {ending}",
    )


async def test_a_session_tells_its_story_over_the_api_and_on_a_terminal(
    start_supervisor: StartSupervisor, standin: StandIn
) -> None:
    supervisor = await start_supervisor(shutdown="stop")
    await supervisor.must("POST", "/sessions", {"id": "explain-never", "start": False})
    await pair(supervisor, standin, "explain-me")

    # open, and nothing has ever happened
    calm = await eventually(
        partial(told, supervisor, "explain-me"),
        lambda seen: bool(seen["availability"]["since"]),
        what="a span on record",
    )
    assert (calm["state"], calm["timeline"], calm["whenNext"], calm["humanAction"]) == (
        "open",
        [],
        None,
        "Nothing.",
    )
    assert calm["availability"]["24h"] in {1.0, None}, "not a moment away since its first open"
    assert calm["budget"]["used"] >= 1
    assert "No incident is on record." in await must(supervisor, "explain", "explain-me")
    never = await told(supervisor, "explain-never")
    assert (never["state"], never["availability"]["since"]) == ("stopped", None)
    assert "never paired" in never["why"]

    # dropped and back
    await standin.fault("drop", "explain-me", how="reset")
    dropped = await story(supervisor, "explain-me", 1, "open")
    (incident,) = dropped["timeline"]
    assert (incident["reason"], incident["attempts"], len(incident["waits"])) == (
        "connection_closed",
        1,
        1,
    )
    assert "428" in incident["causeOnTheWire"]
    assert 0 < incident["costSeconds"] < 30
    assert dropped["reconnects24h"] == 1
    assert dropped["mttrSeconds"] == pytest.approx(incident["costSeconds"], abs=0.2)
    assert 0.0 < dropped["availability"]["24h"] < 1.0

    # a supervisor that dies leaves the record to its successor
    await supervisor.kill()
    await supervisor.start()
    await supervisor.wait_state("explain-me", "open")
    again = await told(supervisor, "explain-me")
    assert [each["beganAt"] for each in again["timeline"]] == [incident["beganAt"]]
    assert again["availability"]["since"] == calm["availability"]["since"]

    # forced, it is not said to have been lost
    await supervisor.must("POST", "/force-reconnection/explain-me")
    forced = await story(supervisor, "explain-me", 2, "open")
    assert (forced["timeline"][0]["reason"], "asked for it" in forced["why"]) == ("requested", True)

    # a wait has a time
    await standin.fault("stream-error", "explain-me", code=440)
    await supervisor.wait_state("explain-me", "waiting")
    waiting = await told(supervisor, "explain-me")
    assert waiting["why"] == TEXTS[R.REPLACED].why
    seconds = (datetime.fromisoformat(waiting["whenNext"]) - datetime.now(UTC)).total_seconds()
    assert 20 < seconds < 61
    assert waiting["whenNextWords"].startswith("in ")
    await supervisor.must("POST", "/force-reconnection/explain-me")
    await story(supervisor, "explain-me", 3, "open")

    # logged out on the phone: only a human can help
    await standin.call("POST", "/unlink", {"session": "explain-me"})
    await supervisor.wait_state("explain-me", "parked")
    parked = await story(supervisor, "explain-me", 4, "parked")
    assert (parked["why"], parked["whenNext"]) == (TEXTS[R.LOGGED_OUT].why, None)
    assert parked["whenNextWords"] == TEXTS[R.LOGGED_OUT].until
    assert "`wasup sessions start explain-me`" in parked["humanAction"]
    said = await must(supervisor, "explain", "explain-me")
    for answer in (
        parked["why"],
        parked["whenNextWords"],
        parked["humanAction"],
        "parked, away",
        "logged_out: 401",
        "back, away",
    ):
        assert answer in said

    # stopped by hand
    await supervisor.must("POST", "/sessions/explain-me/stop")
    stopped = await story(supervisor, "explain-me", 4, "stopped")
    assert stopped["whenNextWords"] == "when somebody starts it"

    # all incidents, and by session
    everything = await supervisor.get("/incidents")
    assert [each["reason"] for each in everything["incidents"]] == [
        "connection_closed",
        "requested",
        "replaced",
        "logged_out",
    ]
    assert everything["last"] == everything["incidents"][-1]["id"]
    newer = await supervisor.get(
        f"/incidents?session=explain-me&after={everything['incidents'][0]['id']}&limit=1"
    )
    assert [each["reason"] for each in newer["incidents"]] == ["requested"]
    assert newer["incidents"][0]["closes"][0]["rule"]
    assert (await supervisor.get("/incidents?session=explain-never"))["incidents"] == []

    # a purged session leaves nothing
    await supervisor.must("DELETE", "/sessions/explain-me?purge=true")
    assert (await supervisor.get("/incidents"))["incidents"] == []


async def test_what_cannot_be_explained_is_refused_in_a_sentence(
    start_supervisor: StartSupervisor,
) -> None:
    supervisor = await start_supervisor()
    for path, status in {
        "/sessions/explain-nobody/explain": 404,
        "/incidents?limit=many": 400,
        "/incidents?after=-1": 400,
        "/incidents?after=9999999999999999": 400,
        "/incidents?session=not%2Fa%2Fname": 400,
    }.items():
        seen, answer = await supervisor.call("GET", path)
        assert (seen, set(answer["error"])) == (status, {"code", "message", "hint"}), path
    assert (await supervisor.get("/incidents?after=999999999999999"))["incidents"] == []
    assert (await wasup(supervisor, "explain", "x&y")).status == 1
    done = await wasup(supervisor, "explain", "explain-nobody")
    assert (done.status, "There is no session" in done.err) == (1, True)
    assert (await wasup(supervisor, "explain", "not/a/name")).status == 1
