"""Reads what a report is made of: the history, the exact times of sessions, and what else is told
by those who know it.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from sessions.model import SessionId
from sessions.store.supervision.presence import Presence, Times
from supervisor.history.history import History
from supervisor.history.points import Point
from supervisor.history.series import series_of
from supervisor.history.tiers import HOUR, TIERS, InvalidPeriod
from supervisor.reports.figures import PERCENTILES, SERIES, Together
from supervisor.reports.gathered import Gathered, Points
from supervisor.reports.period import Period
from supervisor.reports.report import AlertCount, Backups, Capacity
from supervisor.reports.service_levels import all_together

FINE_STEP_SECONDS: Final = 300
DISKS: Final = "disk.used"

T = TypeVar("T")


def no_maintenance(_start: float, _end: float) -> Sequence[tuple[float, float]]:
    """Nothing was announced."""
    return ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Whom is asked. `maintenance`: from when to when it was announced, within a time; it is asked
    in a thread. `availability_target`: what is promised, a fraction of 1.

    `alerts`: those of a time. `capacity`, `backups` None: nobody can say.
    """

    history: History
    presence: Presence
    session_ids: Callable[[], Collection[SessionId]]
    alerts: Callable[[float, float], Awaitable[Sequence[AlertCount]]]
    capacity: Callable[[], Awaitable[Capacity | None]]
    backups: Callable[[], Awaitable[Backups | None]]
    availability_target: float
    maintenance: Callable[[float, float], Sequence[tuple[float, float]]] = no_maintenance


async def gather(sources: Sources, period: Period, now: float, version: str) -> Gathered:
    """Read it all. Raises StoreUnavailable, InvalidPeriod (nothing is kept of so long ago)."""
    step_seconds = step(period.fine, period.start, now)
    before_step = step(period.fine, period.before_start, now)
    within = (period.start, period.end, step_seconds)
    before = (period.before_start, period.before_end, before_step)
    # in a thread: it looks at each minute, of which a year has half a million
    excluded = await asyncio.to_thread(sources.maintenance, period.start, period.end)
    excluded_before = await asyncio.to_thread(
        sources.maintenance, period.before_start, period.before_end
    )
    presence = sources.presence
    return Gathered(
        period=period,
        made_at=now,
        version=version,
        step_seconds=step_seconds,
        measured=await _measured(sources, *within),
        measured_before=await _if_kept(_measured(sources, *before), {}),
        times=await times_of(presence, period.start, period.end, excluded),
        times_before=await times_of(
            presence, period.before_start, period.before_end, excluded_before
        ),
        parts=[
            (start, all_together((await times_of(presence, start, end, excluded)).values()))
            for start, end in period.parts()
        ],
        away=await presence.away(period.start, period.end),
        outages=await presence.outages(period.start, period.end),
        recorded_since=await presence.since(),
        availability_target=sources.availability_target,
        excluded_seconds=sum(end - start for start, end in excluded),
        disks=await _disks(sources.history, *within),
        spreads=await _spreads(sources.history, *within),
        spreads_before=await _if_kept(_spreads(sources.history, *before), {}),
        alerts=await sources.alerts(period.start, period.end),
        capacity=await sources.capacity(),
        backups=await sources.backups(),
    )


def step(fine: bool, start: float, now: float) -> int:
    """As fine as it is still kept, where that is of use."""
    kept = now - start <= TIERS[1].readable_seconds
    return FINE_STEP_SECONDS if fine and kept else HOUR


async def _if_kept(reading: Awaitable[T], otherwise: T) -> T:
    """What is compared with may be of longer ago than anything is kept."""
    try:
        return await reading
    except InvalidPeriod:
        return otherwise


async def _measured(
    sources: Sources, start: float, end: float, step_seconds: int
) -> Mapping[str, Points]:
    history, found = sources.history, dict[str, Points]()
    for series in SERIES:
        try:
            of_sessions = series_of(series).subject == "session"
        except KeyError:  # this history does not measure it
            continue
        if of_sessions:
            all_sessions = Together()
            for session in sources.session_ids():
                row = await history.read(series, session, start, end, step_seconds)
                await asyncio.to_thread(all_sessions.add, row)
            found[series] = all_sessions.points()
        else:
            found[series] = await history.read(series, None, start, end, step_seconds)
    return found


async def _disks(
    history: History, start: float, end: float, step_seconds: int
) -> Mapping[str, tuple[Point, ...]]:
    directories = sorted(
        subject for series, subject in history.latest() if series == DISKS and subject is not None
    )
    return {
        directory: await history.read(DISKS, directory, start, end, step_seconds)
        for directory in directories
    }


async def _spreads(
    history: History, start: float, end: float, step_seconds: int
) -> Mapping[str, Mapping[int, int]]:
    """How the figures of the whole time are distributed: buckets can be added."""
    found = dict[str, Mapping[int, int]]()
    for series in PERCENTILES:
        counts = Counter[int]()
        for spread in await history.read_spread(series, None, start, end, step_seconds):
            counts.update(spread.counts)
        if counts:
            found[series] = counts
    return found


async def times_of(
    presence: Presence, start: float, end: float, excluded: Sequence[tuple[float, float]]
) -> Mapping[str, Times]:
    """The times of each session, without what is excluded."""
    found = dict(await presence.times(start, end))
    for begin, until in excluded:
        begin, until = max(start, begin), min(end, until)
        if begin < until:
            for session, times in (await presence.times(begin, until)).items():
                if session in found:  # else it was made after the first look
                    found[session] = found[session].without(times)
    return found
