"""One story, played from its seed and judged."""

import asyncio
import random
import time
from dataclasses import dataclass
from typing import Any, Final

from scripts.simulation.clock import Stillness, simulate
from scripts.simulation.faults import EGRESSES, HOUR, Stage, Story, play
from scripts.simulation.fleet import STORY, Parts, SimulatedFleet
from scripts.simulation.invariants import Broken, Invariants
from scripts.simulation.server import Server

SWEEP_SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a story.

    `session_hours`: simulated time, summed over its sessions; `steps`: events that actors dealt
    with.
    """

    story: Story
    broken: str | None
    session_hours: float
    steps: int
    logins: int
    cpu_seconds: float


def run_story(story: Story, parts: Parts | None = None) -> Outcome:
    """Play it; the first breach ends it."""
    began = time.process_time()
    try:
        broken, hours, steps, logins = simulate(_play(story, parts or Parts()))
    except Stillness:
        broken, hours, steps, logins = "nothing can happen any more", 0.0, 0, 0
    return Outcome(
        story, broken, hours * story.sessions, steps, logins, time.process_time() - began
    )


def names(sessions: int) -> dict[str, str]:
    """So many sessions, and the egress of each."""
    return {f"s{number:04}": EGRESSES[number % len(EGRESSES)] for number in range(sessions)}


async def _play(story: Story, parts: Parts) -> tuple[str | None, float, int, int]:
    loop, egress_of = asyncio.get_running_loop(), names(story.sessions)
    watch = Invariants(egress_of, parts)
    server = Server(random.Random(f"server {story.seed}"), watch.on_server)
    fleet = SimulatedFleet(egress_of, server, random.Random(f"fleet {story.seed}"), watch, parts)
    watch.server, watch.fleet = server, fleet
    await fleet.pair()
    await fleet.begin()
    stage = Stage(
        server,
        fleet,
        egress_of,
        random.Random(f"faults {story.seed}"),
        watch.helped,
        watch.disturbed,
        watch.weather,
    )
    task = asyncio.current_task()
    assert task is not None, "this runs in one"
    task.set_name(STORY)
    parts_of_it = [
        asyncio.create_task(_faults(stage, story, watch), name=STORY),
        asyncio.create_task(_sweeps(watch, story.hours * HOUR), name=STORY),
    ]
    ended: asyncio.Future[Any] = asyncio.gather(*parts_of_it)
    broken = None
    try:
        await asyncio.wait({ended, watch.broken}, return_when=asyncio.FIRST_COMPLETED)
        if watch.broken.done():
            watch.broken.result()
        ended.result()
    except Broken as error:
        broken = str(error)
    finally:
        ended.cancel()
        await asyncio.gather(ended, return_exceptions=True)
    return broken, loop.time() / HOUR, watch.steps, watch.logins


async def _faults(stage: Stage, story: Story, watch: Invariants) -> None:
    loop = asyncio.get_running_loop()
    await play(stage, story.faults)
    await asyncio.sleep(max(0.0, story.hours * HOUR - loop.time()))


async def _sweeps(watch: Invariants, until: float) -> None:
    loop = asyncio.get_running_loop()
    while loop.time() < until:
        await asyncio.sleep(SWEEP_SECONDS)
        watch.sweep()
