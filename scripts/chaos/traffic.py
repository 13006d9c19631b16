"""Texts to every session during the whole campaign, and a reader that follows /events across the
supervisor's deaths.
"""

import asyncio
import itertools
import random
from collections.abc import Iterable, Mapping
from typing import Any, Final

from scripts.chaos.ledger import Ledger
from scripts.chaos.stage import UNREACHABLE, Stage

PACE_SECONDS: Final = (0.7, 1.3)
POLL_SECONDS: Final = 2
TRY_AGAIN_SECONDS: Final = 0.1
SENDERS: Final = 3
"""Phones that write to each session: several Signal sessions, and no more keys than needed."""


class Traffic:
    """Who writes, and who reads."""

    def __init__(self, stage: Stage, pace_seconds: tuple[float, float] = PACE_SECONDS) -> None:
        self.ledger = Ledger()
        self.last = 0
        """The number of the last event that was read."""
        self.ids: dict[tuple[str, int], str] = {}
        """WhatsApp's name of each text, by session and serial number."""
        self._stage = stage
        self._pace_seconds = pace_seconds
        self._numbers = {session: number for number, session in enumerate(stage.sessions)}

    async def run(self) -> None:
        """Write and read until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.read())
            group.create_task(self.write())

    async def write(self) -> None:
        """Write to every session until cancelled."""
        async with asyncio.TaskGroup() as group:
            for session in self._stage.sessions:
                group.create_task(self._write(session))

    async def send(self, session: str) -> int:
        """Send the session one text now; its serial number."""
        serial, text = self.ledger.send(session)
        sender = f"55119{self._numbers[session]:04}{serial % SENDERS:04}"
        self.ids[session, serial] = await self._stage.standin.send_text(session, sender, text)
        return serial

    async def send_many(self, session: str, texts: int) -> None:
        """Send the session many at once."""
        senders = asyncio.Semaphore(20)

        async def one() -> None:
            async with senders:
                await self.send(session)

        await asyncio.gather(*(one() for _ in range(texts)))

    async def arrived(self, wanted: Mapping[str, int], seconds: float) -> dict[str, list[int]]:
        """Wait until all texts up to these serial numbers were seen; what is missing when the time
        is up, by session.
        """
        for wait in itertools.chain(
            [0.0], itertools.repeat(TRY_AGAIN_SECONDS, round(seconds / TRY_AGAIN_SECONDS))
        ):
            await asyncio.sleep(wait)
            missing = self.missing(wanted)
            if not missing:
                break
        return missing

    def missing(self, wanted: Mapping[str, int]) -> dict[str, list[int]]:
        """The texts up to these serial numbers that were not seen, by session."""
        found = {session: self.ledger.missing(session, until) for session, until in wanted.items()}
        return {session: serials for session, serials in found.items() if serials}

    async def fates(self, missing: Mapping[str, Iterable[int]]) -> dict[str, str]:
        """What the server saw of texts that are missing, in words, by session."""
        await self._stage.read_log()
        return {
            session: "; ".join(self._fate(session, serial) for serial in list(serials)[:3])
            for session, serials in missing.items()
        }

    def _fate(self, session: str, serial: int) -> str:
        name = self.ids.get((session, serial))
        seen = [entry for entry in self._stage.log if entry.get("id") == name]
        told = [f"{entry['event']} {entry.get('type', '')} at {entry['time_ms']}" for entry in seen]
        return f"{serial} is {name}: {', '.join(told) or 'not handed out'}"

    async def _write(self, session: str) -> None:
        while True:
            await self.send(session)
            await asyncio.sleep(random.uniform(*self._pace_seconds))

    async def read(self) -> None:
        """Follow /events until cancelled, whatever becomes of the supervisor meanwhile."""
        while True:
            try:
                status, answer = await self._stage.call(
                    "GET",
                    f"/events?after={self.last}&wait={POLL_SECONDS}",
                    seconds=4 * POLL_SECONDS,
                )
            except UNREACHABLE:
                status, answer = 0, None
            if status == 200:
                self._take(answer["events"])
            else:
                await asyncio.sleep(TRY_AGAIN_SECONDS)

    def _take(self, events: Iterable[Mapping[str, Any]]) -> None:
        for event in events:
            self.last = max(self.last, event["n"])
            if event["type"] == "message.received":
                self.ledger.see(event["session"], event["data"]["text"])
