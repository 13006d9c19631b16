"""`make simulate`: stories of a seed, played on all cores, until so many session-hours have passed;
the first that fails is shrunk and printed.

`--story FILE` replays one that was printed.
"""

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from scripts.simulation.faults import Story, invent
from scripts.simulation.running import Outcome, run_story
from scripts.simulation.shrinking import shrink

SESSIONS: Final = 2000
HOURS: Final = 72.0
FAULTS_PER_HOUR: Final = 0.2
SMALL: Final = (1, 2, 4)
SMALL_FAULTS_PER_HOUR: Final = 0.5
"""So few that most are over before the next begins: what is promised of an outage is judged only
where nothing else is wrong.
"""
DENSE_SESSIONS: Final = 40
DENSE_HOURS: Final = 36.0
DENSE_FAULTS_PER_HOUR: Final = 1.0
SESSION_HOURS: Final = 1_000_000
SHRINK_SECONDS: Final = 120.0


def stories(seed: int, session_hours: float, sessions: int, hours: float) -> list[Story]:
    """So many stories as make up the session-hours: seed, seed + 1 ..., some with many sessions,
    some with few.
    """
    made: list[Story] = []
    while sum(story.sessions * story.hours for story in made) < session_hours:
        number = seed + len(made)
        few = number % 4 == 3
        made.append(
            invent(
                number,
                max(20, sessions // 20) if few else sessions,
                hours,
                FAULTS_PER_HOUR * (4 if few else 1),
            )
        )
    others = max(6, len(made))
    return [*made, *small_stories(seed, others), *dense_stories(seed, others)]


def small_stories(seed: int, count: int) -> list[Story]:
    """Of fleets of one, two and four: most people begin with one number."""
    return [
        invent(number, SMALL[number % len(SMALL)], HOURS, SMALL_FAULTS_PER_HOUR)
        for number in range(seed, seed + count)
    ]


def dense_stories(seed: int, count: int) -> list[Story]:
    """Few sessions and many faults: much happens within a second of CPU."""
    return [
        invent(number, DENSE_SESSIONS, DENSE_HOURS, DENSE_FAULTS_PER_HOUR)
        for number in range(seed, seed + count)
    ]


def play_all(of: Iterable[Story], processes: int) -> Iterator[Outcome]:
    """Their outcomes, as they come."""
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        yield from pool.imap_unordered(run_story, of)


def told(outcome: Outcome, command: str) -> str:
    """A failing story in words, and how to see it again."""
    story = outcome.story
    lines = [
        f"BROKEN (seed {story.seed}, {story.sessions} sessions, {story.hours:g} h):"
        f" {outcome.broken}"
    ]
    lines += [f"  {fault.words()}" for fault in story.faults]
    return "\n".join([*lines, f"Again: {command}"])


def show_failure(outcome: Outcome) -> None:
    """Print it as it came, then as short as it can be made."""
    story = outcome.story
    print(told(outcome, f"make simulate SEED={story.seed} SESSION_HOURS=1"), flush=True)
    print(f"Shrinking it, for at most {SHRINK_SECONDS:g} s ...", flush=True)
    shortest = shrink(story, lambda shorter: run_story(shorter).broken is not None, SHRINK_SECONDS)
    file = Path(f"story-{story.seed}.json")
    file.write_text(shortest.as_json() + "\n")
    print(told(run_story(shortest), f"make simulate STORY={file}"))


def simulate(of: list[Story], processes: int) -> int:
    """Play them all; the exit status."""
    began, outcomes = time.monotonic(), list[Outcome]()
    for outcome in play_all(of, processes):
        outcomes.append(outcome)
        print(
            f"seed {outcome.story.seed}: {outcome.story.sessions} sessions, {outcome.story.hours:g}"
            f" h, {len(outcome.story.faults)} faults: {outcome.steps} events, {outcome.logins}"
            f" logins, {outcome.cpu_seconds:.1f} s; {'BROKEN' if outcome.broken else 'holds'}",
            flush=True,
        )
        if outcome.broken:
            show_failure(outcome)
            return 1
    took = time.monotonic() - began
    hours, steps = sum(o.session_hours for o in outcomes), sum(o.steps for o in outcomes)
    print(
        f"All invariants held over {hours:,.0f} session-hours in {len(outcomes)} stories: {steps:,}"
        f" events of sessions, {sum(o.logins for o in outcomes):,} logins, {took:.0f} s on"
        f" {processes} cores, {steps / took:,.0f} events/s."
    )
    return 0


def main() -> int:
    """Entry of `make simulate`."""
    parser = argparse.ArgumentParser(
        prog="python -m scripts.simulation", description="The fleet in simulated time."
    )
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--session-hours", type=float, default=SESSION_HOURS)
    parser.add_argument("--sessions", type=int, default=SESSIONS)
    parser.add_argument("--hours", type=float, default=HOURS)
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--story", type=Path, metavar="FILE", help="replay this one")
    given = parser.parse_args()
    if given.story is not None:
        outcome = run_story(Story.from_json(given.story.read_text()))
        print(
            told(outcome, f"make simulate STORY={given.story}") if outcome.broken else "It holds."
        )
        return int(outcome.broken is not None)
    return simulate(
        stories(given.seed, given.session_hours, given.sessions, given.hours), given.processes
    )


if __name__ == "__main__":
    sys.exit(main())
