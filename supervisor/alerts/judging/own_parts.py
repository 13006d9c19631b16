"""The alerts about the supervisor's own parts: its store, its tasks, workers that nothing ends."""

from functools import partial
from typing import Any, Final

from sessions.forever import TaskHealth
from sessions.model import SessionId
from sessions.store import StoreHealth
from sessions.views.session_view import STUCK
from sessions.workers.table import AbandonedWorker
from supervisor.alerts.alerts import Alerts, Severity
from supervisor.fleet.bus import Bus

WORKER_ENDED: Final = (
    "The worker (process {pid}) that could not be ended has ended; its session may log in again."
)


def subscribe(bus: Bus, alerts: Alerts) -> None:
    """Make alerts of what those parts tell on the bus."""
    bus.subscribe(StoreHealth, partial(_tell_health, alerts))
    bus.subscribe(TaskHealth, partial(_tell_task, alerts))
    bus.subscribe(AbandonedWorker, partial(_tell_abandoned, alerts))


def _tell_health(alerts: Alerts, _: SessionId | None, health: StoreHealth) -> None:
    """The store's trouble, and its end, as an alert (the store itself has logged it); the event is
    durable when the store is back.
    """
    if health.state == "ok":
        alerts.end(None, "store", health.words, storeState=health.state)
    else:
        severity: Severity = "critical" if health.state == "failing" else "warning"
        alerts.begin(None, "store", health.words, severity, storeState=health.state)


def _tell_task(alerts: Alerts, _: SessionId | None, health: TaskHealth) -> None:
    """The trouble of a task that shall run for ever, and its end, as an alert."""
    if health.state == "ok":
        alerts.end(None, "task", health.words, about=health.name, task=health.name)
    else:
        alerts.begin(None, "task", health.words, "critical", about=health.name, task=health.name)


def _tell_abandoned(alerts: Alerts, _: SessionId | None, worker: AbandonedWorker) -> None:
    """A worker that cannot be ended, and its end, as an alert: not the session's, whose deletion
    would end it.
    """
    about = worker.worker
    told: dict[str, Any] = {"worker": worker.worker, "pid": worker.pid, "of": worker.session}
    if worker.ended:
        alerts.end(
            None, "worker_abandoned", WORKER_ENDED.format(pid=worker.pid), about=about, **told
        )
        return
    whose = (
        "A spare worker" if worker.session is None else f"The worker of session {worker.session}"
    )
    words = STUCK.format(whose=whose, pid=worker.pid)
    alerts.begin(None, "worker_abandoned", words, "critical", about=about, **told)
