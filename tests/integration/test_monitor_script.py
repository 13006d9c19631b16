"""The real monitor script, in cron's bare environment, against an API and a pm2 that are played."""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from scripts.lab.processes import ROOT

SCRIPT = ROOT / "scripts" / "monitor-whatsapp.sh"
SYSTEM = {"totalMemory": 100, "usedMemory": 41, "cpuUsage": 0.03, "activeConnections": 1, "errorRate": 0.0}


@dataclass
class PlayedApi:
    """The four calls that the monitor makes."""

    sessions: dict[str, Any] = field(default_factory=dict)
    token: str | None = None
    ready: int = 200
    force: int = 202
    calls: list[str] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0

    async def answer(self, request: web.Request) -> web.Response:
        self.calls.append(f"{request.method} {request.path}")
        self.asked.set()
        await self.may_answer.wait()
        if request.path == "/readyz":
            return web.json_response({"status": "ready"}, status=self.ready)
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.json_response({"error": {"code": "unauthorized", "message": "", "hint": ""}}, status=401)
        if request.path == "/reconnection-status":
            return web.json_response({"sessions": self.sessions, "gate": {}})
        if request.path == "/performance-metrics":
            return web.json_response({"system": SYSTEM, "sessions": {}})
        return web.json_response({}, status=self.force)

    @property
    def forced(self) -> list[str]:
        return [call.rpartition("/")[2] for call in self.calls if call.startswith("POST /force-reconnection/")]


@dataclass
class PlayedPm2:
    """A pm2 that writes down what it is asked and lists the supervisor in one state."""

    program: Path

    @classmethod
    def make(cls, directory: Path, status: str | None, restart_exit: int = 0) -> "PlayedPm2":
        directory.mkdir(exist_ok=True)
        listing = f'[{{"name": "wasup", "pm2_env": {{"status": "{status}"}}}}]' if status else "[]"
        program = directory / "pm2"
        program.write_text(
            f"#!/bin/sh\necho \"$@\" >> '{directory}/calls'\n"
            f"case $1 in jlist) echo '[PM2] Spawning PM2 daemon'; echo '{listing}';; restart) exit {restart_exit};; esac\n"
        )
        program.chmod(0o755)
        return cls(program)

    @property
    def calls(self) -> list[str]:
        file = self.program.with_name("calls")
        return file.read_text().splitlines() if file.exists() else []


@dataclass
class Monitor:
    """Runs the script as cron would: almost no environment, another working directory."""

    data: Path
    settings: dict[str, str]

    async def run(self, *arguments: str, **more: str) -> tuple[int, str]:
        environment = {"PATH": "/usr/bin:/bin", "WHATSAPP_DATA_DIR": str(self.data)} | self.settings | more
        process = await asyncio.create_subprocess_exec(
            str(SCRIPT),
            *arguments,
            env=environment,
            cwd="/",
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await process.communicate()
        assert process.returncode is not None
        return process.returncode, said.decode()

    @property
    def lines(self) -> list[str]:
        return (self.data / "logs" / "monitor.log").read_text().splitlines()


@pytest.fixture
async def api() -> AsyncIterator[PlayedApi]:
    played = PlayedApi()
    played.may_answer.set()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", played.answer)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    played.port = runner.addresses[0][1]
    yield played
    await runner.cleanup()


@pytest.fixture
def monitor(tmp_path: Path) -> Monitor:
    """PM2 is set even where it must not be called, so that no test can reach a pm2 of this machine."""
    quick = {"MONITOR_SECOND_LOOK_SECONDS": "0", "MONITOR_ANSWER_SECONDS": "5", "MONITOR_READY_SECONDS": "0"}
    return Monitor(tmp_path / "data", quick | {"PM2": "/nonexistent/pm2"})


@pytest.fixture
def refusing_port() -> Iterator[int]:
    """A port that is ours, so that nobody else takes it, and refuses every connection: bound, never listening."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def session(state: str, since_seconds_ago: float = 5, **more: Any) -> dict[str, Any]:
    return {
        "state": state,
        "since": ago(since_seconds_ago),
        "closeReason": None,
        "nextAttempt": None,
        "humanAction": "",
    } | more


def ago(seconds: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


async def test_all_is_well_is_one_line_in_the_log_and_silence_for_cron(monitor: Monitor, api: PlayedApi) -> None:
    api.sessions = {"a": session("open"), "b": session("open"), "c": session("qr", 5_000)}
    status, said = await monitor.run(WHATSAPP_API_PORT=str(api.port))
    assert (status, said) == (0, "")
    (line,) = monitor.lines
    assert line[:4].isdigit()
    assert line.endswith("Z ok: 3 sessions (1 qr, 2 open); memory 41%, cpu 3%, errors 0.0%")
    await monitor.run(WHATSAPP_API_PORT=str(api.port))
    assert len(monitor.lines) == 2


async def test_it_needs_nothing_of_the_environment(tmp_path: Path, api: PlayedApi) -> None:
    """As in a crontab: `env -i`, settings on the line, not even a HOME."""
    settings = f"WHATSAPP_API_PORT={api.port} WHATSAPP_DATA_DIR='{tmp_path}/data'"
    command = f"cd / && env -i PATH=/usr/bin:/bin {settings} '{SCRIPT}'"
    process = await asyncio.create_subprocess_exec("/bin/sh", "-c", command)
    assert await process.wait() == 0
    assert api.calls == ["GET /readyz", "GET /reconnection-status", "GET /performance-metrics"]


async def test_only_sessions_that_are_stuck_are_forced(monitor: Monitor, api: PlayedApi) -> None:
    api.sessions = {
        "connecting-late": session("connecting", 1_000),
        "connecting": session("connecting", 800),
        "starting-late": session("starting", 1_000),
        "overdue": session("waiting", 9_000, nextAttempt=ago(1_000)),
        "waiting-long": session("waiting", 9_000, nextAttempt=ago(-300)),
        "late-a-little": session("waiting", 9_000, nextAttempt=ago(100)),
        "id.with-dots": session("connecting", 1_000),
    }
    waits_for_others = ("qr", "parked", "held", "stopped", "quarantined", "open")
    api.sessions |= {f"{state}-long": session(state, 90_000) for state in waits_for_others}
    status, said = await monitor.run(WHATSAPP_API_PORT=str(api.port))
    assert status == 1
    assert sorted(api.forced) == ["connecting-late", "id.with-dots", "overdue", "starting-late"]
    assert re.search(r"forced: connecting-late \(connecting for 100\d s\)", said)
    assert re.search(r"overdue \(its next attempt overdue by 100\d s\)", said)


async def test_the_limit_can_be_set(monitor: Monitor, api: PlayedApi) -> None:
    api.sessions = {"a": session("connecting", 60)}
    assert (await monitor.run(WHATSAPP_API_PORT=str(api.port), MONITOR_STUCK_SECONDS="30"))[0] == 1
    assert api.forced == ["a"]


async def test_a_refused_force_is_told(monitor: Monitor, api: PlayedApi) -> None:
    api.sessions, api.force = {"a": session("starting", 1_000)}, 409
    status, said = await monitor.run(WHATSAPP_API_PORT=str(api.port))
    assert status == 1
    assert re.search(r"forcing was refused: a \(starting for 100\d s; 409\)", said)


async def test_sessions_that_need_a_human_are_named(monitor: Monitor, api: PlayedApi) -> None:
    """In one line, whatever the answer holds and however many there are."""
    api.sessions = {
        f"n{number:02}": session("parked", closeReason="banned", humanAction="Appeal.") for number in range(12)
    }
    api.sessions |= {
        "resting": session("parked", closeReason="temporarily_banned", nextAttempt=ago(-60)),
        "broken": session("quarantined", closeReason="two\nlines", humanAction="Restore."),
    }
    status, said = await monitor.run(WHATSAPP_API_PORT=str(api.port))
    assert status == 1
    assert "needs a human: broken (two lines), n00 (banned)" in said
    assert "and 3 more" in said
    assert "resting" not in said
    assert len(said.splitlines()) == len(monitor.lines) == 1


async def test_the_token_goes_in_a_header(monitor: Monitor, api: PlayedApi) -> None:
    api.token = "a-token-of-enough-length"
    status, said = await monitor.run(WHATSAPP_API_PORT=str(api.port))
    assert status == 1
    assert "WHATSAPP_API_TOKEN must be the supervisor's" in said
    assert (await monitor.run(WHATSAPP_API_PORT=str(api.port), WHATSAPP_API_TOKEN=api.token))[0] == 0


async def test_an_api_that_is_not_ready_is_told_and_not_restarted(
    monitor: Monitor, api: PlayedApi, tmp_path: Path
) -> None:
    pm2 = PlayedPm2.make(tmp_path / "pm2", "online")
    api.ready = 503
    status, said = await monitor.run(WHATSAPP_API_PORT=str(api.port), PM2=str(pm2.program))
    assert status == 1
    assert "alive but not ready (503)" in said
    assert pm2.calls == []


@pytest.mark.parametrize("pm2_status", ["online", "errored", "waiting restart"])
async def test_a_dead_api_is_restarted_once(
    monitor: Monitor, refusing_port: int, tmp_path: Path, pm2_status: str
) -> None:
    pm2 = PlayedPm2.make(tmp_path / "pm2", pm2_status)
    status, said = await monitor.run(WHATSAPP_API_PORT=str(refusing_port), PM2=str(pm2.program))
    assert status == 1
    assert "the API is dead ([Errno 111] Connection refused); restarted through pm2, not ready yet" in said
    assert pm2.calls == ["jlist", "restart wasup"]
    assert len(monitor.lines) == 1


async def test_an_api_that_never_answers_is_dead(monitor: Monitor, tmp_path: Path) -> None:
    pm2 = PlayedPm2.make(tmp_path / "pm2", "online")
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        port = str(deaf.getsockname()[1])
        status, said = await monitor.run(WHATSAPP_API_PORT=port, MONITOR_ANSWER_SECONDS="1", PM2=str(pm2.program))
    assert status == 1
    assert "the API is dead (timed out)" in said
    assert pm2.calls == ["jlist", "restart wasup"]


async def test_one_missed_answer_is_not_death(monitor: Monitor, api: PlayedApi, tmp_path: Path) -> None:
    """The second look finds it alive: a deployment's own restart is not answered with another one."""
    pm2 = PlayedPm2.make(tmp_path / "pm2", "online")
    api.may_answer.clear()
    port = str(api.port)
    run = asyncio.create_task(monitor.run(WHATSAPP_API_PORT=port, MONITOR_ANSWER_SECONDS="2", PM2=str(pm2.program)))
    await api.asked.wait()
    api.asked.clear()
    await api.asked.wait()  # the second look
    api.may_answer.set()
    assert (await run)[0] == 0
    assert pm2.calls == []


async def test_a_supervisor_that_pm2_does_not_know_is_started(
    monitor: Monitor, refusing_port: int, tmp_path: Path
) -> None:
    """After a kill of pm2's daemon its list is empty. Here pm2 is found on the PATH."""
    pm2 = PlayedPm2.make(tmp_path / "pm2", None, restart_exit=1)
    path = f"{pm2.program.parent}:/usr/bin:/bin"
    status, said = await monitor.run(WHATSAPP_API_PORT=str(refusing_port), PM2="", PATH=path)
    assert status == 1
    assert "restarted through pm2" in said
    assert pm2.calls == ["jlist", "restart wasup", "start ecosystem.config.js"]


async def test_what_was_stopped_by_hand_stays_stopped(monitor: Monitor, refusing_port: int, tmp_path: Path) -> None:
    pm2 = PlayedPm2.make(tmp_path / "pm2", "stopped")
    status, said = await monitor.run(WHATSAPP_API_PORT=str(refusing_port), PM2=str(pm2.program))
    assert status == 1
    assert "stopped by hand (`pm2 restart wasup` starts it)" in said
    assert pm2.calls == ["jlist"]


async def test_a_pm2_that_cannot_be_run_is_told(monitor: Monitor, refusing_port: int) -> None:
    status, said = await monitor.run(WHATSAPP_API_PORT=str(refusing_port))
    assert status == 1
    assert "pm2 could not restart it" in said


async def test_a_second_run_says_so_and_does_nothing(monitor: Monitor, api: PlayedApi) -> None:
    api.may_answer.clear()
    first = asyncio.create_task(monitor.run(WHATSAPP_API_PORT=str(api.port), MONITOR_ANSWER_SECONDS="60"))
    await api.asked.wait()
    status, said = await monitor.run(WHATSAPP_API_PORT=str(api.port))
    assert status == 0
    assert "skipped, the run before is still under way" in said
    assert api.calls == ["GET /readyz"]
    api.may_answer.set()
    assert (await first)[0] == 0
    assert ["skipped" in line for line in monitor.lines] == [True, False]


async def test_the_log_is_rotated_and_five_old_ones_are_kept(monitor: Monitor, api: PlayedApi) -> None:
    logs = monitor.data / "logs"
    logs.mkdir(parents=True)
    (logs / "monitor.log").write_text("x" * 1_000_000)
    for number in range(1, 6):
        (logs / f"monitor.log.{number}").write_text(str(number))
    assert (await monitor.run(WHATSAPP_API_PORT=str(api.port)))[0] == 0
    assert len(monitor.lines) == 1
    assert sorted(file.name for file in logs.iterdir()) == ["monitor.log", *(f"monitor.log.{n}" for n in range(1, 6))]
    assert (logs / "monitor.log.1").stat().st_size == 1_000_000
    assert (logs / "monitor.log.5").read_text() == "4"


@pytest.mark.parametrize(
    ("arguments", "settings", "named"),
    [
        (("--fast",), {}, "MONITOR_STUCK_SECONDS"),  # the help
        ((), {"MONITOR_STUCK_SECONDS": "soon"}, "MONITOR_STUCK_SECONDS is 'soon'"),
        ((), {"WHATSAPP_API_PORT": "0"}, "WHATSAPP_API_PORT is 0"),
        ((), {"WHATSAPP_DATA_DIR": "/proc/none"}, "/proc/none"),
    ],
)
async def test_misuse_is_refused(
    monitor: Monitor, arguments: tuple[str, ...], settings: dict[str, str], named: str
) -> None:
    status, said = await monitor.run(*arguments, **settings)
    assert status == 2
    assert named in said


async def test_help_says_what_it_does(monitor: Monitor) -> None:
    status, said = await monitor.run("--help")
    assert status == 0
    assert "Exit status: 0 all is well" in said
