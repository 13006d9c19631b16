"""The tables.

A change here needs a migration in `migrations/versions/`; a test compares the two.
"""

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    text,
)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(column_0_label)s",
    }
)

_ID = String(64)
_ROW = BigInteger().with_variant(Integer, "sqlite")
"""SQLite numbers its rows by itself only for INTEGER."""

sessions = Table(
    "sessions",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("wanted", Integer, nullable=False),
    Column("epoch", BigInteger, nullable=False),
    Column("event_seq", BigInteger, nullable=False, server_default="0"),
    Column("memory", LargeBinary, nullable=True),
    Column("jid", String(128), nullable=True),
    Column("name", Text, nullable=True),
    Column("created_at", Float, nullable=False),
    Column("proxy", LargeBinary, nullable=True),
    Column("device", String(128), nullable=True),
    Column("restored", Integer, nullable=False, server_default="0"),
    Index("ix_sessions_device", "device", unique=True),
)
"""One row a session. `wanted`: 1 = it shall run (survives restarts). `epoch`: grows with each
assignment to a worker. `event_seq`: the last
durable event of this epoch's worker. `memory`: what the policy and the breaker remember (JSON).
`created_at`: seconds of wall clock.
`proxy`: its URL as JSON, or sealed (proxies.py). `device`: which linked device its credentials are
(devices.py).
`restored`: 1 = it ran when the backup was made that this store was filled from, and waits until an
operator starts it.
"""

auth = Table(
    "auth",
    metadata,
    Column("session", _ID, ForeignKey("sessions.id", ondelete="CASCADE"), primary_key=True),
    Column("kind", String(64), primary_key=True),
    Column("name", String(256), primary_key=True),
    Column("value", LargeBinary, nullable=False),
)
"""Credentials (kind and name `creds`) and Signal keys, as the JSON that the worker gave, or sealed
(cipher.py).
"""

archives = Table(
    "archives",
    metadata,
    Column("id", _ROW, primary_key=True, autoincrement=True),
    Column("session", _ID, nullable=False),
    Column("archived_at", Float, nullable=False),
    Column("reason", String(64), nullable=False),
    Column("whole", Integer, nullable=False, server_default="1"),
    Index("ix_archives_session", "session"),
)
"""Credentials that were put aside.

`whole` 1: all of them (logged out, session deleted, before a restore), kept for ever; 0: a
snapshot, the creds row alone, of which the newest few are kept. No foreign key: an archive outlives
its session.
"""

archived_auth = Table(
    "archived_auth",
    metadata,
    Column("archive", _ROW, ForeignKey("archives.id", ondelete="CASCADE"), primary_key=True),
    Column("kind", String(64), primary_key=True),
    Column("name", String(256), primary_key=True),
    Column("value", LargeBinary, nullable=False),
)

workers = Table(
    "workers",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("session", _ID, nullable=True),
    Column("pid", Integer, nullable=False),
    Column("started_at_ticks", BigInteger, nullable=False),
    Column("token_digest", LargeBinary, nullable=True),
)
"""Living worker processes. pid and start time (in kernel ticks since boot) together name a process
for certain. `token_digest`: SHA-256 of the token with which it says hello; the token itself is
stored nowhere.
"""

events = Table(
    "events",
    metadata,
    Column("n", _ROW, primary_key=True, autoincrement=True),
    Column("time_ms", BigInteger, nullable=False),
    Column("session", _ID, nullable=True),
    Column("type", String(32), nullable=False),
    Column("data", LargeBinary, nullable=False),
    Column("bytes_to_here", BigInteger, nullable=False, server_default="0"),
    Column("message", BigInteger, nullable=True),
    Index(
        "ix_events_message",
        "message",
        sqlite_where=text("message IS NOT NULL"),
        postgresql_where=text("message IS NOT NULL"),
    ),
    sqlite_autoincrement=True,
)
"""The numbered event log.

AUTOINCREMENT, so that a number is never given twice even when old rows are gone. `bytes_to_here`:
what all events up to this one have weighed, so that the log's size is known without adding it up.
`message`: a part of the digest of the id of the message that it is about (events.py), as the id
itself may be sealed; null: of none, or of a version before.
"""

webhooks = Table(
    "webhooks",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("created_at", Float, nullable=False),
    Column("settings", LargeBinary, nullable=False),
    Column("paused_because", String(32), nullable=True),
    Column("progress", LargeBinary, nullable=False),
    Column("failing_since", Float, nullable=True),
)
"""Who is sent the events. `settings`: URL, secrets and the rest as JSON, or sealed (webhooks.py).

`paused_because`: null = it is sent what happens. `progress`: up to where, as JSON. `failing_since`:
seconds of wall clock, while the endpoint is away.
"""

deliveries = Table(
    "deliveries",
    metadata,
    Column("id", _ROW, primary_key=True, autoincrement=True),
    Column("webhook", _ID, ForeignKey("webhooks.id", ondelete="CASCADE"), nullable=False),
    Column("n", BigInteger, nullable=False),
    Column("last_n", BigInteger, nullable=False),
    Column("next_n", BigInteger, nullable=False),
    Column("session", _ID, nullable=True),
    Column("type", String(64), nullable=True),
    Column("state", String(16), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("first_failed_at", Float, nullable=False),
    Column("next_at", Float, nullable=True),
    Column("last_status", Integer, nullable=True),
    Column("last_error", Text, nullable=True),
    Index("ix_deliveries_webhook", "webhook", "n", unique=True),
    Index("ix_deliveries_due", "webhook", "state", "next_at"),
    sqlite_autoincrement=True,
)
"""What a webhook's endpoint has not accepted, and what no longer waits in its turn; nothing is kept
of what was accepted.

`state`: `retrying` (until `next_at`), `dead`, or `gap` (the log dropped it before it was sent). One
event, or those from `n` to `last_n`, of which the ones before `next_n` have been sent since.
AUTOINCREMENT, as operators name rows by number.
"""

api_keys = Table(
    "api_keys",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("name", Text, nullable=False),
    Column("scope", String(16), nullable=False),
    Column("sessions", LargeBinary, nullable=True),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=True),
    Column("digest", LargeBinary, nullable=False),
    Column("last_used_at", Float, nullable=True),
)
"""Who may call the API (keys.py). `digest`: SHA-256 of the key, which is stored nowhere itself.

`sessions`: JSON; null = all. Times are seconds of wall clock.
"""

alert_records = Table(
    "alert_records",
    metadata,
    Column("kind", String(16), primary_key=True),
    Column("owner", String(160), primary_key=True),
    Column("id", String(64), primary_key=True),
    Column("at", Float, nullable=False),
    Column("data", LargeBinary, nullable=False),
)
"""What is remembered of alerts (alert_rows.py): `told` to a channel (`owner`), a `silence`, an
`acknowledgement`. `data`: JSON, whose meaning is its owner's. `at`: seconds of wall clock.
"""

incidents = Table(
    "incidents",
    metadata,
    Column("id", _ROW, primary_key=True, autoincrement=True),
    Column("session", _ID, nullable=True),
    Column("scope", Text, nullable=False),
    Column("began_at", Float, nullable=False),
    Column("ended_at", Float, nullable=True),
    Column("ending", String(32), nullable=True),
    Column("reason", String(64), nullable=False),
    Column("code", Integer, nullable=True),
    Column("message", Text, nullable=False),
    Column("rule", Text, nullable=False),
    Column("closes", LargeBinary, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("down_seconds", Float, nullable=True),
    Column("human", Text, nullable=False),
    Column("hold", Text, nullable=True),
    Index("ix_incidents_session", "session", "began_at"),
    sqlite_autoincrement=True,
)
"""Why sessions were away (incidents.py); `session` null: an outage, and `scope` says of whom.

A session has one of each `began_at`. `closes`: JSON. No foreign key: they outlive their session.
AUTOINCREMENT, as whoever follows them asks for what comes after a number.
"""

spans = Table(
    "spans",
    metadata,
    Column("id", _ROW, primary_key=True, autoincrement=True),
    Column("session", _ID, nullable=False),
    Column("began_at", Float, nullable=False),
    Column("ended_at", Float, nullable=True),
    Column("state", String(16), nullable=False),
    Index("ix_spans_session", "session", "ended_at"),
)
"""When a session was `open`, `down` (wanted, not open) or `off` (not wanted), from its first `open`
on, without gaps. The last has no end.
"""

requests = Table(
    "requests",
    metadata,
    Column("key", String(64), primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    Column("session", _ID, nullable=True),
    Column("at", Float, nullable=False),
    Column("answer", LargeBinary, nullable=True),
    Index("ix_requests_at", "at"),
)
"""What was asked under an Idempotency-Key (requests.py). `key`, `fingerprint`: digests; `answer`:
JSON, or sealed; null: it was begun, and nobody knows its end.
"""

history_pages = Table(
    "history_pages",
    metadata,
    Column("whose", String(16), primary_key=True),
    Column("subject", String(255), primary_key=True),
    Column("tier", Integer, primary_key=True),
    Column("start", BigInteger, primary_key=True),
    Column("value", LargeBinary, nullable=False),
    Index("ix_history_pages_age", "tier", "start"),
)
"""What was measured (supervision/history_pages.py): pages of one subject, packed. `start`: seconds
since 1970.
"""

upkeep_runs = Table(
    "upkeep_runs",
    metadata,
    Column("job", String(64), primary_key=True),
    Column("began_at", Float, primary_key=True),
    Column("due_at", Float, nullable=True),
    Column("ended_at", Float, nullable=True),
    Column("outcome", String(16), nullable=True),
    Column("result", Text, nullable=False),
)
"""What came of each run of a job of upkeep (supervision/upkeep_runs.py). Times are seconds of wall
clock.
"""

meta = Table(
    "meta",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("value", LargeBinary, nullable=False),
)
"""Facts about the database itself.

`receipt`: the last committed transaction of the writer (receipts.py). `key:<id>`: something sealed
with each encryption key that is in use (keyring.py), so that a missing key is noticed at the start.
`first_epoch`: with which sessions to come begin (session_rows.py). `alive`: when a supervisor last
said that it lives (incidents.py). `token_secret`: what signs short-lived tokens (keys.py).
`upkeep_jobs`: since when each job of upkeep is known (upkeep_runs.py).
"""
