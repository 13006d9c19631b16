"""The live feed with the real parts: thirty clients, a supervisor that is killed in mid-stream, and
the host that is really looked at.
"""

import asyncio
from collections.abc import Callable
from typing import Any

import aiohttp
import pytest

from scripts.bench_feed.client import FeedClient
from scripts.lab import StandIn, Supervisor, Traffic, eventually, pair
from scripts.lab.processes import free_port

pytestmark = pytest.mark.asyncio(loop_scope="session")
CLIENTS = 30


async def test_thirty_clients_miss_and_double_nothing_when_the_supervisor_is_killed(
    standin: StandIn, start_supervisor: Callable[..., Any]
) -> None:
    supervisor: Supervisor = await start_supervisor(
        api_port=free_port(), feed_cpu_threshold=100, shutdown="detach"
    )
    await pair(supervisor, standin, "loja-1")
    clients = [
        FeedClient(supervisor.api, None, {"types": ["message.received"]}) for _ in range(CLIENTS)
    ]
    loop = asyncio.get_running_loop()
    firsts: list[asyncio.Future[None]] = [loop.create_future() for _ in clients]
    async with aiohttp.ClientSession() as http:
        staying = [
            asyncio.create_task(client.stay(http, first))
            for client, first in zip(clients, firsts, strict=True)
        ]
        await asyncio.gather(*firsts)
        async with Traffic(standin, ["loja-1"], 0.1) as traffic:
            await eventually(lambda: some(clients), what="events")
            await supervisor.kill()
            await supervisor.start()
            await eventually(lambda: back(clients), what="everybody coming back")
        await traffic.arrived(supervisor)
        logged = [event["n"] for event in await supervisor.every_event("message.received")]

        async def complete() -> bool:
            return all(client.numbers == logged for client in clients)

        await eventually(complete, what="everybody having every event once")
        assert [client.missed for client in clients if client.missed] == []
        for task in staying:
            task.cancel()
        await asyncio.gather(*staying, return_exceptions=True)


async def some(clients: list[FeedClient]) -> bool:
    return all(client.numbers for client in clients)


async def back(clients: list[FeedClient]) -> bool:
    return all(client.is_in and client.logins == 2 for client in clients)
