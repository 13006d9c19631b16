"""The API alone, on a free port: its own application over parts that a test gives, and raw bytes in
and out.
"""

import asyncio
import hashlib
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, cast

import msgspec
from aiohttp import web

from api.app import Doorway, MetricsCollector, Parts, bind, create_app, serving
from api.responses import JSON
from api.routes import ROUTES
from scripts.lab.conformity import check
from supervisor.access.access import Access
from supervisor.access.audit import Deed
from supervisor.access.key import AccessKey
from supervisor.access.keys import Keys
from supervisor.access.principal import Principal
from supervisor.access.refusals import Refusals
from supervisor.access.scopes import Scope
from supervisor.access.token_validator import ImprovedTokenValidator
from supervisor.fleet.live_feed_limits import LiveFeedLimits
from supervisor.history.outward.requests import Requests

TOKEN: Final = "correct-horse-battery-staple"
SIGNING_SECRET: Final = b"0123456789abcdef0123456789abcdef"


class Nothing:
    """A part that no handler of the test asks."""


class Calm:
    """A host that is not critical."""

    on = False


class Deeds:
    """The audit log, as what was written into it."""

    def __init__(self) -> None:
        self.seen: list[tuple[Principal, Deed, int]] = []

    def write(self, principal: Principal, deed: Deed, unlogged: int = 0) -> None:
        """Remember a line."""
        self.seen.append((principal, deed, unlogged))


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
        assert set(content["error"]) - {"reason", "scope"} == {"code", "message", "hint"}
        assert all(content["error"].values())
        return cast("dict[str, str]", content["error"])


def application(token: str | None = None, connections: int = 64, **parts: Any) -> web.Application:
    """The API over those parts of the program that are asked; the others are missing.

    `known_keys`: who else may call; `doorway`: further fields of it.
    """
    keys = Keys(cast("Any", Nothing()), parts.pop("known_keys", ()))
    refusals = Refusals()
    validator = ImprovedTokenValidator(SIGNING_SECRET, refusals)
    parts = {
        "audit": Deeds(),
        "keys": keys,
        "access": Access(token, keys, validator, refusals),
    } | parts
    doorway = Doorway(
        connections=connections, needs_token=token is not None, **parts.pop("doorway", {})
    )
    parts.setdefault("feed_metrics", MetricsCollector())
    parts.setdefault("feed_limits", LiveFeedLimits(cpu_threshold=100.0))
    parts.setdefault("websocket_log", None)
    parts.setdefault("requests", Requests(None, str))
    parts.setdefault("shedding", Calm())
    given = {name: parts.get(name, cast("Any", Nothing())) for name in Parts.__dataclass_fields__}
    return create_app(Parts(**given), doorway)


def known_key(
    text: str,
    scope: Scope,
    sessions: frozenset[str] | None = None,
    expires_at: float | None = None,
) -> AccessKey:
    """What the supervisor knows of a key."""
    return AccessKey(
        id=text.split("_")[1],
        name=f"{scope} key",
        scope=scope,
        sessions=sessions,
        created_at=0.0,
        expires_at=expires_at,
        digest=hashlib.sha256(text.encode()).digest(),
    )


@asynccontextmanager
async def api(
    *routes: web.RouteDef, token: str | None = None, connections: int = 64, **parts: Any
) -> AsyncIterator[tuple[str, int]]:
    """`application` with further routes, on a free port; its address."""
    app = application(token, connections, **parts)
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
