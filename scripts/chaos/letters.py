"""The texts that sessions send out, and what became of them by the stand-in's log."""

import asyncio
import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from scripts.chaos.invariants import of_event
from scripts.chaos.stage import UNREACHABLE, Stage

RECIPIENTS: Final = 3
"""Phones that each session writes to."""
ANSWER_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of texts that WhatsApp has acknowledged: at once, after the phone had asked for
    them anew, or never read.
    """

    read: int
    read_after_retry: int
    never: tuple[str, ...]


class Letters:
    """Who writes out, and what was acknowledged."""

    def __init__(self, stage: Stage) -> None:
        self.acknowledged: set[str] = set()
        self.refused = 0
        """Calls that were answered with an error, or cut off: such a text may arrive or not."""
        self._stage = stage
        self._serial = 0

    async def write(self, pace_seconds: tuple[float, float]) -> None:
        """Write out of every session until cancelled."""
        async with asyncio.TaskGroup() as group:
            for session in self._stage.sessions:
                group.create_task(self._write(session, pace_seconds))

    async def send(self, session: str) -> str | None:
        """A text out of the session; its id if WhatsApp has acknowledged it."""
        self._serial += 1
        letter = {
            "to": f"55118{self._serial % RECIPIENTS:08}",
            "text": f"out {self._serial} of {session}",
        }
        try:
            status, answer = await self._stage.call(
                "POST", f"/sessions/{session}/messages", letter, ANSWER_SECONDS
            )
        except UNREACHABLE:
            status, answer = 0, None
        if status != 200:
            self.refused += 1
            return None
        identifier = str(answer["id"])
        self.acknowledged.add(identifier)
        return identifier

    async def _write(self, session: str, pace_seconds: tuple[float, float]) -> None:
        while True:
            await self.send(session)
            await asyncio.sleep(random.uniform(*pace_seconds))


def fate(acknowledged: Iterable[str], log: Iterable[Mapping[str, Any]]) -> Fate:
    """What became of these texts."""
    out = of_event(log, "message_out")
    read = {entry["id"] for entry in out if "undecryptable" not in entry}
    asked_anew = {entry["id"] for entry in out if "undecryptable" in entry}
    wanted = set(acknowledged)
    return Fate(
        len(wanted & read - asked_anew),
        len(wanted & read & asked_anew),
        tuple(sorted(wanted - read)),
    )
