"""What must survive: sessions, credentials, workers and events, in one database (SQLite or
PostgreSQL).
"""

from sessions.store.engine.database import parse_url, sqlite_url
from sessions.store.rewrite import RewriteReport
from sessions.store.sealing.cipher import Cipher, parse_keys
from sessions.store.store import Store
from sessions.store.tables.events import LogBounds
from sessions.store.tables.rows import ArchiveRow, Restored, SessionRow, StoredEvent, WorkerRow
from sessions.store.writing.health import StoreHealth

__all__ = [
    "ArchiveRow",
    "Cipher",
    "LogBounds",
    "Restored",
    "RewriteReport",
    "SessionRow",
    "Store",
    "StoreHealth",
    "StoredEvent",
    "WorkerRow",
    "parse_keys",
    "parse_url",
    "sqlite_url",
]
