"""The simulation's look at the way (scripts/simulation/server.py) finds what the real one finds: a
table of its bad weather, each line of it played on loopback, too.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from scripts.lab.processes import free_port
from scripts.simulation.clock import simulate
from scripts.simulation.server import SHUT, Front, Server, Weather
from sessions.model import CloseReason as R
from supervisor.gate.way import LOOK_SECONDS, Look
from tests.unit.gate.test_way_probe import door, hangs, look, says, takes

EGRESS = "direct"
SILENCE_SECONDS = 0.3
"""How long the real one is let wait where nobody answers; LOOK_SECONDS in its place would prove no
more.
"""
LATE_SECONDS = 0.3

Real = Callable[[], AbstractAsyncContextManager[Awaitable[Look]]]


@asynccontextmanager
async def nothing_wrong() -> AsyncIterator[Awaitable[Look]]:
    async with door(takes) as opened:
        yield look(opened.port)


@asynccontextmanager
async def nobody_listens() -> AsyncIterator[Awaitable[Look]]:
    yield look(free_port())


@asynccontextmanager
async def no_such_name() -> AsyncIterator[Awaitable[Look]]:
    yield look(free_port(), seconds=LOOK_SECONDS, host="whatsapp.invalid")


@asynccontextmanager
async def proxy_away() -> AsyncIterator[Awaitable[Look]]:
    async with door(takes) as opened:
        yield look(opened.port, proxy=f"http://127.0.0.1:{free_port()}")


@asynccontextmanager
async def door_shut() -> AsyncIterator[Awaitable[Look]]:
    async with door(says(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")) as opened:
        yield look(opened.port)


@asynccontextmanager
async def silence() -> AsyncIterator[Awaitable[Look]]:
    async with door(hangs) as opened:
        yield look(opened.port, seconds=SILENCE_SECONDS)


@asynccontextmanager
async def late() -> AsyncIterator[Awaitable[Look]]:
    async def answers_late(head: bytes, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(LATE_SECONDS)
        await takes(head, writer)

    async with door(answers_late) as opened:
        yield look(opened.port, seconds=LOOK_SECONDS)


TABLE: dict[Weather | None, tuple[Real, str, R | None]] = {
    None: (nothing_wrong, "open", None),
    Weather.REFUSED: (nobody_listens, "closed", R.NETWORK_UNREACHABLE),
    Weather.NAMELESS: (no_such_name, "closed", R.DNS),
    Weather.PROXYLESS: (proxy_away, "closed", R.PROXY),
    Weather.DOOR_SHUT: (door_shut, "closed", R.UNAVAILABLE),
    Weather.BLACKHOLED: (silence, "closed", R.NETWORK_UNREACHABLE),
    Weather.SLOW: (late, "open", None),
    # what these do comes after the upgrade, where a look has ended
    Weather.TURNED_AWAY: (nothing_wrong, "open", None),
    Weather.DROPPED: (nothing_wrong, "open", None),
}
"""How each weather is played in reality, and what a look finds."""


def test_the_table_has_every_weather() -> None:
    assert set(TABLE) == {None, *Weather}


@pytest.mark.parametrize("weather", TABLE, ids=lambda weather: weather and weather.name)
async def test_the_real_look_finds_what_the_table_says(weather: Weather | None) -> None:
    real, state, reason = TABLE[weather]
    async with real() as looking:
        found = await looking
    assert (found.state, found.reason) == (state, reason), found.words


@pytest.mark.parametrize("weather", TABLE, ids=lambda weather: weather and weather.name)
def test_the_simulated_look_finds_the_same(weather: Weather | None) -> None:
    _, state, reason = TABLE[weather]
    for seed in range(20):  # of its dice, which say how long it takes
        found, seconds = simulate(simulated(weather, seed))
        assert (found.state, found.reason) == (state, reason), found.words
        assert seconds <= LOOK_SECONDS, "it ends in time, as the real one does"


@pytest.mark.parametrize("weather", SHUT)
def test_an_attempt_is_told_the_reason_that_a_look_finds(weather: Weather) -> None:
    assert SHUT[weather] is TABLE[weather][2]


async def simulated(weather: Weather | None, seed: int) -> tuple[Look, float]:
    server = Server(random.Random(seed), lambda what, client: None)
    if weather is not None:
        server.begin(Front(weather))
    found = await server.look("shop", EGRESS)
    return found, asyncio.get_running_loop().time()
