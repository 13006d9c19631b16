"""Little proxies on loopback: HTTP CONNECT and SOCKS 5, each with or without a password.

They remember whom they have connected.
"""

import asyncio
import base64
import contextlib
import ipaddress
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

USER: Final = "so@meone"
PASSWORD: Final = "s3cr:t/p#ss"

_Reader = asyncio.StreamReader
_Writer = asyncio.StreamWriter
_CONNECTED: Final = bytes([5, 0, 0, 1, 0, 0, 0, 0, 0, 0])


@dataclass
class Proxy:
    """A running proxy. `asked`, `connected`: host and port of each connection asked for, and made.

    `refused`: how many had the wrong account, or none.
    """

    scheme: str
    port: int = 0
    account: bool = False
    asked: list[tuple[str, int]] = field(default_factory=list)
    connected: list[tuple[str, int]] = field(default_factory=list)
    refused: int = 0

    @property
    def name(self) -> str:
        """The proxy's URL without user and password, as it may be shown."""
        return f"{self.scheme}://127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """The proxy's URL, with user and password if it wants them."""
        account = f"{quote(USER, safe='')}:{quote(PASSWORD, safe='')}@" if self.account else ""
        return f"{self.scheme}://{account}127.0.0.1:{self.port}"


@contextlib.asynccontextmanager
async def http_proxy(account: bool = False, port: int = 0) -> AsyncIterator[Proxy]:
    """An HTTP proxy that knows CONNECT and nothing else.

    `port`: of one that was there before; 0: any.
    """
    async with _serving(Proxy("http", port=port, account=account), _serve_connect) as proxy:
        yield proxy


@contextlib.asynccontextmanager
async def socks_proxy(account: bool = False) -> AsyncIterator[Proxy]:
    """A SOCKS 5 proxy (RFC 1928, RFC 1929)."""
    async with _serving(Proxy("socks5", account=account), _serve_socks) as proxy:
        yield proxy


@contextlib.asynccontextmanager
async def _serving(
    proxy: Proxy, serve: Callable[[Proxy, _Reader, _Writer], Awaitable[None]]
) -> AsyncIterator[Proxy]:
    tasks: set[asyncio.Task[None]] = set()

    async def client(reader: _Reader, writer: _Writer) -> None:
        task = asyncio.current_task()
        assert task is not None, "a callback of start_server is a task"
        tasks.add(task)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await serve(proxy, reader, writer)
        writer.close()
        tasks.discard(task)

    server = await asyncio.start_server(client, "127.0.0.1", proxy.port)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        for task in list(tasks):
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _serve_connect(proxy: Proxy, reader: _Reader, writer: _Writer) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    wanted = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    if proxy.account and f"Proxy-Authorization: Basic {wanted}" not in head:
        proxy.refused += 1
        writer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
        await writer.drain()
        return
    host, _, port = head[0].split()[1].rpartition(":")
    await _join(
        proxy, host, int(port), reader, writer, b"HTTP/1.1 200 Connection established\r\n\r\n"
    )


async def _serve_socks(proxy: Proxy, reader: _Reader, writer: _Writer) -> None:
    await reader.readexactly((await reader.readexactly(2))[1])
    writer.write(bytes([5, 2 if proxy.account else 0]))
    if proxy.account:
        await reader.readexactly(1)
        given = [await reader.readexactly((await reader.readexactly(1))[0]) for _ in range(2)]
        right = given == [USER.encode(), PASSWORD.encode()]
        writer.write(bytes([1, 0 if right else 1]))
        if not right:
            proxy.refused += 1
            await writer.drain()
            return
    kind = (await reader.readexactly(4))[3]
    length = {1: 4, 4: 16}.get(kind) or (await reader.readexactly(1))[0]
    address = await reader.readexactly(length)
    host = str(ipaddress.ip_address(address)) if kind in {1, 4} else address.decode()
    port = int.from_bytes(await reader.readexactly(2), "big")
    await _join(proxy, host, port, reader, writer, _CONNECTED)


async def _join(
    proxy: Proxy, host: str, port: int, reader: _Reader, writer: _Writer, connected: bytes
) -> None:
    proxy.asked.append((host, port))
    there = await asyncio.open_connection(host, port)
    proxy.connected.append((host, port))
    writer.write(connected)
    try:
        await asyncio.gather(_pump(reader, there[1]), _pump(there[0], writer))
    finally:
        there[1].close()


async def _pump(reader: _Reader, writer: _Writer) -> None:
    while data := await reader.read(65_536):
        writer.write(data)
        await writer.drain()
    writer.close()
