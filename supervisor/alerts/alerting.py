"""All of alerting, put together: what is judged, what is remembered, who is told."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import tzinfo
from typing import Final

from sessions.forever import Forever, Look
from sessions.records.changes import Changes
from sessions.store.supervision.alert_rows import AlertRows
from sessions.views.events import SessionDeleted
from supervisor.alerts import notifier
from supervisor.alerts.alerts import AlertRaised, Alerts
from supervisor.alerts.decision import Timing
from supervisor.alerts.hours import Hours
from supervisor.alerts.judging import (
    clock,
    exceptions,
    filling,
    outages,
    service_level,
    sessions,
)
from supervisor.alerts.judging.clock import ClockWatch
from supervisor.alerts.judging.exceptions import ExceptionWatch
from supervisor.alerts.judging.filling import FillingWatch
from supervisor.alerts.judging.flapping import Flapping
from supervisor.alerts.judging.outages import OutageWatch
from supervisor.alerts.judging.service_level import ServiceLevelWatch
from supervisor.alerts.judging.sessions import SessionLimits, SessionWatch
from supervisor.alerts.ledger import Ledger
from supervisor.alerts.notices import Language
from supervisor.alerts.notifier import Notifier
from supervisor.fleet.bus import Bus
from supervisor.fleet.fleet import Fleet
from supervisor.gate.view import OutageBegan, OutageEnded
from supervisor.history.history import History
from supervisor.process.logs import EXCEPTIONS
from supervisor.watch.host_watch import HostWatch


@dataclass(frozen=True, slots=True, kw_only=True)
class AlertingConfig:
    """What the operator has set. `zone`: of all hours; None: the host's."""

    timing: Timing = field(default_factory=Timing)
    quiet: Hours | None = None
    windows: Hours | None = None
    zone: tzinfo | None = None
    language: Language = "en"
    limits: SessionLimits = field(default_factory=SessionLimits)
    availability: float = 0.999


class Alerting:
    """The parts, and what of them runs for ever."""

    def __init__(
        self,
        alerts: Alerts,
        rows: AlertRows,
        forever: Forever,
        bus: Bus,
        fleet: Fleet,
        host: HostWatch,
        history: History,
        config: AlertingConfig,
    ) -> None:
        self.config: Final = config
        flapping, watch = Flapping(), OutageWatch(fleet, alerts)
        bus.subscribe(AlertRaised, flapping.on_raised)
        bus.subscribe(SessionDeleted, flapping.on_deleted)
        away = SessionWatch(fleet, alerts, watch.explained, config.limits)
        bus.subscribe(Changes, away.on_changes)
        bus.subscribe(SessionDeleted, away.on_deleted)
        bus.subscribe(OutageBegan, watch.on_began)
        bus.subscribe(OutageEnded, watch.on_ended)
        self.notifier: Final = Notifier(
            alerts,
            Ledger(rows),
            flapping,
            forever,
            watch.explained,
            timing=config.timing,
            quiet=config.quiet,
            windows=config.windows,
            zone=config.zone,
            language=config.language,
        )
        self._history = history
        self._level = ServiceLevelWatch(fleet, alerts, config.availability)
        self.looks: Final[Sequence[tuple[str, Look, float]]] = (
            ("what was told of alerts", self.notifier.settle, notifier.LOOK_SECONDS),
            ("outages", watch.look, outages.LOOK_SECONDS),
            ("sessions that are away", away.look, sessions.LOOK_SECONDS),
            (
                "service level",
                self._level.look,
                service_level.LOOK_SECONDS,
            ),
            ("disks that fill", FillingWatch(host.disks, alerts).look, filling.LOOK_SECONDS),
            ("host's clock", ClockWatch(alerts).look, clock.LOOK_SECONDS),
            (
                "exceptions",
                ExceptionWatch(lambda: EXCEPTIONS.seen, alerts).look,
                exceptions.LOOK_SECONDS,
            ),
        )
        """By name, and how often each is taken."""

    async def open(self) -> None:
        """Take up what was remembered; before the sessions are."""
        await self.notifier.open()
        await self._level.recall(self._history)

    async def close(self) -> None:
        """Tell nobody any more."""
        await self.notifier.close()
