"""What a worker may reach: as a user of its own, and under Node's permission model, under which all
workers of these tests run.
"""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from scripts.lab import StandIn, Supervisor, pair
from tests.conftest import StartSupervisor
from tests.e2e.operating.test_callers import address_of, get, status_of, talk
from tests.lab_tools import hears, logins, restarted, says, wasup
from tests.other_users import NOBODY, as_user, needs_root

pytestmark = pytest.mark.asyncio(loop_scope="session")


def may_not(supervisor: Supervisor, act: Callable[[], object]) -> bool:
    """Whether the worker's user may not do this where the worker stands, in the data directory."""

    def attempt() -> bytes:
        try:
            act()
        except PermissionError:
            return b"refused"
        return b"done"

    handle = os.open(supervisor.directory, os.O_DIRECTORY)
    try:
        return as_user(NOBODY, lambda: (os.fchdir(handle), attempt())[1]) == b"refused"
    finally:
        os.close(handle)


async def run(*command: str, directory: Path) -> tuple[int | None, str]:
    """Exit status and output of a command in that directory."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *command, cwd=directory, stdout=pipe, stderr=asyncio.subprocess.STDOUT
    )
    said, _ = await process.communicate()
    return process.returncode, said.decode()


@needs_root
async def test_a_worker_of_another_user_works_and_is_adopted_and_reaches_nothing_else(
    start_supervisor: StartSupervisor, standin: StandIn
) -> None:
    supervisor = await start_supervisor(worker_user="nobody", shutdown="detach")
    await pair(supervisor, standin, "apart")
    (pid,) = (await supervisor.workers()).values()
    worker = psutil.Process(pid)
    assert (set(worker.uids()), set(worker.gids())) == ({NOBODY}, {NOBODY})
    status = Path(f"/proc/{pid}/status").read_text().splitlines()
    (groups,) = [line for line in status if line.startswith("Groups:")]
    assert groups.split() == ["Groups:"], "none of root's groups"
    await hears(supervisor, standin, "apart", "in")
    await says(supervisor, standin, "apart", "out")
    assert any((supervisor.directory / f"cache-{NOBODY}").rglob("*")), "its compiled code is kept"

    assert supervisor.process is not None
    own = f"/proc/{supervisor.process.pid}"
    for act in (
        lambda: os.listdir("."),
        lambda: os.open("new", os.O_CREAT | os.O_WRONLY),
        lambda: os.open("wasup.db", os.O_RDONLY),
        lambda: os.open("wasup.db-wal", os.O_RDONLY),
        lambda: os.open("supervisor.lock", os.O_RDONLY),
        lambda: os.listdir("logs"),
        lambda: os.open("logs/worker-apart.log", os.O_RDONLY),
        lambda: os.open(f"{own}/environ", os.O_RDONLY),
        lambda: os.open(f"{own}/mem", os.O_RDONLY),
    ):
        assert may_not(supervisor, act)
    assert not may_not(supervisor, lambda: os.stat("supervisor.sock")), "what it needs"
    assert status_of(as_user(NOBODY, lambda: talk(address_of(supervisor), get("/sessions")))) == 401

    await restarted(supervisor)
    await supervisor.wait_state("apart", "open")
    assert await supervisor.workers() == {"apart": pid}
    assert await logins(standin, "apart") == 1
    assert (await supervisor.get("/workers"))["outdated"] == 0


@needs_root
async def test_a_user_that_protects_nothing_or_is_not_there_is_refused(
    start_supervisor: StartSupervisor, lab_directory: object
) -> None:
    supervisor = await start_supervisor()
    assert await supervisor.stop() == 0
    for name, says_so in [
        ("nobody-of-that-name", "no such user: useradd"),
        ("root", "an unprivileged user"),
    ]:
        done = await wasup(supervisor, "run", WHATSAPP_WORKER_USER=name)
        assert (done.status, says_so in done.said) == (78, True), done


async def test_workers_run_under_node_s_permission_model_unless_a_setting_says_otherwise(
    start_supervisor: StartSupervisor, standin: StandIn
) -> None:
    supervisor = await start_supervisor()
    await pair(supervisor, standin, "fenced")
    (pid,) = (await supervisor.workers()).values()
    command = psutil.Process(pid).cmdline()
    assert "--permission" in command
    assert any((supervisor.directory / "cache").rglob("*")), "its compiled code is kept"

    fence = command[: command.index("--permission") + 1] + [
        part for part in command if part.startswith("--allow-")
    ]
    for code in (
        "fs.readFileSync('wasup.db')",
        "fs.readFileSync('/etc/passwd')",
        "fs.writeFileSync('new', '')",
        f"fs.readFileSync('/proc/{pid}/environ')",
        "child_process.execFileSync('/bin/true')",
        "new worker_threads.Worker('1', { eval: true })",
        "process.dlopen({ exports: {} }, '/none.node')",
    ):
        _, said = await run(*fence, "-e", code, directory=supervisor.directory)
        assert "ERR_ACCESS_DENIED" in said or "ERR_DLOPEN_DISABLED" in said, (code, said)

    await restarted(supervisor, WHATSAPP_WORKER_PERMISSIONS="false")
    await supervisor.wait_state("fenced", "open")
    (pid,) = (await supervisor.workers()).values()
    assert "--permission" not in psutil.Process(pid).cmdline()
