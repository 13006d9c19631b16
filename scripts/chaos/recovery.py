"""Waiting until a fault is overcome: every session open by both sides' word, on its feet, and
reached by a new text.
"""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Final

from scripts.chaos.faults import Damage
from scripts.chaos.invariants import Violation, none_missing, patience, stuck
from scripts.chaos.stage import UNREACHABLE, Look, Stage
from scripts.chaos.traffic import Traffic

LOOK_SECONDS: Final = 0.1
TEXT_SECONDS: Final = 60.0
"""How long a text to an open session may take, and a backlog before it; on an idle machine it is
milliseconds.
"""


@dataclass(slots=True)
class Recovery:
    """How it went.

    `seconds`: from the fault's end until all sessions were open; None if they were not in time.

    `first_seconds`: until the first of those who were damaged was open. `texts_seconds`: until all
    texts had come that had to come,
    those sent meanwhile included.
    """

    seconds: float | None = None
    first_seconds: float | None = None
    texts_seconds: float = 0.0
    look: Look | None = None
    replaced: int = 0
    violations: list[Violation] = field(default_factory=list)


async def recover(
    stage: Stage,
    traffic: Traffic,
    before: Look,
    damage: Damage,
    bound_seconds: float,
    pause_seconds: float,
) -> Recovery:
    """Wait until all is well again and, after a pause, still is; or until it no longer may be
    waited.
    """
    watch = _Watch(stage, damage, bound_seconds)
    recovery = Recovery()
    while True:
        look = await watch.until_open()
        recovery.first_seconds = watch.first_seconds
        if look is None:
            recovery.violations = watch.violations
            return recovery
        recovery.seconds = watch.elapsed()
        recovery.look = look
        await _texts(stage, traffic, before, look, recovery)
        recovery.texts_seconds = watch.elapsed()
        await asyncio.sleep(pause_seconds)
        if recovery.violations or await watch.stands(look):
            return recovery


async def _texts(
    stage: Stage, traffic: Traffic, before: Look, look: Look, recovery: Recovery
) -> None:
    """A new text reaches each session; and so have all before it, whoever died."""
    fresh = {session: await traffic.send(session) for session in stage.sessions}
    recovery.replaced = sum(
        look.worker(session) != before.worker(session) for session in stage.sessions
    )
    missing = await traffic.arrived(fresh, TEXT_SECONDS)
    recovery.violations += none_missing(missing, await traffic.fates(missing))
    for session, serials in missing.items():
        traffic.ledger.write_off(session, serials)  # told of once


class _Watch:
    """Looks at the stage until every session is open and nothing is left of what was damaged."""

    def __init__(self, stage: Stage, damage: Damage, bound_seconds: float) -> None:
        self.violations: list[Violation] = []
        self.first_seconds: float | None = None
        self._stage = stage
        self._damage = damage
        self._bound_seconds = bound_seconds
        self._began = time.monotonic()

    def elapsed(self) -> float:
        """Seconds since the fault's end."""
        return time.monotonic() - self._began

    async def until_open(self) -> Look | None:
        """The look in which all is well; None with violations when the time is up."""
        limit, why = (
            self._bound_seconds,
            "nothing was seen",
        )  # the limit never shrinks: an attempt under way shows no next one
        while self.elapsed() < limit:
            try:
                look = await self._stage.look()
            except UNREACHABLE as error:
                why = f"the API does not answer: {type(error).__name__} {error}"
                if self._stage.process.status is not None:
                    break
            else:
                waiting = self._not_well(look)
                if self.first_seconds is None and not self._damage.sessions <= set(waiting):
                    self.first_seconds = self.elapsed()
                if not waiting:
                    return look
                hopeless = [v for session in waiting for v in stuck(session, look.views[session])]
                if hopeless:
                    self.violations = hopeless
                    return None
                views = [look.views[session] for session in waiting]
                limit = max(
                    limit,
                    patience(
                        views, self.elapsed(), self._stage.supervisor_now(), self._bound_seconds
                    ),
                )
                why = "; ".join(f"{session}: {self._words(session, look)}" for session in waiting)
            await asyncio.sleep(LOOK_SECONDS)
        status = self._stage.process.status
        ended = "" if status is None else f"the supervisor has ended with status {status}; "
        self.violations = [
            Violation(
                "open again, or explained", None, f"after {self.elapsed():.0f} s: {ended}{why}"
            )
        ]
        return None

    async def stands(self, look: Look) -> bool:
        """Whether everybody still stands on what he stood on then."""
        try:
            now = await self._stage.look()
        except UNREACHABLE:
            return False
        sessions = self._stage.sessions
        return not self._not_well(now) and all(
            now.footing(session) == look.footing(session) for session in sessions
        )

    def _not_well(self, look: Look) -> list[str]:
        return [session for session in self._stage.sessions if not self._well(session, look)]

    def _well(self, session: str, look: Look) -> bool:
        connections = look.connections_of(session)
        return (
            look.views[session]["state"] == "open"
            and look.worker(session) not in self._damage.workers
            and [connection["stage"] for connection in connections] == ["open"]
            and connections[0]["id"] not in self._damage.connections
        )

    def _words(self, session: str, look: Look) -> str:
        """Where it stands, for the report."""
        view = look.views[session]
        seen = [
            f"{connection['id']} {connection['stage']}"
            for connection in look.connections_of(session)
        ]
        last = view["reconnection"]
        return (
            f"{view['state']} ({last['closeReason']}, {last['rule']}), worker"
            f" {look.worker(session)}, connections {seen}"
        )
