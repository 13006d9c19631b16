"""Upkeep, put together: which jobs there are, and when."""

import asyncio
import random
from collections.abc import Iterable
from functools import partial
from typing import Final

from sessions.store import Store
from supervisor.alerts.alerts import Alerts
from supervisor.fleet import incident_log
from supervisor.fleet.credential_snapshots import take_snapshots
from supervisor.fleet.feed import Feed
from supervisor.fleet.fleet import Fleet
from supervisor.history.history import History
from supervisor.places.store_opening import data_directory
from supervisor.process.log_kinds import DIRECTORY
from supervisor.settings import Settings
from supervisor.upkeep import log_cleaning
from supervisor.upkeep.backups.backups import BackupConfig, Backups
from supervisor.upkeep.backups.keeping import Keep
from supervisor.upkeep.jobs import HOUR_SECONDS, Job
from supervisor.upkeep.schedule import Schedule
from supervisor.upkeep.scheduler import Scheduler

BACKUP_SECONDS: Final = 4 * HOUR_SECONDS
"""The largest store that wasup is for takes minutes."""


class Upkeep:
    """The scheduler with its jobs, and the backups."""

    def __init__(
        self,
        settings: Settings,
        store: Store,
        feed: Feed,
        history: History,
        alerts: Alerts,
        fleet: Fleet,
        backups: Backups,
        rng: random.Random,
        further: Iterable[Job] = (),
    ) -> None:
        """`further`: jobs of other rooms."""
        self.backups = backups
        own = _jobs(settings, store, feed, history, backups, fleet)
        self.scheduler = Scheduler(
            [*own, *further], settings.zone(), store.upkeep_runs, alerts, rng
        )


def backups_of(settings: Settings, store: Store, alerts: Alerts) -> Backups:
    """The backups, as the operator wants them."""
    return Backups(
        BackupConfig(
            directory=settings.backups_directory(),
            schedule=Schedule(settings.backup_schedule, settings.zone()),
            keep=Keep(
                settings.backup_keep_hourly,
                settings.backup_keep_daily,
                settings.backup_keep_weekly,
            ),
            most_used=settings.disk_critical_threshold,
        ),
        store,
        alerts,
    )


def _jobs(
    settings: Settings,
    store: Store,
    feed: Feed,
    history: History,
    backups: Backups,
    fleet: Fleet,
) -> tuple[Job, ...]:
    logs = data_directory(settings) / DIRECTORY
    return (
        Job(
            "backups",
            settings.backup_schedule,
            backups.make,
            what="Make a backup, restore it into a scratch store, drop those not kept any longer.",
            within_seconds=BACKUP_SECONDS,
            heavy=True,
        ),
        Job(
            "backup-check",
            "40 4 * * *",
            backups.check,
            what="See whether each backup is still what was written.",
            within_seconds=BACKUP_SECONDS,
            heavy=True,
        ),
        Job(
            "backup-watch",
            "*/10 * * * *",
            backups.watch,
            what="Tell when the newest verified backup is too old.",
        ),
        Job(
            "database",
            "20 3 * * *",
            partial(_tidy, store),
            what="Bring the database's statistics up to date, and give free room back.",
            heavy=True,
        ),
        Job(
            "logs",
            "10 3 * * *",
            partial(_clean, log_cleaning.LogDirectory(logs, settings.log_days), fleet),
            what="Delete logs that nobody has written to for WHATSAPP_LOG_DAYS.",
        ),
        Job(
            "event-log",
            "*/10 * * * *",
            partial(_trim, feed),
            what="Drop the events that WHATSAPP_EVENT_LOG_* leave no room for.",
        ),
        Job(
            "snapshots",
            "7 * * * *",
            partial(take_snapshots, store),
            what="Take a snapshot of the credentials whose newest one is a day old.",
        ),
        Job(
            "incidents",
            "17 * * * *",
            partial(incident_log.prune, store.records, settings.incident_log_days),
            what="Drop the incidents that have been over for WHATSAPP_INCIDENT_LOG_DAYS.",
        ),
        Job(
            "history",
            "47 * * * *",
            history.drop_old,
            what="Drop the figures that have been kept for long enough.",
        ),
    )


async def _trim(feed: Feed) -> str:
    await feed.trim()
    return "The event log is within its bounds."


async def _tidy(store: Store) -> str:
    tidied = await store.tidying.tidy()
    words = "The statistics are up to date."
    if tidied.given_back_bytes:
        words += f" {tidied.given_back_bytes / 2**20:,.1f} MiB were given back to the disk."
    if not tidied.gives_back and tidied.free_bytes:
        words += (
            f" {tidied.free_bytes / 2**20:,.1f} MiB are free inside the file, and are used again;"
            " it was made before they could be given back (docs/upkeep.md)."
        )
    return words


async def _clean(logs: log_cleaning.LogDirectory, fleet: Fleet) -> str:
    return await asyncio.to_thread(logs.clean, {session.id for session in fleet.sessions()})
