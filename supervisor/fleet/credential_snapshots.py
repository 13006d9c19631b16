"""The daily snapshot of every session's credentials; the one after a pairing is the session's own
affair.
"""

from typing import Final

import structlog

from sessions.model import StoreError
from sessions.store import Store

DAY_SECONDS: Final = 24 * 3600.0
LOOK_SECONDS: Final = 3600.0

log = structlog.get_logger("snapshots")


async def take_snapshots(store: Store) -> None:
    """Take those whose newest is older than a day; look every hour.

    An hour that fails is made up for in the next.
    """
    try:
        taken = await store.snapshot_due(DAY_SECONDS)
    except StoreError as error:
        log.warning("no snapshots were taken", action="snapshots_failed", error=str(error))
    else:
        if taken:
            log.info(f"snapshots of {taken} sessions' credentials", action="snapshots", count=taken)
