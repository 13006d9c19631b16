"""The daily snapshot of every session's credentials; the one after a pairing is the session's own
affair.
"""

from typing import Final

from sessions.store import Store

DAY_SECONDS: Final = 24 * 3600.0


async def take_snapshots(store: Store) -> str:
    """Take those whose newest is older than a day; what was done, in words. Raises StoreError."""
    taken = await store.snapshot_due(DAY_SECONDS)
    return f"Snapshots of {taken} sessions' credentials were taken."
