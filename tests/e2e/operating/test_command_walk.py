"""A number's whole life by the commands alone, with one supervisor for all of it: created, scanned,
written from, stopped, started, paired by code, unlinked, deleted; and what is looked at meanwhile.

It is one test of many steps, each of which goes on where the one before has ended.
"""

import asyncio
import inspect
import json
import re
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from scripts.lab import StandIn, Supervisor, eventually
from scripts.lab.preloaded import ForkedProcess
from scripts.lab.processes import ROOT
from scripts.lab.receiver import receiver
from scripts.lab.supervisor import PRELOADED
from tests.conftest import NUMBERS
from tests.lab_tools import must, wasup

pytestmark = pytest.mark.asyncio(loop_scope="session")

PAGE = ROOT / "docs" / "cli.md"
PHONE = "5511988880001"
EXAMPLE = "wh_0123456789abcdef"
"""The webhook of the manual."""
USAGE = 2
NO_SUPERVISOR = 3


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def supervisor(shared_standin: StandIn, lab_directory: Path) -> AsyncIterator[Supervisor]:
    """One for the module; its log is a file, as pm2's is."""
    settings = {"WHATSAPP_PERFORMANCE_MONITORING": "false"}  # how full this machine is
    supervisor = Supervisor(
        lab_directory / f"command-walk-{next(NUMBERS)}", shared_standin.environment() | settings
    )
    await supervisor.start()
    yield supervisor
    await supervisor.close()
    assert supervisor.process is not None
    assert supervisor.process.status == 0, supervisor.process.tail()


class Running:
    """A command that stays, and what it has said so far."""

    def __init__(self, process: ForkedProcess, errors: Path) -> None:
        self._process = process
        self._errors = errors

    @classmethod
    async def start(cls, supervisor: Supervisor, *arguments: str, cwd: Path = ROOT) -> "Running":
        out, err = (
            supervisor.directory.with_suffix(f".{time.monotonic_ns()}.{n}") for n in ("out", "err")
        )
        return cls(PRELOADED[0].start(arguments, supervisor.environment(), out, err, cwd), err)

    @property
    def out(self) -> str:
        return self._process.output.read_text()

    @property
    def err(self) -> str:
        return self._errors.read_text()

    async def says(self, words: str) -> None:
        """Wait until it has said this, on either stream."""

        async def said() -> str:
            return self.out + self.err

        await eventually(said, lambda text: words in text, what=f"{words!r}")

    async def status(self) -> int:
        """Wait for its end."""
        return await self._process.wait()

    async def end(self) -> None:
        """End it as Ctrl-C does."""
        self._process.signal(signal.SIGINT)
        await self.status()


async def answers(supervisor: Supervisor, *arguments: str) -> list[Any]:
    """What a command says with --json: each line of stdout is JSON, and stderr is empty."""
    done = await wasup(supervisor, *arguments, "--json")
    assert (done.status, done.err) == (0, ""), done
    return [json.loads(line) for line in done.out.splitlines()]


async def a_session_is_created_and_its_qr_stays_until_a_phone_has_scanned_it(
    supervisor: Supervisor, shared_standin: StandIn, tmp_path: Path
) -> None:
    creating = await Running.start(supervisor, "sessions", "create", "walk-1", "--wait")
    await creating.says("Linked devices")
    assert creating.out.count("█") > 500, "the QR is drawn"
    assert "\x1b" not in creating.out, "no terminal, no colours"
    picture = tmp_path / "qr.png"
    watching = await Running.start(supervisor, "sessions", "qr", "walk-1", "--png", str(picture))
    await watching.says(f"The QR is in {picture}")
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert picture.stat().st_mode & 0o077 == 0, "whoever has it can link the number"
    needed = await wasup(supervisor, "status")
    assert (needed.status, "Somebody is needed: 1 session waits" in needed.out) == (1, True), needed
    (shown,) = await answers(supervisor, "sessions", "qr", "walk-1")
    await shared_standin.scan(shown["qr"])
    assert await creating.status() == 0
    assert await watching.status() == 0
    seen = await supervisor.session("walk-1")
    assert f"walk-1 is open: it is linked to {seen['jid'].partition(':')[0]}." in creating.out
    again = await wasup(supervisor, "sessions", "create", "walk-1")
    assert (again.status, "walk-1" in again.err) == (1, True)


async def what_the_commands_show_is_what_the_api_says(supervisor: Supervisor) -> None:
    (listed,) = await answers(supervisor, "sessions", "list")
    assert [one["id"] for one in listed["sessions"]] == ["walk-1"]
    (shown,) = await answers(supervisor, "sessions", "show", "walk-1")
    assert shown["jid"] == (await supervisor.session("walk-1"))["jid"]
    assert "walk-1 is OPEN" in await must(supervisor, "sessions", "show", "walk-1")
    (status,) = await answers(supervisor, "status")
    assert (status["states"], status["needsSomebody"]) == ({"open": 1}, False)
    assert "1 session: 1 open" in await must(supervisor, "status")
    for command in (
        ("explain", "walk-1"),
        ("workers", "list"),
        ("capacity",),
        ("policy", "show"),
        ("policy", "reload"),
        ("sessions", "proxy", "show", "walk-1"),
        ("sessions", "archives", "walk-1"),
        ("store", "verify"),
    ):
        (answer,) = await answers(supervisor, *command)
        assert answer, command


async def an_unknown_id_is_told_with_those_that_look_like_it(supervisor: Supervisor) -> None:
    done = await wasup(supervisor, "sessions", "stop", "walk1")
    assert (done.status, "Is it walk-1?" in done.err) == (1, True), done
    done = await wasup(supervisor, "logs", "nobody-at-all")
    assert (done.status, "Nobody has written about nobody-at-all" in done.err) == (1, True), done


async def a_text_is_sent_and_stands_in_the_events(
    supervisor: Supervisor, shared_standin: StandIn
) -> None:
    said = await must(supervisor, "sessions", "send", "walk-1", "5511988887777", "bom dia")
    (sent,) = [m for m in await shared_standin.messages("walk-1") if m["text"] == "bom dia"]
    assert sent["id"] in said
    await eventually(
        lambda: wasup(supervisor, "events", "--session", "walk-1", "--json"),
        lambda done: any(
            json.loads(line)["data"].get("id") == sent["id"] for line in done.out.splitlines()
        ),
        what="the event of its delivery",
    )
    nobody = await wasup(supervisor, "events", "--session", "nobody")
    assert (nobody.status, nobody.out) == (0, "")
    states = await answers(supervisor, "events", "--type", "session.state", "-n", "2")
    assert len(states) == 2
    assert {event["type"] for event in states} == {"session.state"}
    lines = (await wasup(supervisor, "events", "--after", "0")).out.splitlines()
    assert [int(line.split()[2]) for line in lines] == list(range(1, len(lines) + 1))


async def the_calls_of_the_page_on_events_are_answered_as_it_says(
    supervisor: Supervisor,
) -> None:
    if shutil.which("curl") is None:
        return  # a bare machine has nothing to make them with; the calls themselves are tested
    page = (ROOT / "docs" / "events.md").read_text()
    blocks = re.findall(r"^```bash\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    calls = [line for block in blocks for line in block.splitlines()]
    assert len(calls) > 5
    for call in calls:
        command = shlex.split(call.replace("localhost:4001", supervisor.api))
        is_stream = "-sN" in command
        process = await asyncio.create_subprocess_exec(
            *command, "--max-time", "2" if is_stream else "20", stdout=subprocess.PIPE
        )
        said, _ = await process.communicate()
        if is_stream:
            assert said.startswith(b"retry: 3000\nid: "), call
            assert b"\ndata: {" in said, call
        else:
            assert json.loads(said)["last"] > 0, call


async def a_webhook_lives_by_commands_and_it_is_explained_whether_a_message_arrived(
    supervisor: Supervisor, shared_standin: StandIn
) -> None:
    misspelt = await wasup(
        supervisor, "webhooks", "create", "http://127.0.0.1:9/", "--type", "mesage.*"
    )
    assert (misspelt.status, "message.*" in misspelt.err) == (1, True), misspelt
    async with receiver() as found:
        (made,) = await answers(
            supervisor,
            *("webhooks", "create", found.url, "--type", "message.*", "--header", "X-Key: k3y"),
            *("--description", "orders"),
        )
        hook = made["id"]
        assert made["secret"].startswith("whsec_")
        assert "It was accepted (204)" in await must(supervisor, "webhooks", "test", hook)
        assert found.accepted[0].headers["x-key"] == "k3y"
        await must(supervisor, "sessions", "send", "walk-1", "5511988887777", "chegou?")
        (sent,) = [m for m in await shared_standin.messages("walk-1") if m["text"] == "chegou?"]
        explained = await eventually(
            lambda: wasup(supervisor, "explain-delivery", sent["id"]),
            lambda done: "DELIVERED" in done.out,
            what="its arrival",
        )
        assert (explained.status, "Everything has arrived" in explained.out) == (0, True), explained
        await found.be("error")
        failed = await wasup(supervisor, "webhooks", "test", hook)
        assert (failed.status, "It was not accepted: 500" in failed.err) == (1, True), failed
        await must(supervisor, "webhooks", "pause", hook)
        await must(supervisor, "sessions", "send", "walk-1", "5511988887777", "e agora?")
        (sent,) = [m for m in await shared_standin.messages("walk-1") if m["text"] == "e agora?"]
        explained = await eventually(
            lambda: wasup(supervisor, "explain-delivery", sent["id"], "--session", "walk-1"),
            lambda done: "PAUSED" in done.out,
            what="its event",
        )
        assert (explained.status, f"webhooks resume {hook}" in explained.out) == (1, True), (
            explained
        )
        (told,) = [
            json.loads(line)
            for line in (
                await wasup(supervisor, "explain-delivery", sent["id"], "--json")
            ).out.splitlines()
        ]
        assert {one["state"] for event in told["events"] for one in event["webhooks"]} == {"paused"}
        shown = await must(supervisor, "webhooks", "show", hook)
        assert f"{hook} is PAUSED (operator)" in shown
        assert "message.*" in shown
        assert "k3y" not in shown
        await found.be("kind")
        await must(supervisor, "webhooks", "resume", hook)
        await eventually(
            lambda: wasup(supervisor, "explain-delivery", sent["id"]),
            lambda done: done.status == 0,
            what="its arrival after the pause",
        )
        changed = await must(supervisor, "webhooks", "update", hook, "--session", "walk-2")
        assert "is changed" in changed
        assert "NOT ASKED" in (await wasup(supervisor, "explain-delivery", sent["id"])).out
    unknown = await wasup(supervisor, "explain-delivery", "3EB0NONE")
    assert (unknown.status, "goes back to" in unknown.err, "aged out" in unknown.err) == (
        1,
        True,
        True,
    )
    (rotated,) = await answers(supervisor, "webhooks", "rotate-secret", hook)
    assert rotated["secret"] != made["secret"]
    assert "redriven" in (await answers(supervisor, "webhooks", "redrive", hook, "--failed"))[0]
    neither = await wasup(supervisor, "webhooks", "redrive", hook)
    assert (neither.status, "--failed" in neither.err) == (USAGE, True), neither
    assert hook in await must(supervisor, "webhooks", "list")
    (listed,) = await answers(supervisor, "webhooks", "deliveries", hook)
    assert listed["next"] is None
    refused = await wasup(supervisor, "webhooks", "delete", hook)
    assert (refused.status, "--yes" in refused.err) == (USAGE, True), refused
    await must(supervisor, "webhooks", "delete", hook, "--yes")
    gone = await wasup(supervisor, "webhooks", "show", hook)
    assert (gone.status, hook in gone.err) == (1, True), gone


async def the_log_lines_of_worker_and_supervisor_stand_in_one_order(
    supervisor: Supervisor,
) -> None:
    found = await answers(supervisor, "logs", "walk-1", "--lines", "1000")
    assert {line["by"] for line in found} == {"worker", "supervisor"}
    assert [line["at"] for line in found] == sorted(line["at"] for line in found)
    said = (await wasup(supervisor, "logs", "walk-1", "-n", "1")).out
    assert len(said.splitlines()) == 1


async def a_session_is_stopped_started_and_made_to_connect_anew(
    supervisor: Supervisor, shared_standin: StandIn
) -> None:
    following = await Running.start(supervisor, "logs", "walk-1", "--follow", "-n", "0")
    assert "walk-1 is stopped." in await must(supervisor, "sessions", "stop", "walk-1")
    stopped = await wasup(supervisor, "sessions", "qr", "walk-1")
    assert (stopped.status, "wasup sessions start walk-1" in stopped.err) == (1, True), stopped
    assert "1 started." in await must(supervisor, "sessions", "start", "walk-1")
    await supervisor.wait_state("walk-1", "open")
    before = len(await shared_standin.log("login", session="walk-1"))
    (answer,) = await answers(supervisor, "sessions", "reconnect", "walk-1")
    assert answer["id"] == "walk-1"

    async def logins() -> int:
        return len(await shared_standin.log("login", session="walk-1"))

    await eventually(logins, lambda count: count == before + 1)
    await supervisor.wait_state("walk-1", "open")
    await following.says("session is open")
    await following.end()


async def a_proxy_is_set_and_cleared_at_rest(supervisor: Supervisor) -> None:
    await must(supervisor, "sessions", "create", "walk-2", "--no-start")
    for command in (("proxy", "set", "walk-2"), ("proxy", "walk-2")):  # also as it was before
        said = await must(supervisor, "sessions", *command, "http://user:secret@127.0.0.1:3128")
        assert "goes through http://127.0.0.1:3128" in said
        assert "secret" not in said
        (shown,) = await answers(supervisor, "sessions", "proxy", "show", "walk-2")
        assert shown == {"proxy": "http://127.0.0.1:3128"}
        assert "no proxy" in await must(supervisor, "sessions", "proxy", "clear", "walk-2")
    assert (await supervisor.session("walk-2"))["proxy"] is None


async def a_session_is_paired_by_a_code(supervisor: Supervisor, shared_standin: StandIn) -> None:
    await must(supervisor, "sessions", "start", "walk-2")
    pairing = await Running.start(
        supervisor, "sessions", "pair", "walk-2", "--phone", "+55 (11) 98888-0001"
    )
    await pairing.says("Link with phone number")
    (line,) = [line for line in pairing.out.splitlines() if line.startswith("Code for walk-2: ")]
    code = line.partition(": ")[2].replace("-", "")
    await shared_standin.call("POST", "/enter-code", {"phone": PHONE, "code": code})
    assert await pairing.status() == 0
    assert f"walk-2 is open: it is linked to {PHONE}." in pairing.out
    again = await wasup(supervisor, "sessions", "pair", "walk-2", "--phone", PHONE, "--json")
    assert (again.status, again.out) == (1, "")
    assert "is linked to" in again.err


async def the_events_are_followed_over_a_restart_of_the_supervisor(
    supervisor: Supervisor,
) -> None:
    following = await Running.start(
        supervisor, "events", "--follow", "--type", "session", "-n", "1", "--json"
    )
    await following.says('"n":')  # it follows from here on, however busy the machine is
    await must(supervisor, "sessions", "stop", "walk-2")
    await following.says('"stopped"')
    assert await supervisor.stop() == 0
    await following.says("Waiting for one")
    gone = await wasup(supervisor, "status")
    assert (gone.status, "wasup run" in gone.err) == (NO_SUPERVISOR, True), gone
    await supervisor.start()
    await following.says("A supervisor answers again")
    await must(supervisor, "sessions", "start", "walk-2")
    await supervisor.wait_state("walk-2", "open")
    await following.says('"open"')
    await following.end()
    numbers = [json.loads(line)["n"] for line in following.out.splitlines()]
    assert numbers == sorted(set(numbers)), "each once, in order"


async def what_nobody_takes_back_is_asked_first(
    supervisor: Supervisor, shared_standin: StandIn
) -> None:
    for command in (("logout", "walk-2"), ("delete", "walk-2"), ("delete", "--purge", "walk-2")):
        done = await wasup(supervisor, "sessions", *command)
        assert (done.status, "--yes" in done.err, done.out) == (USAGE, True, ""), done
    assert (await supervisor.session("walk-2"))["state"] == "open"
    await supervisor.wait_state("walk-1", "open")
    await must(supervisor, "sessions", "logout", "walk-2", "--yes")
    await supervisor.wait_state("walk-2", "stopped")
    await must(supervisor, "sessions", "delete", "walk-2", "--purge", "--yes")
    (answer,) = await answers(supervisor, "sessions", "delete", "walk-1", "--yes")
    assert answer["id"] == "walk-1"
    assert (await answers(supervisor, "sessions", "list"))[0]["sessions"] == []
    (restored,) = await answers(supervisor, "sessions", "restore", "walk-1", "--no-start")
    assert restored["archive"]["whole"] is True
    assert (await supervisor.session("walk-1"))["state"] == "stopped"


async def a_backup_is_made_and_verified_beside_the_running_supervisor(
    supervisor: Supervisor, tmp_path: Path
) -> None:
    (made,) = await answers(supervisor, "store", "backup", str(tmp_path / "backup.db"))
    assert made["sessions"] == 1
    said = await must(supervisor, "store", "verify", tmp_path / "backup.db")
    assert "is whole" in said
    (tmp_path / "text").write_text("no backup")
    done = await wasup(supervisor, "store", "verify", tmp_path / "text")
    assert (done.status, "is no backup" in done.err) == (1, True), done
    assert {file.name for file in tmp_path.iterdir()} == {"backup.db", "text"}


STEPS: tuple[Callable[..., Awaitable[None]], ...] = (
    a_session_is_created_and_its_qr_stays_until_a_phone_has_scanned_it,
    what_the_commands_show_is_what_the_api_says,
    an_unknown_id_is_told_with_those_that_look_like_it,
    a_text_is_sent_and_stands_in_the_events,
    the_calls_of_the_page_on_events_are_answered_as_it_says,
    a_webhook_lives_by_commands_and_it_is_explained_whether_a_message_arrived,
    the_log_lines_of_worker_and_supervisor_stand_in_one_order,
    a_session_is_stopped_started_and_made_to_connect_anew,
    a_proxy_is_set_and_cleared_at_rest,
    a_session_is_paired_by_a_code,
    the_events_are_followed_over_a_restart_of_the_supervisor,
    what_nobody_takes_back_is_asked_first,
    a_backup_is_made_and_verified_beside_the_running_supervisor,
)


@pytest.mark.timeout(900)  # some eighty commands, each a process
async def test_each_step_of_a_numbers_life_can_be_gone_by_the_commands_alone(
    supervisor: Supervisor, shared_standin: StandIn, tmp_path: Path
) -> None:
    for step in STEPS:
        print(f"step: {step.__name__}")
        folder = tmp_path / step.__name__
        folder.mkdir()
        given = {"supervisor": supervisor, "shared_standin": shared_standin, "tmp_path": folder}
        await step(**{name: given[name] for name in inspect.signature(step).parameters})


@pytest.mark.timeout(600)  # some thirty commands, each a process: a busy machine takes its time
async def test_the_blocks_of_the_manual_do_what_it_says_from_the_first_line_to_the_last(
    supervisor: Supervisor, shared_standin: StandIn, tmp_path: Path
) -> None:
    blocks = re.findall(r"^```bash\n(.*?)^```", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    commands = [shlex.split(line)[1:] for block in blocks for line in block.splitlines()]
    assert len(commands) > 20
    for words in commands:
        hooks = (await supervisor.get("/webhooks"))["webhooks"]
        command = [hooks[0]["id"] if word == EXAMPLE else word for word in words]
        running = await Running.start(supervisor, *command, cwd=tmp_path)
        if "--wait" in command:
            await running.says("Linked devices")
            qr = (await supervisor.get(f"/sessions/{command[2]}/qr"))["qr"]
            await shared_standin.scan(qr)
        assert await running.status() == 0, (command, running.out, running.err)
        if "--json" in command:
            assert json.loads(running.out), command
        await eventually(
            lambda: supervisor.get("/sessions"),
            lambda seen: all(
                one["state"] in {"open", "stopped", "parked"} for one in seen["sessions"]
            ),
            what=f"rest after {command}",
        )
