"""The real pm2 with a home of its own: what it starts, what it ends, and how the monitor script
brings back what it lost.
"""

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest
import pytest_asyncio

from scripts.lab import StandIn, Supervisor, eventually, pair
from scripts.lab.processes import NODE, ROOT

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.timeout(400)]

PM2 = ROOT / "tests" / "node_tools" / "node_modules" / ".bin" / "pm2"
MONITOR = ROOT / "scripts" / "monitor-whatsapp.sh"
UNALARMED = {
    "WHATSAPP_LOAD_THRESHOLD": "100000",
    **{
        f"WHATSAPP_{name}_THRESHOLD": "1"
        for name in ("CPU", "MEMORY", "ERROR_RATE", "DISK", "DISK_CRITICAL")
    },
}
"""What else this machine is busy with is no trouble of the supervisor's."""


async def run(*command: str | Path, environment: Mapping[str, str]) -> tuple[int, str]:
    """Exit status and output of a command in the project's root."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env=environment,
        cwd=ROOT,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


@dataclass
class Host:
    """A production machine: pm2, its supervisor, and cron's monitor, all with the settings of one
    `.env`.
    """

    home: Path
    supervisor: Supervisor

    @property
    def environment(self) -> dict[str, str]:
        inherited = {
            name: value
            for name, value in self.supervisor.environment().items()
            if not name.startswith("PM2")
        }
        path = f"{Path(NODE).parent}:{os.environ['PATH']}"
        return inherited | {"PM2_HOME": str(self.home), "PATH": path}

    async def pm2(self, *arguments: str) -> str:
        status, said = await run(PM2, *arguments, environment=self.environment)
        assert status == 0, said
        return said

    async def monitor(self) -> tuple[int, str]:
        """One run by cron: a bare PATH, no HOME."""
        bare = {"PATH": "/usr/bin:/bin", "PM2_HOME": str(self.home), "PM2": str(PM2)}
        own = {
            name: value for name, value in self.environment.items() if name.startswith("WHATSAPP_")
        }
        quick = {"MONITOR_SECOND_LOOK_SECONDS": "0", "MONITOR_ANSWER_SECONDS": "2"}
        return await run(MONITOR, environment=bare | own | quick)

    async def status(self) -> dict[str, Any]:
        """What pm2 says of the supervisor."""
        (app,) = msgspec.json.decode((await self.pm2("jlist")).splitlines()[-1])
        return {
            "pid": app["pid"],
            "status": app["pm2_env"]["status"],
            "restarts": app["pm2_env"]["restart_time"],
        }

    def daemon(self) -> psutil.Process | None:
        """pm2's own process, if it lives."""
        with suppress(OSError, ValueError, psutil.NoSuchProcess):
            return psutil.Process(int((self.home / "pm2.pid").read_text()))
        return None

    async def ready(self) -> None:
        """Wait until the supervisor answers that it is."""

        async def status() -> int:
            with suppress(OSError):
                return (await self.supervisor.call("GET", "/readyz"))[0]
            return 0

        await eventually(status, lambda seen: seen == 200, 60, "the supervisor's readiness")

    async def processes(self) -> list[psutil.Process]:
        """The supervisor and all below it: its workers."""
        supervisor = psutil.Process((await self.status())["pid"])
        return [supervisor, *supervisor.children(recursive=True)]

    async def workers(self) -> dict[str, int]:
        """The workers' pids by session."""
        return {
            worker["session"]: worker["pid"]
            for worker in (await self.supervisor.get("/workers"))["workers"]
        }

    async def close(self) -> None:
        """End pm2 and what it started (which outlives a pm2 that a test has killed); nothing of
        both stays on the disk.
        """
        daemon = self.daemon()
        if daemon is not None and lives(daemon):
            await self.pm2("kill")
            await gone([daemon])
        await gone(self._kill_what_is_left())
        await self.supervisor.close()
        shutil.rmtree(self.supervisor.directory, ignore_errors=True)
        shutil.rmtree(self.home)

    def _kill_what_is_left(self) -> list[psutil.Process]:
        """What runs in the data directory, or with this pm2's environment: a supervisor that has
        lost its pm2, and workers that wait.
        """
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.cwd() == str(self.supervisor.directory) or process.environ().get(
                    "PM2_HOME"
                ) == str(self.home):
                    found.append(process)
                    process.kill()
        return found


def lives(process: psutil.Process) -> bool:
    """Whether it runs; an orphan that nobody has reaped yet does not."""
    with suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


async def gone(processes: list[psutil.Process]) -> None:
    """Wait until none of them lives."""

    async def alive() -> list[psutil.Process]:
        return [process for process in processes if lives(process)]

    await eventually(alive, lambda seen: not seen, 30, "the end of the processes")


@pytest_asyncio.fixture(loop_scope="session")
async def host(
    standin: StandIn, lab_directory: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Host]:
    """A machine on which `pm2 start ecosystem.config.js` has been run."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    name = request.node.name.removeprefix("test_")[:20]
    settings = (
        standin.environment()
        | {"WHATSAPP_API_PORT": str(port)}
        | UNALARMED
        | getattr(request, "param", {})
    )
    supervisor = Supervisor(lab_directory / f"pm2-{name}", settings, api=f"http://127.0.0.1:{port}")
    home = lab_directory / f"pm2-{name}.home"
    home.mkdir()
    host = Host(home, supervisor)
    try:
        await host.pm2("start", "ecosystem.config.js")
        await host.ready()
        yield host
    finally:
        await host.close()


@pytest_asyncio.fixture(loop_scope="session")
async def copied(standin: StandIn, lab_directory: Path) -> AsyncIterator[Host]:
    """An installation of its own, with secrets in its `.env`; not started."""
    root = lab_directory / "pm2-copied"
    root.mkdir()
    for name in (".venv", "api", "sessions"):
        (root / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "supervisor", root / "supervisor")  # where that is, .env is
    shutil.copy(ROOT / "ecosystem.config.js", root)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = standin.environment() | {"WHATSAPP_API_PORT": str(port)}
    supervisor = Supervisor(
        lab_directory / "pm2-copied.data", settings, api=f"http://127.0.0.1:{port}", root=root
    )
    home = lab_directory / "pm2-copied.home"
    home.mkdir()
    host = Host(home, supervisor)
    try:
        yield host
    finally:
        await host.close()
        shutil.rmtree(root)


async def test_no_secret_is_in_pm2_s_dump(copied: Host) -> None:
    root, secrets = (
        copied.supervisor.root,
        {"WHATSAPP_API_TOKEN": "t0ken-of-the-api", "WHATSAPP_STORE_KEY": "5e" * 32},
    )
    (root / ".env").write_text("".join(f"{name}={value}\n" for name, value in secrets.items()))
    (root / ".env").chmod(0o600)
    # a shell that has read .env
    copied.supervisor.settings = dict(copied.supervisor.settings) | secrets
    before = os.umask(0o022)
    try:
        await copied.pm2("start", str(root / "ecosystem.config.js"))
        await copied.ready()
        await copied.pm2("save")
        shown = [
            await copied.pm2("env", "0"),
            await copied.pm2("jlist"),
            (copied.home / "dump.pm2").read_text(),
        ]
    finally:
        os.umask(before)
    for secret in secrets.values():
        assert [text for text in shown if secret in text] == []
    calls = [{"Authorization": f"Bearer {secrets['WHATSAPP_API_TOKEN']}"}, {}]
    assert [
        (await copied.supervisor.call("GET", "/sessions", headers=headers))[0] for headers in calls
    ] == [200, 401]
    log = (copied.supervisor.directory / "logs" / "supervisor.log").read_text()
    assert "came through pm2" not in log


async def test_a_secret_that_pm2_would_write_down_is_refused(copied: Host) -> None:
    copied.supervisor.settings = dict(copied.supervisor.settings) | {
        "WHATSAPP_STORE_KEY": "5e" * 32
    }
    file = str(copied.supervisor.root / "ecosystem.config.js")
    status, said = await run(PM2, "start", file, environment=copied.environment)
    assert status != 0
    assert "WHATSAPP_STORE_KEY would be written into pm2's dump" in said
    assert "5e5e" not in said
    assert msgspec.json.decode((await copied.pm2("jlist")).splitlines()[-1]) == []


async def unnoticed(host: Host, standin: StandIn, workers: Mapping[str, int]) -> None:
    """Wait until the sessions are open, in the workers that they had: WhatsApp has noticed
    nothing.
    """
    for session in workers:
        await host.supervisor.wait_state(session, "open", seconds=60)
        assert len(await standin.log("login", session=session)) == 1
        assert await standin.log("logout", session=session) == []
    assert await host.workers() == workers


@pytest.mark.parametrize("host", [{"WHATSAPP_ADOPTION_WINDOW": "3000"}], indirect=True)
async def test_pm2_stop_leaves_the_sockets_open_for_the_window_and_then_nothing(
    host: Host, standin: StandIn
) -> None:
    await pair(host.supervisor, standin, "pm2-a", "pm2-b")
    processes = await host.processes()
    workers = [psutil.Process(pid) for pid in (await host.workers()).values()]
    paired = await host.supervisor.last_event()

    await host.pm2("stop", "wasup")
    assert not lives(processes[0])
    assert all(lives(worker) for worker in workers), "until the window is over, a start finds them"
    await gone(processes)
    log = (host.supervisor.directory / "logs" / "supervisor.log").read_text().splitlines()
    assert msgspec.json.decode(log[-1])["action"] == "stopped", "in order, not by SIGKILL"

    status, said = await host.monitor()
    assert (status, (await host.status())["status"]) == (1, "stopped"), (
        "what was stopped by hand stays stopped"
    )
    assert "stopped by hand" in said

    await host.pm2("restart", "wasup")
    await host.ready()
    for session in ("pm2-a", "pm2-b"):
        await host.supervisor.wait_state(session, "open", seconds=60)
        assert await host.supervisor.events("session.qr", session, paired) == []


async def test_whatsapp_notices_no_pm2_restart(host: Host, standin: StandIn) -> None:
    await pair(host.supervisor, standin, "pm2-g", "pm2-h")
    workers, processes = await host.workers(), await host.processes()
    await host.pm2("restart", "wasup")
    await gone(processes[:1])
    await host.ready()
    await unnoticed(host, standin, workers)


async def test_pm2_itself_restarts_a_killed_supervisor(host: Host, standin: StandIn) -> None:
    await pair(host.supervisor, standin, "pm2-c")
    workers, processes = await host.workers(), await host.processes()

    processes[0].kill()
    await gone(processes[:1])
    await host.ready()
    await unnoticed(host, standin, workers)
    assert (await host.status())["restarts"] == 1
    assert await host.monitor() == (0, ""), "nothing is left to mend"


async def test_the_monitor_revives_it_when_pm2_was_killed_too(host: Host, standin: StandIn) -> None:
    await pair(host.supervisor, standin, "pm2-d")
    workers, processes = await host.workers(), await host.processes()
    daemon = host.daemon()
    assert daemon is not None

    daemon.kill()
    processes[0].kill()
    await gone([daemon, processes[0]])
    status, said = await host.monitor()
    assert status == 1
    assert (
        "the API is dead ([Errno 111] Connection refused); restarted through pm2, ready again"
        in said
    )
    await unnoticed(host, standin, workers)
    assert await host.monitor() == (0, "")


async def test_the_monitor_replaces_a_supervisor_that_hangs(host: Host, standin: StandIn) -> None:
    """pm2 calls it online, for its process lives; only somebody who asks it something sees the
    truth.
    """
    await pair(host.supervisor, standin, "pm2-e")
    workers, processes = await host.workers(), await host.processes()

    processes[0].suspend()
    status, said = await host.monitor()
    assert status == 1
    assert "the API is dead (timed out); restarted through pm2, ready again" in said
    await gone(processes[:1])
    await unnoticed(host, standin, workers)


async def test_the_supervisor_outlives_pm2(host: Host, standin: StandIn) -> None:
    """Without pm2 nobody reads its output any more; it must go on all the same."""
    await pair(host.supervisor, standin, "pm2-f")
    processes = await host.processes()
    daemon = host.daemon()
    assert daemon is not None

    daemon.kill()
    await gone([daemon])
    before = await host.supervisor.last_event()
    await standin.fault("drop", "pm2-f")

    async def openings() -> list[Any]:
        states = await host.supervisor.events("session.state", "pm2-f", before)
        return [event for event in states if event["data"]["state"] == "open"]

    await eventually(openings, what="the session being open again")
    assert await host.monitor() == (0, "")

    processes[0].terminate()
    await gone(processes[:1])
