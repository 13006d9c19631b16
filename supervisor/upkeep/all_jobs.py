"""Which jobs there are, and when."""

from functools import partial

from sessions.store import Store
from supervisor.fleet import incident_log
from supervisor.fleet.credential_snapshots import take_snapshots
from supervisor.fleet.feed import Feed
from supervisor.history.history import History
from supervisor.settings import Settings
from supervisor.upkeep.jobs import Job


def jobs(settings: Settings, store: Store, feed: Feed, history: History) -> tuple[Job, ...]:
    """All of them."""
    return (
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
