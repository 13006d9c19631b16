"""One attempt against a real socket: whatever the endpoint does, it ends in bounded time and in words."""

import asyncio
import time
from collections.abc import AsyncIterator
from email.utils import formatdate

import pytest
import pytest_asyncio

from scripts.lab.receiver import RETRY_AFTER_SECONDS, Mood, Receiver, receiver
from supervisor.delivery.endpoint import sender as module
from supervisor.delivery.endpoint.retrying import MOST_RETRY_AFTER_SECONDS
from supervisor.delivery.endpoint.sender import EXCERPT_BYTES, Outcome, Sender, retry_after
from supervisor.delivery.endpoint.targets import REFUSED, Guards

SOON = 0.5
GUARDS = Guards.of(True, ("127.0.0.1", 1), on_loopback=True)


@pytest_asyncio.fixture
async def endpoint() -> AsyncIterator[Receiver]:
    async with receiver() as found:
        yield found


@pytest_asyncio.fixture
async def sender() -> AsyncIterator[Sender]:
    found = Sender(GUARDS)
    yield found
    await found.close()


async def sent(sender: Sender, url: str, is_trusted: bool = True) -> Outcome:
    async with asyncio.timeout(20):
        return await sender.send(url, b"{}", {"webhook-id": "evt_1"}, is_trusted)


@pytest.mark.parametrize(
    ("mood", "kind", "status", "words"),
    [
        ("kind", "accepted", 204, None),
        ("away", "away", None, "the connection is refused"),
        ("error", "refused", 500, "500 Internal Server Error"),
        ("hang", "away", None, f"no whole answer within {SOON:g} s"),
        ("reset", "away", None, "it hung up without an answer"),
        ("drip", "away", None, f"no whole answer within {SOON:g} s"),
        ("gone", "gone", 410, "410 Gone"),
        ("busy", "away", 503, "503 Service Unavailable"),
    ],
)
async def test_whatever_the_endpoint_does_has_an_end_and_a_name(
    endpoint: Receiver,
    monkeypatch: pytest.MonkeyPatch,
    mood: Mood,
    kind: str,
    status: int,
    words: str | None,
) -> None:
    if mood in {"hang", "drip"}:
        monkeypatch.setattr(module, "TOTAL_SECONDS", SOON)
    sender = Sender(GUARDS)
    await endpoint.be(mood)
    outcome = await sent(sender, endpoint.url)
    await sender.close()
    assert (outcome.kind, outcome.status, outcome.error) == (kind, status, words)
    assert outcome.answer == ("the database is away" if mood == "error" else None)
    assert outcome.retry_after_seconds == (RETRY_AFTER_SECONDS if mood == "busy" else 0)


async def test_a_connection_of_who_may_open_it_is_not_used_by_who_may_not(
    endpoint: Receiver,
) -> None:
    sender = Sender(Guards.of(None, ("127.0.0.1", 1), on_loopback=True))
    for _ in range(2):
        assert (await sent(sender, endpoint.url)).kind == "accepted"
        refused = await sent(sender, endpoint.url, is_trusted=False)
        assert (refused.kind, refused.error) == ("away", REFUSED)
    await sender.close()
    assert (endpoint.connections, endpoint.requests) == (1, 2)


async def test_a_connection_is_used_again(endpoint: Receiver, sender: Sender) -> None:
    for _ in range(5):
        assert (await sent(sender, endpoint.url)).kind == "accepted"
    assert endpoint.connections == 1


async def answering(sender: Sender, answer: bytes, path: str = "/") -> Outcome:
    """What becomes of an endpoint's very own bytes."""

    async def client(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"{}")
        writer.write(answer)
        await reader.read()
        writer.close()

    server = await asyncio.start_server(client, "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        return await sent(sender, f"http://127.0.0.1:{port}{path}")
    finally:
        server.close()


async def test_a_redirect_is_not_followed(sender: Sender, endpoint: Receiver) -> None:
    answer = f"HTTP/1.1 302 Found\r\nLocation: {endpoint.url}\r\nContent-Length: 0\r\n\r\n"
    outcome = await answering(sender, answer.encode())
    assert outcome.kind == "refused"
    assert "redirects are not followed" in (outcome.error or "")
    assert endpoint.requests == 0


async def test_what_was_accepted_is_accepted_even_if_the_answer_never_ends(sender: Sender) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\nsome"
    assert (await answering(sender, head)).kind == "accepted"


async def test_of_an_answer_only_a_bit_is_read_and_shown(sender: Sender) -> None:
    body = b"\x00\x1b[31m" + b"x" * 10_000_000
    head = f"HTTP/1.1 400 Bad\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    outcome = await answering(sender, head + body)
    assert outcome.error == "400 Bad Request", "not the endpoint's own words"
    assert outcome.answer is not None
    assert outcome.answer.isprintable()
    assert len(outcome.answer) < EXCERPT_BYTES


@pytest.mark.parametrize(
    "answer", [b"SSH-2.0-OpenSSH_9.2\r\n", b"\x00" * 100, b"HTTP/1.1 abc\r\n\r\n"]
)
async def test_what_is_no_http_is_a_failure_in_words(sender: Sender, answer: bytes) -> None:
    outcome = await answering(sender, answer)
    assert outcome.kind == "away"
    assert outcome.error == "its answer is no HTTP that can be read"


async def test_an_address_in_disguise_is_no_url(sender: Sender) -> None:
    outcome = await sent(sender, "http://2130706433/")
    assert outcome.error == "its URL is none that can be called"


async def test_no_error_tells_the_path_or_the_query(sender: Sender) -> None:
    await asyncio.sleep(0)
    outcome = await answering(sender, b"", "/hook?key=s3cret")
    assert "s3cret" not in (outcome.error or "")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, 0),
        ("", 0),
        ("soon", 0),
        ("-5", 0),
        ("0", 0),
        ("120", 120),
        (" 120 ", 120),
        ("999999999", MOST_RETRY_AFTER_SECONDS),
        ("99999999999999", 0),
        (formatdate(1_000_060, usegmt=True), 60),
        (formatdate(999_000, usegmt=True), 0),
        ("Wed, 21 Oct 9999 07:28:00 GMT", MOST_RETRY_AFTER_SECONDS),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_bounded(text: str | None, seconds: float) -> None:
    assert retry_after(text, 1_000_000.0) == seconds


async def test_a_name_server_that_hangs_holds_nobody_but_its_own_endpoint(
    monkeypatch: pytest.MonkeyPatch, endpoint: Receiver, sender: Sender
) -> None:
    look_up = module.socket.getaddrinfo

    def slow(host: str, *more: object, **named: object) -> object:
        if host == "hangs.example":
            time.sleep(2.0)
        return look_up(host, *more, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(module.socket, "getaddrinfo", slow)
    hanging = [asyncio.create_task(sent(sender, "http://hangs.example/")) for _ in range(30)]
    await asyncio.sleep(0)
    url = endpoint.url.replace("127.0.0.1", "localhost")
    assert (await sent(sender, url)).kind == "accepted"
    assert not any(task.done() for task in hanging)
    assert {(await task).kind for task in hanging} == {"away"}
