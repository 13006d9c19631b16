"""The real look, at real servers on loopback that are unkind in every way that a network knows.

Nothing of it is a login.
"""

import asyncio
import base64
import datetime
import hashlib
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from scripts.lab.processes import NODE, free_port
from scripts.lab.proxies import http_proxy, socks_proxy
from sessions.credentials.proxy import Proxy, parse_proxy
from sessions.model import DIRECT, SessionId, StoreUnavailable, UnreadableValue
from sessions.model import CloseReason as R
from sessions.workers import connection
from supervisor.gate.way import Look
from supervisor.gate.way_probe import WHATSAPP_URL, WayProber

SESSION = SessionId("shop 1")
SECONDS = 1.0
MAGIC = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"

_Reader = asyncio.StreamReader
_Writer = asyncio.StreamWriter
Answer = Callable[[bytes, _Writer], Awaitable[None]]


@dataclass
class Door:
    """A server, and what it was asked."""

    port: int = 0
    heads: list[bytes] = field(default_factory=list)
    after: list[bytes] = field(default_factory=list)
    """What came after the upgrade."""


async def takes(head: bytes, writer: _Writer) -> None:
    key = next(
        line.split(b": ")[1]
        for line in head.split(b"\r\n")
        if line.startswith(b"Sec-WebSocket-Key")
    )
    accept = base64.b64encode(hashlib.sha1(key + MAGIC).digest())
    lines = [b"HTTP/1.1 101 Switching Protocols", b"Upgrade: websocket", b"Connection: Upgrade"]
    writer.write(b"\r\n".join([*lines, b"Sec-WebSocket-Accept: " + accept, b"", b""]))


def says(text: bytes) -> Answer:
    async def answer(head: bytes, writer: _Writer) -> None:
        writer.write(text)

    return answer


async def cuts(head: bytes, writer: _Writer) -> None:
    writer.transport.abort()


async def half(head: bytes, writer: _Writer) -> None:
    writer.write(b"HTTP/1.1 101 Swit")
    await writer.drain()
    writer.close()


async def hangs(head: bytes, writer: _Writer) -> None:
    await asyncio.sleep(60)


async def stammers(head: bytes, writer: _Writer) -> None:
    writer.write(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: ")
    await asyncio.sleep(60)


@asynccontextmanager
async def door(answer: Answer, trust: ssl.SSLContext | None = None) -> AsyncIterator[Door]:
    opened = Door()
    tasks: set[asyncio.Task[Any]] = set()

    async def serve(reader: _Reader, writer: _Writer) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            opened.heads.append(head)
            await answer(head, writer)
            opened.after.append(await reader.read())
        except (OSError, asyncio.IncompleteReadError):
            return
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=trust)
    opened.port = server.sockets[0].getsockname()[1]
    try:
        yield opened
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def no_proxy(session: SessionId) -> Proxy | None:
    return None


def prober(
    port: int, scheme: str = "ws", host: str = "127.0.0.1", proxy: str | None = None
) -> WayProber:
    async def proxy_of(session: SessionId) -> Proxy | None:
        assert session == SESSION
        return None if proxy is None else parse_proxy(proxy)

    return WayProber(f"{scheme}://{host}:{port}/ws/chat?session={{session}}", proxy_of, NODE)


async def look(port: int, seconds: float = SECONDS, **more: Any) -> Look:
    proxy = more.get("proxy")
    egress = DIRECT if proxy is None else parse_proxy(proxy).name
    return await prober(port, **more).look(SESSION, egress, seconds)


@pytest.fixture(autouse=True)
def _no_tasks(no_tasks_left: None) -> None:
    """When a look is over, nothing of it is left."""


async def test_it_asks_as_baileys_does_says_goodbye_and_sends_nothing_that_is_a_login() -> None:
    async with door(takes) as there:
        assert (await look(there.port)) == Look("open", "WhatsApp can be reached")
        (head,) = there.heads
        lines = head.decode().split("\r\n")
        assert lines[0] == "GET /ws/chat?session=shop%201 HTTP/1.1"
        assert {"Origin: https://web.whatsapp.com", f"Host: 127.0.0.1:{there.port}"} <= set(lines)
        assert not any(
            line.lower().startswith(("user-agent", "accept", "cookie")) for line in lines
        )
        while not there.after:  # noqa: ASYNC110 - the server's side of the end is told by no event
            await asyncio.sleep(0.01)
        assert there.after == [b"\x88\x82\x00\x00\x00\x00\x03\xe9"], (
            "a close frame, and not one byte more"
        )


CASES: dict[str, tuple[Answer, R]] = {
    "503": (says(b"HTTP/1.1 503 Service Unavailable\r\n\r\n"), R.UNAVAILABLE),
    "429": (says(b"HTTP/1.1 429 Too Many Requests\r\n\r\n"), R.RATE_LIMITED),
    "a captive portal": (
        says(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\n\r\n"),
        R.UPGRADE_REFUSED,
    ),
    "403": (says(b"HTTP/1.1 403 Forbidden\r\n\r\n"), R.UPGRADE_REFUSED),
    "something that is no HTTP": (says(b"+OK POP3 ready\r\n\r\n"), R.UPGRADE_REFUSED),
    "a head without an end": (
        says(b"HTTP/1.1 101 Sure\r\n" + b"X: y\r\n" * 40_000),
        R.UPGRADE_REFUSED,
    ),
    "an upgrade for somebody else": (
        says(b"HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: bm8=\r\n\r\n"),
        R.UPGRADE_REFUSED,
    ),
    "a reset": (cuts, R.NETWORK_UNREACHABLE),
    "half an answer": (half, R.NETWORK_UNREACHABLE),
    "no answer": (hangs, R.NETWORK_UNREACHABLE),
    "an answer that never ends": (stammers, R.NETWORK_UNREACHABLE),
}


@pytest.mark.parametrize("case", CASES)
async def test_what_answers_in_whatsapps_place_is_told_apart(case: str) -> None:
    answer, reason = CASES[case]
    async with door(answer) as there:
        seen = await look(there.port)
    assert (seen.state, seen.reason) == ("closed", reason), seen
    assert seen.words


async def test_nobody_listening_nobody_known_and_nobody_answering_are_told_apart() -> None:
    refused = await look(free_port())
    assert (refused.state, refused.reason) == ("closed", R.NETWORK_UNREACHABLE)
    unknown = await look(9, host="nobody.invalid")  # RFC 6761: never a name of anything
    assert (unknown.state, unknown.reason) == ("closed", R.DNS)
    assert "nobody.invalid" in unknown.words
    with socket.socket() as deaf:
        # it listens, its backlog is full, and no SYN is answered any more
        deaf.bind(("127.0.0.1", 0))
        deaf.listen(0)
        port = deaf.getsockname()[1]
        callers = [socket.socket() for _ in range(4)]
        for caller in callers:
            caller.setblocking(False)
            caller.connect_ex(("127.0.0.1", port))
        silent = await look(port, 0.5)
        for caller in callers:
            caller.close()
    assert (silent.state, silent.reason) == ("closed", R.NETWORK_UNREACHABLE)
    assert "no answer within 0.5 s" in silent.words


# --- TLS ------------------------------------------------------------------------------------------


@dataclass
class Certificate:
    context: ssl.SSLContext
    file: Path


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """A certificate for this host that nobody's CA has signed."""
    directory = tmp_path_factory.mktemp("tls")
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Captive Portal Inc.")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=2))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem = certificate.public_bytes(serialization.Encoding.PEM)
    (directory / "cert.pem").write_bytes(pem)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (directory / "both.pem").write_bytes(pem + private)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(directory / "both.pem")
    return Certificate(context, directory / "cert.pem")


async def test_a_foreign_certificate_is_refused_unless_the_workers_node_trusts_it(
    foreign: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NODE_EXTRA_CA_CERTS", raising=False)
    async with door(takes, foreign.context) as there:
        refused = await look(there.port, scheme="wss")
        assert (refused.state, refused.reason) == ("closed", R.TLS_UNTRUSTED)
        assert there.heads == [], "nothing was said to it"
        monkeypatch.setenv("NODE_EXTRA_CA_CERTS", str(foreign.file))
        assert (await look(there.port, scheme="wss")).state == "open"
        monkeypatch.setenv("NODE_EXTRA_CA_CERTS", "/nowhere/ca.pem")
        assert (await look(there.port, scheme="wss")).reason is R.TLS_UNTRUSTED, (
            "as Node: warned, and without it"
        )


async def test_a_door_that_speaks_no_tls_is_no_certificates_fault() -> None:
    async with door(takes) as there:
        seen = await look(there.port, scheme="wss")
    assert (seen.state, seen.reason) == ("closed", R.NETWORK_UNREACHABLE)


# --- proxies --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [http_proxy, socks_proxy])
@pytest.mark.parametrize("account", [False, True])
async def test_it_goes_through_the_sessions_proxy_with_its_account(
    kind: Any, account: bool
) -> None:
    async with door(takes) as there, kind(account=account) as proxy:
        assert (await look(there.port, proxy=proxy.url)).state == "open"
        assert proxy.connected == [("127.0.0.1", there.port)]


async def test_names_are_looked_up_where_the_scheme_says() -> None:
    async with door(takes) as there, socks_proxy() as proxy:
        await look(there.port, host="localhost", proxy=proxy.url)
        assert proxy.asked[0][0] in {"127.0.0.1", "::1"}, (
            "by whichever address this machine's own list names first"
        )
        by_proxy = proxy.url.replace("socks5", "socks5h")
        await look(there.port, host="localhost", proxy=by_proxy)
        assert proxy.asked[-1][0] == "localhost"
        unknown = await look(there.port, host="nobody.invalid", proxy=proxy.url)
        assert (unknown.state, unknown.reason) == ("closed", R.DNS), (
            "looked up here: no fault of the proxy's"
        )


async def test_a_proxy_that_refuses_is_away_or_is_silent_is_named_without_its_password() -> None:
    async with (
        door(takes) as there,
        http_proxy(account=True) as http,
        socks_proxy(account=True) as socks,
    ):
        for proxy in (http, socks):
            wrong = f"{proxy.scheme}://so%40meone:another@127.0.0.1:{proxy.port}"
            seen = await look(there.port, proxy=wrong)
            assert (seen.state, seen.reason) == ("closed", R.PROXY)
            assert proxy.name in seen.words
            assert "another" not in seen.words
        assert there.heads == []
    async with door(takes) as there:
        gone = await look(there.port, proxy=f"http://127.0.0.1:{free_port()}")
        assert (gone.state, gone.reason) == ("closed", R.PROXY)
        nameless = await look(there.port, proxy="socks5://nobody.invalid:1080")
        assert (nameless.state, nameless.reason) == ("closed", R.PROXY)
        async with door(hangs) as silent:
            seen = await look(there.port, 0.5, proxy=f"http://127.0.0.1:{silent.port}")
            assert (seen.state, seen.reason) == ("closed", R.PROXY)


async def test_a_proxy_over_tls_is_judged_by_the_same_trust(
    foreign: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NODE_EXTRA_CA_CERTS", raising=False)

    async def tunnels(head: bytes, writer: _Writer) -> None:
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")

    async with door(tunnels, foreign.context) as proxy:
        refused = await look(9, proxy=f"https://127.0.0.1:{proxy.port}")
        assert (refused.state, refused.reason) == ("closed", R.PROXY)
        monkeypatch.setenv("NODE_EXTRA_CA_CERTS", str(foreign.file))
        inside = await look(9, 0.5, proxy=f"https://127.0.0.1:{proxy.port}")
        assert (inside.state, inside.reason) == ("closed", R.NETWORK_UNREACHABLE), (
            "it came through the proxy"
        )
        assert proxy.heads[-1].startswith(b"CONNECT 127.0.0.1:9 ")


# --- what tells nothing ---------------------------------------------------------------------------


@pytest.mark.parametrize("error", [StoreUnavailable("away"), UnreadableValue("garbage")])
async def test_a_proxy_that_cannot_be_read_tells_nothing_and_nobody_goes_out_without_it(
    error: Exception,
) -> None:
    async def broken(session: SessionId) -> Proxy | None:
        raise error

    async with door(takes) as there:
        seen = await WayProber(f"ws://127.0.0.1:{there.port}", broken, NODE).look(SESSION, DIRECT)
        assert seen.state == "unknown"
        elsewhere = await WayProber(f"ws://127.0.0.1:{there.port}", no_proxy, NODE).look(
            SESSION, "http://proxy:1"
        )
        assert elsewhere.state == "unknown"
        assert there.heads == []


async def test_a_process_without_descriptors_says_nothing_of_the_way(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def no_means(*given: object, **more: object) -> socket.socket:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("supervisor.gate.way_probe.start_connection", no_means)
    assert (await look(9)).state == "unknown"


def test_the_default_is_where_baileys_goes() -> None:
    defaults = Path(
        "sessions/worker/node_modules/@whiskeysockets/baileys/lib/Defaults/index.js"
    ).read_text()
    assert f"waWebSocketUrl: '{WHATSAPP_URL}'" in defaults
    assert "DEFAULT_ORIGIN = 'https://web.whatsapp.com'" in defaults


@pytest_asyncio.fixture(autouse=True)
async def _settle() -> AsyncIterator[None]:
    """A closed TLS connection needs a turn or two of the loop."""
    yield
    await asyncio.sleep(0.05)


async def test_the_time_in_which_this_process_sleeps_is_not_the_networks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connection, "AWAKE_STEP_SECONDS", 0.2)
    async with door(takes) as opened:
        looking = asyncio.create_task(look(opened.port, 0.5))
        await asyncio.sleep(0.001)  # it is on its way
        time.sleep(1.5)  # noqa: ASYNC251 - nothing of this process runs, and its clock goes on
        assert (await looking).state == "open"
