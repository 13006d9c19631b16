"""The faults that every strategy is put to, each with a fleet of its own that has been open for a
while.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, Protocol

from scripts.simulation.server import RESET_SECONDS, Front, Server, Weather
from sessions.model import CloseReason as R

BEGINS_SECONDS: Final = 900.0
"""All are open, and have been so for long enough, whatever the strategy."""
RESTART_SECONDS: Final = 5.0


class Contestant(Protocol):
    """A fleet under one strategy."""

    async def begin(self) -> None:
        """Start all sessions."""

    def crash(self, session: str) -> None:
        """The process, or whatever runs the session, dies."""

    async def restart(self, down_seconds: float) -> None:
        """What supervises the sessions is deployed anew."""


class Named(Protocol):
    """What tables and plots show of a scenario."""

    @property
    def key(self) -> str:
        """Its short name."""

    @property
    def name(self) -> str:
        """What it is, in words."""


@dataclass(frozen=True, slots=True)
class Scenario:
    """`server_back_after`: seconds from its begin on after which nothing is wrong;
    `watched_seconds`: how long the fleet is watched then.
    """

    key: str
    name: str
    server_back_after: float
    watched_seconds: float
    act: Callable[[Server, Contestant, list[str]], Awaitable[None]]
    outage: bool = False


async def _drops(server: Server, fleet: Contestant, sessions: list[str]) -> None:
    server.drop(sessions, R.CONNECTION_CLOSED, (0.0, 3600.0))


def _outage(
    refused_seconds: float, silent_seconds: float
) -> Callable[[Server, Contestant, list[str]], Awaitable[None]]:
    async def act(server: Server, fleet: Contestant, sessions: list[str]) -> None:
        server.drop(None, R.CONNECTION_CLOSED, RESET_SECONDS)
        for weather, seconds in (
            (Weather.REFUSED, refused_seconds),
            (Weather.BLACKHOLED, silent_seconds),
        ):
            front = Front(weather)
            server.begin(front)
            await asyncio.sleep(seconds)
            server.end(front)

    return act


async def _flapping(server: Server, fleet: Contestant, sessions: list[str]) -> None:
    some = (
        sessions[:: len(sessions) // max(1, len(sessions) // 20)]
        if len(sessions) < 20
        else sessions[::20]
    )
    front = Front(Weather.DROPPED, R.CONNECTION_CLOSED, frozenset(some))
    server.drop(some, R.CONNECTION_CLOSED, RESET_SECONDS)
    server.begin(front)
    await asyncio.sleep(1800.0)
    server.end(front)


async def _crashes(server: Server, fleet: Contestant, sessions: list[str]) -> None:
    for session in sessions[::5]:
        fleet.crash(session)
        await asyncio.sleep(3.0)


async def _restart(server: Server, fleet: Contestant, sessions: list[str]) -> None:
    await fleet.restart(RESTART_SECONDS)


SCRIPT: Final = (
    Scenario("drops", "single drops, one each in an hour", 3600.0, 600.0, _drops),
    Scenario(
        "outage-10s", "10 s outage of everybody", 10.0, 3600.0, _outage(10.0, 0.0), outage=True
    ),
    Scenario(
        "outage-2min", "2 min outage of everybody", 120.0, 3600.0, _outage(60.0, 60.0), outage=True
    ),
    Scenario(
        "outage-20min",
        "20 min outage of everybody",
        1200.0,
        3600.0,
        _outage(600.0, 600.0),
        outage=True,
    ),
    Scenario("flapping", "5 % flap for 30 min", 1800.0, 3600.0, _flapping),
    Scenario("crashes", "a fifth of the workers crash", 600.0, 600.0, _crashes),
    Scenario("restart", "supervisor restart (deploy)", RESTART_SECONDS, 600.0, _restart),
)
