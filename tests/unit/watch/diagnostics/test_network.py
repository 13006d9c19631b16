"""The ways out: an outage of all of them is told as one, and what is out of reach is what the
sender cannot reach.
"""

import asyncio
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from scripts.lab.processes import free_port
from sessions.credentials.proxy import Proxy, parse_proxy
from sessions.model import CloseReason, SessionId
from sessions.store.tables.rows import SessionRow
from sessions.store.tables.webhooks import WebhookRow
from supervisor.delivery.deliverer import Progress
from supervisor.delivery.endpoint.targets import AddressInfo, Guard, TargetRefused
from supervisor.delivery.webhook_settings import WebhookSettings
from supervisor.gate.way import LOOK_SECONDS, Look
from supervisor.settings import Settings
from supervisor.watch.diagnostics import network
from supervisor.watch.diagnostics.doctor import Check, Subject, examine
from supervisor.watch.diagnostics.network import (
    CONNECT_SECONDS,
    MOST_WAYS,
    MOST_WEBHOOKS,
    certificate_ends,
    check_webhooks,
    check_whatsapp,
)

OURS = ("127.0.0.1", 4001)
PRIVATE = Guard(True, OURS)
PUBLIC = Guard(False, OURS)
DAY = 86_400.0


def subject(directory: Path, store: Any) -> Subject:
    async def never() -> Any:
        raise AssertionError("not asked here")

    return Subject(
        settings=Settings(data_dir=directory), directory=directory, host=never, store=store
    )


def webhook(number: int, url: str) -> WebhookRow:
    settings = WebhookSettings(url=url, secrets=(), description="")
    return WebhookRow(
        id=f"wh_{number}",
        created_at=0.0,
        settings=msgspec.json.encode(settings),
        paused_because=None,
        progress=msgspec.json.encode(Progress(0, 0)),
    )


def with_webhooks(*urls: str) -> Any:
    """A store of these, at which everything has arrived."""

    async def all_of_them() -> list[WebhookRow]:
        return [webhook(number, url) for number, url in enumerate(urls)]

    async def count(webhook: str) -> dict[str, int]:
        return {}

    return SimpleNamespace(webhooks=SimpleNamespace(all=all_of_them, count=count))


def with_proxies(count: int) -> Any:
    """A store of so many sessions, each with a proxy of its own."""
    proxies = {
        SessionId(f"s{n}"): parse_proxy(f"socks5h://10.0.0.{n}:1080") for n in range(1, count + 1)
    }

    async def sessions() -> list[SessionRow]:
        return [
            SessionRow(one, True, 1, None, None, None, 0.0, proxy.name)
            for one, proxy in proxies.items()
        ]

    async def proxy(session: SessionId) -> Proxy:
        return proxies[session]

    return SimpleNamespace(sessions=sessions, proxy=proxy)


# --- many at once ---------------------------------------------------------------------------------


@pytest.mark.looptime
async def test_an_outage_of_every_way_is_told_as_such_and_not_as_a_check_that_hangs(
    bare_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Silent:
        """Nobody answers: each look takes as long as it may."""

        def __init__(self, *_: object) -> None:
            pass

        async def look(self, session: SessionId, egress: str) -> Look:
            await asyncio.sleep(LOOK_SECONDS)
            return Look("closed", "no answer", CloseReason.NETWORK_UNREACHABLE)

    monkeypatch.setattr(network, "WayProber", Silent)
    check = Check("whatsapp", "the ways", "connection", check_whatsapp)
    (found,) = await examine(subject(bare_environment, with_proxies(MOST_WAYS)), [check])
    assert len(found.issues) == MOST_WAYS
    assert all("cannot be reached" in issue.description for issue in found.issues)


@pytest.mark.looptime
async def test_a_hundred_endpoints_that_do_not_answer_are_told_one_by_one(
    bare_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def silent(url: str, guard: Guard) -> tuple[str | None, float | None]:
        await asyncio.sleep(CONNECT_SECONDS)
        return "no answer", None

    monkeypatch.setattr(network, "_reached", silent)
    store = with_webhooks(*(f"https://shop-{n}.example/hook" for n in range(MOST_WEBHOOKS)))
    check = Check("webhooks", "the webhooks", "connection", check_webhooks)
    (found,) = await examine(subject(bare_environment, store), [check])
    assert len(found.issues) == MOST_WEBHOOKS
    assert all("cannot be reached" in issue.description for issue in found.issues)


# --- certificates ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "asked"),
    [
        ("wss://web.whatsapp.com/ws/chat", "web.whatsapp.com:443"),
        ("wss://127.0.0.1:8443/ws/chat", "127.0.0.1:8443"),
        ("https://shop.example", "shop.example:443"),
        ("https://[2001:db8::1]:8443", "'[2001:db8::1]:8443'"),
    ],
)
def test_the_command_about_a_certificate_asks_whoever_has_it(url: str, asked: str) -> None:
    (issue,) = certificate_ends(time.time() + 3 * DAY + 60, "whoever", url)
    assert issue.description == "The certificate of whoever ends in 3 days."
    assert issue.commands == (
        f"openssl s_client -connect {asked} </dev/null | openssl x509 -noout -dates",
    )


@pytest.mark.parametrize(
    ("url", "shown", "asked"),
    [
        ("https://shop.example:8443/a-secret", "https://shop.example:8443", "shop.example:8443"),
        ("https://[::1]:8443/a-secret", "https://[::1]:8443", "'[::1]:8443'"),
    ],
)
async def test_a_webhook_s_certificate_is_told_with_a_command_that_works_and_without_its_path(
    bare_environment: Path, monkeypatch: pytest.MonkeyPatch, url: str, shown: str, asked: str
) -> None:
    async def reached(url: str, guard: Guard) -> tuple[str | None, float | None]:
        return None, time.time() + 3 * DAY + 60

    monkeypatch.setattr(network, "_reached", reached)
    (issue,) = await check_webhooks(subject(bare_environment, with_webhooks(url)))
    assert issue.description == f"The certificate of the webhook {shown} ends in 3 days."
    assert issue.commands == (
        f"openssl s_client -connect {asked} </dev/null | openssl x509 -noout -dates",
    )
    assert "a-secret" not in str(issue)


# --- endpoints ------------------------------------------------------------------------------------


def at(*ports: int) -> list[AddressInfo]:
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port)) for port in ports]


@pytest.fixture
def listening() -> Iterator[int]:
    """A port that takes connections, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> int:
    """A port whose connections never come to be, as behind a firewall that drops."""
    port, connect = free_port(), asyncio.SelectorEventLoop.sock_connect

    async def sock_connect(loop: Any, sock: socket.socket, address: Any) -> None:
        if address[1] == port:
            await loop.create_future()
        await connect(loop, sock, address)

    monkeypatch.setattr(asyncio.SelectorEventLoop, "sock_connect", sock_connect)
    return port


def looked_up(monkeypatch: pytest.MonkeyPatch, addresses: list[AddressInfo]) -> None:
    def getaddrinfo(*_: object, **__: object) -> list[AddressInfo]:
        return addresses

    monkeypatch.setattr(network.socket, "getaddrinfo", getaddrinfo)


async def test_an_endpoint_of_which_one_address_is_silent_is_reached_by_the_other(
    monkeypatch: pytest.MonkeyPatch, silent: int, listening: int
) -> None:
    looked_up(monkeypatch, at(silent, listening))
    assert await network._reached("http://shop.example", PRIVATE) == (None, None)


async def test_an_address_that_may_not_be_called_is_told_as_such_alone_and_with_others(
    monkeypatch: pytest.MonkeyPatch, listening: int
) -> None:
    for addresses in (at(listening), at(listening, listening)):
        with pytest.raises(TargetRefused):
            await network._connected(addresses, PUBLIC, None)
        looked_up(monkeypatch, addresses)
        problem, _ = await network._reached("http://shop.example", PUBLIC)
        assert problem is not None
        assert "WHATSAPP_WEBHOOK_PRIVATE_TARGETS" in problem


async def test_a_name_that_cannot_be_one_is_told_and_hides_no_other_webhook(
    bare_environment: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = free_port()
    monkeypatch.setenv("WHATSAPP_WEBHOOK_PRIVATE_TARGETS", "true")
    store = with_webhooks(f"http://{'a' * 64}.example/", f"http://127.0.0.1:{refused}/")
    first, second = await check_webhooks(subject(bare_environment, store))
    assert "it cannot be one" in first.description
    assert "Connection refused" in second.description


@pytest.mark.parametrize("tls_host", [None, "shop.example"])
@pytest.mark.parametrize("count", [1, 2])
async def test_whoever_gives_up_leaves_no_socket_open(
    silent: int, listening: int, tls_host: str | None, count: int
) -> None:
    """Where nobody answers, and where somebody does who then says nothing of TLS."""
    made, begun = list[socket.socket](), asyncio.Event()

    def kept(make: Callable[[AddressInfo], socket.socket]) -> Any:
        def socket_of(info: AddressInfo) -> socket.socket:
            made.append(make(info))
            begun.set()
            return made[-1]

        return SimpleNamespace(socket=socket_of)

    addresses = at(*(silent if tls_host is None else listening for _ in range(count)))
    going = asyncio.create_task(network._connected(addresses, kept(PRIVATE.socket), tls_host))
    await begun.wait()
    await asyncio.sleep(0.3)
    assert not going.done()
    going.cancel()
    with suppress(asyncio.CancelledError):
        await going
    await asyncio.sleep(0)
    assert [one.fileno() for one in made] == [-1] * len(made)
