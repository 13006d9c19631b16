"""Texts to many sessions, all the time, with serial numbers; and whether each came out once."""

import asyncio
from collections import Counter
from collections.abc import Collection
from types import TracebackType
from typing import Any, Final

from scripts.lab.processes import eventually
from scripts.lab.standin import StandIn
from scripts.lab.supervisor import Supervisor

SENDER: Final = "5511999990000"
AFTERMATH_SECONDS: Final = 0.5
"""A second copy of a message would come within this time."""


class Traffic:
    """A flood while the block lasts: one text to each session, every so often."""

    def __init__(self, standin: StandIn, sessions: Collection[str], every_seconds: float) -> None:
        self.sent: dict[str, str] = {}
        """The texts by the ids that WhatsApp gave them."""
        self._standin = standin
        self._sessions = list(sessions)
        self._every_seconds = every_seconds
        self._stopped = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> "Traffic":
        """Let it flow."""
        self._task = asyncio.create_task(self._flow())
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Dry it up. Raises what went wrong meanwhile."""
        self._stopped.set()
        if self._task is not None:
            await self._task

    async def _flow(self) -> None:
        serial = 0
        while not self._stopped.is_set():
            serial += 1
            for session in self._sessions:
                await self.send(session, serial)
            await asyncio.sleep(self._every_seconds)

    async def send(self, session: str, serial: int) -> None:
        """One text of the flood."""
        text = f"{session} {serial}"
        self.sent[await self._standin.send_text(session, SENDER, text)] = text

    async def arrived(self, supervisor: Supervisor, seconds: float = 60.0) -> list[Any]:
        """Wait until all that was sent is in the event log; what is there of it, in the log's
        order. Raises LabError.
        """
        found: list[Any] = []
        last = 0

        async def missing() -> list[str]:
            nonlocal last
            while page := (await supervisor.get(f"/events?after={last}"))["events"]:
                found.extend(
                    event
                    for event in page
                    if event["type"] == "message.received" and event["data"]["id"] in self.sent
                )
                last = page[-1]["n"]
            seen = {event["data"]["id"] for event in found}
            return [text for identifier, text in self.sent.items() if identifier not in seen]

        await eventually(
            missing, lambda texts: not texts, seconds, f"every one of {len(self.sent)} texts"
        )
        await asyncio.sleep(AFTERMATH_SECONDS)
        await missing()
        return found


def doubled(events: Collection[Any]) -> list[str]:
    """The ids that are there more than once."""
    return [
        identifier
        for identifier, count in Counter(event["data"]["id"] for event in events).items()
        if count > 1
    ]


def out_of_order(events: Collection[Any]) -> list[tuple[int, int]]:
    """Texts that came before an earlier one of the same session: both serial numbers."""
    wrong, latest = [], Counter[str]()
    for event in events:
        serial = int(event["data"]["text"].rpartition(" ")[2])
        if serial < latest[event["session"]]:
            wrong.append((latest[event["session"]], serial))
        latest[event["session"]] = max(latest[event["session"]], serial)
    return wrong
