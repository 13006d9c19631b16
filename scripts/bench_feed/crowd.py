"""A process of many clients (`python -m scripts.bench_feed.crowd URL COUNT`): a core for itself.

Reads a word a line: `token:...`, `connect`, `time`, `report`; answers each with a line of JSON.
"""

import asyncio
import sys
from collections import Counter
from typing import Any, Final

import aiohttp
import msgspec
import uvloop

from scripts.bench_feed.client import FeedClient, Refused

WANTED: Final[dict[str, Any]] = {"types": ["message.received"]}


class Crowd:
    """The clients of this process."""

    def __init__(self, url: str, count: int) -> None:
        self._url = url
        self._count = count
        self._clients: list[FeedClient] = []
        self._staying: list[asyncio.Task[None]] = []

    async def connect(self, http: aiohttp.ClientSession, token: str) -> dict[str, Any]:
        """All at once; how many were let in, and why the others were not."""
        loop = asyncio.get_running_loop()
        firsts: list[asyncio.Future[None]] = [loop.create_future() for _ in range(self._count)]
        self._clients = [FeedClient(self._url, token, WANTED) for _ in firsts]
        self._staying = [
            asyncio.create_task(client.stay(http, first))
            for client, first in zip(self._clients, firsts, strict=True)
        ]
        results = await asyncio.gather(*firsts, return_exceptions=True)
        refused = Counter(str(one) for one in results if isinstance(one, Refused))
        return {"connected": sum(one is None for one in results), "refused": refused}

    def time(self) -> dict[str, Any]:
        """Measure from now on."""
        for client in self._clients:
            client.timing, client.late_ms = True, []
        return {}

    def report(self) -> dict[str, Any]:
        """What the clients have got."""
        seen = Counter(tuple(client.numbers) for client in self._clients if client.logins)
        return {
            "in": sum(client.is_in for client in self._clients),
            "logins": sum(client.logins for client in self._clients),
            "missed": Counter(name for client in self._clients for name in client.missed),
            "late_ms": [round(ms, 1) for client in self._clients for ms in client.late_ms],
            "seen": [[list(numbers), count] for numbers, count in seen.items()],
        }


async def run(url: str, count: int) -> None:
    """Do what is asked for until the input ends."""
    loop = asyncio.get_running_loop()
    reader = asyncio.StreamReader(limit=2**20)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    crowd, token = Crowd(url, count), ""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as http:
        while line := (await reader.readline()).decode().strip():
            word, _, rest = line.partition(":")
            answer: dict[str, Any] = {}
            if word == "token":  # not among the arguments: those are in the list of processes
                token = rest
            elif word == "connect":
                answer = await crowd.connect(http, token)
            elif word == "time":
                answer = crowd.time()
            elif word == "report":
                answer = crowd.report()
            sys.stdout.write(msgspec.json.encode(answer).decode() + "\n")
            sys.stdout.flush()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run(sys.argv[1], int(sys.argv[2])))
