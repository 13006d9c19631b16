"""The API alone, on a free port: its own application over parts that a test gives, and raw bytes in
and out.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, cast

import msgspec
from aiohttp import web

from api.app import Parts, bind, create_app, serving
from api.responses import JSON
from api.routes import ROUTES
from scripts.lab.conformity import check
from supervisor.fleet.feed_limits import FeedLimits

TOKEN: Final = "correct-horse-battery-staple"


class Nothing:
    """A part that no handler of the test asks."""


class Answer:
    """One answer as it came: status, headers with small names, body."""

    def __init__(self, raw: bytes) -> None:
        head, _, self.body = raw.partition(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        self.status = int(first.split(" ")[1])
        self.headers = {
            name.lower(): value.strip()
            for name, _, value in (line.partition(":") for line in lines)
        }

    @property
    def error(self) -> dict[str, str]:
        """The error in its one shape."""
        content = msgspec.json.decode(self.body)
        assert set(content) == {"error"}
        assert set(content["error"]) == {"code", "message", "hint"}
        assert all(content["error"].values())
        return cast("dict[str, str]", content["error"])


@asynccontextmanager
async def api(
    *routes: web.RouteDef, token: str | None = None, connections: int = 64, **parts: Any
) -> AsyncIterator[tuple[str, int]]:
    """The API with further routes; its address.

    `parts`: those of the program that are asked; the others are missing.
    """
    parts.setdefault("feed_limits", FeedLimits(cpu_threshold=100.0))
    parts.setdefault("websocket_log", None)
    given = {name: parts.get(name, cast("Any", Nothing())) for name in Parts.__dataclass_fields__}
    app = create_app(Parts(**given), token, connections)
    app.add_routes(routes)
    listener = bind("127.0.0.1", 0)
    address = listener.getsockname()
    async with serving(app, listener):
        yield address
    listener.close()


async def raw(address: tuple[str, int], request: bytes, seconds: float = 20.0) -> bytes:
    """What comes back on a connection of its own until it is closed, by either side."""
    reader, writer = await asyncio.open_connection(*address)
    try:
        async with asyncio.timeout(seconds):
            writer.write(request)
            return await reader.read()
    finally:
        writer.close()


async def ask(
    address: tuple[str, int], method: str, path: str, body: bytes = b"", **headers: str
) -> Answer:
    """A call on a connection of its own; the header's names with _ for -."""
    given = {"Host": "127.0.0.1", "Connection": "close"} | {
        n.replace("_", "-"): v for n, v in headers.items()
    }
    if body:
        given["Content-Length"] = str(len(body))
    head = f"{method} {path} HTTP/1.1\r\n" + "".join(
        f"{name}: {value}\r\n" for name, value in given.items()
    )
    answer = Answer(await raw(address, head.encode() + b"\r\n" + body))
    if any(route.path == path.partition("?")[0] for route in ROUTES):  # else: a test's own
        kind = answer.headers.get("content-type", "").partition(";")[0]
        decoded = msgspec.json.decode(answer.body) if kind == JSON else None
        check(method, path, answer.status, kind, decoded, answer.headers)
    return answer


def reset(writer: asyncio.StreamWriter) -> None:
    """Hang up without a farewell."""
    sock: socket.socket = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    writer.transport.abort()
