"""The parts on the table: a stand-in, supervisors at their default settings, and waiting by their
event logs.
"""

import asyncio
import json
import time
from collections.abc import Iterable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from scripts.bench.report import Report
from scripts.lab import LabError, StandIn, Supervisor, pair
from scripts.lab.processes import ROOT
from sessions.views.times import wall_seconds
from supervisor.settings import Settings

DEFAULTS: Final = Settings.model_construct()
HEAL_SECONDS: Final = 180.0
"""What has not healed by then is an error."""


@dataclass(slots=True)
class Bench:
    """The parts on the table."""

    directory: Path
    standin: StandIn
    stack: AsyncExitStack
    report: Report
    began: float = field(default_factory=time.monotonic)

    def tell(self, text: str) -> None:
        """Show how far it is."""
        print(f"[{time.monotonic() - self.began:5.0f} s] {text}", flush=True)

    async def supervisor(self, name: str, **settings: str) -> Supervisor:
        """A supervisor at its default settings: only its data directory, a free port and the
        stand-in are given, and what is asked for.

        And it lets itself be measured from outside.
        """
        measured = {"WHATSAPP_DEBUGGABLE": "true"}
        supervisor = Supervisor(
            self.directory / name, self.standin.environment() | measured | settings
        )
        self.stack.push_async_callback(supervisor.close)
        return await supervisor.start()


async def opened(
    supervisor: Supervisor, sessions: Iterable[str], after: int
) -> dict[str, list[Any]]:
    """Wait until each session opens after an event number; its state events until then.

    Long polls: they cost next to nothing.
    """
    states: dict[str, list[Any]] = {session: [] for session in sessions}
    waiting = set(states)
    try:
        async with asyncio.timeout(HEAL_SECONDS):
            while waiting:
                for event in (await supervisor.get(f"/events?after={after}&wait=5"))["events"]:
                    after = event["n"]
                    if event["type"] == "session.state" and event["session"] in waiting:
                        states[event["session"]].append(event)
                        if event["data"]["state"] == "open":
                            waiting.discard(event["session"])
    except TimeoutError:
        raise LabError(
            f"not open within {HEAL_SECONDS:g} s: {', '.join(sorted(waiting))}"
        ) from None
    return states


async def paired(bench: Bench, supervisor: Supervisor, sessions: Sequence[str]) -> None:
    """Pair the sessions, and see it in the event log: it shows an event a moment after the state,
    and is counted from later.
    """
    await pair(supervisor, bench.standin, *sessions)
    await opened(supervisor, sessions, after=0)


def seconds(event: Any) -> float:
    """When an event of the supervisor was."""
    return wall_seconds(event["time"])


def baileys_version() -> str:
    """The version that both sides use."""
    package = json.loads((ROOT / "scripts" / "standin" / "package.json").read_text())
    return str(package["dependencies"]["@whiskeysockets/baileys"])
