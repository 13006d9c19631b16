"""The record of incidents and of the time that sessions were open, down or off: written patiently,
read for explanations, pruned by age.

Nobody waits for a write of it. A supervisor that dies leaves its last spans without an end; its
successor ends them where the dead one last said that it lived (`silent_since`), so that nobody is
counted as open whom nobody watched.
"""

import asyncio
import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final

import msgspec
from sqlalchemy import ColumnElement, Row, delete, func, insert, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from sessions.records import incidents
from sessions.records.incidents import AT_REST, Incident, Move, RecordedClose, Span
from sessions.store.engine import database, schema
from sessions.store.tables.rows import Read
from sessions.store.writing.writer import Writer

ALIVE: Final = "alive"
"""Name of the row in `meta` that says when a supervisor last said that it lives."""

_incidents = schema.incidents
_spans = schema.spans
_meta = schema.meta
_events = schema.events
_UNDER_WAY: Final = or_(_incidents.c.ended_at.is_(None), _incidents.c.ending.in_(AT_REST))


class Records:
    """Incidents and spans. Writes return futures that nobody needs to await."""

    def __init__(self, writer: Writer, read: Read) -> None:
        self._writer = writer
        self._read = read
        self.silent_since: float | None = None
        """When the supervisor before this one last said that it lived; None: there was none."""
        self.lasting: Mapping[str, Span] = {}
        """Each session's span that the supervisor before this one left without an end."""

    async def begin(self) -> list[Incident]:
        """Find out until when our predecessor lived; what it held is held no more: those outages.

        Before any session is taken up.

        Raises StoreUnavailable.
        """
        rows = await self._read(select(_meta.c.value).where(_meta.c.name == ALIVE))
        newest = await self._read(select(_events.c.time_ms).order_by(_events.c.n.desc()).limit(1))
        if rows:  # it says so once a minute, and an event tells more exactly
            told = newest[0].time_ms / 1000 if newest else 0.0
            self.silent_since = max(float(rows[0].value), min(told, time.time()))
        until = time.time() if self.silent_since is None else self.silent_since

        spans = await self._read(select(_spans).where(_spans.c.ended_at.is_(None)))
        self.lasting = {row.session: Span(row.began_at, None, row.state) for row in spans}

        under_way = _incidents.c.session.is_(None) & _incidents.c.ended_at.is_(None)
        found = _read_all(
            await self._read(select(_incidents).where(under_way).order_by(_incidents.c.id))
        )
        outages = [incidents.ended(outage, until, "lost") for outage in found]

        async def operation(connection: AsyncConnection) -> None:
            for outage in outages:
                mine = _incidents.c.id == outage.id
                await connection.execute(update(_incidents).where(mine).values(_values(outage)))

        await self._writer.submit(operation)
        return outages

    def say_alive(self) -> asyncio.Future[None]:
        """We live, now. Patient."""
        value = repr(time.time()).encode()

        async def operation(connection: AsyncConnection) -> None:
            await connection.execute(
                database.upsert(connection, _meta), {"name": ALIVE, "value": value}
            )

        return self._writer.submit(operation, patient=True, newest_of=("alive",))

    # --- incidents --------------------------------------------------------------------------------

    def save_incident(self, incident: Incident) -> asyncio.Future[None]:
        """Write an incident as it stands now; it is known by session, scope and begin.

        Patient: of several that wait the newest is written.
        """

        async def operation(connection: AsyncConnection) -> None:
            await save(connection, incident)

        name = ("incident", incident.session, incident.scope, incident.began_at)
        return self._writer.submit(operation, patient=True, newest_of=name)

    async def incidents(
        self,
        session: str | None,
        after: int | None,
        limit: int,
        within: Collection[str] | None = None,
    ) -> list[Incident]:
        """Incidents by number, oldest first: those after a number, or the newest.

        `session`: of that one alone; `within`: of these alone.
        """
        statement = select(_incidents).limit(limit)
        if session is not None:
            statement = statement.where(_incidents.c.session == session)
        if within is not None:
            statement = statement.where(_incidents.c.session.in_(within))
        if after is not None:
            return _read_all(
                await self._read(statement.where(_incidents.c.id > after).order_by(_incidents.c.id))
            )
        return _read_all(await self._read(statement.order_by(_incidents.c.id.desc())))[::-1]

    async def of_session(self, session: str, since: float, at_least: int) -> list[Incident]:
        """A session's incidents, newest first: those that were not over before `since`, and the
        newest `at_least` of those before.
        """
        mine = select(_incidents).where(_incidents.c.session == session)
        lately = mine.where(or_(_incidents.c.ended_at.is_(None), _incidents.c.ended_at >= since))
        newest = mine.order_by(_incidents.c.began_at.desc(), _incidents.c.id.desc()).limit(at_least)
        found = {
            row.id: row for statement in (newest, lately) for row in await self._read(statement)
        }
        return _read_all(
            sorted(found.values(), key=lambda row: (row.began_at, row.id), reverse=True)
        )

    # --- spans ------------------------------------------------------------------------------------

    async def spans(self, session: str, since: float) -> list[Span]:
        """A session's spans that lasted longer than until `since`, oldest first; and, for its date
        alone, the very first.
        """
        mine = select(_spans).where(_spans.c.session == session)
        first = mine.order_by(_spans.c.id).limit(1)
        lately = mine.where(or_(_spans.c.ended_at.is_(None), _spans.c.ended_at > since))
        found = {
            row.id: row for statement in (first, lately) for row in await self._read(statement)
        }
        return [Span(row.began_at, row.ended_at, row.state) for _, row in sorted(found.items())]

    # --- pruning ----------------------------------------------------------------------------------

    async def prune(self, older_than_seconds: float) -> int:
        """Drop what was over so long ago; how many incidents.

        What lasts stays. Raises StoreUnavailable.
        """
        before = time.time() - older_than_seconds

        async def operation(connection: AsyncConnection) -> int:
            await connection.execute(delete(_spans).where(_spans.c.ended_at < before))
            old = (_incidents.c.ended_at < before) & _incidents.c.ending.not_in(AT_REST)
            return (await connection.execute(delete(_incidents).where(old))).rowcount

        return await self._writer.submit(operation)


async def move(connection: AsyncConnection, session: str, moved: Move) -> None:
    """The session is open, down or off from then on.

    The same as before changes nothing; before the first `open` nothing is kept.
    """
    lasting = (_spans.c.session == session) & _spans.c.ended_at.is_(None)
    current = (await connection.execute(select(_spans).where(lasting))).first()
    if (moved.presence != "open") if current is None else (current.state == moved.presence):
        return
    begin = moved.at if current is None else max(moved.at, current.began_at)
    await connection.execute(update(_spans).where(lasting).values(ended_at=begin))
    await connection.execute(
        insert(_spans).values(session=session, began_at=begin, ended_at=None, state=moved.presence)
    )


async def forget(connection: AsyncConnection, session: str, purge: bool) -> None:
    """A session is deleted: its incidents are history, or, with `purge`, gone.

    Another session of that name begins with none.
    """
    await connection.execute(delete(_spans).where(_spans.c.session == session))
    mine = _incidents.c.session == session
    if purge:
        await connection.execute(delete(_incidents).where(mine))
    else:
        await connection.execute(
            update(_incidents)
            .where(mine, _UNDER_WAY)
            .values(ended_at=time.time(), ending="deleted")
        )


async def save(connection: AsyncConnection, incident: Incident) -> None:
    """Write an incident as it stands now; it is known by session, scope and begin."""
    values = _values(incident)
    same = _of(incident) & (_incidents.c.began_at == incident.began_at)
    if (await connection.execute(update(_incidents).where(same).values(values))).rowcount:
        return
    older = _of(incident) & _UNDER_WAY & (_incidents.c.began_at <= incident.began_at)
    lost = {"ended_at": func.coalesce(_incidents.c.ended_at, incident.began_at), "ending": "lost"}
    await connection.execute(update(_incidents).where(older).values(lost))
    await connection.execute(insert(_incidents).values(values))


def _of(incident: Incident) -> ColumnElement[bool]:
    session = _incidents.c.session
    whose = session.is_(None) if incident.session is None else session == incident.session
    return whose & (_incidents.c.scope == incident.scope)


def _values(incident: Incident) -> Mapping[str, Any]:
    values = msgspec.structs.asdict(incident)
    del values["id"]
    down = incident.down_seconds(incident.ended_at) if incident.ended_at is not None else None
    return values | {"closes": msgspec.json.encode(incident.closes), "down_seconds": down}


def _read_all(rows: Sequence[Row[Any]]) -> list[Incident]:
    return [_incident(row) for row in rows]


def _incident(row: Row[Any]) -> Incident:
    values = dict(row._mapping)
    del values["down_seconds"]  # for those who read the table; here it is computed, as it grows
    return Incident(**values | {"closes": _closes(row.closes)})


def _closes(stored: bytes) -> tuple[RecordedClose, ...]:
    """History that another version wrote must never make an explanation fail."""
    try:
        return msgspec.json.decode(stored, type=tuple[RecordedClose, ...])
    except msgspec.MsgspecError:
        return ()
