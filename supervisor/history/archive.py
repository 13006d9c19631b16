"""What was measured, on the disk: figures are added to the pages of all tiers in one go, and read
from them.

A page is read, filled and written again every five minutes; nothing is ever made anew from finer
figures, which are dropped soon.
"""

import asyncio
import math
from collections.abc import Iterable, Mapping

import structlog

from sessions.store.supervision.history_pages import HistoryPages, PageName
from supervisor.history.pages import Page, UnreadablePage
from supervisor.history.points import Run
from supervisor.history.recent import Whose
from supervisor.history.tiers import SLOT_SECONDS, TIERS, Tier

Runs = Mapping[str, Run]
"""Figures of one subject, by series."""

log = structlog.get_logger("history")


class Archive:
    """The pages of the store."""

    def __init__(self, pages: HistoryPages) -> None:
        self._pages = pages
        self._adding = asyncio.Lock()
        self._gone: set[Whose] = set()
        """Those that were forgotten while figures are added."""

    async def add(self, kind: str, figures: Mapping[str, Runs], until: int) -> None:
        """Write figures of subjects of one kind, up to and with a slot; they are durable then.

        Raises StoreError.
        """
        async with self._adding:
            self._gone.clear()
            found: dict[PageName, bytes | None] = {}
            for tier, start in _pages_of(figures.values()):
                stored = await self._pages.some(tier.number, start, kind, list(figures))
                for name in figures:
                    found[PageName(kind, name, tier.number, start)] = stored.get(name)
            # in a thread: to pack the pages of many sessions takes longer than one may wait
            filled = await asyncio.to_thread(_filled, found, figures, until)
            there = [one for one in filled if Whose(kind, one[0].subject) not in self._gone]
            if there:
                await self._pages.save(there)

    async def read(self, whose: Whose, tier: Tier, start: float, end: float) -> dict[int, bytes]:
        """The pages of a subject on which that period is: when each begins, and what it holds,
        oldest first. Raises StoreUnavailable.
        """
        first = tier.page_of(int(start))
        return dict(await self._pages.between(*whose, tier.number, first, math.ceil(end)))

    def forget(self, whose: Whose) -> None:
        """Drop all of a subject, also what is about to be written; nobody waits for it."""
        self._gone.add(whose)
        self._pages.forget(*whose)

    async def drop_old(self, now: float) -> int:
        """Drop what is kept for long enough; how many pages. Raises StoreUnavailable."""
        dropped = 0
        for tier in TIERS:
            before = int(now) - tier.stored_seconds
            dropped += await self._pages.drop_before(tier.number, before)
        return dropped


def _pages_of(subjects: Iterable[Runs]) -> list[tuple[Tier, int]]:
    """The pages on which these figures belong."""
    runs = [run for runs in subjects for run in runs.values()]
    first = min((run.first for run in runs), default=0) * SLOT_SECONDS
    last = max((run.first + len(run.values) - 1 for run in runs), default=-1) * SLOT_SECONDS
    return [
        (tier, start)
        for tier in TIERS
        for start in range(tier.page_of(first), last + 1, tier.page_seconds)
    ]


def _filled(
    found: Mapping[PageName, bytes | None], figures: Mapping[str, Runs], until: int
) -> list[tuple[PageName, bytes]]:
    pages = []
    for name, value in found.items():
        page = opened(TIERS[name.tier], name.start, value, name.subject)
        filled = [page.fill(series, run) for series, run in figures[name.subject].items()]
        if any(filled):
            page.filled(until)
            pages.append((name, page.value()))
    return pages


def opened(tier: Tier, start: int, value: bytes | None, subject: str) -> Page:
    """A page as it was stored; one that cannot be read is an empty one, which is logged."""
    try:
        return Page(tier, start, value)
    except UnreadablePage as error:
        log.error(
            "a page of the history cannot be read; its figures are lost",
            action="history_page_unreadable",
            subject=subject,
            tier=tier.number,
            start=start,
            error=str(error),
        )
        return Page(tier, start)
