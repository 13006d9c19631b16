"""The live feed's own client (api/web/client) with the real supervisor: it comes back, misses nothing
and reads nothing twice.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest

from scripts.lab import Supervisor, eventually
from supervisor.process.worker_user import NODE
from tests.conftest import StartSupervisor
from tests.lab_tools import must, restarted

pytestmark = pytest.mark.asyncio(loop_scope="session")
REPORT: Final = Path(__file__).resolve().parents[3] / "api/web/client/tests/report.js"


@dataclass
class Client:
    """A client, and all that it has told."""

    told: list[dict[str, Any]] = field(default_factory=list)

    @property
    def numbers(self) -> list[int]:
        """Of the events that it has read, in its order."""
        return [line["n"] for line in self.told if "n" in line]

    @property
    def states(self) -> list[str]:
        """Those that it has had."""
        return [line["state"] for line in self.told if "state" in line]

    async def reads(self, last: int, first: int = 1) -> None:
        """Wait until it has read all events from the one to the other, and perhaps what the
        supervisor itself has told since: each once, in their order.
        """
        await self.comes_to(lambda _: len(self.numbers) > last - first)
        assert self.numbers == [*range(first, first + len(self.numbers))]

    async def comes_to(self, what: Callable[["Client"], bool]) -> None:
        """Wait until that is so."""

        async def look() -> list[dict[str, Any]]:
            return self.told

        await eventually(look, lambda _: what(self), seconds=60.0, what="what the client tells")


@asynccontextmanager
async def client(supervisor: Supervisor, token: str, after: int = 0) -> AsyncIterator[Client]:
    process = await asyncio.create_subprocess_exec(
        NODE,
        REPORT,
        supervisor.api,
        token,
        str(after),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    found = Client()
    assert process.stdin is not None
    assert process.stdout is not None

    async def read(lines: asyncio.StreamReader) -> None:
        async for line in lines:
            found.told.append(msgspec.json.decode(line))

    reading = asyncio.create_task(read(process.stdout))
    try:
        yield found
    finally:
        process.stdin.close()
        async with asyncio.timeout(30):
            assert await process.wait() == 0
        await reading


async def produce(supervisor: Supervisor, session: str, count: int) -> int:
    """So many events, one after the other; the number of the last one."""
    for _ in range(count):
        await supervisor.must("PUT", f"/sessions/{session}/proxy", {"proxy": None})
    return int((await supervisor.get("/events?limit=0"))["last"])


async def test_it_reads_on_through_restarts_kills_and_full_houses(
    start_supervisor: StartSupervisor,
) -> None:
    supervisor = await start_supervisor()
    port = supervisor.api.rpartition(":")[2]  # the same again, as behind any address
    # this machine's CPU is busy with other tests, and that is none of this one's
    settings = {"CPU_THRESHOLD": "100", "MAX_WEBSOCKET_CONNECTIONS": "1"}
    await restarted(supervisor, **settings, WHATSAPP_API_PORT=port)
    await supervisor.must("POST", "/sessions", {"id": "loja", "start": False})
    said = await must(supervisor, "keys", "create", "--name", "painel", "--scope", "read")
    (key,) = re.findall(r"wasup_\w+", said)
    last = await produce(supervisor, "loja", 5)
    async with client(supervisor, key) as first:
        await first.reads(last)
        assert first.states == ["connecting", "connected"]

        # There is no place for a second one: it polls, and gets the same.
        async with client(supervisor, key) as second:
            last = await produce(supervisor, "loja", 5)
            await second.reads(last)
            assert second.states == ["connecting", "degraded"]
            refused = next(line for line in second.told if "code" in line)
            assert refused["code"] == "insufficient_resources"
            assert "MAX_WEBSOCKET_CONNECTIONS" in refused["hint"]
            figures = (await supervisor.get("/performance-metrics"))["liveFeed"]
            assert (figures["connections"], figures["successes"]) == (1, 1)
            assert figures["failures"]["insufficient resources"] >= 1
            assert figures["handshake"]["token"]["count"] == 1

        # The supervisor says that it goes, and comes back; then it is killed.
        await restarted(supervisor)
        last = await produce(supervisor, "loja", 5)
        await first.reads(last)
        await supervisor.kill()
        await supervisor.start()
        last = await produce(supervisor, "loja", 5)
        await first.reads(last)
        await first.comes_to(lambda seen: seen.states[-1] == "connected")
        assert not any("gap" in line for line in first.told)

    # Who goes on where he was reads nothing again.
    async with client(supervisor, key, after=last) as third:
        more = await produce(supervisor, "loja", 2)
        await third.reads(more, first=last + 1)
    async with client(supervisor, "another installation's") as stranger:
        await stranger.comes_to(lambda seen: {"gaveUp": "refused_token"} in seen.told)
        refused = next(line for line in stranger.told if "code" in line)
        assert (refused["code"], refused["reason"]) == ("refused_token", "invalid")
    assert await supervisor.stop() == 0
    written = (supervisor.directory / "logs" / "websocket.log").read_text()
    lines = [msgspec.json.decode(line) for line in written.splitlines()]
    assert {line["event"] for line in lines} == {"admitted", "closed", "refused"}
    assert {line.get("reason") for line in lines if line["event"] == "refused"} == {
        "insufficient resources",
        "invalid",
    }
    assert key not in written
    assert "another installation" not in written
