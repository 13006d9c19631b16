"""Who may hold a session: one worker, of the newest epoch, whose process we know.

Everybody else is refused, and told so or killed.
"""

import asyncio
import hashlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from operator import eq
from pathlib import Path
from typing import Any

import psutil
import pytest

from scripts.lab import StandIn, Supervisor, eventually, pair
from sessions.workers.worker_process import started_at_ticks
from tests.conftest import StartSupervisor

pytestmark = pytest.mark.asyncio(loop_scope="session")

ZOMBIE_SECONDS = 5.0
"""The acceptance is 2 s; a machine that runs all tests at once may be late.

The figure is printed.
"""

Frame = dict[str, Any]


def hello(worker: str, token: str, protocol: int = 2) -> Frame:
    about = {
        "pid": os.getpid(),
        "node_version": "v0",
        "baileys_version": "0",
        "code": "none",
        "sessions": [],
    }
    return {"type": "hello", "protocol": protocol, "worker": worker, "token": token, **about}


async def call_as(supervisor: Supervisor, said: bytes) -> tuple[list[Frame], bytes]:
    """Call on the workers' socket, say something first, and hear all until the supervisor hangs up:
    frames, and what is none.
    """
    directory = os.open(supervisor.directory, os.O_DIRECTORY)
    try:
        reader, writer = await asyncio.open_unix_connection(
            f"/proc/self/fd/{directory}/supervisor.sock"
        )
    finally:
        os.close(directory)
    writer.write(said + b"\n")
    async with asyncio.timeout(60):
        answer = await reader.read()
    writer.close()
    with suppress(ConnectionError):
        await writer.wait_closed()
    *lines, rest = answer.split(b"\n")
    return [json.loads(line) for line in lines], rest


def rows(supervisor: Supervisor, query: str) -> list[Any]:
    """Look into the store."""
    with closing(sqlite3.connect(supervisor.directory / "wasup.db", timeout=30)) as store:
        return store.execute(query).fetchall()


def edit(supervisor: Supervisor, statement: str, *values: object) -> None:
    """Change the store behind the back of a supervisor that is not running."""
    with closing(sqlite3.connect(supervisor.directory / "wasup.db")) as store, store:
        assert store.execute(statement, values).rowcount == 1


def await_worker(
    supervisor: Supervisor, name: str, session: str, pid: int, token: str, ticks: int | None = None
) -> None:
    """Make the next supervisor believe that this process is the worker of a session."""
    digest = hashlib.sha256(token.encode()).digest()
    started_at = started_at_ticks(pid) if ticks is None else ticks
    edit(
        supervisor,
        "INSERT INTO workers VALUES (?, ?, ?, ?, ?)",
        name,
        session,
        pid,
        started_at,
        digest,
    )


def token_of(worker: int) -> tuple[str, str]:
    """A worker's name and token, as anybody of the same user can read them."""
    environment = psutil.Process(worker).environ()
    return environment["WASUP_WORKER_ID"], environment["WASUP_WORKER_TOKEN"]


def lives(pid: int) -> bool:
    return started_at_ticks(pid) is not None


async def gone(pid: int, seconds: float = 30.0) -> float:
    """Wait for the end of a process; how long that took."""
    since = time.monotonic()

    async def alive() -> bool:
        return lives(pid)

    await eventually(alive, lambda seen: not seen, seconds, f"the end of process {pid}")
    return time.monotonic() - since


async def history(standin: StandIn, session: str, after: int) -> list[str]:
    """Logins and logouts in their order, as WhatsApp saw them."""
    return [
        entry["event"]
        for entry in await standin.log("login", "logout", "overlap", session=session, after=after)
    ]


async def replaced(supervisor: Supervisor, session: str, *former: int) -> int:
    """Wait until the session is open on a new worker; its pid."""
    seen = await eventually(
        partial(supervisor.session, session),
        lambda seen: (
            seen["state"] == "open" and seen["performance"]["workerPid"] not in {None, *former}
        ),
        what=f"{session} being open on another worker",
    )
    return int(seen["performance"]["workerPid"])


async def received(supervisor: Supervisor, session: str) -> list[str]:
    return [event["data"]["text"] for event in await supervisor.events("message.received", session)]


@contextmanager
def process(*command: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process in a session of its own, as workers are; it does not outlive the block."""
    started = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, start_new_session=True
    )
    try:
        yield started
    finally:
        with suppress(ProcessLookupError):
            started.kill()
        started.communicate()


async def test_strangers_on_the_workers_socket_are_refused_and_disturb_nobody(
    start_supervisor: StartSupervisor, standin: StandIn
) -> None:
    supervisor = await start_supervisor()
    await pair(supervisor, standin, "undisturbed")
    worker, before = (await supervisor.workers())["undisturbed"], await standin.last_entry()
    name, token = token_of(worker)
    strangers = {
        "of another installation": json.dumps(
            hello("9f8e7d6c-1", "an honest token of another data directory")
        ),
        "with a wrong token": json.dumps(hello(name, token[::-1])),
        "with a stolen token": json.dumps(hello(name, token)),
        "of an older protocol": json.dumps(hello(name, token, protocol=1)),
        "without a hello": '{"type": "beat", "lag_ms": 0, "rss_bytes": 0, "heap_bytes": 0}',
        "with no frame at all": "GET / HTTP/1.1",
    }
    for words in strangers.values():
        (answer,), rest = await call_as(supervisor, words.encode())
        assert (answer["type"], rest) == ("refuse", b"")
        assert answer["reason"]
        assert token not in answer["reason"]
    assert len(supervisor.logged("connection_closed")) == len(strangers)
    assert (await supervisor.workers())["undisturbed"] == worker
    assert (await supervisor.session("undisturbed"))["state"] == "open"
    assert await history(standin, "undisturbed", before) == []


async def test_who_has_stolen_the_token_of_a_worker_that_is_awaited_is_refused_and_the_worker_adopted(
    share_supervisor: StartSupervisor, standin: StandIn
) -> None:
    """Its name is known, its token is right, but it is not the process that was started."""
    supervisor = await share_supervisor()
    await pair(supervisor, standin, "awaited")
    worker, before = (await supervisor.workers())["awaited"], await standin.last_entry()
    os.kill(worker, signal.SIGSTOP)
    await supervisor.kill()
    await supervisor.start()
    (answer,), _ = await call_as(supervisor, json.dumps(hello(*token_of(worker))).encode())
    assert (answer["type"], answer["reason"]) == (
        "refuse",
        "a hello from another process than the one that was started",
    )
    assert (await supervisor.session("awaited"))["state"] == "starting"
    os.kill(worker, signal.SIGCONT)
    await supervisor.wait_state("awaited", "open")
    assert (await supervisor.workers())["awaited"] == worker
    assert await history(standin, "awaited", before) == []


OLD_WORKER = """
import os, socket, sys, time
directory, hello, lingers = sys.argv[1:]
os.chdir(directory)
while True:
    try:
        line = socket.socket(socket.AF_UNIX)
        line.connect("supervisor.sock")
        break
    except OSError:
        time.sleep(0.05)
line.sendall(hello.encode() + b"\\n")
print(line.makefile().readline(), end="", flush=True)
time.sleep(float(lingers))
"""


@pytest.mark.parametrize("lingers", [0, 600], ids=["that obeys", "that does not understand"])
async def test_a_worker_of_an_older_protocol_is_refused_and_ended_and_its_session_given_to_another(
    lingers: int, share_supervisor: StartSupervisor, standin: StandIn
) -> None:
    """A fake, awaited as the holder of a session whose real worker has ended meanwhile."""
    supervisor, session = await share_supervisor(), f"older-{lingers}"
    await pair(supervisor, standin, session)
    real, before = (await supervisor.workers())[session], await standin.last_entry()
    await supervisor.kill()
    os.kill(real, signal.SIGKILL)
    await gone(real)
    words = json.dumps(hello("older", "its token", protocol=1))
    with process(
        sys.executable, "-c", OLD_WORKER, str(supervisor.directory), words, str(lingers)
    ) as fake:
        await_worker(supervisor, "older", session, fake.pid, "its token")
        await supervisor.start()
        assert fake.stdout is not None
        answer = json.loads(await asyncio.to_thread(fake.stdout.readline))
        assert answer == {
            "type": "refuse",
            "reason": "the first frame is not a hello of this protocol",
        }
        assert await asyncio.to_thread(fake.wait, 10) == (-signal.SIGKILL if lingers else 0)
        await replaced(supervisor, session, real, fake.pid)
    assert await history(standin, session, before) == ["logout", "login"]
    await eventually(
        partial(known_workers, supervisor),
        lambda seen: "older" not in seen,
        what="its row being gone",
    )


async def known_workers(supervisor: Supervisor) -> list[str]:
    return [name for (name,) in rows(supervisor, "SELECT id FROM workers")]


async def test_a_process_that_has_a_workers_former_pid_lives_on(
    share_supervisor: StartSupervisor, standin: StandIn
) -> None:
    supervisor = await share_supervisor()
    await pair(supervisor, standin, "recycled")
    real, before = (await supervisor.workers())["recycled"], await standin.last_entry()
    await supervisor.kill()
    os.kill(real, signal.SIGKILL)
    await gone(real)
    with process("sleep", "600") as innocent:
        ticks = started_at_ticks(innocent.pid)
        assert ticks is not None
        await_worker(supervisor, "recycled-1", "recycled", innocent.pid, "a token", ticks - 1)
        await supervisor.start()
        await replaced(supervisor, "recycled", real)
        assert await supervisor.stop() == 0
        assert innocent.poll() is None
    assert "recycled-1" not in await known_workers(supervisor)
    assert await history(standin, "recycled", before) == ["logout", "login", "logout"]


async def test_a_worker_of_an_older_epoch_is_refused_and_ends_before_another_logs_in(
    share_supervisor: StartSupervisor, standin: StandIn
) -> None:
    supervisor = await share_supervisor()
    await pair(supervisor, standin, "outrun", "beside")
    workers, before = await supervisor.workers(), await standin.last_entry()
    await supervisor.kill()
    edit(supervisor, "UPDATE sessions SET epoch = epoch + 1 WHERE id = 'outrun'")
    await standin.send_text("outrun", "5511999990000", "to the old one")
    await supervisor.start()
    await replaced(supervisor, "outrun", workers["outrun"])
    await supervisor.wait_state("beside", "open")
    assert not lives(workers["outrun"])
    assert await history(standin, "outrun", before) == ["logout", "login"]
    refused = supervisor.logged("worker_refused")
    assert [(entry["pid"], "of epoch" in entry["event"]) for entry in refused] == [
        (workers["outrun"], True)
    ]
    assert exit_status(supervisor, "outrun") == 5
    await eventually(
        partial(received, supervisor, "outrun"), lambda seen: seen == ["to the old one"]
    )
    assert (await supervisor.workers())["beside"] == workers["beside"]
    assert await history(standin, "beside", before) == []


def exit_status(supervisor: Supervisor, session: str) -> int | None:
    """What the former worker of a session says in its log of its own end."""
    lines = (supervisor.directory / "logs" / f"worker-{session}.log.1").read_text().splitlines()
    last = json.loads(lines[-1])
    return int(last["status"]) if "status" in last else None


async def test_a_forgotten_worker_that_wakes_writes_nothing_and_is_gone_within_seconds(
    lab_directory: Path,
) -> None:
    """A zombie: frozen when its supervisor died, and its row is lost.

    Its session has another worker when it wakes.

    Here two logins do overlap, as WhatsApp sees it: nobody can end a process that nobody knows of.
    So this has a stand-in of its own.
    """
    standin = await StandIn.start(lab_directory / "standin-zombie")
    supervisor = await Supervisor(lab_directory / "zombie", standin.environment()).start()
    try:
        await pair(supervisor, standin, "haunted")
        zombie, before = (await supervisor.workers())["haunted"], await standin.last_entry()
        os.kill(zombie, signal.SIGSTOP)
        await standin.send_text("haunted", "5511999990000", "to the zombie, unread")
        await supervisor.kill()
        edit(supervisor, "DELETE FROM workers WHERE pid = ?", zombie)
        await supervisor.start()
        heir = await replaced(supervisor, "haunted", zombie)
        await eventually(
            partial(received, supervisor, "haunted"), lambda seen: seen == ["to the zombie, unread"]
        )
        await asyncio.sleep(1.0)  # the heir's own last writes
        kept, last = await auth(supervisor), await supervisor.last_event("haunted")

        os.kill(zombie, signal.SIGCONT)
        lived_seconds = await gone(zombie)
        print(f"\nthe zombie lived for {lived_seconds:.2f} s")
        assert lived_seconds < ZOMBIE_SECONDS
        assert await auth(supervisor) == kept
        await standin.send_text("haunted", "5511999990000", "to the heir")
        await eventually(
            partial(received, supervisor, "haunted"),
            lambda seen: seen == ["to the zombie, unread", "to the heir"],
        )
        assert await supervisor.events("session.state", "haunted", last) == []
        assert (await supervisor.workers())["haunted"] == heir
        assert "login" not in (await history(standin, "haunted", before))[2:], (
            "no login but the heir's"
        )
        assert supervisor.logged("connection_closed"), "it has called and was refused"
        assert await supervisor.stop() == 0
        assert supervisor.worker_processes() == []
    finally:
        await supervisor.close()
        await standin.close()


async def auth(supervisor: Supervisor) -> list[Any]:
    return rows(supervisor, "SELECT * FROM auth ORDER BY session, kind, name")


async def test_frozen_and_killed_workers_are_replaced_by_the_next_supervisor_and_no_two_logins_overlap(
    share_supervisor: StartSupervisor, standin: StandIn
) -> None:
    """The next supervisor waits 10 s for the frozen one's call; then it is killed, and only then
    its session given to another.
    """
    supervisor = await share_supervisor()
    names = ["stopped-cold", "shot", "both", "neither"]
    await pair(supervisor, standin, *names)
    workers, before = await supervisor.workers(), await standin.last_entry()
    os.kill(workers["stopped-cold"], signal.SIGSTOP)
    await supervisor.kill()
    os.kill(workers["shot"], signal.SIGKILL)
    os.kill(workers["both"], signal.SIGSTOP)
    os.kill(workers["both"], signal.SIGKILL)
    for name in names:
        await standin.send_text(name, "5511999990000", f"to {name}")
    await supervisor.start()
    for name in names[:3]:
        await replaced(supervisor, name, workers[name])
        assert not lives(workers[name])
        assert await history(standin, name, before) == ["logout", "login"]
        await eventually(partial(received, supervisor, name), partial(eq, [f"to {name}"]))
    assert len(supervisor.logged("silent_worker")) == 1
    assert (await supervisor.workers())["neither"] == workers["neither"]
    assert await history(standin, "neither", before) == []


async def test_a_frozen_worker_of_a_stopped_session_is_awaited_by_every_start_and_stop(
    share_supervisor: StartSupervisor, standin: StandIn
) -> None:
    """A start that a stop calls off must not let the next start past the old worker, whose socket
    is still open.
    """
    supervisor = await share_supervisor()
    await pair(supervisor, standin, "hesitant")
    frozen, before = (await supervisor.workers())["hesitant"], await standin.last_entry()
    os.kill(frozen, signal.SIGSTOP)
    stop = asyncio.create_task(supervisor.call("POST", "/sessions/hesitant/stop"))

    async def wanted() -> bool:
        return bool(rows(supervisor, "SELECT wanted FROM sessions WHERE id = 'hesitant'")[0][0])

    await eventually(wanted, lambda seen: not seen, what="the stop being durable")
    await supervisor.kill()
    await asyncio.gather(stop, return_exceptions=True)
    await supervisor.start()
    await supervisor.must("POST", "/sessions/hesitant/start")
    assert lives(frozen)
    assert (await supervisor.session("hesitant"))["state"] == "starting"
    await supervisor.must("POST", "/sessions/hesitant/stop")
    assert not lives(frozen), "stopped means that nobody is logged in"
    assert await history(standin, "hesitant", before) == ["logout"]
    await supervisor.must("POST", "/sessions/hesitant/start")
    await replaced(supervisor, "hesitant", frozen)
    assert await history(standin, "hesitant", before) == ["logout", "login"]


async def test_calls_that_cross_do_not_bring_two_workers_to_a_session_either(
    share_supervisor: StartSupervisor, standin: StandIn
) -> None:
    """As above, but nobody waits for an answer before the next call; and a session that is deleted
    waits for its worker's end, too.
    """
    supervisor = await share_supervisor()
    names = ["crossing", "cleared-away"]
    await pair(supervisor, standin, *names)
    workers, before = await supervisor.workers(), await standin.last_entry()
    await supervisor.kill()
    for name in names:
        os.kill(workers[name], signal.SIGSTOP)
        edit(supervisor, "UPDATE sessions SET wanted = 0 WHERE id = ?", name)
    await supervisor.start()
    deleted = asyncio.create_task(supervisor.must("DELETE", "/sessions/cleared-away"))
    calls = []
    for command in ("start", "stop", "start"):
        calls.append(asyncio.create_task(supervisor.must("POST", f"/sessions/crossing/{command}")))
        await asyncio.sleep(0.2)
    await replaced(supervisor, "crossing", workers["crossing"])
    await asyncio.gather(*calls)
    assert not lives(workers["crossing"])
    assert await history(standin, "crossing", before) == ["logout", "login"]
    await deleted
    assert not lives(workers["cleared-away"])
    assert await history(standin, "cleared-away", before) == ["logout"]
