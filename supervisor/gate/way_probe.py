"""A look at the way to WhatsApp, as a session goes it: its proxy, the worker's URL, the worker's
trust. It ends before any login.

What it sends is what Baileys sends up to the upgrade, to the byte where that matters (origin, no
user agent); nothing of it names a number. What it finds is told in the words in which a worker
would tell it (sessions/worker/socket/close-reason.js).
"""

import asyncio
import base64
import errno
import hashlib
import json
import os
import re
import socket
import ssl
import subprocess
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import quote, unquote, urlsplit

import structlog
from aiohappyeyeballs import start_connection
from python_socks import ProxyError, ProxyType
from python_socks.async_.asyncio.v2 import Proxy as ProxyClient

from sessions.credentials.proxy import Proxy
from sessions.model import DIRECT, CloseReason, SessionId, StoreError
from sessions.workers.connection import awake_within
from supervisor.gate.way import LOOK_SECONDS, Look

WHATSAPP_URL: Final = "wss://web.whatsapp.com/ws/chat"
"""Baileys' own (rc14, Defaults/index.js), used when no other is set."""
ORIGIN: Final = "https://web.whatsapp.com"
"""What Baileys says (Defaults/index.js: DEFAULT_ORIGIN)."""
CLIENT_SECONDS: Final = 3600.0
"""The proxy's client has a patience of its own, which counts sleep: the look's is shorter."""
ADDRESS_SECONDS: Final = 0.25
"""How long one address may take before the next is tried beside it: Node's
autoSelectFamilyAttemptTimeout.
"""
NODE_SECONDS: Final = 20.0
GOODBYE: Final = b"\x88\x82\x00\x00\x00\x00\x03\xe9"
"""A WebSocket close frame, masked with zeros: 1001, going away, as a browser's tab that is
closed.
"""

OURS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
"""This process has no means left: that says nothing of the way."""
SCHEMES: Final = {
    "http": ProxyType.HTTP,
    "https": ProxyType.HTTP,
    "socks4": ProxyType.SOCKS4,
    "socks5": ProxyType.SOCKS5,
    "socks5h": ProxyType.SOCKS5,
}
LOOKED_UP_HERE: Final = frozenset({"socks4", "socks5"})
"""Schemes whose targets are looked up on this machine, as the worker's packages do."""
_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([1-5][0-9]{2})(?: |\r)")
_DATE: Final = re.compile(rb"\r\ndate:[ \t]*([^\r\n]+)\r\n", re.IGNORECASE)
_WEBSOCKET_MAGIC: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]

log = structlog.get_logger("reach")


@dataclass(slots=True)
class _Step:
    """How far a look has come: which reason it has if it ends here, and the words for it."""

    reason: CloseReason
    words: str


class WayProber:
    """Looks.

    `url`: where WhatsApp is, with `{session}` or without; `proxy_of`: a session's proxy; `node`:
    the workers' Node.
    """

    def __init__(
        self, url: str | None, proxy_of: Callable[[SessionId], Awaitable[Proxy | None]], node: str
    ) -> None:
        self._url = url or WHATSAPP_URL
        self._proxy_of = proxy_of
        self._node = node
        self._trust: ssl.SSLContext | None = None
        self._asking_node = asyncio.Lock()

    async def look(self, session: SessionId, egress: str, seconds: float = LOOK_SECONDS) -> Look:
        """Go this session's way as far as the upgrade.

        It ends in time, and raises nothing that a network can cause. The time in which this process
        sleeps (stopped, frozen, a suspended machine) is not the network's, and is not counted.
        """
        try:
            proxy = await self._proxy_of(session)
        except StoreError as error:
            return Look("unknown", f"the proxy of {session} could not be read ({error})")
        if egress != (DIRECT if proxy is None else proxy.name):
            return Look("unknown", f"{session} goes another way by now")
        url = self._url.replace("{session}", quote(session, safe="!~*'()"))
        trust = await self._trusted() if url.startswith("wss:") or "https:" in egress else None
        step = _Step(CloseReason.NETWORK_UNREACHABLE, "it was not begun")
        going = asyncio.create_task(_upgraded(url, proxy, trust, step), name=f"look by {egress}")
        try:
            await awake_within(seconds, going)
            return going.result()
        except TimeoutError:
            return Look("closed", f"{step.words}: no answer within {seconds:g} s", step.reason)
        except ssl.SSLCertVerificationError as error:
            reason = step.reason if step.reason is CloseReason.PROXY else CloseReason.TLS_UNTRUSTED
            return Look("closed", f"{step.words}: {error.verify_message}", reason)
        except (OSError, asyncio.IncompleteReadError, ProxyError, ValueError) as error:
            if isinstance(error, OSError) and error.errno in OURS:
                return Look("unknown", f"{step.words}: {error.strerror}")
            return Look("closed", f"{step.words}: {_told(error)}", step.reason)
        finally:
            going.cancel()
            await asyncio.gather(going, return_exceptions=True)

    async def _trusted(self) -> ssl.SSLContext:
        """Whom the workers trust: Node's own roots and NODE_EXTRA_CA_CERTS, not this system's."""
        async with self._asking_node:  # once, however many looks begin at once
            if self._trust is None:
                self._trust = await asyncio.to_thread(_nodes_trust, self._node)
        return self._trust


async def _upgraded(
    url: str, proxy: Proxy | None, trust: ssl.SSLContext | None, step: _Step
) -> Look:
    target = urlsplit(url)
    host, secure = target.hostname or "", target.scheme == "wss"
    port = target.port or (443 if secure else 80)
    reader, writer = await (
        _direct(host, port, step) if proxy is None else _through(proxy, host, port, trust, step)
    )
    ends = None
    try:
        if secure:
            step.reason, step.words = CloseReason.NETWORK_UNREACHABLE, f"TLS with {host}:{port}"
            assert trust is not None, "it is made for every wss URL"
            await writer.start_tls(trust, server_hostname=host)
            ends = _certificate_ends(writer)
        step.reason, step.words = CloseReason.NETWORK_UNREACHABLE, f"the upgrade at {host}:{port}"
        look = await _ask(
            target.path + (f"?{target.query}" if target.query else ""),
            target.netloc,
            reader,
            writer,
        )
        if look.state == "open":
            writer.write(GOODBYE)
            await writer.drain()
        return look._replace(certificate_ends_seconds=ends)
    finally:
        writer.close()


async def _direct(host: str, port: int, step: _Step) -> _Streams:
    addresses = await _looked_up(host, port, socket.AF_UNSPEC, step)
    step.reason, step.words = CloseReason.NETWORK_UNREACHABLE, f"{host}:{port}"
    line = await start_connection(addresses, happy_eyeballs_delay=ADDRESS_SECONDS, interleave=1)
    try:
        return await asyncio.open_connection(sock=line)
    except BaseException:
        line.close()
        raise


async def _through(
    proxy: Proxy, host: str, port: int, trust: ssl.SSLContext | None, step: _Step
) -> _Streams:
    given = urlsplit(proxy.url)
    if given.scheme in LOOKED_UP_HERE:
        family = socket.AF_INET if given.scheme == "socks4" else socket.AF_UNSPEC
        host = str((await _looked_up(host, port, family, step))[0][4][0])
    step.reason, step.words = CloseReason.PROXY, f"the proxy {proxy.name}"
    client = ProxyClient(
        SCHEMES[given.scheme],
        given.hostname or "",
        given.port or 0,
        unquote(given.username) if given.username else None,
        unquote(given.password or "") if given.username else None,
        rdns=given.scheme not in LOOKED_UP_HERE,
        proxy_ssl=trust if given.scheme == "https" else None,
    )
    stream = await client.connect(host, port, timeout=CLIENT_SECONDS)
    return stream.reader, stream.writer


async def _looked_up(
    host: str, port: int, family: socket.AddressFamily, step: _Step
) -> list[tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int]]]:
    step.reason, step.words = CloseReason.DNS, f"the name {host}"
    found = await asyncio.get_running_loop().getaddrinfo(
        host, port, family=family, type=socket.SOCK_STREAM
    )
    if not found:
        raise OSError(f"no address for {host}")
    return found  # type: ignore[return-value]


async def _ask(
    path: str, host: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> Look:
    """Ask for the upgrade, as ws does for Baileys."""
    key = base64.b64encode(os.urandom(16))
    lines = (
        f"GET {path or '/'} HTTP/1.1",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {key.decode()}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        f"Origin: {ORIGIN}",
        "Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits",
        f"Host: {host}",
    )
    writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as cut:
        if cut.partial and not _STATUS.match(cut.partial):
            return Look("closed", "what answers does not speak HTTP", CloseReason.UPGRADE_REFUSED)
        raise
    except asyncio.LimitOverrunError:
        return Look(
            "closed", "what answers does not end its answer's head", CloseReason.UPGRADE_REFUSED
        )
    found = _STATUS.match(head)
    if found is None:
        return Look("closed", "what answers does not speak HTTP", CloseReason.UPGRADE_REFUSED)
    status, date = int(found[1]), date_of(head)
    if status != 101:
        return Look("closed", f"HTTP {status} at the upgrade", _reason_of(status), date)
    accepted = base64.b64encode(hashlib.sha1(key + _WEBSOCKET_MAGIC).digest())
    if accepted not in head:
        return Look("closed", "what answers is no WebSocket server", CloseReason.UPGRADE_REFUSED)
    return Look("open", "WhatsApp can be reached", server_seconds=date)


def date_of(head: bytes) -> float | None:
    """What the server's clock says in the head of its answer; None: it does not say."""
    found = _DATE.search(head)
    try:
        return parsedate_to_datetime(found[1].decode("ascii")).timestamp() if found else None
    except ValueError:  # it says something else there
        return None


def _certificate_ends(writer: asyncio.StreamWriter) -> float | None:
    """Until when the server's certificate, which was found good, is valid."""
    certificate = writer.get_extra_info("peercert") or {}
    ends = certificate.get("notAfter")
    return float(ssl.cert_time_to_seconds(ends)) if ends else None


def _reason_of(status: int) -> CloseReason:
    """As the worker says it (close-reason.js: reasonOfHttpStatus)."""
    if status == 429:
        return CloseReason.RATE_LIMITED
    return CloseReason.UNAVAILABLE if status >= 500 else CloseReason.UPGRADE_REFUSED


def _told(error: Exception) -> str:
    if isinstance(error, asyncio.IncompleteReadError):
        return "the connection was cut"
    if isinstance(error, OSError) and error.strerror:
        # asyncio's own words for a refused connection name the address once more, and not the cause
        refused = error.errno and error.strerror.startswith("Connect call failed")
        return os.strerror(error.errno or 0) if refused else str(error.strerror)
    return str(error) or type(error).__name__


def _nodes_trust(node: str) -> ssl.SSLContext:
    """A TLS context that judges as a worker does: by the roots that its Node was built with, and
    those that it is given.
    """
    trust = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    asked = [node, "-p", "JSON.stringify(require('node:tls').rootCertificates.join('\\n'))"]
    answer = subprocess.run(
        asked, capture_output=True, check=True, timeout=NODE_SECONDS, env={}, text=True
    )
    trust.load_verify_locations(cadata=json.loads(answer.stdout))
    extra = os.environ.get("NODE_EXTRA_CA_CERTS")
    if extra:
        try:
            trust.load_verify_locations(cafile=extra)
        except OSError as error:  # Node warns, and goes on without them
            log.warning(
                f"NODE_EXTRA_CA_CERTS cannot be read: {error}", action="extra_ca_certs", file=extra
            )
    return trust
