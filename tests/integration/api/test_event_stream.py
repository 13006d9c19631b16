"""Events over HTTP: chosen in pages, and as a stream that is told of gaps, ends with a last word, and
is gone on with by the number that was seen last.
"""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar, cast

import msgspec
import pytest

from api.app import bind, serving
from api.handlers.event_log import stream
from scripts.lab import eventually
from sessions.model import EventData, SessionId
from sessions.views.events import SessionCreated, SessionDeleted
from supervisor.access.access import Access
from supervisor.access.key import new_id, new_key
from supervisor.access.keys import Keys
from supervisor.access.refusals import Refusals
from supervisor.access.scopes import Scope
from supervisor.access.token_validator import ImprovedTokenValidator
from supervisor.fleet.feed import Feed
from tests.api_tools import SIGNING_SECRET, TOKEN, Nothing, api, application, ask, known_key
from tests.fakes.event_store import EventStore

SHOP, CAFE = SessionId("shop"), SessionId("cafe")
Block = dict[str, str]


class Loud(EventData, frozen=True):
    """An event of some size."""

    type: ClassVar[str] = "test.loud"
    text: str


class Log:
    """An event log that a test writes."""

    def __init__(self) -> None:
        self.store = EventStore()
        self.feed: Feed

    async def write(self, session: SessionId | None, *events: EventData) -> None:
        for event in events:
            self.feed.publish(session, event)
        await self.store.commit()


@pytest.fixture
async def log() -> Log:
    found = Log()
    found.feed = await Feed.open(found.store, 1000)  # type: ignore[arg-type]
    return found


class Listener:
    """Who reads a stream."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer
        self.head = ""
        self._waiting: list[Block] = []

    async def begin(self) -> None:
        self.head = (await self.reader.readuntil(b"\r\n\r\n")).decode().lower()

    async def next(self) -> Block:
        """The next message; comments and a place alone are messages, too."""
        if not self._waiting:
            async with asyncio.timeout(20):
                size = int(await self.reader.readline(), 16)
                piece = (await self.reader.readexactly(size + 2))[:-2]
            assert piece.endswith(b"\n\n"), "a piece is whole messages"
            self._waiting = [_parsed(one) for one in piece.decode().split("\n\n")[:-1]]
        return self._waiting.pop(0)

    async def ended(self) -> bool:
        async with asyncio.timeout(20):
            return await self.reader.read() == b"0\r\n\r\n"


def _parsed(block: str) -> Block:
    found: Block = {}
    for line in block.split("\n"):
        name, _, value = line.partition(":")
        found[name] = value.strip()
    return found


@asynccontextmanager
async def listening(
    address: tuple[str, int], path: str = "/events", *lines: str, buffer: int | None = None
) -> AsyncIterator[Listener]:
    sock = socket.socket()
    if buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, address)
    reader, writer = await asyncio.open_connection(
        sock=sock, limit=2**20 if buffer is None else 1024
    )
    head = [f"GET {path} HTTP/1.1", "Host: 127.0.0.1", "Accept: text/event-stream", *lines]
    writer.write("\r\n".join([*head, "", ""]).encode())
    listener = Listener(reader, writer)
    try:
        await listener.begin()
        yield listener
    finally:
        writer.close()


def number_and_type(block: Block) -> tuple[int, str]:
    event = msgspec.json.decode(block["data"])
    assert str(event["n"]) == block["id"]
    assert "event" not in block, "a browser's onmessage hears it"
    return event["n"], event["type"]


async def test_events_come_as_they_happen_each_with_its_number(log: Log) -> None:
    await log.write(SHOP, SessionCreated(started=True))
    async with api(feed=log.feed) as address, listening(address) as listener:
        assert "200 ok" in listener.head
        assert "content-type: text/event-stream; charset=utf-8" in listener.head
        assert "x-accel-buffering: no" in listener.head
        assert "x-content-type-options: nosniff" in listener.head
        assert await listener.next() == {"retry": "3000", "id": "1"}, "from now on"
        await log.write(SHOP, SessionDeleted(purged=False))
        assert number_and_type(await listener.next()) == (2, "session.deleted")
        await log.write(CAFE, SessionCreated(started=True), SessionCreated(started=False))
        assert number_and_type(await listener.next()) == (3, "session.created")
        assert number_and_type(await listener.next()) == (4, "session.created")


async def test_who_comes_again_goes_on_behind_what_it_saw_last(log: Log) -> None:
    await log.write(SHOP, *(SessionCreated(started=True) for _ in range(5)))
    async with api(feed=log.feed) as address:
        for path, lines, expected in (
            ("/events?after=2", [], 3),
            ("/events?after=0", ["Last-Event-ID: 3"], 4),
            ("/events", ["Last-Event-ID: 0"], 1),
        ):
            async with listening(address, path, *lines) as listener:
                await listener.next()
                assert number_and_type(await listener.next())[0] == expected
        refused = await ask(
            address, "GET", "/events", Accept="text/event-stream", Last_Event_ID="6"
        )
        assert (refused.status, refused.error["code"]) == (410, "gone")
        refused = await ask(
            address, "GET", "/events", Accept="text/event-stream", Last_Event_ID="x"
        )
        assert (refused.status, refused.error["code"]) == (400, "bad_request")


async def test_a_stream_of_some_says_how_far_it_is_though_nothing_is_for_it(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "BEAT_SECONDS", 0.2)
    async with (
        api(feed=log.feed) as address,
        listening(address, "/events?session=shop&type=session.*") as listener,
    ):
        assert await listener.next() == {"retry": "3000", "id": "0"}
        assert await listener.next() == {"": ""}, "it lives"
        await log.write(CAFE, SessionCreated(started=True))
        async with asyncio.timeout(20):
            while (block := await listener.next()) == {"": ""}:
                pass
        assert block == {"": "", "id": "1"}
        await log.write(SHOP, Loud(text="not of that type"), SessionDeleted(purged=True))
        async with asyncio.timeout(20):
            while "data" not in (block := await listener.next()):
                pass
        assert number_and_type(block) == (3, "session.deleted")


async def test_what_was_dropped_before_it_was_read_is_an_event_of_its_own_and_stands_in_pages(
    log: Log,
) -> None:
    await log.write(SHOP, *(SessionCreated(started=True) for _ in range(6)))
    del log.store.kept[:4]
    log.store.dropped = 4
    log.feed = await Feed.open(log.store, 1000)  # type: ignore[arg-type]
    async with api(feed=log.feed) as address:
        async with listening(address, "/events?after=1") as listener:
            await listener.next()
            gap = await listener.next()
            assert (gap["event"], gap["id"]) == ("gap", "4")
            assert msgspec.json.decode(gap["data"]) == {"first": 2, "last": 4}
            assert number_and_type(await listener.next())[0] == 5
        page = msgspec.json.decode((await ask(address, "GET", "/events?after=1")).body)
        assert page["gap"] == {"first": 2, "last": 4}
        page = msgspec.json.decode((await ask(address, "GET", "/events?after=4")).body)
        assert page["gap"] is None


async def test_when_the_program_stops_each_stream_ends_with_a_word(log: Log) -> None:
    app = application(feed=log.feed)
    listener_socket = bind("127.0.0.1", 0)
    loop = asyncio.get_running_loop()
    async with serving(app, listener_socket):
        opened = [listening(listener_socket.getsockname()) for _ in range(3)]
        listeners = [await one.__aenter__() for one in opened]
        for one in listeners:
            await one.next()
        began = loop.time()
    assert loop.time() - began < 1.5, "not only when calls are cut, after 2 s"
    for one in listeners:
        block = await one.next()
        assert block["event"] == "end"
        assert msgspec.json.decode(block["data"])["reason"] == "stopping"
        assert await one.ended()
    for context in opened:
        await context.__aexit__(None, None, None)


async def test_a_key_of_one_session_is_told_of_that_one_alone_and_nothing_when_it_is_revoked(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "BEAT_SECONDS", 0.05)
    text = new_key(new_id())
    keys = Keys(cast("Any", Nothing()), [known_key(text, Scope.READ, frozenset({SHOP}))])
    refusals = Refusals()
    access = Access(TOKEN, keys, ImprovedTokenValidator(SIGNING_SECRET, refusals), refusals)
    for session in (CAFE, SHOP, None):
        await log.write(session, SessionCreated(started=True))
    bearer = {"Authorization": f"Bearer {text}"}
    async with api(token=TOKEN, feed=log.feed, keys=keys, access=access) as address:
        page = msgspec.json.decode((await ask(address, "GET", "/events", **bearer)).body)
        assert [event["session"] for event in page["events"]] == [SHOP]
        foreign = await ask(address, "GET", "/events?session=cafe", **bearer)
        assert (foreign.status, foreign.error["code"]) == (404, "session_not_found")
        async with listening(
            address, "/events?after=0", f"Authorization: Bearer {text}"
        ) as listener:
            await listener.next()
            assert msgspec.json.decode((await listener.next())["data"])["session"] == SHOP
            del keys._keys[text.split("_")[1]]
            await log.write(SHOP, Loud(text="secret"))
            while (block := await listener.next()).get("event") != "end":
                assert "secret" not in block.get("data", "")
            assert msgspec.json.decode(block["data"])["reason"] == "token"
        assert (await ask(address, "GET", "/events", **bearer)).status == 401


async def test_who_does_not_read_is_told_so_at_the_end_of_it_and_delays_nobody(
    log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stream, "TAKEN_SECONDS", 0.5)
    async with (
        api(feed=log.feed) as address,
        listening(address) as reads,
        listening(address, buffer=4096) as stuck,
    ):
        await reads.next()
        for _ in range(40):
            await log.write(SHOP, *(Loud(text="x" * 100_000) for _ in range(4)))
        heard = 0
        while heard < 160:
            heard = number_and_type(await reads.next())[0]
        await asyncio.sleep(1.0)  # it goes on not to read
        everything = b""
        async with asyncio.timeout(20):
            while not everything.endswith(b"0\r\n\r\n") and (
                piece := await stuck.reader.read(2**16)
            ):
                everything += piece
        last = everything.rpartition(b"event: end\n")[2]
        assert b'"reason":"slow"' in last
        assert len(everything) < 160 * 100_000, "what it did not read was kept nowhere for it"


async def test_streams_take_the_places_of_calls_that_wait_and_give_them_back(log: Log) -> None:
    async with api(feed=log.feed, connections=8) as address:
        opened = [listening(address) for _ in range(4)]
        listeners = [await one.__aenter__() for one in opened]
        refused = await ask(address, "GET", "/events", Accept="text/event-stream")
        assert (refused.status, refused.error["code"]) == (503, "busy")
        for one in listeners:
            one.writer.transport.abort()
        await eventually(
            lambda: ask(address, "GET", "/events?wait=0.01"), lambda answer: answer.status == 200
        )
        for context in opened:
            await context.__aexit__(None, None, None)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/events?wait=1", "bad_request"),
        ("/events?limit=1", "bad_request"),
        ("/events?before=1", "bad_request"),
        ("/events?type=mesage.received", "invalid_event_filter"),
        ("/events?session=..%2Fx", "invalid_session_id"),
    ],
)
async def test_what_a_stream_cannot_be_asked_is_refused_before_it_begins(
    log: Log, path: str, code: str
) -> None:
    async with api(feed=log.feed) as address:
        refused = await ask(address, "GET", path, Accept="text/event-stream")
    assert (refused.status, refused.error["code"]) == (400, code)
    assert refused.error["hint"]


async def test_a_stream_asks_for_the_token_too(log: Log) -> None:
    async with api(feed=log.feed, token=TOKEN) as address:
        refused = await ask(address, "GET", "/events", Accept="text/event-stream")
        assert refused.status == 401
        async with listening(address, "/events", f"Authorization: Bearer {TOKEN}") as listener:
            assert "retry" in await listener.next()


async def test_the_form_is_what_is_asked_for(log: Log) -> None:
    async with api(feed=log.feed) as address:
        for accept in ("", "*/*", "application/json", "text/html,*/*;q=0.8"):
            answer = await ask(address, "GET", "/events", Accept=accept)
            assert answer.headers["content-type"].startswith("application/json"), accept
        assert (await ask(address, "GET", "/events", Accept="image/png")).status == 406
        head = await ask(address, "HEAD", "/events", Accept="text/event-stream")
        assert (head.status, head.body) == (200, b"")


async def test_pages_are_chosen_by_type_session_and_number(log: Log) -> None:
    await log.write(SHOP, SessionCreated(started=True), SessionDeleted(purged=False))
    await log.write(CAFE, SessionCreated(started=True), SessionDeleted(purged=False))
    async with api(feed=log.feed) as address:
        for query, numbers, following in (
            ("", [1, 2, 3, 4], None),
            ("?type=session.created", [1, 3], None),
            ("?type=session.created,session.deleted&session=cafe", [3, 4], None),
            ("?type=session.*&session=cafe,shop", [1, 2, 3, 4], None),
            ("?session=nobody", [], None),
            ("?type=session.created&limit=1", [1], 1),
            ("?type=session.created&limit=1&after=1", [3], None),
            ("?after=1&before=4", [2, 3], None),
            ("?before=4&limit=2", [1, 2], 2),
            ("?limit=0", [], None),
        ):
            answer = await ask(address, "GET", f"/events{query}")
            page = msgspec.json.decode(answer.body)
            assert [event["n"] for event in page["events"]] == numbers, query
            assert (page["next"], page["last"]) == (following, 4), query
        refused = await ask(address, "GET", "/events?type=mesage.*")
        assert (refused.status, "message.*" in refused.error["hint"]) == (400, True)
