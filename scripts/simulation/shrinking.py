"""A failing story, made as short as it can be: fewer faults (delta debugging, Zeller's ddmin),
fewer sessions, fewer hours.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from scripts.simulation.faults import HOUR, QUIET_END_SECONDS, Fault, Story

FEWEST_SESSIONS: Final = 10
"""With fewer, an outage of everybody is none (at least five sessions have to close)."""

Fails = Callable[[Story], bool]


def shrink(story: Story, fails: Fails, budget_seconds: float) -> Story:
    """The shortest story found within the time that still fails. The story given has to fail."""
    give_up_at = time.monotonic() + budget_seconds
    story = _fewer_sessions(story, fails, give_up_at)
    story = replace(story, faults=_ddmin(story, fails, give_up_at))
    story = _fewer_sessions(story, fails, give_up_at)
    return _fewer_hours(story, fails)


def _ddmin(story: Story, fails: Fails, give_up_at: float) -> tuple[Fault, ...]:
    faults, pieces = list(story.faults), 2
    while len(faults) >= 2 and time.monotonic() < give_up_at:
        without = _smaller(story, faults, pieces, fails, give_up_at)
        if without is not None:
            faults, pieces = without, max(2, pieces - 1)
        elif pieces >= len(faults):
            break
        else:
            pieces = min(len(faults), 2 * pieces)
    if faults and fails(replace(story, faults=())):
        return ()
    return tuple(faults)


def _smaller(
    story: Story, faults: Sequence[Fault], pieces: int, fails: Fails, give_up_at: float
) -> list[Fault] | None:
    """The faults without one of so many pieces, if that still fails."""
    size = -(-len(faults) // pieces)
    for begin in range(0, len(faults), size):
        if time.monotonic() >= give_up_at:
            return None
        without = [*faults[:begin], *faults[begin + size :]]
        if fails(replace(story, faults=tuple(without))):
            return without
    return None


def _fewer_sessions(story: Story, fails: Fails, give_up_at: float) -> Story:
    while story.sessions > FEWEST_SESSIONS and time.monotonic() < give_up_at:
        for sessions in (story.sessions // 4, story.sessions // 2, story.sessions * 3 // 4):
            fewer = replace(story, sessions=max(FEWEST_SESSIONS, sessions))
            if fewer.sessions < story.sessions and fails(fewer):
                story = fewer
                break
        else:
            return story
    return story


def _fewer_hours(story: Story, fails: Fails) -> Story:
    ends = max((fault.at + fault.seconds for fault in story.faults), default=0.0)
    shorter = replace(story, hours=min(story.hours, round((ends + QUIET_END_SECONDS) / HOUR, 2)))
    return shorter if shorter != story and fails(shorter) else story
