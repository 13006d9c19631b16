"""Whoever calls the API, whatever he sends or leaves out: one shape of answer, bounded resources,
and /healthz gets through.
"""

import asyncio
import gc
import gzip
import logging
from collections.abc import Iterator

import pytest
import structlog
from aiohttp import http_parser, web

from api.errors import BadRequest
from api.gatehouse import connections
from api.gatehouse.connections import Owes
from api.handlers.sessions import Text
from api.responses import raw_body
from scripts.lab import eventually
from supervisor.fleet.event_filter import EventFilter
from supervisor.fleet.feed import Page
from tests.api_tools import TOKEN, Answer, api, ask, raw, reset


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Deadlines of a moment, so that a test need not wait."""
    monkeypatch.setattr(connections, "SWEEP_SECONDS", 0.02)
    for owes in Owes:
        monkeypatch.setitem(connections.DEADLINE_SECONDS, owes, 0.1)


@pytest.fixture
def logged() -> Iterator[list[dict[str, object]]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


async def echo(request: web.Request) -> web.Response:
    return web.Response(body=await request.read())


ECHO = web.post("/echo", echo)

MALFORMED = [
    (
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer "
        + TOKEN.encode()
        + b"\r\r\n\r\n",
        400,
    ),
    (
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization : Bearer "
        + TOKEN.encode()
        + b"\r\n\r\n",
        400,
    ),
    (
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer "
        + TOKEN.encode()
        + b"\x01\r\n\r\n",
        400,
    ),
    (
        b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: "
        + TOKEN.encode() * 400
        + b"\r\n\r\n",
        431,
    ),
    (b"GET /?" + TOKEN.encode() * 400 + b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n", 414),
    (b"GET / HTTP/9.9\r\n\r\n", 400),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + TOKEN.encode(), 400),
    (
        (
            b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5\r\nContent-Length:"
            b" 6\r\n\r\nabcde"
        ),
        400,
    ),
    (b"POST / HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n", 400),
    (
        b"GET /healthz HTTP/1.1\r\nConnection: close\r\nHost: 127.0.0.1\r\nExpect: "
        + TOKEN.encode()
        + b"\r\n\r\n",
        417,
    ),
    (b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 200 + b"\r\n", 400),
]


@pytest.mark.parametrize(("request_", "status"), MALFORMED, ids=range(len(MALFORMED)))
async def test_what_is_no_http_gets_the_one_shape_and_stands_nowhere(
    request_: bytes,
    status: int,
    capsys: pytest.CaptureFixture[str],
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.DEBUG):
        async with api() as address:
            answer = Answer(
                await raw(
                    address,
                    (
                        request_ + b"\r\n\r\n"
                        if status != 417
                        else request_.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
                    ),
                )
            )
    assert answer.status == status
    assert answer.error["code"]
    assert answer.headers["connection"] == "close"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert TOKEN.encode() not in answer.body
    assert TOKEN not in caplog.text
    assert TOKEN not in "".join(capsys.readouterr())
    assert "Traceback" not in caplog.text


async def test_malformed_requests_are_counted_once_a_minute(
    logged: list[dict[str, object]],
) -> None:
    async with api() as address:
        for _ in range(30):
            await raw(address, b"nonsense\r\n\r\n")
    told = [line for line in logged if line.get("action") == "api_abused"]
    assert sum(line["counts"]["malformed requests"] for line in told) == 30  # type: ignore[index]
    assert len(told) <= 2
    assert not [line for line in logged if line["log_level"] == "error"]


async def test_a_compressed_body_is_neither_inflated_nor_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inflated = []
    monkeypatch.setattr(
        http_parser, "ZLibDecompressor", lambda *_given, **_named: inflated.append(1)
    )
    bomb = gzip.compress(bytes(50_000_000))
    async with api(ECHO, token=TOKEN) as address:
        unknown = await ask(address, "POST", "/echo", bomb, Content_Encoding="gzip")
        known = await ask(
            address, "POST", "/echo", bomb, Content_Encoding="gzip", Authorization=f"Bearer {TOKEN}"
        )
        plain = await ask(
            address,
            "POST",
            "/echo",
            b"x",
            Content_Encoding="identity",
            Authorization=f"Bearer {TOKEN}",
        )
    assert unknown.status == 401
    assert (known.status, known.error["code"]) == (415, "encoded_body")
    assert "Content-Encoding" in known.error["hint"]
    assert plain.status == 200
    assert inflated == []


async def test_a_refusal_is_read_by_who_is_still_sending_and_ends_the_connection() -> None:
    head = b"POST /sessions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 5000000\r\n\r\n"
    async with api(token=TOKEN) as address:
        whole = await asyncio.gather(*(raw(address, head + bytes(5_000_000)) for _ in range(5)))
        unfinished = await asyncio.gather(*(raw(address, head + bytes(1000)) for _ in range(20)))
    for answer in map(Answer, whole + unfinished):
        assert (answer.status, answer.error["code"], answer.headers["connection"]) == (
            401,
            "unauthorized",
            "close",
        )


async def test_after_an_upgrade_with_a_body_nothing_on_that_connection_waits_for_ever() -> None:
    upgrade = (
        b"POST /echo HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: Upgrade\r\nUpgrade:"
        b" websocket\r\nContent-Length: 600000\r\n\r\n"
    )
    async with api(ECHO) as address:
        came = await raw(
            address, upgrade + b"x" * 600_000 + b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        )
        assert Answer(came).headers["connection"] == "close"
        assert (await ask(address, "GET", "/healthz")).status == 200


@pytest.mark.parametrize(
    ("sent", "told"),
    [
        (b"", 408),
        (b"GET /healthz HT", 408),
        (b"POST /echo HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 10\r\n\r\nhalf", 408),
    ],
    ids=["silent", "half a head", "half a body"],
)
@pytest.mark.usefixtures("impatient")
async def test_who_does_not_finish_his_request_is_told_and_dropped(sent: bytes, told: int) -> None:
    async with api(ECHO) as address:
        answer = Answer(await raw(address, sent))
    assert (answer.status, answer.error["code"], answer.headers["connection"]) == (
        told,
        "request_timeout",
        "close",
    )


@pytest.mark.usefixtures("impatient")
async def test_a_kept_connection_without_calls_is_closed() -> None:
    async with api() as address:
        came = await raw(address, b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
    assert came.count(b"HTTP/1.1") == 1
    assert Answer(came).status == 200


@pytest.mark.usefixtures("impatient")
async def test_a_call_that_works_long_is_not_dropped() -> None:
    go_on = asyncio.Event()

    async def working(_request: web.Request) -> web.Response:
        await go_on.wait()
        return web.Response(text="done")

    async with api(web.get("/working", working)) as address:
        call = asyncio.create_task(ask(address, "GET", "/working"))
        assert Answer(await raw(address, b"GET")).status == 408  # several deadlines have passed
        go_on.set()
        assert (await call).body == b"done"


@pytest.mark.usefixtures("impatient")
async def test_who_takes_nothing_of_his_answer_is_dropped() -> None:
    ended = asyncio.Event()

    async def much(request: web.Request) -> web.StreamResponse:
        try:
            response = web.Response(body=bytes(30_000_000))
            await response.prepare(request)
            await response.write_eof()
            return response
        finally:
            ended.set()

    async with api(web.get("/much", much)) as address:
        reader, writer = await asyncio.open_connection(*address, limit=1024)
        writer.write(b"GET /much HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        async with asyncio.timeout(20):
            await ended.wait()
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await reader.readexactly(30_000_000)
        writer.close()


async def test_answers_that_nobody_reads_are_bounded_in_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections, "MAX_UNSENT_BYTES", 40_000_000)
    answered = []

    async def much(_request: web.Request) -> web.Response:
        return web.Response(body=bytes(15_000_000))

    async with api(web.get("/much", much)) as address:
        for _ in range(6):
            reader, writer = await asyncio.open_connection(*address, limit=1024)
            writer.write(b"GET /much HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            await reader.readexactly(100)
            answered.append((reader, writer))

        async def whole(reader: asyncio.StreamReader) -> bool:
            try:
                await reader.readexactly(14_000_000)
            except (ConnectionError, asyncio.IncompleteReadError):
                return False
            return True

        outcome = [await whole(reader) for reader, _ in answered]
        for _, writer in answered:
            writer.close()
    assert outcome[-1], "the newest has his answer"
    assert outcome.count(True) <= 3, "what did not fit into the bound was dropped"


async def test_a_monitor_gets_through_while_all_places_are_taken_by_the_silent() -> None:
    async with api(connections=8) as address:
        silent = [await asyncio.open_connection(*address) for _ in range(40)]
        for _ in range(5):
            assert (await ask(address, "GET", "/healthz")).status == 200
        for _, writer in silent:
            writer.close()


async def test_where_all_work_a_further_call_is_refused_in_the_one_shape() -> None:
    go_on = asyncio.Event()
    at_work = 0

    async def working(_request: web.Request) -> web.Response:
        nonlocal at_work
        at_work += 1
        await go_on.wait()
        return web.Response(text="done")

    async def all_at_work() -> int:
        return at_work

    async with api(web.get("/working", working), connections=8) as address:
        calls = [asyncio.create_task(ask(address, "GET", "/working")) for _ in range(8)]
        await eventually(all_at_work, lambda count: count == 8)
        refused = Answer(await raw(address, b""))
        assert (refused.status, refused.error["code"], refused.headers["retry-after"]) == (
            503,
            "busy",
            "1",
        )
        go_on.set()
        assert [(await call).body for call in calls] == [b"done"] * 8
        assert (await ask(address, "GET", "/healthz")).status == 200


async def test_a_waiting_call_ends_with_its_connection_and_a_command_is_carried_through() -> None:
    ended: list[str] = []
    begun: list[web.Request] = []
    go_on = asyncio.Event()

    async def waiting(request: web.Request) -> web.Response:
        begun.append(request)
        try:
            await go_on.wait()
            ended.append(f"{request.method} done")
        except asyncio.CancelledError:
            ended.append(f"{request.method} cancelled")
            raise
        return web.Response()

    async def outcome() -> list[str]:
        return ended

    async def hung_up() -> list[bool]:
        return [request.transport is None for request in begun]

    async with api(web.get("/wait", waiting), web.post("/command", waiting)) as address:
        for number, call in enumerate(("GET /wait", "POST /command"), 1):
            _, writer = await asyncio.open_connection(*address)
            writer.write(f"{call} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
            await eventually(hung_up, lambda seen, n=number: len(seen) == n)
            reset(writer)
        await eventually(hung_up, lambda seen: seen == [True, True])
        await eventually(outcome, lambda seen: seen == ["GET cancelled"])
        go_on.set()
        await eventually(outcome, lambda seen: seen == ["GET cancelled", "POST done"])


async def test_a_caller_who_hangs_up_in_the_middle_of_a_body_is_no_error_of_the_program(
    logged: list[dict[str, object]],
) -> None:
    begun: list[web.Request] = []
    ended: list[object] = []

    async def reading(request: web.Request) -> web.Response:
        begun.append(request)
        try:
            await raw_body(request, Text)
        except Exception as error:
            ended.append(type(error))
            raise
        return web.Response()

    async def outcome() -> tuple[int, list[object]]:
        return len(begun), ended

    async with api(web.post("/command", reading)) as address:
        _, writer = await asyncio.open_connection(*address)
        writer.write(b"POST /command HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 99\r\n\r\nhalf")
        await eventually(outcome, lambda seen: seen == (1, []))
        reset(writer)
        await eventually(outcome, lambda seen: seen == (1, [BadRequest]))
    assert [line for line in logged if line["log_level"] == "error"] == []


async def test_a_command_that_fails_when_its_caller_has_gone_leaves_nothing_unheard(
    caplog: pytest.LogCaptureFixture,
) -> None:
    begun: list[web.Request] = []
    go_on, over = asyncio.Event(), asyncio.Event()

    async def failing(request: web.Request) -> web.Response:
        begun.append(request)
        await go_on.wait()
        asyncio.get_running_loop().call_later(0.05, over.set)
        raise BadRequest("No.", "Try yes.")

    async def hung_up() -> list[bool]:
        return [request.transport is None for request in begun]

    async with api(web.post("/command", failing)) as address:
        _, writer = await asyncio.open_connection(*address)
        writer.write(b"POST /command HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        await eventually(hung_up, lambda seen: seen == [False])
        reset(writer)
        await eventually(hung_up, lambda seen: seen == [True])
        go_on.set()
        await over.wait()
    gc.collect()
    assert "never retrieved" not in caplog.text


@pytest.mark.parametrize(
    ("site", "status"),
    [("same-origin", 200), ("none", 200), ("cross-site", 403), ("same-site", 403)],
)
async def test_another_sites_page_gets_nothing_though_it_sends_no_origin(
    site: str, status: int
) -> None:
    async with api() as address:
        answer = await ask(address, "GET", "/healthz", Sec_Fetch_Site=site, Sec_Fetch_Dest="image")
    assert answer.status == status
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert answer.body.endswith(b"\n")


async def test_the_share_of_the_descriptors_bounds_what_is_wanted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(connections.resource, "getrlimit", lambda _what: (1024, 4096))
    assert connections.most_connections(100) == 100
    assert connections.most_connections(4000) == 256
    monkeypatch.setattr(
        connections.resource, "getrlimit", lambda _what: (connections.resource.RLIM_INFINITY,) * 2
    )
    assert connections.most_connections(4000) == 4000


class Log:
    """The event log, which has one event and gets no other."""

    last = 1
    followers = 0

    async def after(
        self, number: int, limit: int, wait_seconds: float, wanted: EventFilter
    ) -> Page:
        self.followers += 1
        try:
            await asyncio.sleep(wait_seconds)
        finally:
            self.followers -= 1
        return Page([], 1, self.last, number)


async def test_waiting_calls_are_bounded_and_their_places_are_free_when_they_hang_up() -> None:
    log = Log()

    async def followers() -> int:
        return log.followers

    async with api(connections=8, feed=log) as address:
        waiting = [await asyncio.open_connection(*address) for _ in range(4)]
        for _, writer in waiting:
            writer.write(b"GET /events?after=1&wait=60 HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
        await eventually(followers, lambda count: count == 4)
        refused = await ask(address, "GET", "/events?after=1&wait=60")
        assert (refused.status, refused.error["code"], refused.headers["retry-after"]) == (
            503,
            "busy",
            "5",
        )
        assert (await ask(address, "GET", "/events?after=1")).status == 200, (
            "who does not wait needs no place"
        )
        for _, writer in waiting:
            reset(writer)
        await eventually(followers, lambda count: count == 0)
        assert (await ask(address, "GET", "/events?after=1&wait=0.01")).status == 200


async def test_who_follows_from_a_number_that_was_never_given_is_told() -> None:
    async with api(feed=Log()) as address:
        answer = await ask(address, "GET", "/events?after=2&wait=60")
    assert (answer.status, answer.error["code"]) == (410, "gone")
    assert "after=0" in answer.error["hint"]
    assert "after=1" in answer.error["hint"]
