"""Garbage on the line between supervisor and workers: from somebody who is no worker, and from
somebody who is no supervisor.
"""

import asyncio
import json
import os
import random
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from typing import Final

SOCKET: Final = "supervisor.sock"
HOLD_SECONDS: Final = 1.0
"""How long a connection that says nothing is kept."""
LONG_LINE_BYTES: Final = 33 * 1024 * 1024
"""Above the largest frame that is taken (docs/wire.md)."""
CHUNK_BYTES: Final = 256 * 1024

WRONG_HELLO: Final = {
    "type": "hello",
    "protocol": 2,
    "worker": "nobody-1",
    "token": "wrong",
    "pid": 1,
    "node_version": "v24",
    "baileys_version": "7",
    "code": "0",
    "sessions": [],
}


async def throw(directory: Path, kind: str, size: int) -> None:
    """Throw garbage of a kind at the supervisor's socket.

    `size` is bytes, or connections that say nothing.
    """
    if kind == "silence":
        async with AsyncExitStack() as stack:
            for _ in range(size):
                await stack.enter_async_context(connection(directory / SOCKET))
            await asyncio.sleep(HOLD_SECONDS)
    elif kind == "long-line":
        await _say(directory, b"x" * CHUNK_BYTES, times=LONG_LINE_BYTES // CHUNK_BYTES)
    else:
        await _say(directory, words(kind, size))


def words(kind: str, size: int) -> bytes:
    """What is said by somebody who does not speak the protocol."""
    match kind:
        case "bytes":
            return random.randbytes(size) + b"\n"
        case "half-frame":
            return json.dumps(WRONG_HELLO).encode()[: size // 4]
        case "wrong-token":
            return json.dumps(WRONG_HELLO).encode() + b"\n"
        case _:
            return b""


async def _say(directory: Path, said: bytes, times: int = 1) -> None:
    async with connection(directory / SOCKET) as (_, writer):
        with suppress(OSError):  # shown out in the middle of a word: as it should be
            for _ in range(times):
                writer.write(said)
                await writer.drain()


@asynccontextmanager
async def connection(
    path: Path,
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """A connection to the socket."""
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def impostor(directory: Path, kind: str, seconds: float) -> None:
    """Listen where a dead supervisor listened, and say nothing, or garbage, to every worker that
    calls.
    """
    path = directory / SOCKET
    path.unlink(missing_ok=True)
    lines: list[asyncio.StreamWriter] = []

    async def on_line(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines.append(writer)
        writer.write(words(kind, 200))
        with suppress(OSError):
            await writer.drain()
            if kind != "silence":
                writer.close()

    server = await asyncio.start_unix_server(on_line, path)
    os.chmod(path, 0o600)
    try:
        await asyncio.sleep(seconds)
    finally:
        server.close()
        for line in lines:
            line.close()
        path.unlink(missing_ok=True)
