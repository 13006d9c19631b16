"""The stage: stand-in, supervisor and sessions of one campaign, and what can be seen of them at a
moment.
"""

import asyncio
import json
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import psutil

from scripts.chaos import stepped_clock, trouble
from scripts.chaos.local_proxy import LocalProxy
from scripts.chaos.plan import by_proxy
from scripts.chaos.targets import working_below
from scripts.lab import LabError, Process, StandIn, Supervisor, pair
from scripts.lab.names import Names, by_name

GATE_RATE: Final = 2.0
GATE_BURST: Final = 4
"""So small that eight sessions meet the gate."""

SETTINGS: Final[Mapping[str, object]] = {
    "HEALTH_CHECK_INTERVAL": 2_000,
    "PROBE_TIMEOUT": 2_000,
    "WORKER_HEARTBEAT_INTERVAL": 500,
    "WORKER_HEARTBEAT_TIMEOUT": 4_000,
    "CONNECT_TIMEOUT": 10_000,
    "STABLE_AFTER": 1_000,
    "RECONNECTION_BASE_DELAY": 500,
    "RECONNECTION_MAX_DELAY": 4_000,
    "RECONNECTION_MAX_RETRIES": 100_000,
    "CIRCUIT_BREAKER_THRESHOLD": 100_000,  # a session that is parked by design would prove nothing
    "WORKER_CRASH_BUDGET": 100_000,
    "WORKER_CRASH_WINDOW": 10_000,
    "GATE_RATE": GATE_RATE,
    "GATE_BURST": GATE_BURST,
    "EVENT_LOG_SIZE": 100_000,
    "SHUTDOWN": "detach",
    "ADOPTION_WINDOW": 60_000,
    "SPARE_WORKERS": 1,
}
"""Short times, so that a step takes seconds; nothing that changes what is promised."""

POLICY: Final = """\
[server_error]
base_seconds = 2
cap_seconds = 30

[unavailable]
base_seconds = 2
cap_seconds = 30
"""
"""A session that dropped many times within the hour is slowed by this table, to 15 minutes by the
default's cap. This is the least it takes.
"""

ANSWER_SECONDS: Final = 5.0
UNREACHABLE: Final = (aiohttp.ClientError, OSError, TimeoutError, LabError)
"""What a call of the API may raise while the supervisor is down, stopped, or coming up."""


@dataclass(frozen=True, slots=True)
class Look:
    """What API and stand-in show at a moment."""

    views: Mapping[str, Any]
    connections: tuple[Mapping[str, Any], ...]
    devices: tuple[Mapping[str, Any], ...]

    def worker(self, session: str) -> int | None:
        """The session's worker process, as the supervisor shows it."""
        pid: int | None = self.views[session]["performance"]["workerPid"]
        return pid

    def connections_of(self, session: str) -> list[Mapping[str, Any]]:
        """The session's connections, as the stand-in sees them."""
        return [connection for connection in self.connections if connection["session"] == session]

    def footing(self, session: str) -> tuple[int | None, tuple[int, ...]]:
        """What the session stands on: its worker and its connections.

        When it is the same as before, nothing was replaced.
        """
        return self.worker(session), tuple(
            connection["id"] for connection in self.connections_of(session)
        )

    def jids(self) -> dict[str, str | None]:
        """The device of each session, as the supervisor shows it."""
        return {session: view["jid"] for session, view in self.views.items()}


@dataclass(slots=True)
class Stage:
    """All real parts of one campaign, in a directory."""

    directory: Path
    standin: StandIn
    supervisor: Supervisor
    sessions: tuple[str, ...]
    clock: Path
    proxy: LocalProxy | None = None
    """Through which every second session goes."""
    dns: Names | None = None
    """The supervisor's own names; None: it has the machine's."""
    jids: Mapping[str, str] = field(default_factory=dict)
    log: list[Mapping[str, Any]] = field(default_factory=list)
    """The stand-in's log as far as it was read."""

    @classmethod
    async def set(
        cls,
        directory: Path,
        sessions: int,
        stack: AsyncExitStack,
        settings: Mapping[str, object] = SETTINGS,
        ways: bool = False,
    ) -> "Stage":
        """Start both, pair the sessions.

        All of it ends with the stack. `ways`: with a proxy and names that can be taken away.
        """
        standin = await StandIn.start(directory / "standin")
        stack.push_async_callback(standin.close)
        clock = directory / "clock"
        policy = directory / "policy.toml"
        policy.write_text(POLICY)
        environment = {f"WHATSAPP_{name}": str(value) for name, value in settings.items()}
        environment["WHATSAPP_POLICY_FILE"] = str(policy)
        environment["WHATSAPP_DEBUGGABLE"] = "true"  # its descriptors are counted from outside
        dns = await _own_names(directory) if ways else None
        server = standin.environment()
        if dns is not None:
            server["WHATSAPP_WEB_SOCKET_URL"] = by_name(server["WHATSAPP_WEB_SOCKET_URL"])
        supervisor = Supervisor(
            directory / "data",
            server
            | environment
            | {stepped_clock.VARIABLE: str(clock), trouble.VARIABLE: str(directory / "trouble")},
            module="scripts.chaos.stepped_clock",
            prefix=() if dns is None else dns.prefix,
        )
        stack.push_async_callback(_end, supervisor)
        names = tuple(f"s{n}" for n in range(1, sessions + 1))
        stage = cls(directory, standin, supervisor, names, clock, dns=dns)
        proxies: dict[str, str] = {}
        if ways:
            stage.proxy = proxy = LocalProxy()
            await proxy.open()
            stack.push_async_callback(proxy.close)
            proxies = dict.fromkeys(stage.names(by_proxy(sessions)), proxy.url)
        await stage.start_supervisor()
        await pair(supervisor, standin, *stage.sessions, proxies=proxies)
        stage.jids = {
            session: (await supervisor.session(session))["jid"] for session in stage.sessions
        }
        return stage

    # --- the supervisor ---------------------------------------------------------------------------

    @property
    def process(self) -> Process:
        """The supervisor's process."""
        assert self.supervisor.process is not None, "it was started"
        return self.supervisor.process

    async def start_supervisor(self) -> None:
        """Start it; what its predecessors said is kept in one file. Raises LabError."""
        if self.supervisor.process is not None:
            with (self.directory / "supervisor.log").open("a") as kept:
                kept.write(self.process.output.read_text(errors="replace"))
        await self.supervisor.start()

    async def call(
        self, method: str, path: str, body: Any = None, seconds: float = ANSWER_SECONDS
    ) -> tuple[int, Any]:
        """A call of the API that does not wait for long. Raises one of UNREACHABLE."""
        return await self.supervisor.call(
            method, path, body, timeout=aiohttp.ClientTimeout(total=seconds)
        )

    async def tasks(self) -> Mapping[str, str]:
        """The supervisor's tasks that run for ever, and how each is. Raises one of UNREACHABLE."""
        tasks: Mapping[str, str] = (await self.call("GET", "/readyz"))[1]["tasks"]
        return tasks

    @property
    def trouble(self) -> Path:
        """The file that names the trouble inside the supervisor."""
        return self.directory / "trouble"

    def supervisor_now(self) -> float:
        """The supervisor's wall clock, seconds."""
        return time.time() + stepped_clock.offset_ns(self.clock) / 1e9

    def supervisor_log(self, lines: int = 30) -> str:
        """Its last lines, those of its predecessors included."""
        kept = self.directory / "supervisor.log"
        before = kept.read_text().splitlines() if kept.exists() else []
        return "\n".join([*before, *self.process.tail(lines).splitlines()][-lines:])

    def descriptors(self) -> int:
        """How many it has open."""
        return psutil.Process(self.process.pid).num_fds()

    def memory_bytes(self) -> int:
        """Its resident memory."""
        return psutil.Process(self.process.pid).memory_info().rss

    # --- what can be seen -------------------------------------------------------------------------

    async def look(self) -> Look:
        """What is shown now. Raises one of UNREACHABLE."""
        (status, shown), state = await asyncio.gather(
            self.call("GET", "/sessions"), self.standin.call("GET", "/state")
        )
        if status != 200:
            raise LabError(f"GET /sessions: {status} {shown}")
        views = {view["id"]: view for view in shown["sessions"] if view["id"] in self.sessions}
        if len(views) < len(self.sessions):
            raise LabError(f"only {len(views)} sessions are shown")
        return Look(views, tuple(state["connections"]), tuple(state["devices"]))

    async def read_log(self) -> list[Mapping[str, Any]]:
        """The entries that came to the stand-in's log since the last call."""
        after = self.log[-1]["n"] if self.log else 0
        new: list[Mapping[str, Any]] = [*await self.standin.log(after=after)]
        self.log += new
        return new

    def names(self, victims: Iterable[int]) -> tuple[str, ...]:
        """The sessions of these numbers."""
        return tuple(self.sessions[victim] for victim in victims)

    def last_entries(self, session: str, most: int = 15) -> str:
        """What the stand-in saw of a session last, texts left out."""
        chatter = {"message_in", "message_out", "receipt"}
        entries = [
            e for e in self.log if e["session"] in {session, None} and e["event"] not in chatter
        ]
        return "\n".join(json.dumps(entry) for entry in entries[-most:])


async def _own_names(directory: Path) -> Names | None:
    """Names of our own, for root alone: anybody else would be root in that namespace, and the
    supervisor would do what it does for root.
    """
    names = Names(directory)
    return names if os.geteuid() == 0 and await names.work() else None


async def _end(supervisor: Supervisor) -> None:
    """End it, however it is: it may be stopped by a signal or detached from its workers."""
    process = supervisor.process
    if process is not None and process.status is None:
        await supervisor.kill()
    await supervisor.close()
    for stray in working_below(supervisor.directory):
        stray.kill()
