"""What must survive: sessions, credentials, workers and events, in one database."""

from sessions.store.store import SessionRow, Store, StoredEvent, WorkerRow

__all__ = ["SessionRow", "Store", "StoredEvent", "WorkerRow"]
