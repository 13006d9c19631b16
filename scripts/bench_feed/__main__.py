"""`python -m scripts.bench_feed`: 1,000 clients of the live feed on a supervisor with real workers,
each event to all of them; a stalled client beside them; kill -9 in mid-stream; the limit of 500;
what a client weighs.
"""

import argparse
import asyncio
import json
import os
import secrets
import signal
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import aiohttp
import psutil

from scripts.bench.__main__ import failure, machine_words, this_machine
from scripts.lab import LabError, StandIn, Supervisor, Traffic, eventually, pair
from scripts.lab.processes import ROOT, free_port

PROCESSES: Final = 2
"""The clients are divided among them."""
SESSIONS: Final = ("loja-1", "loja-2")
EVERY_SECONDS: Final = 0.2
"""One text to each session: ten events a second."""
ANSWER_SECONDS: Final = 120.0
STALLED_BYTES: Final = 4096
"""The receive buffer of the client that does not read."""


class CrowdProcess:
    """A process of clients."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(cls, url: str, count: int, token: str) -> "CrowdProcess":
        """Start it; nobody is connected yet."""
        crowd = cls(
            await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "scripts.bench_feed.crowd",
                url,
                str(count),
                cwd=ROOT,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                limit=2**30,
            )
        )
        await crowd.ask(f"token:{token}")
        return crowd

    async def ask(self, word: str) -> Any:
        """Ask it something. Raises LabError."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(word.encode() + b"\n")
        async with asyncio.timeout(ANSWER_SECONDS):
            line = await self._process.stdout.readline()
        if not line:
            raise LabError("a process of clients has ended")
        return json.loads(line)

    async def close(self) -> None:
        """End it."""
        if self._process.returncode is None:
            self._process.kill()
        await self._process.wait()


class Bench:
    """What is on the table."""

    def __init__(self, directory: Path, standin: StandIn, clients: int, seconds: float) -> None:
        self.directory = directory
        self.standin = standin
        self.clients = clients
        self.seconds = seconds
        self.token = secrets.token_hex(16)
        self.figures: dict[str, Any] = {"clients": clients}
        self._stack = AsyncExitStack()
        self._began = time.monotonic()

    async def __aenter__(self) -> "Bench":
        """The table."""
        return self

    async def __aexit__(self, *_error: object) -> None:
        """End all that was started."""
        await self._stack.aclose()

    def tell(self, text: str) -> None:
        """Show how far it is."""
        print(f"[{time.monotonic() - self._began:5.0f} s] {text}", flush=True)

    async def supervisor(self, name: str, **settings: str) -> Supervisor:
        """A supervisor at a port that stays the same."""
        given = self.standin.environment() | {
            "WHATSAPP_API_PORT": str(free_port()),
            # all come in the same moment, and each is a caller before it is a client
            "WHATSAPP_API_CONNECTIONS": str(2 * self.clients),
            "WHATSAPP_API_TOKEN": self.token,
            "WHATSAPP_DEBUGGABLE": "true",
            # whose CPU this is, is not what is measured
            "CPU_THRESHOLD": "100",
        }
        headers = {"Authorization": f"Bearer {self.token}"}
        supervisor = Supervisor(
            self.directory / name, given | settings, _http=aiohttp.ClientSession(headers=headers)
        )
        self._stack.push_async_callback(supervisor.close)
        return await supervisor.start()

    async def crowds(self, supervisor: Supervisor) -> list[CrowdProcess]:
        """The processes of the clients."""
        made = []
        for number in range(PROCESSES):
            count = self.clients // PROCESSES + (number < self.clients % PROCESSES)
            crowd = await CrowdProcess.start(supervisor.api, count, self.token)
            self._stack.push_async_callback(crowd.close)
            made.append(crowd)
        return made

    # --- parts ------------------------------------------------------------------------------------

    async def everything(self) -> None:
        """All parts."""
        supervisor = await self.supervisor(
            "feed", MAX_WEBSOCKET_CONNECTIONS=str(self.clients + 1), WHATSAPP_SHUTDOWN="detach"
        )
        await pair(supervisor, self.standin, *SESSIONS)
        async with aiohttp.ClientSession() as http:  # the server is loaded with its first client
            await http.get(f"{supervisor.api}/socket.io/?EIO=4&transport=polling")
        before = weight(supervisor)
        crowds = await self.crowds(supervisor)
        await self.come_in(crowds, "all")
        self.figures["kib_per_client"] = round(
            (weight(supervisor) - before) / 1024 / self.clients, 1
        )
        self.tell(f"memory per client: {self.figures['kib_per_client']} KiB (RSS)")
        stalled = await self.stalled(supervisor)
        await self.latency(supervisor, crowds, "with_a_stalled_client")
        stalled.close()
        await self.latency(supervisor, crowds, "alone")
        await self.killed(supervisor, crowds)
        for crowd in crowds:
            await crowd.close()
        await self.limit()

    async def come_in(self, crowds: Sequence[CrowdProcess], name: str) -> dict[str, int]:
        """All clients at once; prints what came of them, in the three lines of old."""
        began = time.monotonic()
        answers = await asyncio.gather(*(crowd.ask("connect") for crowd in crowds))
        seconds = time.monotonic() - began
        successful = sum(answer["connected"] for answer in answers)
        failed = self.clients - successful
        print(f"Conexões bem-sucedidas: {successful}")
        print(f"Conexões falhadas: {failed}")
        print(f"Taxa de sucesso: {successful / self.clients * 100:.2f}%", flush=True)
        reasons: dict[str, int] = {}
        for answer in answers:
            for reason, count in answer["refused"].items():
                reasons[reason] = reasons.get(reason, 0) + count
        self.tell(f"in {seconds:.1f} s; refused: {reasons or 'nobody'}")
        self.figures[f"connecting_{name}"] = {
            "connected": successful,
            "refused": reasons,
            "seconds": round(seconds, 1),
        }
        return reasons

    async def stalled(self, supervisor: Supervisor) -> socket.socket:
        """A client that has logged in and asked for everything, and reads nothing any more."""
        host, _, port = supervisor.api.partition("://")[2].partition(":")
        line = socket.socket()
        line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, STALLED_BYTES)
        line.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(line, (host, int(port)))
        await loop.sock_sendall(
            line,
            f"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: {host}:{port}\r\n"
            "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode(),
        )
        await loop.sock_recv(line, 1024)
        for text in (f'40{{"token":"{self.token}"}}', '420["subscribe",{"after":0}]'):
            # a mask of zeros leaves the text as it is
            head = bytes([0x81, 0x80 | len(text)]) + b"\0\0\0\0"
            await loop.sock_sendall(line, head + text.encode())
            await asyncio.sleep(0.2)
        return line

    async def latency(
        self, supervisor: Supervisor, crowds: Sequence[CrowdProcess], name: str
    ) -> None:
        """Traffic, and how late each event came to each client."""
        await asyncio.gather(*(crowd.ask("time") for crowd in crowds))
        assert supervisor.process is not None, "it was started"
        process = psutil.Process(supervisor.process.pid)
        used = process.cpu_times()
        async with Traffic(self.standin, SESSIONS, EVERY_SECONDS) as traffic:
            await asyncio.sleep(self.seconds)
        await traffic.arrived(supervisor)
        reports = await self.have_all(supervisor, crowds)
        now = process.cpu_times()
        cpu_seconds = now.user + now.system - used.user - used.system
        late = sorted(ms for report in reports for ms in report["late_ms"])
        figures = {
            "events": len(traffic.sent),
            "deliveries": len(late),
            "cpu_us_per_delivery": round(1e6 * cpu_seconds / len(late)),
            "p50_ms": round(statistics.median(late)),
            "p99_ms": round(late[int(0.99 * len(late))]),
            "max_ms": round(late[-1]),
        }
        self.figures[f"latency_{name}"] = figures
        self.tell(f"latency {name.replace('_', ' ')}: {figures}")

    async def have_all(self, supervisor: Supervisor, crowds: Sequence[CrowdProcess]) -> list[Any]:
        """Wait until each client has all that the log has, once and in order; their reports.

        Raises LabError.
        """
        logged = [event["n"] for event in await supervisor.every_event("message.received")]

        async def reports() -> list[Any]:
            return list(await asyncio.gather(*(crowd.ask("report") for crowd in crowds)))

        def complete(given: list[Any]) -> bool:
            return all(seen == logged for report in given for seen, _ in report["seen"])

        try:
            found = await eventually(reports, complete, what="everybody having every event")
        except LabError:
            short = [
                (count, len(seen), sorted(set(logged) - set(seen))[:5])
                for report in await reports()
                for seen, count in report["seen"]
            ]
            raise LabError(f"of {len(logged)} events clients have: {short}") from None
        missed = [report["missed"] for report in found if report["missed"]]
        if missed:
            raise LabError(f"clients were told of what they had missed: {missed}")
        return found

    async def killed(self, supervisor: Supervisor, crowds: Sequence[CrowdProcess]) -> None:
        """Kill -9 in mid-stream, and a successor; everybody comes back and has everything once."""
        async with Traffic(self.standin, SESSIONS, EVERY_SECONDS) as traffic:
            await asyncio.sleep(2)
            await supervisor.kill()
            began = time.monotonic()
            await supervisor.start()
            await eventually(lambda: self.all_in(crowds), what="everybody coming back")
            back_seconds = time.monotonic() - began
            await asyncio.sleep(2)
        await traffic.arrived(supervisor)
        reports = await self.have_all(supervisor, crowds)
        self.figures["kill"] = {
            "events": len(traffic.sent),
            "all_back_seconds": round(back_seconds, 1),
            "missed": 0,
            "doubled": 0,
            "logins": sum(report["logins"] for report in reports),
        }
        self.tell(f"kill -9 of the supervisor in mid-stream: {self.figures['kill']}")

    async def all_in(self, crowds: Sequence[CrowdProcess]) -> bool:
        """Whether every client is connected."""
        reports = await asyncio.gather(*(crowd.ask("report") for crowd in crowds))
        return sum(int(report["in"]) for report in reports) == self.clients

    async def limit(self) -> None:
        """The limit at half of the clients: so many come in, and the others are told why."""
        most = self.clients // 2
        supervisor = await self.supervisor("limit", MAX_WEBSOCKET_CONNECTIONS=str(most))
        crowds = await self.crowds(supervisor)
        reasons = await self.come_in(crowds, f"limit_{most}")
        if reasons != {"insufficient resources": self.clients - most}:
            raise LabError(f"with places for {most}: {reasons}")


def weight(supervisor: Supervisor) -> int:
    """The supervisor's memory, bytes resident."""
    assert supervisor.process is not None, "it was started"
    return int(psutil.Process(supervisor.process.pid).memory_info().rss)


async def run(clients: int, seconds: float, json_file: Path | None) -> int:
    """Measure, print, end it all; the exit status."""
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    machine = this_machine()
    print(f"This machine: {machine_words(machine)}.", flush=True)
    with tempfile.TemporaryDirectory(prefix="wasup-bench-") as name:
        standin = await StandIn.start(Path(name) / "standin")
        try:
            async with Bench(Path(name), standin, clients, seconds) as bench:
                error = await failure(stopped, bench.everything())
        finally:
            await standin.close()
    machine["loadAverageAtEnd"] = os.getloadavg()[0]
    print(f"Measured on this machine only: {machine_words(machine)}.")
    if json_file is not None:
        text = json.dumps({"machine": machine, "figures": bench.figures}, indent=2)
        json_file.write_text(text + "\n")
    if error is not None:
        print(f"\nNot all was measured, or it does not hold: {error}", file=sys.stderr)
    return 130 if stopped.is_set() else int(error is not None)


def main() -> int:
    """Entry of `make bench-feed`."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.bench_feed", description="Measure the live feed on this machine."
    )
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=15.0, help="of traffic, in each part")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    given = parser.parse_args()
    return asyncio.run(run(given.clients, given.seconds, given.json))


if __name__ == "__main__":
    sys.exit(main())
