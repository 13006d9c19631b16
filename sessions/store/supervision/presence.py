"""How long sessions were open, down or off within a period, and what kept them away: reckoned by
the database from spans and incidents, which are exact, and not from samples.
"""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, and_, case, func, or_, select

from sessions.records.incidents import AT_REST
from sessions.store.engine import schema
from sessions.store.tables.rows import Read

_spans = schema.spans
_incidents = schema.incidents
OUTAGES_MOST: Final = 1_000
"""Of one answer."""


class Times(NamedTuple):
    """Of a session, or of several: seconds."""

    open: float = 0.0
    down: float = 0.0
    off: float = 0.0

    @property
    def wanted(self) -> float:
        """For so long it was to be open."""
        return self.open + self.down

    def without(self, other: "Times") -> "Times":
        """What is left of it; never less than nothing."""
        return Times(*(max(0.0, mine - its) for mine, its in zip(self, other, strict=True)))

    def and_(self, other: "Times") -> "Times":
        """Both together."""
        return Times(*(mine + its for mine, its in zip(self, other, strict=True)))


class Away(NamedTuple):
    """For how long a session was away for a reason, and how often that began in the period."""

    session: str
    reason: str
    began: int
    seconds: float


class OutageTimes(NamedTuple):
    """An outage; `ended_at` None: it lasts."""

    scope: str
    reason: str
    began_at: float
    ended_at: float | None


class Presence:
    """Reads only. Periods: from `start` up to `end`, seconds of wall clock; `end` is past."""

    def __init__(self, read: Read) -> None:
        self._read = read

    async def times(self, start: float, end: float) -> Mapping[str, Times]:
        """Of each session that there is. Raises StoreUnavailable."""
        begin = _later(_spans.c.began_at, start)
        until = _earlier(func.coalesce(_spans.c.ended_at, end), end)
        rows = await self._read(
            select(_spans.c.session, _spans.c.state, func.sum(until - begin).label("seconds"))
            .where(
                _spans.c.began_at < end,
                or_(_spans.c.ended_at.is_(None), _spans.c.ended_at > start),
            )
            .group_by(_spans.c.session, _spans.c.state)
        )
        found = defaultdict[str, dict[str, float]](dict)
        for row in rows:
            found[row.session][row.state] = row.seconds
        return {session: Times(**states) for session, states in found.items()}

    async def since(self) -> float | None:
        """When the oldest span began that is kept. Raises StoreUnavailable."""
        rows = await self._read(select(func.min(_spans.c.began_at).label("first")))
        first: float | None = rows[0].first
        return first

    async def away(self, start: float, end: float) -> list[Away]:
        """What kept sessions away, by session and reason; also those that are deleted meanwhile.

        Raises StoreUnavailable.
        """
        begin = _later(_incidents.c.began_at, start)
        until = case((_goes_on(), end), else_=_earlier(_incidents.c.ended_at, end))
        rows = await self._read(
            select(
                _incidents.c.session,
                _incidents.c.reason,
                func.sum(case((_incidents.c.began_at >= start, 1), else_=0)).label("began"),
                func.sum(until - begin).label("seconds"),
            )
            .where(_incidents.c.session.is_not(None), _within(start, end))
            .group_by(_incidents.c.session, _incidents.c.reason)
        )
        return [Away(row.session, row.reason, int(row.began), row.seconds) for row in rows]

    async def outages(self, start: float, end: float) -> list[OutageTimes]:
        """The fleet's, oldest first. Raises StoreUnavailable."""
        rows = await self._read(
            select(
                _incidents.c.scope,
                _incidents.c.reason,
                _incidents.c.began_at,
                _incidents.c.ended_at,
            )
            .where(_incidents.c.session.is_(None), _within(start, end))
            .order_by(_incidents.c.began_at)
            .limit(OUTAGES_MOST)
        )
        return [OutageTimes(row.scope, row.reason, row.began_at, row.ended_at) for row in rows]


def _goes_on() -> ColumnElement[bool]:
    """A session that is parked is still away."""
    return or_(_incidents.c.ended_at.is_(None), _incidents.c.ending.in_(AT_REST))


def _within(start: float, end: float) -> ColumnElement[bool]:
    return and_(_incidents.c.began_at < end, or_(_goes_on(), _incidents.c.ended_at > start))


def _later(moment: Any, start: float) -> ColumnElement[float]:
    return case((moment > start, moment), else_=start)


def _earlier(moment: Any, end: float) -> ColumnElement[float]:
    return case((moment < end, moment), else_=end)
