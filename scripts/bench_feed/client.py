"""One client of the live feed, small enough to have a thousand of: Socket.IO's packets by hand over
a WebSocket, coming back by itself from the number that it has.
"""

import asyncio
import functools
import random
import time
from typing import Any, Final

import aiohttp
import msgspec

from sessions.views.times import wall_seconds

AGAIN_SECONDS: Final = (0.5, 1.5)
"""Before the next try, each time another moment."""
LOGIN_SECONDS: Final = 40.0
GONE: Final = frozenset(
    {aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING}
    | {aiohttp.WSMsgType.ERROR}
)


class Refused(Exception):
    """It was not let in; the message is the reason."""


class FeedClient:
    """A client that stays.

    `numbers`: of the events that it got; `late_ms`: how long after its time each came, while
    `timing`.
    """

    def __init__(self, url: str, token: str | None, wanted: dict[str, Any]) -> None:
        self._url = url.replace("http", "ws", 1) + "/socket.io/?EIO=4&transport=websocket"
        self._token = token
        self._wanted = wanted
        self.after: int | None = None
        self.numbers: list[int] = []
        self.late_ms: list[float] = []
        self.timing = False
        self.logins = 0
        self.missed: list[str] = []
        """What it was told that it has missed."""
        self.is_in = False

    async def stay(self, http: aiohttp.ClientSession, first: asyncio.Future[None]) -> None:
        """Connect and read; again and again, unless the first try is refused.

        `first`: how the first try has ended.
        """
        while True:
            try:
                async with http.ws_connect(self._url, max_msg_size=0, compress=0) as ws:
                    await self._log_in(ws)
                    if not first.done():
                        first.set_result(None)
                    await self._read(ws)
            except Refused as error:
                if not first.done():
                    first.set_exception(error)
                    return
            except Exception as error:  # whatever it is, it comes again
                if not first.done():
                    first.set_exception(Refused(type(error).__name__))
                    return
            finally:
                self.is_in = False
            await asyncio.sleep(random.uniform(*AGAIN_SECONDS))

    async def _log_in(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        auth = {} if self._token is None else {"token": self._token}
        async with asyncio.timeout(LOGIN_SECONDS):
            await ws.receive_str()
            await ws.send_str("40" + msgspec.json.encode(auth).decode())
            answer = await ws.receive_str()
            if answer.startswith("44"):
                raise Refused(msgspec.json.decode(answer[2:])["data"]["reason"])
            asked = self._wanted | ({} if self.after is None else {"after": self.after})
            await ws.send_str("420" + msgspec.json.encode(["subscribe", asked]).decode())
            while not (answer := await ws.receive_str()).startswith("430"):
                await self._heard(ws, answer)
            told = msgspec.json.decode(answer[3:])[0]
            if "error" in told:
                raise Refused(told["error"]["code"])
        if self.after is None:
            self.after = told["after"]
        self.is_in = True
        self.logins += 1

    async def _read(self, ws: aiohttp.ClientWebSocketResponse) -> None:
        while True:
            message = await ws.receive()
            if message.type in GONE:
                return
            await self._heard(ws, message.data)

    async def _heard(self, ws: aiohttp.ClientWebSocketResponse, text: str) -> None:
        if text == "2":
            await ws.send_str("3")
            return
        if not text.startswith("42"):
            return
        name, told, times = _read(text)
        if name != "events":
            if name in {"gap", "resync"}:
                self.missed.append(name)
            return
        now = time.time()
        self.numbers += [event["n"] for event in told["events"]]
        if self.timing:
            self.late_ms += [1000 * (now - at) for at in times]
        self.after = told["to"]


@functools.lru_cache(maxsize=64)
def _read(text: str) -> tuple[str, Any, list[float]]:
    """A packet: its name, what it tells, and when its events were. Remembered: many clients of one
    process are sent the same.
    """
    name, told = msgspec.json.decode(text[2:])
    events = told["events"] if name == "events" else []
    return name, told, [wall_seconds(event["time"]) for event in events]
