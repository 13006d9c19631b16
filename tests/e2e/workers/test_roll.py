"""Rolling the workers over to the code that is installed: one at a time, each socket closed once
and opened once, no text lost or doubled.
"""

import asyncio
import random
import shutil
import sys
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil
import pytest

from scripts.lab import StandIn, Supervisor, Traffic, eventually, pair
from scripts.lab.processes import ROOT
from scripts.lab.traffic import doubled
from supervisor.process.worker_code import worker_code
from tests.conftest import StartSupervisor

pytestmark = pytest.mark.asyncio(loop_scope="session")

SENDER = "5511999990000"


def upgrade(directory: Path) -> Path:
    """A copy of the program in which a worker's file says something else."""
    ignored = shutil.ignore_patterns("node_modules", "__pycache__", "*.test.js")
    for room in ("api", "sessions", "supervisor"):
        shutil.copytree(ROOT / room, directory / room, ignore=ignored)
    (directory / "sessions" / "worker" / "node_modules").symlink_to(
        ROOT / "sessions" / "worker" / "node_modules"
    )
    with (directory / "sessions" / "worker" / "session.js").open("a") as file:
        file.write("// the next version\n")
    return directory


async def roll(supervisor: Supervisor, *options: str) -> tuple[int, str]:
    """`wasup workers roll`; its exit status and what it says."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "supervisor", "workers", "roll", *options),
        env=supervisor.environment(),
        cwd=supervisor.root,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


def runs(worker: int) -> str:
    """The program that a worker was started with."""
    return psutil.Process(worker).cmdline()[-1]


async def comings_and_goings(
    standin: StandIn, names: list[str], after: int
) -> list[tuple[str, str]]:
    seen = await standin.log("login", "logout", "registered", after=after)
    return [(entry["session"], entry["event"]) for entry in seen if entry["session"] in names]


async def write_to_whom_is_down(standin: StandIn, names: list[str], after: int) -> dict[str, str]:
    """As soon as a session has lost its socket it is sent a text; the texts by their ids."""
    sent: dict[str, str] = {}
    waiting = set(names)
    while waiting:
        for entry in await standin.log("logout", after=after):
            if entry["session"] in waiting:
                waiting.remove(entry["session"])
                words = f"{entry['session']}, are you there?"
                sent[await standin.send_text(entry["session"], SENDER, words)] = words
        await asyncio.sleep(0.02)
    return sent


async def test_a_new_version_adopts_the_old_ones_workers_and_rolls_them_over_one_at_a_time(
    start_supervisor: StartSupervisor,
    standin: StandIn,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    # Who waits goes on waiting until the end, however slow the machine is.
    policy = tmp_path_factory.mktemp("policy") / "policy.toml"
    policy.write_text("[replaced]\nminimum_seconds = 3000\ncap_seconds = 3600\n")
    # where its code lies is looked at from outside
    supervisor = await start_supervisor(debuggable=True, policy_file=policy)
    names = ["rolled-a", "rolled-b", "rolled-c"]
    others = ["roll-waits", "roll-parked", "roll-stopped"]
    await pair(supervisor, standin, *names, *others)
    await standin.fault("replace", "roll-waits")
    await supervisor.wait_state("roll-waits", "waiting")
    await standin.fault("failure", "roll-parked", reason=403)
    await supervisor.wait_state("roll-parked", "parked")
    await supervisor.must("POST", "/sessions/roll-stopped/stop")
    old, before = await supervisor.workers(), await standin.last_entry()
    assert old.keys() == {*names, "roll-waits"}
    due = (await supervisor.reconnection("roll-waits"))["nextAttemptAt"]

    supervisor.root = upgrade(tmp_path)
    await supervisor.kill()
    await supervisor.start()
    for name in names:
        await supervisor.wait_state(name, "open")
    await supervisor.wait_state("roll-waits", "waiting")
    assert supervisor.process is not None
    assert psutil.Process(supervisor.process.pid).cwd() == str(tmp_path)
    seen = await supervisor.get("/workers")
    assert seen["code"] == worker_code(tmp_path / "sessions" / "worker") != worker_code()
    assert {worker["session"]: worker["pid"] for worker in seen["workers"]} == old
    assert (seen["outdated"], [worker["outdated"] for worker in seen["workers"]]) == (4, [True] * 4)
    assert await comings_and_goings(standin, names + others, before) == []

    texts = asyncio.create_task(write_to_whom_is_down(standin, names, before))
    status, said = await roll(supervisor)
    assert (status, said.strip()) == (0, "4 of 4 workers done.")
    sent = await texts
    for name in names:
        await supervisor.wait_state(name, "open")
    seen = await supervisor.get("/workers")
    new = {worker["session"]: worker["pid"] for worker in seen["workers"]}
    assert seen["outdated"] == 0
    assert set(new) == set(names), "who waits needs no worker before the wait is over"
    assert not set(new.values()) & set(old.values())
    assert all(runs(worker).startswith(str(tmp_path)) for worker in new.values())

    happened = await comings_and_goings(standin, names + others, before)
    assert sorted(happened) == sorted(
        (name, event) for name in names for event in ("login", "logout")
    )
    assert [event for _, event in happened] == ["logout", "login"] * 3, (
        "never more than one is down"
    )
    assert all(down == up for (down, _), (up, _) in list(pairwise(happened))[::2])
    assert await standin.log("overlap", after=before) == []
    waits = await supervisor.reconnection("roll-waits")
    assert (waits["state"], waits["nextAttemptAt"][:19]) == ("waiting", due[:19])
    assert [(await supervisor.session(name))["state"] for name in others[1:]] == [
        "parked",
        "stopped",
    ]

    async def received() -> list[tuple[str, str]]:
        events = await supervisor.every_event("message.received")
        return sorted((event["data"]["id"], event["data"]["text"]) for event in events)

    await eventually(received, lambda seen: len(seen) >= len(sent), what="the texts")
    await asyncio.sleep(0.5)  # time for a second copy
    assert await received() == sorted(sent.items())

    status, said = await roll(supervisor)
    assert (status, said.strip()) == (0, "0 of 0 workers done.")
    assert await supervisor.workers() == new
    await supervisor.must("POST", "/force-reconnection/roll-waits")
    await supervisor.wait_state("roll-waits", "open")
    assert runs((await supervisor.workers())["roll-waits"]).startswith(str(tmp_path))


async def test_a_roll_waits_until_a_number_is_quiet_and_what_comes_just_then_is_not_lost(
    start_supervisor: StartSupervisor, standin: StandIn
) -> None:
    supervisor = await start_supervisor(spare_workers=1)
    await pair(supervisor, standin, "busy")
    worker, before = (await supervisor.workers())["busy"], await standin.last_entry()
    await standin.send_text("busy", SENDER, "not now")
    await eventually(lambda: supervisor.events("message.received", "busy"))
    # Of the API, one after the other: a command takes seconds to start, and the roll waits five.
    await supervisor.must("POST", "/workers/roll?all=true")
    status, answer = await supervisor.call("POST", "/workers/roll?all=true")
    assert (status, answer["error"]["code"]) == (409, "rolling")

    async def replaced() -> Any:
        return (await supervisor.get("/workers"))["roll"]

    ended = await eventually(replaced, lambda seen: not seen["running"], what="the end of the roll")
    assert (ended["replaced"], ended["failed"]) == (1, [])
    await supervisor.wait_state("busy", "open")
    assert (await supervisor.workers())["busy"] != worker
    (text,) = await standin.log("message_in", session="busy", after=before)
    gone, back = await standin.log("login", "logout", session="busy", after=before)
    assert (gone["event"], back["event"]) == ("logout", "login")
    assert gone["time_ms"] - text["time_ms"] >= 5_000, "five seconds without a text"
    assert not psutil.pid_exists(worker)

    # Now it is quiet, so the socket changes hands at once: in the midst of these.
    traffic = Traffic(standin, ["busy"], every_seconds=0.02)
    await supervisor.must("POST", "/workers/roll?all=true")
    async with traffic:
        await eventually(
            partial(standin.log, "login", session="busy", after=back["n"]),
            what="the successor's login",
        )
    assert doubled(await traffic.arrived(supervisor)) == []
    await eventually(replaced, lambda seen: not seen["running"], what="the end of that roll")
    status, said = await roll(supervisor, "--all", "--no-wait")
    assert (status, said.strip() in {f"{done} of 1 workers done." for done in (0, 1)}) == (0, True)


async def test_a_supervisor_killed_in_the_midst_of_a_roll_leaves_each_session_one_worker_and_one_socket(
    start_supervisor: StartSupervisor, standin: StandIn
) -> None:
    """At moments at which two workers of a session may live: the old one, and its warm
    successor.
    """
    supervisor, rng = await start_supervisor(spare_workers=1), random.Random(7)
    names = ["midst-a", "midst-b"]
    await pair(supervisor, standin, *names)
    before = await standin.last_entry()
    for _ in range(4):
        await supervisor.must("POST", "/workers/roll?all=true")
        await asyncio.sleep(rng.uniform(0.0, 0.4))
        await supervisor.kill()
        await supervisor.start()
        for name in names:
            await supervisor.wait_state(name, "open", seconds=60)
            happened = [event for _, event in await comings_and_goings(standin, [name], before)]
            assert happened == ["logout", "login"] * (len(happened) // 2)
    workers = set((await supervisor.workers()).values())
    assert len(workers) == 2

    async def processes() -> set[int]:
        return {process.pid for process in supervisor.worker_processes()}

    await eventually(
        processes, lambda seen: workers < seen and len(seen) == 3, what="two workers, and one spare"
    )
    traffic = Traffic(standin, names, every_seconds=1.0)
    for name in names:
        await traffic.send(name, 0)
    assert doubled(await traffic.arrived(supervisor)) == []
