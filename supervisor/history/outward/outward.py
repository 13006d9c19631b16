"""The parts that tell others what is measured, put together."""

import asyncio
import os

from sessions.forever import Forever, Kept
from sessions.records.changes import Changes
from sessions.views.events import SessionDeleted
from supervisor.fleet.bus import Bus
from supervisor.history.history import History
from supervisor.history.outward import telemetry
from supervisor.history.outward.exposition import Exposition
from supervisor.history.outward.performance_log import PerformanceLog
from supervisor.history.outward.requests import Requests
from supervisor.history.sources import Closes, Source
from supervisor.process.log_kinds import KindLogs
from supervisor.process.logs import Redaction
from supervisor.settings import Settings


class Outward:
    """What the API counts and is asked (`requests`, `exposition`), and what is written by itself.

    `logs`: those that are written.
    """

    def __init__(self, settings: Settings, logs: KindLogs, history: History, bus: Bus) -> None:
        self.requests = Requests(logs.get("requests"), Redaction(settings.secrets()).text)
        self.exposition = Exposition(history, settings.metrics_sessions)
        self._interval_seconds = settings.health_check_interval / 1000
        self._performance_log = (
            PerformanceLog(logs["performance"], history) if "performance" in logs else None
        )
        self._history = history
        self._most_sessions = settings.metrics_sessions
        self._kept: Kept | None = None
        self._telemetry: telemetry.Telemetry | None = None
        closes = Closes()
        bus.subscribe(Changes, closes.on_changes)
        bus.subscribe(SessionDeleted, closes.on_deleted)
        self.sources: list[Source] = [self.requests.figures, closes.figures]
        """What is counted here, for the sampler."""

    def begin(self, forever: Forever) -> None:
        """Begin what goes on by itself."""
        if self._performance_log is not None:
            self._kept = forever.keep(
                "performance log", self._performance_log.look, every_seconds=self._interval_seconds
            )
        if telemetry.wanted(os.environ):
            self._telemetry = telemetry.Telemetry(self._history.totals, self._most_sessions)

    async def close(self) -> None:
        """End it."""
        if self._kept is not None:
            await self._kept.close()
        if self._telemetry is not None:
            await asyncio.to_thread(self._telemetry.close)
