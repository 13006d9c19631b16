"""The live feed on a real port with a real store, as another project's client sees it."""

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
import socketio
import structlog

from api.live import feed_server
from api.live.admission import manager
from api.live.observer import Closure, Handshake, NoObserver, Refusal
from scripts.lab import eventually
from sessions.store.tables.events import LogBounds
from supervisor.access.principal import Principal
from supervisor.access.scopes import Scope
from supervisor.fleet.live_feed_limits import LiveFeedLimits
from tests.api_tools import TOKEN, ask, raw
from tests.live_tools import BAR, PATH, Client, Live, live

MANY = 150
"""Events of 100 kB: more than the kernel takes for one who does not read, and than may wait."""
Refused = socketio.exceptions.ConnectionError


@pytest.fixture
def logged() -> Iterator[list[Any]]:
    with structlog.testing.capture_logs() as lines:
        yield lines


class Remembering(NoObserver):
    """An observer that keeps what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def on_handshake(self, handshake: Handshake) -> None:
        self.told.append(handshake)

    def on_refusal(self, refusal: Refusal) -> None:
        self.told.append(refusal)

    def on_closure(self, closure: Closure) -> None:
        self.told.append(closure)


async def websocket(feed: Live, session: aiohttp.ClientSession, **more: Any) -> Any:
    """A WebSocket that speaks Engine.IO by hand, opened."""
    ws = await session.ws_connect(f"{feed.url}{PATH}?EIO=4&transport=websocket", **more)
    assert (await ws.receive_str()).startswith("0{")
    return ws


async def log_in(ws: Any) -> None:
    await ws.send_str('40{"token":"good"}')
    assert (await ws.receive_str()).startswith("40{")


async def ends(ws: Any) -> None:
    """Wait until the server has ended it."""
    async with asyncio.timeout(20):
        while (await ws.receive()).type not in {
            aiohttp.WSMsgType.CLOSE,
            aiohttp.WSMsgType.CLOSED,
            aiohttp.WSMsgType.ERROR,
        }:
            pass


@pytest.mark.parametrize("transports", [["websocket"], ["polling"], ["polling", "websocket"]])
async def test_whoever_comes_from_behind_reads_on_and_then_live_without_gap_or_double(
    tmp_path: Path, transports: list[str]
) -> None:
    async with live(tmp_path) as feed:
        await feed.say(*(f"before {n}" for n in range(300)))
        client = await feed.connect("good", *transports)

        async def go_on() -> None:
            for n in range(20):
                await feed.say(f"meanwhile {n}")

        saying = asyncio.create_task(go_on())
        answer = await client.io.call("subscribe", {"after": 100})
        await saying
        await feed.say("and after")
        assert answer["after"] == 100
        await client.reads(*range(101, 322))
        frames = client.all("events")
        assert [frame["after"] for frame in frames[1:]] == [frame["to"] for frame in frames[:-1]]
        event = frames[0]["events"][0]
        assert (event["type"], event["session"], event["data"]["text"]) == (
            "message.received",
            "shop",
            "before 100",
        )


async def test_a_client_gets_of_what_happens_what_it_has_asked_for(tmp_path: Path) -> None:
    async with live(tmp_path) as feed:
        of_bar, of_types, of_nothing = [await feed.connect() for _ in range(3)]
        assert (await of_bar.io.call("subscribe", {"sessions": ["bar"]}))["after"] == 0
        await of_types.io.call("subscribe", {"types": ["message", "fleet"]})
        await of_nothing.io.call("subscribe", {"types": ["session"]})
        await feed.say("one")
        await feed.say("two", session=BAR)
        await of_types.reads(1, 2)
        await of_bar.reads(2)
        assert of_nothing.numbers == []
        # asked for anew: from where it stands
        await of_nothing.io.call("subscribe", {"types": ["message.*"]})
        await feed.say("three")
        await of_nothing.reads(3)


async def test_what_cannot_be_asked_for_is_answered_with_what_can(tmp_path: Path) -> None:
    async with live(tmp_path) as feed:
        client = await feed.connect()
        for asked, code in (
            ({"types": ["mesage"]}, "invalid_event_filter"),
            ({"after": -1}, "bad_request"),
            ({"after": 7}, "gone"),
            ({"sessions": ["../x"]}, "invalid_session_id"),
            ("everything", "bad_request"),
        ):
            error = (await client.io.call("subscribe", asked))["error"]
            assert error["code"] == code
            assert error["message"]
            assert error["hint"]
        for _ in range(10):
            answer = await client.io.call("subscribe", {})
        assert answer["error"]["code"] == "too_soon"
        assert answer["error"]["retryAfterSeconds"] == 1


async def test_a_restricted_principal_gets_its_sessions_events_and_none_of_the_fleets(
    tmp_path: Path,
) -> None:
    shop = Principal(id="k", name="shop's key", scope=Scope.READ, sessions=frozenset({"shop"}))
    async with live(tmp_path, principals={"good": shop}) as feed:
        all_of_them, of_bar = await feed.connect(), await feed.connect()
        await all_of_them.io.call("subscribe", {"after": 0})
        await of_bar.io.call("subscribe", {"after": 0, "sessions": ["bar"]})
        await feed.say("one")
        await feed.say("two", session=BAR)
        await feed.say("three")
        await all_of_them.reads(1, 3)
        assert of_bar.numbers == []


async def test_who_is_not_let_in_is_told_why_and_the_token_is_in_no_log(
    tmp_path: Path, logged: list[Any]
) -> None:
    told = Remembering()
    over = Principal(id="k", name="old", scope=Scope.READ, expires_at=time.time() - 1)
    async with live(tmp_path, principals={"stale-token": over}, observer=told) as feed:
        for token, reason in (
            (None, "empty_token"),
            ("", "empty_token"),
            ("forged-token", "invalid"),
            ("stale-token", "expired"),
        ):
            with pytest.raises(Refused):
                await feed.connect(token)
            error = feed.clients[-1].all("connect_error")[0]
            assert (error["data"]["code"], error["data"]["reason"]) == ("invalid_token", reason)
            assert "auth" in error["message"]
            assert error["data"]["hint"]
        assert [refusal.reason for refusal in told.told] == [
            "empty_token",
            "empty_token",
            "invalid",
            "expired",
        ]
    assert "-token" not in str(logged)


async def test_as_many_come_in_as_there_are_places_and_the_others_are_told_why(
    tmp_path: Path,
) -> None:
    told = Remembering()
    limits = LiveFeedLimits(max_websocket_connections=5)
    async with live(tmp_path, limits, observer=told) as feed:
        came = await asyncio.gather(*(feed.connect() for _ in range(9)), return_exceptions=True)
        assert sum(isinstance(one, Client) for one in came) == 5
        errors = [error for one in feed.clients for error in one.all("connect_error")]
        assert len(errors) == 4
        for error in errors:
            assert "insufficient resources" in error["message"]
            assert error["data"]["reason"] == "insufficient resources"
            assert error["data"]["retryAfterSeconds"] > 0
        # a place that comes free is given away
        going = next(one for one in came if isinstance(one, Client))
        await going.io.disconnect()

        async def fewer() -> bool:
            return len(feed.server.pool) == 4

        await eventually(fewer, what="a free place")
        await feed.connect()
        kinds = [type(one).__name__ for one in told.told]
        assert (kinds.count("Handshake"), kinds.count("Refusal"), kinds.count("Closure")) == (
            6,
            4,
            1,
        )


async def test_clients_of_the_feed_take_no_places_of_the_calls(tmp_path: Path) -> None:
    async with live(tmp_path, connections=8) as feed:
        for _ in range(12):
            await feed.connect()
        answer = await ask(feed.address, "GET", "/events?limit=0")
        assert answer.status == 200


@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_who_never_logs_in_is_ended(
    tmp_path: Path, transport: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_server, "HANDSHAKE_SECONDS", 0.1)
    monkeypatch.setattr(feed_server, "SWEEP_SECONDS", 0.05)
    async with live(tmp_path) as feed, aiohttp.ClientSession() as session:
        if transport == "websocket":
            await ends(await websocket(feed, session))
            return
        url = f"{feed.url}{PATH}?EIO=4&transport=polling"
        async with session.get(url) as opened:
            sid = msgspec.json.decode((await opened.text())[1:])["sid"]

        async def forgotten() -> bool:
            async with session.get(f"{url}&sid={sid}") as answer:
                return answer.status == 400

        await eventually(forgotten, what="an Engine.IO session that is no more")


async def test_a_token_that_is_slow_to_be_checked_ends_the_handshake(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manager, "HANDSHAKE_SECONDS", 0.1)
    async with live(tmp_path) as feed:

        async def never(_request: Any, _token: Any) -> Principal:
            return await asyncio.Event().wait()  # type: ignore[return-value]

        monkeypatch.setattr(feed.server, "_authenticate", never)
        with pytest.raises(Refused):
            await feed.connect()
        error = feed.clients[-1].all("connect_error")[0]
        assert error["data"]["code"] == "connection_timeout"
        assert "timeout" in error["message"]


async def test_a_slow_client_is_told_to_resync_and_delays_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_server, "MOST_QUEUED_BYTES", 2_000_000)
    async with live(tmp_path) as feed, aiohttp.ClientSession() as session:
        slow = await websocket(feed, session, max_msg_size=0)
        await log_in(slow)
        await slow.send_str('420["subscribe",{}]')
        assert (await slow.receive_str()).startswith("430[")
        other = await feed.connect()
        await other.io.call("subscribe", {})
        # what the kernel takes for one who does not read is some megabytes
        for n in range(0, MANY, 10):
            await feed.say(*("x" * 100_000 for _ in range(10)))
            await other.reads(*range(1, n + 11))
        assert other.all("resync") == []
        numbers, resync = list[int](), None
        while resync is None:
            packet = msgspec.json.decode((await slow.receive_str())[2:])
            if packet[0] == "events":
                numbers += [event["n"] for event in packet[1]["events"]]
            elif packet[0] == "resync":
                resync = packet[1]
        assert numbers == list(range(1, resync["after"] + 1))
        assert resync["reason"] == "slow"
        assert resync["last"] <= MANY
        # it is still connected, and reads on at its own pace
        await slow.send_str(f'421["subscribe",{{"after":{resync["after"]}}}]')
        while not numbers or numbers[-1] < MANY:
            text = await slow.receive_str()
            if text.startswith("42"):
                numbers += [event["n"] for event in msgspec.json.decode(text[2:])[1]["events"]]
        assert numbers == list(range(1, MANY + 1))


async def test_a_token_that_expires_ends_what_is_sent_until_there_is_a_fresh_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_server, "SWEEP_SECONDS", 0.05)
    short = Principal(id="k", name="short", scope=Scope.READ, expires_at=time.time() + 1)
    long = Principal(id="k", name="long", scope=Scope.READ)
    async with live(tmp_path, principals={"short": short, "long": long}) as feed:
        client = await feed.connect("short")
        await client.io.call("subscribe", {})
        await feed.say("one")
        assert (await client.sees("token_expiring"))["secondsLeft"] <= 60
        expired = await client.sees("token_expired")
        assert (expired["reason"], expired["code"]) == ("expired", "invalid_token")
        await feed.say("two")
        assert (await client.io.call("subscribe", {}))["error"]["reason"] == "expired"
        assert (await client.io.call("token", {"token": "wrong"}))["error"]["reason"] == "invalid"
        assert await client.io.call("token", {"token": "long"}) == {"expiresAt": None}
        await feed.say("three")
        await client.reads(1, 2, 3)


async def test_an_error_of_ours_is_told_in_the_one_shape_and_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with live(tmp_path) as feed:
        client = await feed.connect()

        async def broken(_request: Any, _token: Any) -> Principal:
            raise RuntimeError("a fault")

        with monkeypatch.context() as patch:
            patch.setattr(feed.server, "_authenticate", broken)
            told = (await client.io.call("token", {"token": "good"}, timeout=10))["error"]
            assert (told["code"], told["retryAfterSeconds"]) == ("internal_error", 5)
            assert "a fault" not in str(told)
            with pytest.raises(Refused):
                await feed.connect()
            assert feed.clients[-1].all("connect_error")[0]["data"] == told
        assert await client.io.call("token", {"token": "good"}) == {"expiresAt": None}


async def test_a_key_that_is_revoked_ends_what_is_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_server, "SWEEP_SECONDS", 0.05)
    monkeypatch.setattr(feed_server, "HANDSHAKE_SECONDS", 0.2)
    principals = {"good": Principal(id="k", name="key", scope=Scope.READ)}
    async with live(tmp_path, principals=principals) as feed:
        client = await feed.connect()
        await client.io.call("subscribe", {})
        await feed.say("one")
        await client.reads(1)
        principals.clear()
        assert (await client.sees("token_expired"))["reason"] == "invalid"
        await feed.say("two")
        assert await client.sees("disconnect") in {"transport close", "transport error"}
        await client.reads(1)


async def test_what_the_log_had_no_room_for_is_told_as_a_gap(tmp_path: Path) -> None:
    async with live(tmp_path, bounds=LogBounds(most=10)) as feed:
        monkeyed = feed.feed
        monkeyed._limit = 10
        for n in range(26):
            await feed.say(*(f"{n}" for _ in range(10)))
        client = await feed.connect()
        await client.io.call("subscribe", {"after": 5})
        gap = await client.sees("gap")
        # the same words as in /events, in a stream of it, and of wasup-client, which reads them
        assert set(gap) == {"first", "last", "message", "hint"}
        assert gap["first"] == 6
        await client.reads(*range(gap["last"] + 1, 261))


async def test_when_the_supervisor_stops_clients_are_told_and_can_come_back(tmp_path: Path) -> None:
    async with live(tmp_path) as feed:
        client = await feed.connect()
        await feed.server.close()
        notice = await client.sees("going_away")
        assert 0.5 <= notice["retryAfterSeconds"] <= 1.5
        # not by the server's disconnect, after which clients stay away
        assert await client.sees("disconnect") in {"transport close", "transport error"}


@pytest.mark.parametrize(
    "sent", ["", "garbage", "42", "42[", "9", "4" + "[" * 60_000, "x" * 70_000]
)
async def test_what_is_no_protocol_harms_nobody_else(
    tmp_path: Path, sent: str, logged: list[Any]
) -> None:
    async with live(tmp_path) as feed, aiohttp.ClientSession() as session:
        ws = await websocket(feed, session)
        await log_in(ws)
        await ws.send_str(sent)
        await ws.close()
        client = await feed.connect()
        await client.io.call("subscribe", {})
        await feed.say("one")
        await client.reads(1)

        async def alone() -> bool:
            return len(feed.server.pool) == 1

        await eventually(alone, what="the end of a client that broke the protocol")
    assert [line for line in logged if line["log_level"] == "error"] == []


async def test_a_handshake_that_is_cut_in_the_middle_leaves_nothing_behind(tmp_path: Path) -> None:
    async with live(tmp_path) as feed, aiohttp.ClientSession() as session:
        for cut in (b"GET %s?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: w",):
            with pytest.raises(TimeoutError):
                await raw(feed.address, cut % PATH.encode(), 0.1)
        ws = await websocket(feed, session)
        await ws.send_str('40{"token":"good"}')
        ws._response.connection.transport.abort()

        async def nobody() -> bool:
            return not len(feed.server.pool) and not feed.server._io.eio.sockets

        await eventually(nobody, what="nobody left")


@pytest.mark.parametrize("how", ["says so", "hangs up"])
async def test_who_goes_while_it_is_looked_whether_there_is_room_takes_no_place(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, go_on = asyncio.Event(), asyncio.Event()

    async def looking() -> None:
        asked.set()
        await go_on.wait()

    async with live(tmp_path) as feed, aiohttp.ClientSession() as session:
        monkeypatch.setattr(feed.server.resource_monitor, "shortage", looking)
        sockets = feed.server._io.eio.sockets
        if how == "hangs up":
            ws = await websocket(feed, session)
            await ws.send_str('40{"token":"good"}')
            await asked.wait()
            ws._response.connection.transport.abort()
        else:
            url = f"{feed.url}{PATH}?EIO=4&transport=polling"
            async with session.get(url) as opened:
                url += f"&sid={msgspec.json.decode((await opened.text())[1:])['sid']}"
            logging_in = asyncio.create_task(session.post(url, data='40{"token":"good"}'))
            await asked.wait()
            async with session.post(url, data="1"):  # Engine.IO's word for it
                pass

        async def gone() -> bool:
            return not any(not one.closed for one in sockets.values())

        await eventually(gone, what="the end of its transport")
        go_on.set()
        if how == "says so":
            (await logging_in).close()
        monkeypatch.undo()
        await feed.connect()
        assert len(feed.server.pool) == 1


@pytest.mark.parametrize(
    ("method", "query"),
    [
        ("GET", ""),
        ("GET", "?EIO=3&transport=polling"),
        ("GET", "?EIO=4&transport=polling&sid=nobody"),
        ("POST", "?EIO=4&transport=polling&sid=nobody"),
        ("GET", "?EIO=4&transport=carrier-pigeon"),
        ("GET", "?EIO=4&transport=websocket"),
    ],
)
async def test_what_is_no_client_gets_an_error_in_the_one_shape(
    tmp_path: Path, method: str, query: str
) -> None:
    async with live(tmp_path) as feed:
        answer = await ask(feed.address, method, PATH + query)
        assert (answer.status, answer.error["code"]) == (400, "bad_request")


async def test_frames_are_not_compressed(tmp_path: Path) -> None:
    async with live(tmp_path) as feed, aiohttp.ClientSession() as session:
        ws = await websocket(feed, session, compress=15)
        assert "Sec-WebSocket-Extensions" not in ws._response.headers


async def test_with_a_token_set_the_feed_takes_it_in_the_first_message(tmp_path: Path) -> None:
    async with live(tmp_path, token=TOKEN) as feed:
        for auth, headers in (
            ({"token": TOKEN}, {}),
            (None, {"Authorization": f"Bearer {TOKEN}"}),
        ):
            client = socketio.AsyncClient(reconnection=False)
            await client.connect(feed.url, auth=auth, headers=headers)
            await client.disconnect()
            await client.shutdown()
        client = socketio.AsyncClient(reconnection=False)
        with pytest.raises(Refused):
            await client.connect(feed.url, auth={"token": "wrong"})
        await client.shutdown()
        # another site's page is refused like anywhere
        answer = await ask(
            feed.address,
            "GET",
            "/socket.io/?EIO=4&transport=polling",
            Origin="https://evil.example",
        )
        assert answer.status == 403


async def test_pieces_of_a_binary_message_are_not_kept_for_it(tmp_path: Path) -> None:
    async with live(tmp_path) as feed, aiohttp.ClientSession() as session:
        ws = await websocket(feed, session)
        await log_in(ws)
        await ws.send_str('459999999999-["subscribe",{}]')
        for _ in range(3):
            await ws.send_bytes(b"x" * 60_000)
        await ws.send_str('421["subscribe",{}]')
        assert (await ws.receive_str()).startswith("431[")
        assert not feed.server._io._binary_packet


async def test_who_leaves_the_feed_and_keeps_its_connection_is_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feed_server, "REFUSED_SECONDS", 0.2)
    async with live(tmp_path) as feed, aiohttp.ClientSession() as session:
        ws = await websocket(feed, session)
        await log_in(ws)
        await ws.send_str("41")
        await ends(ws)
        assert not feed.server._io.eio.sockets


@pytest.mark.parametrize(
    ("upgrade", "logs_in"), [("x", False), ("websocket", False), ("x", True), ("websocket", True)]
)
async def test_further_calls_of_one_client_take_places_of_the_calls(
    tmp_path: Path, upgrade: str, logs_in: bool
) -> None:
    async with live(tmp_path, connections=8) as feed, aiohttp.ClientSession() as session:
        async with session.get(f"{feed.url}{PATH}?EIO=4&transport=polling") as opened:
            sid = msgspec.json.decode((await opened.read())[1:])["sid"]
        if logs_in:
            url = f"{feed.url}{PATH}?EIO=4&transport=polling&sid={sid}"
            async with session.post(url, data='40{"token":"good"}') as said:
                assert said.status == 200
            async with session.get(url) as told:
                assert (await told.text()).startswith("40{")
        call = (
            f"GET {PATH}?EIO=4&transport=polling&sid={sid} HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Connection: Upgrade\r\nUpgrade: {upgrade}\r\nSec-WebSocket-Version: 13\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        calls = []
        for _ in range(40):
            calls.append(await asyncio.open_connection(*feed.address))
            calls[-1][1].write(call.encode())
            await asyncio.sleep(0.02)  # each is at work before the next one comes

        async def is_over(reader: asyncio.StreamReader) -> bool:
            try:
                async with asyncio.timeout(2):
                    await reader.read()
                    return True
            except TimeoutError:
                return False
            except ConnectionError:
                return True

        over = await asyncio.gather(*(is_over(reader) for reader, _ in calls))
        for _, writer in calls:
            writer.transport.abort()
        assert sum(over) >= len(calls) - 10
