"""The history: takes what is measured, and tells what it was, now or then.

Whoever wants figures (alerts, API, reports, Prometheus) has them from here, so all judge by the
same. What is measured is in memory at first; every five minutes each subject's figures are written,
some subjects with each turn, so that no write is a large one: a crash loses five minutes.
"""

import asyncio
import contextlib
import difflib
import time
import zlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

import structlog

from sessions.model import SessionId, StoreError, StoreUnavailable, WasupError
from sessions.views.events import SessionDeleted
from supervisor.history.archive import Archive, opened
from supervisor.history.points import Cell, Point, Run, Spread, joined, point
from supervisor.history.recent import Recent, Whose, whose_of
from supervisor.history.series import SERIES, Key, Series
from supervisor.history.tiers import SLOT_SECONDS, Tier, tier_for

WRITE_SLOTS: Final = 30
"""Each subject's figures are written once in so many slots: five minutes."""
WRITTEN_AT_ONCE: Final = 32
"""Subjects in one transaction."""
CLOSE_SECONDS: Final = 4.0
"""For writing what is in memory when the program stops; what is not written by then is lost."""

log = structlog.get_logger("history")


class UnknownSeries(WasupError):
    """There is no such series."""

    code = "unknown_series"
    hint = "GET /history/series lists them."


class History:
    """All series of all subjects."""

    def __init__(self, archive: Archive, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._recent = Recent()
        self._archive = archive
        self._turn = -1
        """The slot of the last turn of writing."""
        self._told_of_refused = False

    # --- now --------------------------------------------------------------------------------------

    def take(self, figures: Mapping[Key, float], at: float) -> None:
        """What was measured: the figures of the ten seconds in which `at` lies, in seconds since
        1970.
        """
        self._recent.take(figures, int(at // SLOT_SECONDS))
        refused = self._recent.refused
        if refused and not self._told_of_refused:
            log.error(
                "some figures are not taken: they are no numbers, or of too many subjects",
                action="history_refused",
                figures=refused,
            )
        self._told_of_refused = bool(refused)

    def latest(self) -> Mapping[Key, float]:
        """The figures of the last interval; of a count, what was added in it."""
        return self._recent.latest

    def totals(self) -> Mapping[Key, float]:
        """What the sources told last, and the sums over all; of a count, its total since the
        supervisor started.
        """
        return self._recent.totals

    # --- then -------------------------------------------------------------------------------------

    async def read(
        self, series: str, subject: str | None, start: float, end: float, step_seconds: int
    ) -> tuple[Point, ...]:
        """The figures from `start` up to `end` (seconds since 1970), one point for each step in
        which there were any, oldest first.

        Raises UnknownSeries, InvalidPeriod, StoreUnavailable.
        """
        columns = await self._columns(series, subject, start, end, step_seconds)
        return await asyncio.to_thread(_points, columns.get(series, ()), SERIES[series].steps)

    async def read_spread(
        self, series: str, subject: str | None, start: float, end: float, step_seconds: int
    ) -> tuple[Spread, ...]:
        """The same of a series of kind `buckets`: how its figures are distributed in each step.

        Raises UnknownSeries, InvalidPeriod, StoreUnavailable.
        """
        columns = await self._columns(series, subject, start, end, step_seconds)
        return await asyncio.to_thread(_spreads, columns)

    async def _columns(
        self, series: str, subject: str | None, start: float, end: float, step_seconds: int
    ) -> Mapping[str, Sequence[Cell]]:
        """The figures of a series, or of each of its buckets, joined in steps."""
        buckets = f"{named(series).name}#"
        tier = tier_for(start, end, step_seconds, self._clock())
        whose = whose_of((series, subject))
        # The memory first: what is written after that is on its page, which says so.
        recent = {
            name: row.whole()
            for name, row in self._recent.rows(whose).items()
            if name == series or name.startswith(buckets)
        }
        pages = await self._archive.read(whose, tier, start, end)
        # in a thread: of a year's hours there are thousands, and many a reader asks for many rows
        columns = await asyncio.to_thread(_columns, series, whose, tier, pages, recent)
        return await asyncio.to_thread(_stepped, columns, start, end, step_seconds)

    # --- kept -------------------------------------------------------------------------------------

    async def write_due(self) -> None:
        """Write the figures of those whose turn it is; due once in a slot.

        While the store cannot be read, nothing is: it says so itself, and the turns are made up
        for. Of a longer time than an hour the oldest figures are lost.
        """
        slot = self._recent.slot
        began = 0 <= self._turn <= slot  # else nothing was written yet, or the clock was set back
        since = max(self._turn, slot - WRITE_SLOTS) if began else slot - 1
        turns = {turn % WRITE_SLOTS for turn in range(since + 1, slot + 1)}
        due = [whose for whose in self._recent.subjects() if _turn_of(whose) in turns]
        with contextlib.suppress(StoreUnavailable):
            await self._write(due)
            self._turn = slot

    async def drop_old(self) -> str:
        """Drop what was kept for long enough; what was done, in words. Raises StoreUnavailable."""
        dropped = await self._archive.drop_old(self._clock())
        return f"{dropped} pages of figures were old, and are dropped."

    async def close(self) -> None:
        """Write what is in memory, for a few seconds at the most."""
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._write(self._recent.subjects())
        except (StoreError, TimeoutError) as error:
            log.warning(
                "the last minutes of the history are not written",
                action="history_lost",
                error=str(error) or "the store is too slow",
            )

    def on_deleted(self, session: SessionId | None, _deleted: SessionDeleted) -> None:
        """A session is gone, and its figures with it: those in the store went in the transaction
        that deleted it; what was about to be written then goes now.
        """
        if session is not None:
            whose = Whose("session", session)
            self._recent.forget(whose)
            self._archive.forget(whose)

    async def _write(self, subjects: Iterable[Whose]) -> None:
        through, failure = self._recent.slot, None
        by_kind = defaultdict[str, list[str]](list)
        for kind, name in subjects:
            by_kind[kind].append(name)
        for kind, names in by_kind.items():
            for first in range(0, len(names), WRITTEN_AT_ONCE):
                some = names[first : first + WRITTEN_AT_ONCE]
                figures = {name: self._unwritten(Whose(kind, name), through) for name in some}
                try:
                    await self._archive.add(kind, figures, through)
                except StoreUnavailable:
                    raise
                except StoreError as error:  # these cannot be written; the others are
                    failure = failure or error
                for name in some:
                    self._recent.written(Whose(kind, name), through)
        if failure is not None:
            raise failure

    def _unwritten(self, whose: Whose, through: int) -> dict[str, Run]:
        rows = self._recent.rows(whose).items()
        return {series: run for series, row in rows if (run := row.run(through)).values}


def named(series: str) -> Series:
    """A series by its name. Raises UnknownSeries."""
    found = SERIES.get(series)
    if found is None:
        similar = difflib.get_close_matches(series, SERIES, 3)
        hint = f"Did you mean {' or '.join(similar)}?" if similar else None
        raise UnknownSeries(f"There is no series {series[:64]!r}.", hint)
    return found


def _turn_of(whose: Whose) -> int:
    return zlib.crc32(":".join(whose).encode()) % WRITE_SLOTS


def _columns(
    series: str,
    whose: Whose,
    tier: Tier,
    pages: Mapping[int, bytes],
    recent: Mapping[str, Run],
) -> dict[str, list[Cell]]:
    """The figures of pages, and those of the memory that are on none of them yet, in cells of the
    tier: of a series, or of each of its buckets.
    """
    columns = defaultdict[str, list[Cell]](list)
    written: dict[int, int] = {}
    for start, value in pages.items():
        page = opened(tier, start, value, whose.name)
        written[start] = page.until
        for name in page.names():
            if name.partition("#")[0] == series:
                columns[name] += page.cells(name)
    for name, run in recent.items():
        columns[name] += (
            cell
            for cell in run.cells()
            if cell.at_seconds // SLOT_SECONDS > written.get(tier.page_of(cell.at_seconds), -1)
        )
    return {name: joined(cells, tier.step_seconds) for name, cells in columns.items()}


def _stepped(
    columns: Mapping[str, Sequence[Cell]], start: float, end: float, step_seconds: int
) -> dict[str, list[Cell]]:
    """The cells of a time, joined in steps."""
    return {
        name: joined((cell for cell in cells if start <= cell.at_seconds < end), step_seconds)
        for name, cells in columns.items()
    }


def _points(cells: Sequence[Cell], steps: int) -> tuple[Point, ...]:
    return tuple(point(cell, steps) for cell in cells)


def _spreads(columns: Mapping[str, Sequence[Cell]]) -> tuple[Spread, ...]:
    """What each step had in each of its buckets, oldest first."""
    found = defaultdict[int, dict[int, int]](dict)
    for name, cells in columns.items():
        bucket = int(name.partition("#")[2])
        for cell in cells:
            if cell.total:
                found[cell.at_seconds][bucket] = cell.total
    return tuple(Spread(float(at), counts) for at, counts in sorted(found.items()))
