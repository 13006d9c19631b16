"""Proxies: which URLs are taken, what is shown of them, and when a session may get another one."""

import pytest
import structlog

from sessions.credentials.proxy import parse_proxy
from sessions.lifecycle.inbox import Command, UseProxy
from sessions.model import InvalidProxy, Refused, UnreadableValue
from sessions.model import SessionState as S
from sessions.workers import wire
from tests.fakes import World

SECRET = "hunter2"

GOOD = {
    "http://proxy.example:3128": ("http://proxy.example:3128", "http://proxy.example:3128"),
    "HTTPS://Proxy.Example:443/": ("https://proxy.example:443", "https://proxy.example:443"),
    " socks4://10.0.0.1:1080 ": ("socks4://10.0.0.1:1080", "socks4://10.0.0.1:1080"),
    "socks5://u:p%40ss@proxy.example:1": (
        "socks5://u:p%40ss@proxy.example:1",
        "socks5://proxy.example:1",
    ),
    "socks5h://u@[2001:DB8::1]:65535": (
        "socks5h://u@[2001:db8::1]:65535",
        "socks5h://[2001:db8::1]:65535",
    ),
    "http://u:@proxy.example:80": ("http://u:@proxy.example:80", "http://proxy.example:80"),
}


@pytest.mark.parametrize(("text", "expected"), GOOD.items())
def test_what_is_a_proxy(text: str, expected: tuple[str, str]) -> None:
    proxy = parse_proxy(text)
    assert (proxy.url, proxy.name) == expected
    assert parse_proxy(proxy.url) == proxy


BAD = [
    "",
    "none",
    "proxy.example:3128",
    f"ftp://u:{SECRET}@proxy.example:21",
    "http://proxy.example",
    "http://proxy.example:0",
    "http://proxy.example:65536",
    "http://proxy.example:port",
    "http://:3128",
    f"http://u:{SECRET}@x@proxy.example:3128",
    f"http://u:{SECRET}/x@proxy.example:3128",
    f"http://u:{SECRET} x@proxy.example:3128",
    f"http://u:{SECRET}%4@proxy.example:3128",
    f"http://:{SECRET}@proxy.example:3128",
    "http://proxy.example:3128/path",
    "http://proxy.example:3128?a=b",
    "http://proxy.example:3128#a",
    "http://proxy.example:3128\r\nX: y",
    "http://proxy\u00e9.example:3128",
    "http://[::g]:3128",
    "http://[1:2:3]:3128",
    f"http://{SECRET * 200}:x@proxy.example:3128",
]


@pytest.mark.parametrize("text", BAD)
def test_what_is_none(text: str) -> None:
    with pytest.raises(InvalidProxy) as refused:
        parse_proxy(text)
    assert SECRET not in str(refused.value) + refused.value.hint
    assert "scheme://" in refused.value.hint


def test_a_proxy_does_not_print_its_password() -> None:
    proxy = parse_proxy(f"http://someone:{SECRET}@proxy.example:3128")
    assert SECRET not in f"{proxy} {proxy!r}"
    assert "someone" not in f"{proxy} {proxy!r}"


PROXY = parse_proxy(f"socks5://someone:{SECRET}@proxy.example:1080")
looptime = pytest.mark.looptime(noop_cycles=6)
in_step = pytest.mark.usefixtures("no_tasks_left", "wall_clock_in_step")


@looptime
@in_step
async def test_a_session_at_rest_gets_another_proxy_and_its_worker_is_given_it() -> None:
    async with World() as world:
        await world.start()
        await world.until(S.OPEN)
        with pytest.raises(Refused) as refused:
            await world.session.ask(UseProxy(PROXY))
        assert "stop" in refused.value.hint
        assert world.session.view().proxy is None
        await world.session.ask(Command.STOP)
        with structlog.testing.capture_logs() as logged:
            await world.session.ask(UseProxy(PROXY))
            await world.session.ask(Command.START)
            await world.until(S.OPEN)
        assert world.session.view().proxy == "socks5://proxy.example:1080"
        assert ("registered", "socks5://proxy.example:1080") in world.gate.told
        assign = world.workers.last.sent[0]
        assert isinstance(assign, wire.Assign)
        assert assign.proxy == PROXY.url
        assert SECRET not in str(logged) + str(world.events) + str(world.session.view())
        await world.session.ask(Command.STOP)
        await world.session.ask(UseProxy(None))
        await world.session.ask(Command.START)
        await world.until(S.OPEN)
        assert world.gate.told[-2:] == [("registered", "direct"), ("opened", None)]


@looptime
@in_step
async def test_a_proxy_that_cannot_be_read_quarantines_its_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with World() as world:

        async def unreadable(_session: str) -> None:
            raise UnreadableValue("The proxy does not decrypt.")

        monkeypatch.setattr(world.dependencies.store, "proxy", unreadable)
        await world.start()
        await world.until(S.QUARANTINED)
        assert world.workers.attempts == []
        monkeypatch.undo()
        await world.session.ask(UseProxy(PROXY))
        await world.session.ask(Command.START)
        await world.until(S.OPEN)
