"""What one event has changed of a session: handed to the store as one value, and durable as one."""

from collections.abc import Callable
from dataclasses import dataclass

from sessions.model import EventData, SessionId
from sessions.records.incidents import Incident, Move


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """All of it is written in one transaction; None: that has not changed.

    `memory`: encodes what is remembered, at the moment at which it is written. `move`: the session
    is open, down or off since then. `event`: what is told of it, numbered with the rest.
    """

    session: SessionId
    memory: Callable[[], bytes] | None = None
    incident: Incident | None = None
    move: Move | None = None
    event: EventData | None = None
