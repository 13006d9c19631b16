"""What must survive: sessions, credentials, workers and events, in one database (SQLite or PostgreSQL)."""

from sessions.store.cipher import Cipher, parse_keys
from sessions.store.database import parse_url, sqlite_url
from sessions.store.health import StoreHealth
from sessions.store.rewrite import RewriteReport
from sessions.store.rows import ArchiveRow, Restored, SessionRow, StoredEvent, WorkerRow
from sessions.store.store import Store

__all__ = [
    "ArchiveRow",
    "Cipher",
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
