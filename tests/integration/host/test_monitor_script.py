"""The real monitor script, in cron's bare environment, against an API and a pm2 that are played."""

import asyncio
import fcntl
import json
import os
import re
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from scripts import monitor as monitor_script
from scripts.lab.processes import ROOT

SCRIPT = ROOT / "scripts" / "monitor-whatsapp.sh"
SYSTEM = {
    "totalMemory": 100,
    "usedMemory": 41,
    "cpuUsage": 0.03,
    "activeConnections": 1,
    "errorRate": 0.0,
}
WORDS = "The store cannot write since 9 s: disk full."


@dataclass
class PlayedApi:
    """The four calls that the monitor makes."""

    sessions: dict[str, Any] = field(default_factory=dict)
    status: dict[str, Any] = field(default_factory=lambda: {"gate": {"holds": []}, "alerts": []})
    """What /reconnection-status holds besides."""
    system: dict[str, Any] = field(default_factory=lambda: dict(SYSTEM))
    tasks: dict[str, str] = field(default_factory=dict)
    store: str = "ok"
    drips: str | None = None
    """The path of which the answer never ends, a byte at a time."""
    tokens: list[str] = field(default_factory=list)
    token: str | None = None
    ready: int = 200
    force: int = 202
    calls: list[str] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    may_answer: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.calls.append(f"{request.method} {request.path}")
        self.asked.set()
        await self.may_answer.wait()
        if token := request.headers.get("Authorization"):
            self.tokens.append(f"{request.path} {token}")
        if request.path == self.drips:
            return await self._drip(request)
        if request.path == "/readyz":
            seen = {"status": "ready", "store": self.store, "tasks": self.tasks}
            return web.json_response(seen, status=self.ready)
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.json_response(
                {"error": {"code": "unauthorized", "message": "", "hint": ""}}, status=401
            )
        if request.path == "/reconnection-status":
            return web.json_response(
                {"sessions": self.sessions, "store": {"state": self.store, "words": WORDS}}
                | self.status
            )
        if request.path == "/performance-metrics":
            return web.json_response({"system": self.system, "sessions": {}})
        return web.json_response({}, status=self.force)

    @staticmethod
    async def _drip(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while request.transport is not None:
            await response.write(b" ")
            await asyncio.sleep(0.2)
        return response

    @property
    def forced(self) -> list[str]:
        return [
            call.rpartition("/")[2]
            for call in self.calls
            if call.startswith("POST /force-reconnection/")
        ]


@dataclass
class PlayedPm2:
    """A pm2 that writes down what it is asked and lists the supervisor in one state."""

    program: Path

    @classmethod
    def make(
        cls, directory: Path, status: str | None, restart_exit: int = 0, restart: str = ":"
    ) -> "PlayedPm2":
        directory.mkdir(exist_ok=True)
        listing = f'[{{"name": "wasup", "pm2_env": {{"status": "{status}"}}}}]' if status else "[]"
        program = directory / "pm2"
        program.write_text(
            f"#!/bin/sh\necho \"$@\" >> '{directory}/calls'\ncase $1 in jlist) echo '[PM2] Spawning"
            f" PM2 daemon'; echo '{listing}';; restart) {restart}; exit {restart_exit};; esac\n"
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
        environment = (
            {"PATH": "/usr/bin:/bin", "WHATSAPP_DATA_DIR": str(self.data)} | self.settings | more
        )
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

    def hold_lock(self, api: PlayedApi, port: int | None = None) -> int:
        """Be the supervisor that holds the data directory; the open lock file."""
        self.data.mkdir(exist_ok=True)
        handle = os.open(self.data / "supervisor.lock", os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        note = {"pid": os.getpid(), "since": "", "api": f"http://127.0.0.1:{port or api.port}"}
        os.pwrite(handle, json.dumps(note).encode(), 0)
        return handle

    @property
    def lines(self) -> list[str]:
        return (self.data / "logs" / "monitor.log").read_text().splitlines()


@pytest.fixture
def monitor(tmp_path: Path) -> Monitor:
    """PM2 is set even where it must not be called, so that no test can reach a pm2 of this
    machine.
    """
    quick = {
        "MONITOR_SECOND_LOOK_SECONDS": "0",
        "MONITOR_ANSWER_SECONDS": "5",
        "MONITOR_READY_SECONDS": "0",
    }
    idle = PlayedPm2.make(tmp_path / "idle-pm2", "online")
    return Monitor(
        tmp_path / "data", quick | {"PM2": str(idle.program), "WHATSAPP_DISK_THRESHOLD": "1"}
    )


@pytest.fixture
async def strangers_api() -> AsyncIterator[PlayedApi]:
    """Something listens on the port; nobody knows whose it is."""
    played = PlayedApi()
    played.may_answer.set()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", played.answer)
    runner = web.AppRunner(application, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    played.port = runner.addresses[0][1]
    yield played
    await runner.cleanup()


@pytest.fixture
def api(strangers_api: PlayedApi, monitor: Monitor) -> Iterator[PlayedApi]:
    """The supervisor's: it holds the data directory's lock, and has noted its port there."""
    handle = monitor.hold_lock(strangers_api)
    yield strangers_api
    os.close(handle)


@pytest.fixture
def refusing_port() -> Iterator[int]:
    """A port that is ours, so that nobody else takes it, and refuses every connection: bound, never
    listening.
    """
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        yield holder.getsockname()[1]


def session(state: str, since_seconds_ago: float = 5, **more: Any) -> dict[str, Any]:
    return {
        "state": state,
        "since": ago(since_seconds_ago),
        "closeReason": None,
        "nextAttemptAt": None,
        "humanAction": "",
    } | more


def ago(seconds: float) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


async def test_all_is_well_is_one_line_in_the_log_and_silence_for_cron(
    monitor: Monitor, api: PlayedApi
) -> None:
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
    settings = (
        f"WHATSAPP_API_PORT={api.port} WHATSAPP_DATA_DIR='{tmp_path}/data'"
        " WHATSAPP_DISK_THRESHOLD=1"
    )
    command = f"cd / && env -i PATH=/usr/bin:/bin {settings} '{SCRIPT}'"
    process = await asyncio.create_subprocess_exec("/bin/sh", "-c", command)
    assert await process.wait() == 0
    assert api.calls == ["GET /readyz", "GET /reconnection-status", "GET /performance-metrics"]


async def test_a_data_directory_in_the_home_is_the_supervisor_s(
    monitor: Monitor, api: PlayedApi, tmp_path: Path
) -> None:
    settings = {
        "WHATSAPP_API_PORT": str(api.port),
        "HOME": str(tmp_path),
        "WHATSAPP_DATA_DIR": "~/data",
    }
    assert await monitor.run(**settings) == (0, "")
    assert len(monitor.lines) == 1


def test_an_empty_variable_hides_nothing_that_the_file_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As for the supervisor: else it has a token that the monitor does not know."""
    (tmp_path / ".env").write_text("WHATSAPP_API_TOKEN=of-the-file\nWHATSAPP_API_PORT=4100\n")
    monkeypatch.setattr(monitor_script, "ROOT", tmp_path)
    monkeypatch.setenv("WHATSAPP_API_TOKEN", "")
    monkeypatch.setenv("WHATSAPP_API_PORT", "4200")
    config = monitor_script.configure(monitor_script.settings())
    assert (config.token, config.port) == ("of-the-file", 4200)


async def test_only_sessions_that_are_stuck_are_forced(monitor: Monitor, api: PlayedApi) -> None:
    api.sessions = {
        "connecting-late": session("connecting", 1_000),
        "connecting": session("connecting", 800),
        "starting-late": session("starting", 1_000),
        "overdue": session("waiting", 9_000, nextAttemptAt=ago(1_000)),
        "waiting-long": session("waiting", 9_000, nextAttemptAt=ago(-300)),
        "late-a-little": session("waiting", 9_000, nextAttemptAt=ago(100)),
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
        f"n{number:02}": session("parked", closeReason="banned", humanAction="Appeal.")
        for number in range(12)
    }
    api.sessions |= {
        "resting": session("parked", closeReason="temporarily_banned", nextAttemptAt=ago(-60)),
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
    assert (await monitor.run(WHATSAPP_API_PORT=str(api.port), WHATSAPP_API_TOKEN=api.token))[
        0
    ] == 0


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
    assert (
        "the API is dead ([Errno 111] Connection refused); restarted through pm2, not ready yet"
        in said
    )
    assert pm2.calls == ["jlist", "restart wasup"]
    assert len(monitor.lines) == 1


async def test_an_api_that_never_answers_is_dead(monitor: Monitor, tmp_path: Path) -> None:
    pm2 = PlayedPm2.make(tmp_path / "pm2", "online")
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        port = str(deaf.getsockname()[1])
        status, said = await monitor.run(
            WHATSAPP_API_PORT=port, MONITOR_ANSWER_SECONDS="1", PM2=str(pm2.program)
        )
    assert status == 1
    assert "the API is dead (timed out)" in said
    assert pm2.calls == ["jlist", "restart wasup"]


async def test_one_missed_answer_is_not_death(
    monitor: Monitor, api: PlayedApi, tmp_path: Path
) -> None:
    """The second look finds it alive: a deployment's own restart is not answered with another
    one.
    """
    pm2 = PlayedPm2.make(tmp_path / "pm2", "online")
    api.may_answer.clear()
    port = str(api.port)
    run = asyncio.create_task(
        monitor.run(WHATSAPP_API_PORT=port, MONITOR_ANSWER_SECONDS="2", PM2=str(pm2.program))
    )
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


async def test_what_was_stopped_by_hand_stays_stopped(
    monitor: Monitor, refusing_port: int, tmp_path: Path
) -> None:
    pm2 = PlayedPm2.make(tmp_path / "pm2", "stopped")
    status, said = await monitor.run(WHATSAPP_API_PORT=str(refusing_port), PM2=str(pm2.program))
    assert status == 1
    assert "stopped by hand (`pm2 restart wasup` starts it)" in said
    assert pm2.calls == ["jlist"]


async def test_a_pm2_that_cannot_be_run_is_told(monitor: Monitor, refusing_port: int) -> None:
    status, said = await monitor.run(WHATSAPP_API_PORT=str(refusing_port), PM2="/nonexistent/pm2")
    assert status == 1
    assert "pm2 could not restart it: /nonexistent/pm2: No such file or directory" in said


async def test_a_second_run_does_nothing_and_a_third_in_a_row_is_trouble(
    monitor: Monitor, api: PlayedApi
) -> None:
    port = str(api.port)
    api.may_answer.clear()
    first = asyncio.create_task(monitor.run(WHATSAPP_API_PORT=port, MONITOR_ANSWER_SECONDS="60"))
    await api.asked.wait()
    assert await monitor.run(WHATSAPP_API_PORT=port) == (0, ""), "once is as it should be"
    status, said = await monitor.run(WHATSAPP_API_PORT=port)
    assert status == 1
    assert (
        "skipped, the run before is still under way; for 2 runs in a row; nobody watches the"
        " supervisor" in said
    )
    assert await monitor.run(WHATSAPP_API_PORT=port) == (1, ""), "told once"
    assert api.calls == ["GET /readyz"]
    api.may_answer.set()
    assert (await first)[0] == 0
    assert ["skipped" in line for line in monitor.lines] == [True, True, True, False]
    status, said = await monitor.run(WHATSAPP_API_PORT=port)
    assert (status, "3 runs in a row were skipped" in said) == (1, True)
    assert await monitor.run(WHATSAPP_API_PORT=port) == (0, "")


# --- told once at the begin, once at the end ------------------------------------------------------


def outage(api: PlayedApi) -> None:
    api.sessions |= {"held": session("held")}
    hold = {
        "scope": "fleet",
        "value": "",
        "words": "6 sessions are held for 40 s because of an outage",
    }
    api.status["gate"] = {"holds": [hold]}


def failing_store(api: PlayedApi) -> None:
    api.store = "failing"


def dead_task(api: PlayedApi) -> None:
    api.tasks = {"performance monitor": "ended", "snapshots": "ok"}


def alert(api: PlayedApi) -> None:
    api.status["alerts"] = [
        {"session": None, "name": "cpu", "message": "cpu is 95%, above 90%", "about": None}
    ]


def dead_channel(api: PlayedApi) -> None:
    words = "mail has accepted nothing for 5 min: connection refused"
    api.status["alerts"] = [
        {"session": None, "name": "channel_failing", "message": words, "about": "mail"}
    ]


def parked(api: PlayedApi) -> None:
    api.sessions |= {
        "loja": session("parked", closeReason="logged_out", humanAction="Pair it again.")
    }


def over_the_threshold(api: PlayedApi) -> None:
    """An API that tells of no alerts: 0.1.0's, or one whose monitoring is switched off."""
    api.status.pop("alerts", None)
    api.system["errorRate"] = 0.25


def not_ready(api: PlayedApi) -> None:
    api.ready = 503


def a_stuck_session(api: PlayedApi) -> None:
    api.sessions |= {"late": session("connecting", 5_000)}


@pytest.mark.parametrize(
    ("trouble", "told"),
    [
        (outage, "the fleet is held: 6 sessions are held for 40 s because of an outage"),
        (failing_store, WORDS),
        (
            dead_task,
            "tasks of the supervisor are in trouble (see its log): performance monitor (ended)",
        ),
        (alert, "alerts: cpu is 95%, above 90%"),
        (dead_channel, "alerts: mail has accepted nothing for 5 min: connection refused"),
        (parked, "needs a human: loja (logged_out)"),
        (over_the_threshold, "alerts: errors is 25.0%, above 10%"),
        (not_ready, "the API is alive but not ready (503)"),
        (a_stuck_session, "forced: late (connecting for 50"),
    ],
)
async def test_what_is_wrong_is_told_when_it_begins_and_when_it_is_over_and_shows_in_every_status(
    trouble: Callable[[PlayedApi], None], told: str, monitor: Monitor, api: PlayedApi
) -> None:
    port = str(api.port)
    assert await monitor.run(WHATSAPP_API_PORT=port) == (0, "")
    trouble(api)
    status, said = await monitor.run(WHATSAPP_API_PORT=port)
    assert status == 1
    assert told in said
    assert len(said.splitlines()) == 1
    for _ in range(2):
        assert await monitor.run(WHATSAPP_API_PORT=port) == (
            1,
            "",
        ), "known: a mail every two minutes is read by nobody"
    assert told in monitor.lines[-1], "the log has it at every run"
    well = PlayedApi()
    api.sessions, api.status, api.system, api.tasks, api.store, api.ready = (
        well.sessions, well.status, well.system, well.tasks, well.store, well.ready,
    )  # fmt: skip
    status, said = await monitor.run(WHATSAPP_API_PORT=port)
    assert status == 0
    assert "ok: over, after 0 min: " in said
    assert told in said
    assert await monitor.run(WHATSAPP_API_PORT=port) == (0, "")


async def test_a_second_number_that_is_parked_is_told_and_the_first_one_is_not_again(
    monitor: Monitor, api: PlayedApi
) -> None:
    port = str(api.port)
    parked(api)
    await monitor.run(WHATSAPP_API_PORT=port)
    api.sessions["matriz"] = session("parked", closeReason="banned", humanAction="Appeal.")
    status, said = await monitor.run(WHATSAPP_API_PORT=port)
    assert (status, "matriz (banned)" in said, "loja" in said) == (1, True, False)


async def test_what_cannot_be_seen_while_the_api_is_dead_is_not_over(
    monitor: Monitor, api: PlayedApi, refusing_port: int
) -> None:
    parked(api)
    await monitor.run(WHATSAPP_API_PORT=str(api.port))
    status, said = await monitor.run(WHATSAPP_API_PORT=str(refusing_port))
    assert (status, "the API is dead" in said, "over" in said) == (1, True, False)
    status, said = await monitor.run(WHATSAPP_API_PORT=str(api.port))
    assert (status, "loja" in said, "over, after 0 min: the API is dead" in said) == (
        1,
        False,
        True,
    )


async def test_what_was_told_is_kept_private_and_a_broken_note_of_it_is_no_end_of_the_watch(
    monitor: Monitor, api: PlayedApi
) -> None:
    parked(api)
    await monitor.run(WHATSAPP_API_PORT=str(api.port))
    memory = monitor.data / "monitor.json"
    assert memory.stat().st_mode & 0o777 == 0o600
    memory.write_text("{half")
    status, said = await monitor.run(WHATSAPP_API_PORT=str(api.port))
    assert (status, "loja" in said) == (1, True)
    assert await monitor.run(WHATSAPP_API_PORT=str(api.port)) == (1, "")


async def test_what_was_told_is_kept_elsewhere_when_its_own_place_takes_nothing(
    monitor: Monitor, api: PlayedApi, tmp_path: Path
) -> None:
    spare = tmp_path / "tmp"
    spare.mkdir()
    (monitor.data / "monitor.json").mkdir(parents=True)
    parked(api)
    status, said = await monitor.run(WHATSAPP_API_PORT=str(api.port), TMPDIR=str(spare))
    assert (status, "loja" in said) == (1, True)
    assert await monitor.run(WHATSAPP_API_PORT=str(api.port), TMPDIR=str(spare)) == (1, "")
    (file,) = spare.iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    (monitor.data / "monitor.json").rmdir()
    api.sessions = {}
    assert (await monitor.run(WHATSAPP_API_PORT=str(api.port), TMPDIR=str(spare)))[0] == 0
    assert list(spare.iterdir()) == []


# --- what hangs -----------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/readyz", "/reconnection-status"])
async def test_an_answer_that_drips_is_none(path: str, monitor: Monitor, api: PlayedApi) -> None:
    """Each byte comes in time; the whole does not."""
    api.drips = path
    status, said = await monitor.run(WHATSAPP_API_PORT=str(api.port), MONITOR_ANSWER_SECONDS="1")
    assert status == 1
    assert (
        "the API is dead (timed out)"
        if path == "/readyz"
        else f"no answer to GET {path} (timed out)"
    ) in said


async def test_a_supervisor_that_hangs_and_that_pm2_cannot_cure_is_told_within_the_runs_time(
    monitor: Monitor, api: PlayedApi, tmp_path: Path
) -> None:
    """pm2 says that all is done, and the API goes on hanging: after the time that a restart may
    take the line says so.
    """
    api.may_answer.clear()
    pm2 = PlayedPm2.make(tmp_path / "pm2", "online")
    status, said = await monitor.run(
        WHATSAPP_API_PORT=str(api.port),
        MONITOR_ANSWER_SECONDS="1",
        MONITOR_READY_SECONDS="2",
        PM2=str(pm2.program),
    )
    assert status == 1
    assert "the API is dead (timed out); restarted through pm2, not ready yet" in said
    assert len(api.calls) <= 2 + 3, (
        "asked for two seconds, a second each, and not for as long as a hundred looks take"
    )
    assert pm2.calls == ["jlist", "restart wasup"]


async def test_a_pm2_that_hangs_is_ended_and_told(
    monitor: Monitor, refusing_port: int, tmp_path: Path
) -> None:
    pm2 = PlayedPm2.make(tmp_path / "pm2", "online", restart="sleep 300 & sleep 300")
    status, said = await monitor.run(
        WHATSAPP_API_PORT=str(refusing_port), MONITOR_RUN_SECONDS="4", PM2=str(pm2.program)
    )
    assert status == 1
    assert "pm2 could not restart it: `pm2 restart` did not end" in said


async def test_an_answer_without_end_is_refused(monitor: Monitor, api: PlayedApi) -> None:
    api.sessions = {"x" * 64: session("open", closeReason="y" * (17 * 2**20))}
    status, said = await monitor.run(WHATSAPP_API_PORT=str(api.port))
    assert status == 1
    assert "answers with more than 16 MiB" in said


# --- whose port is it -----------------------------------------------------------------------------


@pytest.mark.parametrize("lock", ["nobody's", "of another port"])
async def test_the_token_goes_to_nobody_but_the_holder_of_the_lock(
    lock: str, monitor: Monitor, strangers_api: PlayedApi
) -> None:
    handle = monitor.hold_lock(strangers_api, port=1) if lock == "of another port" else None
    settings = {
        "WHATSAPP_API_PORT": str(strangers_api.port),
        "WHATSAPP_API_TOKEN": "a-token-of-enough-length",
    }
    status, said = await monitor.run(**settings)
    if handle is not None:
        os.close(handle)
    assert status == 1
    assert "is not the supervisor of this data directory (the token was not sent)" in said
    assert strangers_api.calls == ["GET /readyz"]
    assert strangers_api.tokens == []
    handle = monitor.hold_lock(strangers_api)
    assert (await monitor.run(**settings))[0] == 0
    os.close(handle)
    assert {call.split()[0] for call in strangers_api.tokens} == {
        "/reconnection-status",
        "/performance-metrics",
    }


async def test_a_data_directory_that_was_removed_under_the_supervisor_is_told(
    monitor: Monitor, strangers_api: PlayedApi
) -> None:
    """It answers as if all were well; its lock lies in a directory that is gone."""
    status, said = await monitor.run(WHATSAPP_API_PORT=str(strangers_api.port))
    assert status == 1
    assert "was the directory not removed under it?" in said
    assert await monitor.run(WHATSAPP_API_PORT=str(strangers_api.port)) == (1, "")


# --- what it stands on ----------------------------------------------------------------------------


async def test_a_pm2_that_is_missing_is_told_while_the_supervisor_lives(
    monitor: Monitor, api: PlayedApi
) -> None:
    settings = {"WHATSAPP_API_PORT": str(api.port), "PM2": "/nonexistent/pm2"}
    status, said = await monitor.run(**settings)
    assert status == 1
    assert "could not be restarted, /nonexistent/pm2: No such file or directory" in said
    assert await monitor.run(**settings) == (1, "")
    status, said = await monitor.run(WHATSAPP_API_PORT=str(api.port))
    assert (status, "over, after 0 min" in said) == (0, True)


async def test_a_full_disk_is_told_once_and_is_no_misuse(monitor: Monitor, api: PlayedApi) -> None:
    """The log's disk takes nothing more (/dev/full): the look is made all the same, and no
    traceback is printed.
    """
    logs = monitor.data / "logs"
    logs.mkdir(parents=True)
    (logs / "monitor.log").symlink_to("/dev/full")
    status, said = await monitor.run(WHATSAPP_API_PORT=str(api.port))
    assert status == 1
    assert f"monitor: {logs}/monitor.log cannot be written: No space left on device" in said
    assert "Traceback" not in said
    assert "Logging error" not in said
    assert "GET /performance-metrics" in api.calls
    assert await monitor.run(WHATSAPP_API_PORT=str(api.port)) == (1, "")


async def test_a_disk_that_is_nearly_full_is_told_also_while_the_api_is_dead(
    monitor: Monitor, refusing_port: int
) -> None:
    settings = {"WHATSAPP_API_PORT": str(refusing_port), "WHATSAPP_DISK_THRESHOLD": "0.000001"}
    status, said = await monitor.run(**settings)
    assert status == 1
    assert re.search(rf"the disk of {monitor.data} is \d+% full, above 0%", said)


async def test_the_log_is_rotated_and_five_old_ones_are_kept(
    monitor: Monitor, api: PlayedApi
) -> None:
    logs = monitor.data / "logs"
    logs.mkdir(parents=True)
    (logs / "monitor.log").write_text("x" * 1_000_000)
    for number in range(1, 6):
        (logs / f"monitor.log.{number}").write_text(str(number))
    assert (await monitor.run(WHATSAPP_API_PORT=str(api.port)))[0] == 0
    assert len(monitor.lines) == 1
    assert sorted(file.name for file in logs.iterdir()) == [
        "monitor.log",
        *(f"monitor.log.{n}" for n in range(1, 6)),
    ]
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
