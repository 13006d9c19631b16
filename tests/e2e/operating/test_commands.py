"""The operator's commands, as processes of their own: they do it, or say in a sentence what went
wrong.
"""

import asyncio
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from typer.testing import CliRunner

from scripts.lab import StandIn, Supervisor, pair
from scripts.lab.processes import ROOT
from supervisor.cli import cli
from supervisor.process.lock import DirectoryLock
from tests.conftest import StartSupervisor
from tests.lab_tools import Done, must, wasup

pytestmark = pytest.mark.asyncio(loop_scope="session")

NO_SUPERVISOR = 3
TOKEN = "correct-horse-battery-staple"
OVER_THE_API = [
    ("sessions", "list"),
    ("workers", "list"),
    ("workers", "roll"),
    ("explain", "loja-1"),
    ("status",),
    ("events",),
    ("sessions", "qr", "loja-1"),
    ("sessions", "delete", "loja-1", "--yes"),
]
"""Commands that need a running supervisor."""
COMMANDS = {
    # what is asked for help -> what its help speaks of
    (): ["run", "status", "sessions", "events", "logs", "store", "--directory", "Exit status"],
    ("run",): ["environment"],
    ("sessions",): ["list", "import", "export", "archives", "restore"],
    ("sessions", "list"): ["--state", "--for-me"],
    ("sessions", "import"): ["--skip-unreadable", "--start", "440"],
    ("sessions", "export"): ["useMultiFileAuthState"],
    ("sessions", "archives"): ["deleted session"],
    ("sessions", "restore"): ["--archive", "--no-start"],
    ("sessions", "proxy"): ["set", "show", "clear"],
    ("sessions", "proxy", "set"): ["stdin", "none"],
    ("sessions", "create"): ["--wait", "--proxy", "QR"],
    ("sessions", "delete"): ["--purge", "--yes"],
    ("events",): ["--follow", "--after", "--type", "--session"],
    ("logs",): ["--follow", "--lines"],
    ("workers",): ["list", "roll"],
    ("workers", "list"): ["older code"],
    ("workers", "roll"): ["--all", "--no-wait"],
    ("store",): ["backup", "restore", "verify", "rotate-key"],
    ("store", "rotate-key"): ["WHATSAPP_STORE_KEY"],
    ("store", "rotate"): ["WHATSAPP_STORE_KEY"],
    ("explain",): ["why", "--all"],
    ("backup",): ["supervisor runs"],
    ("restore",): ["empty"],
}


def failed(done: Done, *words: str, status: int = 1) -> None:
    """It ended badly, and said so on stderr and nowhere else, in few words."""
    assert done.status == status, done
    assert done.out == ""
    assert 0 < len(done.err.splitlines()) <= 3, "a sentence or two"
    for word in words:
        assert word in done.said


@pytest_asyncio.fixture(loop_scope="session")
async def nowhere(tmp_path: Path) -> AsyncIterator[Supervisor]:
    """A data directory where nothing runs and nothing ever has."""
    supervisor = Supervisor(tmp_path / "nowhere", {})
    yield supervisor
    await supervisor.close()


async def all_fail(
    supervisor: Supervisor, commands: list[tuple[str, ...]], *words: str, status: int = 1
) -> None:
    for done in await asyncio.gather(*(wasup(supervisor, *command) for command in commands)):
        failed(done, *words, status=status)


async def test_every_command_explains_itself(nowhere: Supervisor) -> None:
    for command, words in COMMANDS.items():
        shown = CliRunner().invoke(cli.app, [*command, "--help"])
        assert shown.exit_code == 0, command
        for word in words:
            assert word in shown.output, command
    done = await wasup(nowhere, "sessions", "--help")  # and once as a process
    assert (done.status, "import" in done.out) == (0, True)
    assert not nowhere.directory.exists()


async def test_without_a_supervisor_each_command_says_so_and_makes_nothing(
    nowhere: Supervisor, tmp_path: Path
) -> None:
    await all_fail(
        nowhere,
        OVER_THE_API,
        *("No supervisor runs on", str(nowhere.directory), "wasup run", "WHATSAPP_DATA_DIR"),
        status=NO_SUPERVISOR,
    )
    offline: list[tuple[str, ...]] = [
        ("sessions", "archives", "loja-1"),
        ("sessions", "export", "loja-1", str(tmp_path / "out")),
        ("sessions", "restore", "loja-1"),
        ("store", "rotate"),
        ("store", "verify"),
        ("backup", str(tmp_path / "backup")),
    ]
    await all_fail(nowhere, offline, "There is no store in", str(nowhere.directory))
    failed(await wasup(nowhere, "sessions", "import", tmp_path), "holds no credentials")
    assert list(tmp_path.iterdir()) == []
    bad = await wasup(nowhere, "sessions", "list", WHATSAPP_API_PORT="many")
    assert (bad.status, "WHATSAPP_API_PORT" in bad.err) == (78, True)
    assert (await wasup(nowhere, "sessions", "import", tmp_path / "not there")).status == 2


async def test_a_supervisor_that_is_starting_or_does_not_answer_is_told_apart_from_none(
    nowhere: Supervisor,
) -> None:
    nowhere.directory.mkdir()
    with DirectoryLock(nowhere.directory, "127.0.0.1:4001") as lock:
        await all_fail(nowhere, OVER_THE_API[:2], "just starting", status=NO_SUPERVISOR)
        lock.note("http://127.0.0.1:1")
        await all_fail(
            nowhere,
            OVER_THE_API[:2],
            *("http://127.0.0.1:1", "does not answer"),
            status=NO_SUPERVISOR,
        )
    with DirectoryLock(nowhere.directory, command="wasup store rotate"):
        await all_fail(
            nowhere,
            OVER_THE_API[:2],
            *("`wasup store rotate` (pid", "try again when that has ended"),
            status=NO_SUPERVISOR,
        )
        started = await wasup(nowhere, "run")
        assert (started.status, "is held by `wasup store rotate`" in started.said) == (1, True)
    failed(await wasup(nowhere, "sessions", "list"), "No supervisor runs on", status=NO_SUPERVISOR)


async def test_lists_show_every_session_and_its_worker_on_a_line_and_a_roll_replaces_them(
    share_supervisor: StartSupervisor, standin: StandIn
) -> None:
    supervisor = await share_supervisor()
    long = "l" + "o" * 58 + "nga-1"
    await pair(supervisor, standin, "listed", long)
    await supervisor.must("POST", "/sessions", {"id": "idle", "start": False})
    sessions = (await wasup(supervisor, "sessions", "list")).out.splitlines()
    for name, state in {"listed": "open", long: "open", "idle": "stopped"}.items():
        (line,) = [line for line in sessions if line.split()[0] == name]
        seen = await supervisor.session(name)
        assert line.split()[1] == state
        assert (seen["jid"] or "") in line
        assert seen["reconnection"]["humanAction"] in line
    pids = await supervisor.workers()
    workers = (await wasup(supervisor, "workers", "list")).out.splitlines()
    assert {line.split()[0]: line.split()[2] for line in workers[1:]} == {
        name: str(pid) for name, pid in pids.items()
    }
    await must(supervisor, "workers", "roll")
    assert await supervisor.workers() == pids, "nobody runs older code"
    busy: list[tuple[tuple[str, ...], str]] = [
        (("sessions", "export", "nobody", "/tmp/not-written"), "no credentials"),
        (("sessions", "export", "listed", str(supervisor.directory)), "is not empty"),
        (("sessions", "archives", "not/a/name"), "is not a session id"),
        (("store", "rotate"), "held by another supervisor"),
    ]
    for (_, words), done in zip(
        busy, await asyncio.gather(*(wasup(supervisor, *c) for c, _ in busy)), strict=True
    ):
        failed(done, words)


async def test_commands_reach_a_supervisor_that_wants_a_token_and_listens_everywhere(
    start_supervisor: StartSupervisor,
) -> None:
    supervisor = await start_supervisor(api_token=TOKEN, api_host="0.0.0.0")
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    await supervisor.call("POST", "/sessions", {"id": "behind", "start": False}, headers=bearer)
    assert "behind" in await must(supervisor, "sessions", "list")
    assert "session" in await must(supervisor, "workers", "list")
    wrong = "another-horse-battery-staple"
    done = await wasup(supervisor, "sessions", "list", WHATSAPP_API_TOKEN=wrong)
    failed(done, "WHATSAPP_API_TOKEN")
    assert wrong not in done.said
    failed(
        await wasup(supervisor, "workers", "list", WHATSAPP_API_TOKEN="", WHATSAPP_API_HOST=""),
        "WHATSAPP_API_TOKEN",
    )


async def test_a_supervisor_that_was_killed_is_not_taken_for_a_running_one(
    share_supervisor: StartSupervisor,
) -> None:
    supervisor = await share_supervisor()
    await supervisor.kill()
    failed(
        await wasup(supervisor, "sessions", "list"), "No supervisor runs on", status=NO_SUPERVISOR
    )
    await supervisor.start()
    assert "session" in await must(supervisor, "sessions", "list")


async def test_an_interruption_while_it_is_still_being_loaded_is_told_in_a_line(
    nowhere: Supervisor,
) -> None:
    loading = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "supervisor"),
        # names on stderr what has been imported
        env=nowhere.environment() | {"PYTHONPROFILEIMPORTTIME": "1"},
        cwd=ROOT,
        stderr=subprocess.PIPE,
    )
    assert loading.stderr is not None
    async with asyncio.timeout(60):
        while not (await loading.stderr.readline()).split()[-1].startswith(b"typer"):
            pass
        loading.send_signal(signal.SIGINT)
        rest = (await loading.stderr.read()).decode().splitlines()
        assert await loading.wait() == 130
    assert [line for line in rest if not line.startswith("import time:")] == ["wasup: interrupted"]


READ_ONLY = """
mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" || exit 99
exec "$@"
"""


async def read_only(supervisor: Supervisor, *arguments: object) -> Done:
    """A command on whose side of the world the data directory is read-only."""
    command = [
        "unshare",
        "-rm",
        "sh",
        "-c",
        READ_ONLY,
        supervisor.directory,
        sys.executable,
        "-m",
        "supervisor",
    ]
    process = await asyncio.create_subprocess_exec(
        *map(str, [*command, *arguments]),
        env=supervisor.environment(),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, err = await process.communicate()
    assert process.returncode is not None
    if process.returncode == 99 or err.startswith(b"unshare:"):
        pytest.skip("nothing can be mounted here")
    return Done(process.returncode, out.decode(), err.decode())


async def test_on_a_read_only_file_system_that_is_what_is_said(
    start_supervisor: StartSupervisor, tmp_path: Path
) -> None:
    supervisor = await start_supervisor()
    assert "session" in (await read_only(supervisor, "sessions", "list")).out, (
        "who runs is found all the same"
    )
    await supervisor.stop()
    for command in [("sessions", "restore", "nobody"), ("store", "rotate")]:
        done = await read_only(supervisor, *command)
        failed(
            done,
            f"The data directory {supervisor.directory} cannot be written: Read-only file system.",
        )
    started = await read_only(supervisor, "run")
    assert (started.status, "cannot be written: Read-only file system" in started.said) == (1, True)
    reading = [
        ("sessions", "archives", "nobody"),
        ("sessions", "export", "nobody", tmp_path / "out"),
        ("backup", tmp_path / "backup"),
    ]
    for words in reading:
        done = await read_only(supervisor, *words)
        failed(done, f"{supervisor.directory} is on a read-only file system")
        assert "disk full" not in done.said
    failed(
        await read_only(supervisor, "sessions", "list"),
        "No supervisor runs on",
        status=NO_SUPERVISOR,
    )
