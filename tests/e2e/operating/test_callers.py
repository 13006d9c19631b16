"""Who may call the API, and what of a caller's secrets is written down: the whole program, its log
in both forms.
"""

import asyncio
import socket
from contextlib import closing
from urllib.parse import urlsplit

import msgspec
import pytest

from scripts.lab import StandIn, Supervisor, pair
from tests.conftest import StartSupervisor
from tests.lab_tools import restarted
from tests.other_users import NOBODY, as_user, needs_root

pytestmark = pytest.mark.asyncio(loop_scope="session")

TOKEN = "correct-horse-battery-staple"


def talk(address: tuple[str, int], request: bytes, hang_up: bool = False) -> bytes:
    """A request as it is, and all of the answer."""
    with closing(socket.socket()) as caller:
        caller.settimeout(20)
        caller.connect(address)
        caller.sendall(request)
        if hang_up:
            return b""
        if b"Connection: close" not in request:
            caller.shutdown(socket.SHUT_WR)
        answer = b""
        while part := caller.recv(65_536):
            answer += part
        return answer


def get(path: str, *headers: str, host: str = "127.0.0.1") -> bytes:
    lines = [f"GET {path} HTTP/1.1", f"Host: {host}", "Connection: close", *headers]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1")


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def address_of(supervisor: Supervisor) -> tuple[str, int]:
    parts = urlsplit(supervisor.api)
    return str(parts.hostname), int(parts.port or 0)


async def test_without_a_token_our_own_user_and_root_may_call_and_nobody_else(
    share_supervisor: StartSupervisor, standin: StandIn
) -> None:
    supervisor = await share_supervisor()
    address = address_of(supervisor)

    async def answer(
        *headers: str, path: str = "/performance-metrics", host: str = "127.0.0.1"
    ) -> bytes:
        return await asyncio.to_thread(talk, address, get(path, *headers, host=host))

    assert status_of(await answer()) == 200, "the operator's curl"
    await pair(supervisor, standin, "shown")
    assert status_of(await answer(path="/sessions/shown")) == 200
    for host in ("localhost:4001", "[::1]:4001", "127.0.0.1:1", "LOCALHOST"):
        assert status_of(await answer(host=host)) == 200, host
    for host in (
        "evil@127.0.0.1",
        r"evil\@127.0.0.1",
        "127.0.0.1@evil",
        "127.0.0.1/..",
        "127.0.0.1:x",
        "[::1",
        "",
        " ",
    ):
        assert status_of(await answer(host=host)) == 403, host
        assert status_of(await answer(host=host, path="/healthz")) == 403, host
    assert status_of(await answer("Host: evil.example")) in {400, 403}, "two of them"
    for header in (
        "X-Forwarded-For: 127.0.0.1",
        "Via: 1.1 proxy",
        "Forwarded: for=127.0.0.1",
        "x-real-ip: ::1",
        "X-Forwarded-Port: 1",
    ):
        refused = await answer(header)
        assert status_of(refused) == 401
        assert b"comes through a proxy" in refused
        assert b"WHATSAPP_API_TOKEN" in refused
        assert status_of(await answer(header, path="/healthz")) == 200


@needs_root
async def test_another_user_of_the_machine_is_refused_unless_a_setting_says_otherwise(
    start_supervisor: StartSupervisor,
) -> None:
    supervisor = await start_supervisor()

    def as_nobody(request: bytes, hang_up: bool = False) -> bytes:
        return as_user(NOBODY, lambda: talk(address_of(supervisor), request, hang_up))

    create = (
        b"POST /sessions HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length:"
        b' 17\r\n\r\n{"id": "nobodys"}'
    )
    for request in (get("/performance-metrics"), get("/sessions"), create):
        refused = as_nobody(request)
        assert status_of(refused) == 401
        assert b"WWW-Authenticate: Bearer" in refused
        error = msgspec.json.decode(refused.partition(b"\r\n\r\n")[2])["error"]
        assert error["message"] == "This call comes from the user nobody, and it brings no token."
        assert "WHATSAPP_API_LOCAL_USERS=all" in error["hint"]
    assert as_nobody(create, hang_up=True) == b"", (
        "and whoever hangs up at once is not taken for root"
    )
    for path in ("/healthz", "/readyz"):
        assert status_of(as_nobody(get(path))) == 200
    assert (await supervisor.get("/sessions"))["sessions"] == []
    # nor by the live feed, which asks for the token in the first message
    feed = "/socket.io/?EIO=4&transport=polling"
    opened = as_nobody(get(feed)).partition(b"\r\n\r\n0")[2]
    feed += "&sid=" + msgspec.json.decode(opened)["sid"]
    log_in = (
        f"POST {feed} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: 2\r\n"
    )
    assert status_of(as_nobody(f"{log_in}\r\n40".encode())) == 200
    refused = as_nobody(get(feed)).partition(b"\r\n\r\n44")[2]
    assert "the user nobody" in msgspec.json.decode(refused)["data"]["message"]

    await restarted(supervisor, WHATSAPP_API_LOCAL_USERS="all")
    assert status_of(as_nobody(get("/sessions"))) == 200


MALFORMED = [
    b"GET /sessions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\r\n\r\n",
    b"GET /sessions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\x01\r\n\r\n",
    b"GET /sessions HTTP/1.1\r\nHost: x\r\nAuthorization : Bearer %s\r\n\r\n",
    b"GET /sessions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s" + b"x" * 20_000 + b"\r\n\r\n",
    b"GET /sessions HTTP/1.1\r\nHost: x\r\n Authorization: Bearer %s\r\n\r\n",
    b"GET /sessions?token=%s HTTP/9.9.9\r\nHost: x\r\n\r\n",
    b"GET /%s\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"%s\r\n\r\n",
    b"POST /sessions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nContent-Length: y\r\n\r\n",
    b"POST /sessions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%s\r\n",
    b"POST /sessions HTTP/1.1\r\nHost: x\r\nContent-Encoding: gzip\r\nContent-Length: 28\r\n\r\n%s",
]


@pytest.mark.parametrize("log_format", ["json", "human"])
async def test_nothing_that_a_caller_sends_is_written_to_the_log(
    log_format: str, start_supervisor: StartSupervisor
) -> None:
    """Neither our own token in a broken request, nor what was meant for somebody else."""
    supervisor = await start_supervisor(api_token=TOKEN, log_format=log_format, log_level="debug")
    for request in MALFORMED:
        for sent in (TOKEN, TOKEN[::-1]):
            await asyncio.to_thread(
                talk, address_of(supervisor), request % sent.encode() + b"\r\n\r\n"
            )
    assert supervisor.process is not None
    assert await supervisor.stop() == 0
    written = supervisor.process.output.read_text()
    assert "stopped" in written
    assert TOKEN not in written
    assert TOKEN[::-1] not in written
    if log_format == "json":
        assert all(isinstance(msgspec.json.decode(line), dict) for line in written.splitlines())
