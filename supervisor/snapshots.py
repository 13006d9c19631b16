"""The daily snapshot of every session's credentials; the one after a pairing is the session's own affair."""

import asyncio
from typing import Final

import structlog

from sessions.model import StoreError
from sessions.store import Store

DAY_SECONDS: Final = 24 * 3600.0
LOOK_SECONDS: Final = 3600.0

log = structlog.get_logger("snapshots")


async def keep_snapshots(store: Store) -> None:
    """Look every hour, for ever, whose newest snapshot is older than a day. An hour that fails is made up for in the next."""
    while True:
        try:
            taken = await store.snapshot_due(DAY_SECONDS)
        except StoreError as error:
            log.warning("no snapshots were taken", action="snapshots_failed", error=str(error))
        else:
            if taken:
                log.info(f"snapshots of {taken} sessions' credentials", action="snapshots", count=taken)
        await asyncio.sleep(LOOK_SECONDS)
