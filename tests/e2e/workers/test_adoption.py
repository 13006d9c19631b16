"""Adoption: workers outlive their supervisor, and its successor takes them over with their open
sockets. WhatsApp notices nothing.
"""

import asyncio
import random
import signal
import sqlite3
import time
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest

from scripts.lab import LabError, StandIn, Supervisor, Traffic, eventually, pair
from scripts.lab.traffic import doubled, out_of_order
from tests.conftest import StartSupervisor

pytestmark = pytest.mark.asyncio(loop_scope="session")

QUICK_GATE = {"gate_rate": 50, "gate_burst": 50}


async def all_open(supervisor: Supervisor, names: list[str]) -> None:
    for name in names:
        await supervisor.wait_state(name, "open", seconds=60)


async def noticed(standin: StandIn, names: list[str], after: int) -> list[tuple[str, str]]:
    """All that WhatsApp has seen of these sessions' sockets coming and going."""
    entries = await standin.log(
        "connected", "refused", "registered", "login", "logout", "overlap", after=after
    )
    return [(entry["session"], entry["event"]) for entry in entries if entry["session"] in names]


def lives(process: psutil.Process) -> bool:
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


async def all_gone(supervisor: Supervisor, seconds: float = 30.0) -> None:
    async def left() -> list[psutil.Process]:
        return supervisor.worker_processes()

    await eventually(left, lambda seen: not seen, seconds, "the end of all workers")


def edit(supervisor: Supervisor, statement: str, *values: object) -> None:
    """Change the store behind the back of a supervisor that is not running."""
    with sqlite3.connect(supervisor.directory / "wasup.db") as store:
        store.execute("PRAGMA foreign_keys = ON")
        assert store.execute(statement, values).rowcount == 1
    store.close()


def so_many(number: int, found: list[Any]) -> bool:
    """Whether there are so many."""
    return len(found) >= number


@pytest.mark.timeout(300)
async def test_whatsapp_notices_no_kill_of_the_supervisor_however_long_it_is_away(
    start_supervisor: StartSupervisor, standin: StandIn
) -> None:
    """Eight sessions under traffic; the successor comes after 0.2 s, 5 s and 50 s.

    The window is twice the default: on a busy machine the successor's start alone may take more
    than the 10 s that are left of 60.
    """
    supervisor = await start_supervisor(
        **QUICK_GATE, event_log_size=100_000, adoption_window=120_000
    )
    names = [f"adopted-{number}" for number in range(8)]
    await pair(supervisor, standin, *names)
    workers, before, paired = (
        await supervisor.workers(),
        await standin.last_entry(),
        await supervisor.last_event(),
    )
    traffic = Traffic(standin, names, every_seconds=1.0)
    async with traffic:
        for times, away_seconds in enumerate((0.2, 5.0, 50.0), 1):
            await asyncio.sleep(1.0)
            await supervisor.kill()
            await asyncio.sleep(away_seconds)
            await supervisor.start()
            await all_open(supervisor, names)
            assert await supervisor.workers() == workers
            # An event is shown when it is durable; a supervisor that is killed before that has told
            # nobody.
            told = partial(supervisor.every_event, "session.adopted", paired)
            await eventually(told, partial(so_many, len(names) * times), 60, "every adoption told")
        await asyncio.sleep(1.0)
    arrived = await traffic.arrived(supervisor)
    assert len(arrived) > len(names) * 30, "there was traffic all the time"
    assert (doubled(arrived), out_of_order(arrived)) == ([], [])
    assert await noticed(standin, names, before) == []
    adopted = await supervisor.every_event("session.adopted", paired)
    assert sorted(event["session"] for event in adopted) == sorted(names * 3)
    assert {event["data"]["pid"] for event in adopted} == set(workers.values())
    assert await supervisor.every_event("session.qr", paired) == []
    assert {
        event["data"]["state"] for event in await supervisor.every_event("session.state", paired)
    } == {
        "starting",
        "open",
    }


async def test_past_the_window_nothing_is_left_and_the_next_start_logs_in_once_each(
    start_supervisor: StartSupervisor, standin: StandIn
) -> None:
    supervisor = await start_supervisor(shutdown="detach", adoption_window=3000)
    names = ["past-a", "past-b", "past-c"]
    await pair(supervisor, standin, *names)
    before, paired = await standin.last_entry(), await supervisor.last_event()
    stopped_at = time.time()
    assert await supervisor.stop() == 0
    await all_gone(supervisor)

    logouts = await standin.log("logout", after=before)
    assert sorted(entry["session"] for entry in logouts) == names
    assert [entry["by"] for entry in logouts] == ["client"] * 3
    assert all(entry["time_ms"] / 1000 - stopped_at >= 3.0 for entry in logouts), (
        "not before the window was over"
    )
    assert list(supervisor.directory.rglob("*.sock")) == []
    assert [
        str(path) for path in supervisor.directory.rglob("*") if mode(path) != private(path)
    ] == []

    await supervisor.start()
    await all_open(supervisor, names)
    seen = await noticed(standin, names, logouts[-1]["n"])
    assert sorted(seen) == sorted(
        (name, event) for name in names for event in ("connected", "login")
    )
    assert await supervisor.every_event("session.qr", paired) == []


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def private(path: Path) -> int:
    return 0o700 if path.is_dir() else 0o600


async def test_a_stop_that_detaches_is_not_noticed_and_one_as_it_is_by_default_ends_the_workers_at_once(
    start_supervisor: StartSupervisor, standin: StandIn
) -> None:
    supervisor = await start_supervisor(shutdown="detach", spare_workers=1)
    names = ["stop-a", "stop-b"]
    await pair(supervisor, standin, *names)
    workers, before = await supervisor.workers(), await standin.last_entry()
    assert await supervisor.stop() == 0
    assert {process.pid for process in supervisor.worker_processes()} == set(workers.values()), (
        "the spare has ended"
    )

    supervisor.settings = {
        name: value for name, value in supervisor.settings.items() if name != "WHATSAPP_SHUTDOWN"
    }
    await supervisor.start()
    await all_open(supervisor, names)
    assert await supervisor.workers() == workers
    assert await noticed(standin, names, before) == []

    assert await supervisor.stop() == 0
    assert supervisor.worker_processes() == []
    assert sorted(await noticed(standin, names, before)) == [(name, "logout") for name in names]


async def test_a_second_signal_kills_even_workers_that_were_to_live_on(
    start_supervisor: StartSupervisor, standin: StandIn
) -> None:
    """The first signal has to wait, because a session is just being stopped whose worker is
    frozen.
    """
    supervisor = await start_supervisor(shutdown="detach")
    names = ["second-a", "second-b"]
    await pair(supervisor, standin, *names)
    workers = await supervisor.workers()
    frozen = psutil.Process(workers["second-a"])
    frozen.suspend()
    stopping = asyncio.create_task(supervisor.call("POST", "/sessions/second-a/stop"))
    await eventually(
        partial(wanted, supervisor, "second-a"), lambda seen: not seen, what="the stop"
    )
    assert supervisor.process is not None
    supervisor.process.signal(signal.SIGTERM)
    await logged(supervisor, "stopping")
    assert lives(frozen), "or the first signal has nothing to wait for"
    supervisor.process.signal(signal.SIGTERM)
    await logged(supervisor, "impatient_stop")
    assert await supervisor.process.wait() == 0
    assert supervisor.worker_processes() == []
    await asyncio.gather(stopping, return_exceptions=True)


async def wanted(supervisor: Supervisor, session: str) -> bool:
    return bool((await supervisor.session(session))["wanted"])


async def logged(supervisor: Supervisor, action: str) -> list[Any]:
    async def look() -> list[Any]:
        return supervisor.logged(action)

    return await eventually(look, what=f"{action} in the log")


async def test_answers_to_texts_that_an_earlier_supervisor_sent_are_not_taken_for_ours(
    start_supervisor: StartSupervisor, standin: StandIn
) -> None:
    """WhatsApp is frozen while one supervisor sends, is killed, and the next one sends: all answers
    come in one go.
    """
    supervisor = await start_supervisor(health_check_interval=600_000, probe_timeout=60_000)
    await pair(supervisor, standin, "sender")
    await supervisor.must("POST", "/sessions/sender/messages", text("we have met"))
    before = await standin.last_entry()
    standin.process.signal(signal.SIGSTOP)
    try:
        old = [
            asyncio.create_task(
                supervisor.must("POST", "/sessions/sender/messages", text(f"old {n}"))
            )
            for n in range(5)
        ]
        await asyncio.sleep(0.5)
        await supervisor.kill()
        await supervisor.start()
        await all_open(supervisor, ["sender"])
        new = {
            f"new {n}": asyncio.create_task(
                supervisor.must("POST", "/sessions/sender/messages", text(f"new {n}"))
            )
            for n in range(5)
        }
        await asyncio.sleep(0.5)
        assert not any(task.done() for task in new.values()), "WhatsApp has answered nothing yet"
    finally:
        standin.process.signal(signal.SIGCONT)
    assert all(
        isinstance(error, Exception) for error in await asyncio.gather(*old, return_exceptions=True)
    )
    answered = {(await task)["id"]: sent for sent, task in new.items()}

    async def came_out() -> dict[str, str]:
        return {message["id"]: message["text"] for message in await standin.messages("sender")}

    out = await eventually(came_out, lambda seen: len(seen) == 11, what="all texts")
    assert {identifier: out[identifier] for identifier in answered} == answered
    assert sorted(out.values()) == sorted(
        ["we have met", *(f"{age} {n}" for age in ("old", "new") for n in range(5))]
    )
    assert await noticed(standin, ["sender"], before) == []


def text(words: str) -> dict[str, str]:
    return {"to": "5511988887777", "text": words}


async def test_kills_at_random_moments_of_a_flood_neither_lose_nor_double_nor_swap_a_text(
    start_supervisor: StartSupervisor, standin: StandIn
) -> None:
    """Three kills of a supervisor that runs, three of one that is just starting."""
    supervisor = await start_supervisor()
    names = ["flood-a", "flood-b", "flood-c"]
    await pair(supervisor, standin, *names)
    workers, before, rng = await supervisor.workers(), await standin.last_entry(), random.Random(5)
    traffic = Traffic(standin, names, every_seconds=0.06)
    async with traffic:
        for _ in range(3):
            await asyncio.sleep(rng.uniform(0.1, 0.6))
            await supervisor.kill()
            starting = asyncio.create_task(supervisor.start())
            await asyncio.sleep(rng.uniform(0.0, 0.6))
            await supervisor.kill()
            with suppress(LabError):
                await starting
            await supervisor.start()
        await all_open(supervisor, names)
    arrived = await traffic.arrived(supervisor)
    assert len(arrived) >= 100, "it was a flood"
    assert (doubled(arrived), out_of_order(arrived)) == ([], [])
    assert await supervisor.workers() == workers
    assert await noticed(standin, names, before) == []


async def test_what_happened_while_the_supervisor_was_away_is_judged_once_and_the_rest_is_as_it_was(
    start_supervisor: StartSupervisor, standin: StandIn
) -> None:
    supervisor = await start_supervisor(**QUICK_GATE)
    names = ["dropped", "replaced", "waits", "parked", "stopped", "unwanted", "removed", "deleted"]
    await pair(supervisor, standin, *names)
    await standin.fault("replace", "waits")  # a wait of 30 to 60 s
    waiting = await supervisor.wait_state("waits", "waiting")
    await standin.fault("failure", "parked", reason=403)
    parked = await supervisor.wait_state("parked", "parked")
    await supervisor.must("POST", "/sessions/stopped/stop")
    await supervisor.must("DELETE", "/sessions/deleted")
    for name in ("shown", "scanned"):
        await supervisor.must("POST", "/sessions", {"id": name})
    shown, scanned = [
        await supervisor.wait_state(name, "qr") and await qr(supervisor, name)
        for name in ("shown", "scanned")
    ]
    workers, before, last = (
        await supervisor.workers(),
        await standin.last_entry(),
        await supervisor.last_event("shown", "scanned"),
    )
    assert workers.keys() == {
        "dropped",
        "replaced",
        "waits",
        "unwanted",
        "removed",
        "shown",
        "scanned",
    }

    await supervisor.kill()
    await standin.fault("drop", "dropped")
    await standin.fault("replace", "replaced")
    scan = asyncio.create_task(standin.scan(scanned))
    edit(
        supervisor, "UPDATE sessions SET wanted = 0 WHERE id = 'unwanted'"
    )  # a stop or a deletion of which only the row was done
    edit(supervisor, "DELETE FROM sessions WHERE id = 'removed'")
    await asyncio.sleep(0.5)
    assert await logins(standin, before) == [], "nobody comes back without a supervisor"
    await supervisor.start()

    await supervisor.wait_state("dropped", "open")
    await supervisor.last_event("dropped")
    changes = [event["data"] for event in await supervisor.events("session.state", "dropped", last)]
    closes = [change for change in changes if change["state"] not in {"starting", "open"}]
    assert [(c["state"], c["closeReason"], c["closeCode"], c["failures"]) for c in closes[:1]] == [
        ("waiting", "connection_closed", 428, 1)
    ]
    assert closes[0]["rule"]
    assert [change["failures"] for change in changes][-1] == 1, "judged once"
    replaced = await supervisor.wait_state("replaced", "waiting")
    assert (
        replaced["reconnection"]["closeReason"],
        replaced["reconnection"]["breaker"]["failures"],
    ) == ("replaced", 1)

    assert unchanged(await supervisor.session("waits")) == unchanged(waiting)
    assert unchanged(await supervisor.session("parked")) == unchanged(parked)
    assert (await supervisor.session("stopped"))["state"] == "stopped"
    assert (await supervisor.session("unwanted"))["state"] == "stopped"
    assert (await supervisor.call("GET", "/sessions/removed"))[0] == 404
    assert (await supervisor.call("GET", "/sessions/deleted"))[0] == 404

    assert (await supervisor.wait_state("scanned", "open"))["jid"] == await scan
    await supervisor.wait_state("shown", "qr")
    assert await qr(supervisor, "shown") == shown
    assert await standin.scan(shown) == (await supervisor.wait_state("shown", "open"))["jid"]

    kept = {"dropped", "replaced", "waits", "shown", "scanned"}
    assert await supervisor.workers() == {
        name: pid for name, pid in workers.items() if name in kept
    }
    await eventually(
        partial(pids, supervisor), lambda seen: not seen & {workers["unwanted"], workers["removed"]}
    )
    assert sorted(await logins(standin, before)) == ["dropped", "scanned", "shown"]

    await supervisor.kill()  # what was judged is not judged again
    await supervisor.start()
    assert unchanged(await supervisor.wait_state("replaced", "waiting")) == unchanged(replaced)
    assert unchanged(await supervisor.wait_state("waits", "waiting")) == unchanged(waiting)
    await supervisor.must("POST", "/force-reconnection/waits")
    await supervisor.wait_state("waits", "open")
    assert (await supervisor.workers())["waits"] == workers["waits"]
    assert sorted(await logins(standin, before)) == ["dropped", "scanned", "shown", "waits"]


async def pids(supervisor: Supervisor) -> set[int]:
    return {process.pid for process in supervisor.worker_processes()}


async def qr(supervisor: Supervisor, session: str) -> str:
    return str((await supervisor.get(f"/sessions/{session}/qr"))["qr"])


async def logins(standin: StandIn, after: int) -> list[str]:
    return [entry["session"] for entry in await standin.log("login", after=after)]


def unchanged(session: Any) -> tuple[Any, ...]:
    """What a restart must leave as it is; of the time of the next attempt, all but the last
    digits.
    """
    why = session["reconnection"]
    moment = why["nextAttemptAt"] and why["nextAttemptAt"][:19]
    return (
        session["state"],
        why["closeReason"],
        why["closedAt"],
        why["failures"],
        why["breaker"]["failures"],
        moment,
    )
