"""The real supervisor as a process, and its API."""

import os
import re
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import aiohttp
import msgspec
import psutil

from scripts.lab.preloaded import Preloaded
from scripts.lab.processes import GENEROUS_SECONDS, ROOT, LabError, Process, eventually, last_lines
from scripts.lab.standin import StandIn

CHECKS: Final[list[Callable[[str, str, int, str, Any, Mapping[str, str]], None]]] = []
"""Who looks at every answer: method, path, status, media type, body, headers."""
PRELOADED: Final[list[Preloaded]] = []
"""Who forks supervisors, where that has been asked for; else each is a Python of its own."""


@dataclass(slots=True)
class Supervisor:
    """A supervisor of one data directory; it may be started, killed and started again."""

    directory: Path
    settings: Mapping[str, str]
    process: Process | None = None
    api: str = ""
    module: str = "supervisor"
    """What is run; a launcher that runs the supervisor, for instance."""
    root: Path = ROOT
    """Where the program is; a copy of the project, for instance."""
    prefix: tuple[str, ...] = ()
    """A command that runs it, in a namespace of its own for instance."""
    since: int = 0
    """Events up to this number are somebody else's, an earlier test's for example, and are not
    shown.
    """
    _http: aiohttp.ClientSession = field(default_factory=aiohttp.ClientSession)

    async def start(self) -> "Supervisor":
        """Start it and wait until it is ready. Raises LabError."""
        output = self.directory.with_suffix(".out")
        output.unlink(missing_ok=True)
        process: Process
        if PRELOADED and (self.prefix, self.module, self.root) == ((), "supervisor", ROOT):
            process = PRELOADED[0].start((), self.environment(), output)
        else:
            command = [*self.prefix, sys.executable, "-m", self.module]
            process = await Process.start(command, self.environment(), output, self.root)
        self.process = process

        async def ready() -> str:
            if process.status is not None:
                raise LabError(
                    f"the supervisor ended with status {process.status}:\n{process.tail()}"
                )
            # The log may be JSON or coloured text: both say it like this.
            said = re.search(r"ready on (http://[^\s\x1b\"]+)", output.read_text())
            return said[1] if said else ""

        self.api = await eventually(ready, what="the supervisor")
        return self

    def environment(self) -> dict[str, str]:
        """Its whole environment: ours without its settings, and the settings given."""
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith("WHATSAPP_")
        }
        own = {
            "WHATSAPP_DATA_DIR": str(self.directory),
            "WHATSAPP_API_PORT": "0",
            "WHATSAPP_LOG_FORMAT": "json",
            # what others take of the machine on which a campaign runs is chance
            "WHATSAPP_BEYOND_CAPACITY": "allow",
            "WHATSAPP_SHED_LOAD": "false",
            "WHATSAPP_BACKUP_SCHEDULE": "off",  # the hour in which a campaign runs is chance
        }
        return inherited | own | dict(self.settings)

    async def stop(self) -> int:
        """Stop it in order; its exit status."""
        assert self.process is not None, "it was started"
        return await self.process.end()

    async def kill(self) -> None:
        """Kill -9."""
        assert self.process is not None, "it was started"
        self.process.signal(signal.SIGKILL)
        await self.process.wait()

    async def close(self) -> None:
        """Stop it if it lives, and let go of it.

        Workers that would wait for another (of one that was killed, or detaches) end, too.
        """
        await self._http.close()
        if self.process is None:
            return
        if self.process.status is None:
            await self.stop()
        if (
            self.process.status == -signal.SIGKILL
            or self.settings.get("WHATSAPP_SHUTDOWN") == "detach"
        ):
            for worker in self.worker_processes():
                with suppress(psutil.NoSuchProcess):
                    worker.kill()

    async def call(
        self, method: str, path: str, body: Any = None, **options: Any
    ) -> tuple[int, Any]:
        """A call of the API: status and JSON (or text)."""
        async with self._http.request(method, self.api + path, json=body, **options) as response:
            kind = response.content_type
            answer = await (response.json() if kind == "application/json" else response.text())
            for check in CHECKS:
                check(method, path, response.status, kind, answer, response.headers)
            return response.status, answer

    async def get(self, path: str) -> Any:
        """GET that has to succeed. Raises LabError."""
        return await self.must("GET", path)

    async def must(self, method: str, path: str, body: Any = None) -> Any:
        """A call that has to succeed. Raises LabError."""
        status, answer = await self.call(method, path, body)
        if status >= 400:
            raise LabError(f"{method} {path}: {status} {answer}")
        return answer

    async def session(self, session: str) -> Any:
        """A session as the API shows it."""
        return await self.get(f"/sessions/{session}")

    async def reconnection(self, session: str) -> Any:
        """Why it is where it is."""
        return (await self.session(session))["reconnection"]

    async def wait_state(
        self, session: str, *states: str, seconds: float = GENEROUS_SECONDS
    ) -> Any:
        """Wait until the session is in one of the states."""
        return await eventually(
            lambda: self.session(session),
            lambda seen: seen["state"] in states,
            seconds,
            f"{session} being {' or '.join(states)}",
        )

    async def events(self, kind: str, session: str | None = None, after: int = 0) -> list[Any]:
        """Events of a type, or of a group (`alert`)."""
        found = (await self.get(f"/events?after={max(after, self.since)}"))["events"]
        return [
            event
            for event in found
            if _is_of(event, kind) and (session is None or event["session"] == session)
        ]

    async def every_event(self, kind: str, after: int = 0) -> list[Any]:
        """All events of a kind, read page by page."""
        found, after = [], max(after, self.since)
        while page := (await self.get(f"/events?after={after}"))["events"]:
            found += [event for event in page if _is_of(event, kind)]
            after = page[-1]["n"]
        return found

    async def workers(self) -> dict[str, int]:
        """The sessions' workers: their pids."""
        return {
            worker["session"]: worker["pid"] for worker in (await self.get("/workers"))["workers"]
        }

    def worker_processes(self) -> list[psutil.Process]:
        """All that runs in the data directory, whoever started it: workers and warm spares."""
        return [process for process in psutil.process_iter() if _runs_in(self.directory, process)]

    def logged(self, action: str) -> list[Any]:
        """What its log says of this action, since its last start."""
        assert self.process is not None, "it was started"
        lines = self.process.output.read_bytes().splitlines()
        entries = [
            msgspec.json.decode(line)
            for line in lines
            if line.startswith(b"{") and line.endswith(b"}")
        ]
        return [entry for entry in entries if entry.get("action") == action]

    def last_words(self, lines: int = 40) -> dict[str, str]:
        """The last lines of its output and of its workers' logs, by file: what a test that has
        failed shows.
        """
        files = [self.directory.with_suffix(".out"), *sorted(self.directory.glob("logs/*.log"))]
        return {str(file): last_lines(file, lines) for file in files}

    async def last_event(self, *sessions: str) -> int:
        """The newest event's number, once the events of what these sessions show are in the log.

        A state is shown at once, its event only when it is durable; to count what comes after, one
        has to wait for it.
        """
        for session in sessions:
            since = (await self.reconnection(session))["since"]
            await eventually(
                partial(self._newest_events, session),
                partial(_tells_of, since),
                what=f"the event of {session}'s state",
            )
        return int((await self.get("/events?limit=0"))["last"])

    async def _newest_events(self, session: str) -> list[Any]:
        return await self.events("session.state", session, max(0, await self.last_event() - 500))


def _runs_in(directory: Path, process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return process.cwd() == str(directory) and process.status() != psutil.STATUS_ZOMBIE
    return False


GROUPS: Final = frozenset({"alert", "message", "outage", "policy", "session", "worker"})
"""What the types of events begin with."""


def _is_of(event: Any, kind: str) -> bool:
    group = kind.partition(".")[0]
    if group not in GROUPS:
        raise LabError(f"there are no events {kind}, so that none is there proves nothing")
    return bool(event["type"] == kind or event["type"].startswith(f"{kind}."))


def _tells_of(since: str, events: list[Any]) -> bool:
    return any(event["data"]["since"] == since for event in events)


async def pair(
    supervisor: Supervisor,
    standin: StandIn,
    *sessions: str,
    proxies: Mapping[str, str] = MappingProxyType({}),
) -> None:
    """Create the sessions, play their phones, and see them open.

    `proxies`: URLs, of those that have one.
    """
    for session in sessions:
        await supervisor.must("POST", "/sessions", {"id": session, "proxy": proxies.get(session)})
    for session in sessions:
        await supervisor.wait_state(session, "qr", seconds=60)
        await standin.scan(
            (await supervisor.get(f"/sessions/{session}/qr"))["qr"], name=f"Loja {session}"
        )
    for session in sessions:
        await supervisor.wait_state(session, "open", seconds=60)
        standin.paired.append(session)
