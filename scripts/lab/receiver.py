"""A webhook's receiver on loopback: it remembers what it has accepted, and is as unkind as it is
told to be.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import msgspec

Mood = Literal["kind", "away", "error", "hang", "reset", "drip", "gone", "busy"]
"""error: 500; hang: no answer; reset: the connection is cut; drip: the answer's head, byte by byte;
gone: 410; busy: 503 with Retry-After; away: nobody listens.
"""
RETRY_AFTER_SECONDS: Final = 1
DRIP_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Delivery:
    """A request that was accepted."""

    headers: Mapping[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        """The event in it."""
        found: dict[str, Any] = msgspec.json.decode(self.body)
        return found

    @property
    def late(self) -> bool:
        """Whether it says that it was set aside."""
        return self.headers.get("wasup-late") == "true"


@dataclass
class Receiver:
    """A running receiver."""

    port: int = 0
    mood: Mood = "kind"
    refuses: Callable[[Delivery], bool] = lambda _: False
    """Answers 422 to these, whatever its mood."""
    accepted: list[Delivery] = field(default_factory=list)
    requests: int = 0
    connections: int = 0
    _server: asyncio.Server | None = None
    _clients: set[asyncio.Task[None]] = field(default_factory=set)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}/hook"

    async def be(self, mood: Mood) -> None:
        """Change its mood; connections that are open end."""
        self.mood = mood
        await self._stop()
        if mood != "away":
            await self.start()

    async def start(self) -> None:
        """Listen, at the port that it had."""
        self._server = await asyncio.start_server(self._client, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        if self._server is not None:
            self._server.close()
        self._server = None
        for task in list(self._clients):
            task.cancel()
        await asyncio.gather(*self._clients, return_exceptions=True)

    async def close(self) -> None:
        """Listen no more."""
        await self._stop()

    async def _client(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "a callback of start_server is a task"
        self._clients.add(task)
        self.connections += 1
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                while await self._answer(reader, writer):
                    pass
        except asyncio.CancelledError:
            writer.transport.abort()
        finally:
            self._clients.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Take one request; whether the connection goes on."""
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head[1:] if line)
        }
        delivery = Delivery(headers, await reader.readexactly(int(headers["content-length"])))
        self.requests += 1
        match self.mood:
            case "hang":
                await asyncio.Event().wait()
            case "reset":
                writer.transport.abort()
                return False
            case "drip":
                for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"." * 1000:
                    writer.write(bytes([byte]))
                    await writer.drain()
                    await asyncio.sleep(DRIP_SECONDS)
            case "error":
                writer.write(_response("500 Internal Server Error", b"the database is away"))
            case "gone":
                writer.write(_response("410 Gone"))
            case "busy":
                more = f"Retry-After: {RETRY_AFTER_SECONDS}\r\n"
                writer.write(_response("503 Service Unavailable", more=more))
            case _ if self.refuses(delivery):
                writer.write(_response("422 Unprocessable Content", b"not this one"))
            case _:
                self.accepted.append(delivery)
                writer.write(_response("204 No Content"))
        await writer.drain()
        return True


def _response(status: str, body: bytes = b"", more: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\n{more}Content-Length: {len(body)}\r\n\r\n".encode() + body


@contextlib.asynccontextmanager
async def receiver() -> AsyncIterator[Receiver]:
    """A receiver while the block runs."""
    found = Receiver()
    await found.start()
    try:
        yield found
    finally:
        await found.close()
