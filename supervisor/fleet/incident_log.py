"""The fleet's incidents (outages) on record; how long incidents are kept; and the mark by which a
successor knows until when we lived.
"""

import time
from typing import Final

from sessions.model import SessionId
from sessions.records import incidents
from sessions.records.incidents import Incident
from sessions.store.tables.incidents import Records
from supervisor.gate.view import OutageBegan, OutageEnded

DAY_SECONDS: Final = 24 * 3600.0
ALIVE_SECONDS: Final = 60.0
"""How exactly a successor knows when we died; a write a minute costs nothing beside those of the
sessions.
"""
OUTAGE_HUMAN: Final = (
    "Nothing: one canary at a time tries, and its success releases all. Is the network of this"
    " machine all right?"
)

LEFT_BEHIND: Final = (
    "Nobody knows when it ended ({}): the supervisor that held the sessions was gone before. "
    "Nothing is held any more because of it; if it lasts, it is found anew."
)


class OutageRecorder:
    """Puts the gate's outages on record, as incidents of no session."""

    def __init__(self, records: Records) -> None:
        self._records = records
        self._under_way: dict[str, Incident] = {}

    def on_began(self, _: SessionId | None, outage: OutageBegan) -> None:
        """An outage has begun."""
        incident = begun(outage, time.time())
        self._under_way[incident.scope] = incident
        self._records.save_incident(incident)
        self._records.say_alive()  # else a successor would think that we had died before

    def on_ended(self, _: SessionId | None, outage: OutageEnded) -> None:
        """An outage is over; one that began under an earlier supervisor is on record already."""
        if incident := self._under_way.pop(outage.whom, None):
            self._records.save_incident(over(incident, outage, time.time()))


def begun(outage: OutageBegan, now: float) -> Incident:
    """The incident of an outage that begins. Pure."""
    return Incident(
        session=None,
        scope=outage.whom,
        began_at=now,
        reason=outage.reason[:64],
        message=outage.words,
        rule="held; one canary at a time tries, nobody is charged",
        human=OUTAGE_HUMAN,
        hold=outage.words,
    )


def over(incident: Incident, outage: OutageEnded, now: float) -> Incident:
    """The same when it ends. Pure."""
    return incidents.ended(incidents.covered(incident, outage.words), now, "open")


def left_behind(outage: Incident) -> OutageEnded:
    """What is told of an outage whose supervisor was gone before its end. Pure."""
    kind, _, value = outage.scope.partition(" ")
    held = outage.down_seconds(outage.began_at if outage.ended_at is None else outage.ended_at)
    return OutageEnded(
        scope=kind,
        value=value or "all",
        reason=outage.reason,
        sessions=0,
        held_for_seconds=round(held, 1),
        words=LEFT_BEHIND.format(outage.scope),
    )


async def prune(records: Records, keep_days: int) -> str:
    """Drop what was over so many days ago; what was done, in words. Raises StoreUnavailable."""
    pruned = await records.prune(keep_days * DAY_SECONDS)
    return f"{pruned} incidents that were over for {keep_days} days were dropped."


def say_alive(records: Records) -> None:
    """Say that we live, without waiting until it is durable: due every ALIVE_SECONDS."""
    records.say_alive()
