"""The words of reports, in English."""

from collections.abc import Mapping
from typing import Final

LOCALE: Final = "en_GB"

TITLES: Final[Mapping[str, str]] = {
    "daily": "Daily report",
    "weekly": "Weekly report",
    "monthly": "Monthly report",
    "custom": "Report",
}

PHRASES: Final[Mapping[str, str]] = {
    "made": "Made on {at} by wasup {version}. Times are those of {zone}.",
    "compared": "Compared with {period}.",
    "no_data": (
        "There are no data of this period: nothing was measured, and no session was wanted. Did"
        " wasup run at that time?"
    ),
    "not_measured_all": (
        "Figures of the machine and of the load are missing: nothing was measured in this period."
    ),
    "partly_measured": "Only {measured} of the period was measured.",
    "incomplete": "The period was not over when the report was made.",
    "recorded_since": (
        "Times of sessions are on record since {at} only; what was before is not counted."
    ),
    "levels": "Service levels",
    "recommendations": "What to do",
    "nothing_to_do": "Nothing: no rule has found anything.",
    "figures": "Figures",
    "availability": "Availability",
    "causes": "What kept sessions away",
    "sessions": "The worst sessions",
    "sessions_more": "{shown} of {all} that were away at all.",
    "outages": "Outages",
    "load": "Load",
    "peaks": "Peaks",
    "alerts": "Alerts",
    "capacity": "Capacity",
    "backups": "Backups",
    "definitions": "How it is reckoned",
    "none": "None.",
    "unknown": "not measured",
    "unmeasured": "Not measured: {names}.",
    "met": "kept",
    "missed": "missed",
    "at_least": "at least {target}",
    "at_most": "at most {target}",
    "budget": "{used} away of {budget} allowed, in the mean of all sessions",
    "value": "Value",
    "before": "Before",
    "change": "Change",
    "name": "Name",
    "when": "When",
    "points": "{number} points",
    "reason": "Cause",
    "incidents": "Incidents",
    "sessions_column": "Sessions",
    "away": "Away",
    "session": "Session",
    "scope": "Whom",
    "began": "Began",
    "ended": "Ended",
    "lasts": "lasts still",
    "alert": "Alert",
    "severity": "Severity",
    "raised": "Raised",
    "on": "On now",
    "critical": "critical",
    "warning": "warning",
    "disk": "Disk",
    "used": "In use",
    "full": "Full in",
    "not_filling": "does not fill",
    "more": ("{sessions} sessions run; {more} more fit on this machine. What ends first: {limit}."),
    "more_unlimited": "{sessions} sessions run; no limit of this machine is known.",
    "capacity_unknown": "Not known.",
    "last_verified": "Newest backup that could be restored: {at}.",
    "no_verified": "There is no backup that could be restored.",
    "restore_took": "Restoring it took {took}.",
    "backups_unknown": "Not known.",
    "all": "all",
    "page": "Page {number} of {all}",
    "sessions_total": (
        "{sessions} sessions were wanted: {open} open, {down} away, {stopped} stopped, all"
        " sessions added up."
    ),
    "maintenance": "{seconds} of announced maintenance are not counted.",
}

LEVELS: Final[Mapping[str, str]] = {
    "availability": "Availability",
    "response_time": "95 % of API calls within",
    "errors": "Failed operations",
    "rpo": "Age of the newest verified backup (RPO)",
    "rto": "Last rehearsed restore (RTO)",
}

FIGURES: Final[Mapping[str, str]] = {
    "avg_response_time": "Mean response time of sessions",
    "total_requests": "Calls of the API",
    "error_rate": "Failed operations, of all",
    "request_error_rate": "Calls that failed (5xx), of all",
    "db_connections_peak": "Most database connections",
    "cache_hit_ratio": "Database reads from the cache",
    "messages": "Messages, in and out",
    "failed_operations": "Failed operations",
    "reconnections": "Logins that brought a session back",
    "sessions": "Sessions, at most",
    "sessions_open": "Sessions open, in the mean",
    "avg_cpu": "CPU, in the mean",
    "avg_memory": "Memory, in the mean",
    "worker_memory_peak": "Memory of all workers, at most",
    "p95_request_time": "95 % of API calls took less than",
    "p95_response_time": "95 % of round trips took less than",
    "availability": "Availability",
}

SERIES: Final[Mapping[str, str]] = {
    "host.cpu": "CPU",
    "host.memory": "Memory",
    "host.load_1": "Load (1 minute)",
    "host.connections": "TCP connections",
    "supervisor.memory_bytes": "Memory of the supervisor",
    "supervisor.lag_ms": "Lag of the supervisor's loop",
    "fleet.open": "Sessions open",
    "fleet.worker_memory_bytes": "Memory of all workers",
    "session.response_time_ms": "Response time of sessions",
    "database.pool_in_use": "Database connections",
    "fleet.messages": "Messages",
    "api.requests": "Calls of the API",
    "fleet.errors": "Failed operations",
    "fleet.reconnects": "Logins that brought a session back",
}

STEP: Final = "{series}, in {step}"

RECOMMENDATIONS: Final[Mapping[str, str]] = {
    "availability": (
        "Availability was {value_fraction}, below {target_fraction}. The main cause: {reason}"
        " ({away_seconds}; sessions: {sessions_count}). `wasup explain SESSION` says what helps."
    ),
    "needs_human": (
        "Sessions that waited for somebody: {sessions_count} ({reason}). `wasup status` names those"
        " that still do."
    ),
    "outages": (
        "Outages that held sessions together: {outages_count}. If they come at the same hour, look"
        " at the network, the proxy or the router of this machine."
    ),
    "restless": (
        "Sessions were reconnected {reconnections_count} times, more than ten a day each. Their"
        " connection is unsteady: look at the network, and at the worst sessions."
    ),
    "response_time": (
        "95 % of the API's calls took up to {p95_ms}, more than {target_ms}. Which calls are slow"
        " stands in `requests.log`, and in `GET /history` by route."
    ),
    "slow_sessions": (
        "Sessions needed {value_ms} for a round trip in the mean. A slow proxy, or a machine or"
        " network that is too busy."
    ),
    "errors": (
        "{value_fraction} of all operations failed, more than {target_fraction}. The log names"
        " each: `wasup logs SESSION`."
    ),
    "no_backup": (
        "There is no backup that could be restored: whatever is in the store would be lost with"
        " it. `wasup upkeep run backups`, and see what it says."
    ),
    "old_backup": (
        "The newest verified backup was {age_seconds} old, more than {target_seconds}. `wasup"
        " upkeep list` says what came of the last ones."
    ),
    "slow_restore": (
        "Restoring a backup took {took_seconds}, more than {target_seconds}. A faster disk, or a"
        " smaller event log."
    ),
    "disk_filling": (
        "{directory} is {used_fraction} full and, as it has grown, full in {full_seconds}. Free"
        " room, or keep less (WHATSAPP_EVENT_LOG_DAYS, WHATSAPP_LOG_DAYS)."
    ),
    "disk_full": (
        "{directory} is {used_fraction} full. Free room, or keep less (WHATSAPP_EVENT_LOG_DAYS,"
        " WHATSAPP_LOG_DAYS)."
    ),
    "cpu": (
        "The CPU was {value_fraction} busy in the mean: nothing is left for a storm of logins. More"
        " cores, or fewer sessions here."
    ),
    "memory": (
        "{value_fraction} of the memory was in use in the mean. More memory, or fewer sessions"
        " here (`wasup capacity`)."
    ),
    "capacity": (
        "More sessions that fit on this machine: {more_count}; what ends first: {limit}. `wasup"
        " capacity` says what to change."
    ),
    "cache": (
        "Only {value_fraction} of the database's reads came from its cache. Give it more memory"
        " (PostgreSQL: shared_buffers; `wasup doctor`)."
    ),
    "gaps": (
        "Only {measured_fraction} of the period was measured. Was the supervisor stopped, or the"
        " machine away?"
    ),
    "nothing_measured": (
        "Nothing was measured in this period. Was the supervisor stopped, or the machine away?"
    ),
}

DEFINITIONS: Final = (
    "Availability is the time that sessions were open, of the time that they were wanted, all"
    " sessions together. It comes from the record of each change, to the second, never from"
    " samples.",
    "Not counted: the time that a session was stopped, the time before its first login, announced"
    " maintenance, and sessions that have been deleted meanwhile. Counted as away: waiting, being"
    " held by the gate or an outage, being parked, and the supervisor's own absence where it has"
    " closed the session.",
    "{target} leaves {month} of a month, {year} of a year.",
    "The response time of the API is reckoned from distributions, which can be added; calls that"
    " wait on purpose are left out. Of failed operations, all that a session was asked or did"
    " count as operations.",
    "RPO is the age of the newest backup that was restored as a test, as the report was made; RTO"
    " is what the last such restore took.",
    "What was not measured is said to be so; it is never 0.",
)

LIMITS: Final[Mapping[str, str]] = {
    "memory": "memory",
    "CPU at rest": "CPU",
    "descriptors of the supervisor": "descriptors of the supervisor",
    "descriptors of the system": "descriptors of the system",
    "ports towards one address": "ports towards one address",
}
"""Limits of the machine that have words of their own."""

REASONS: Final[Mapping[str, str]] = {
    "restart_required": "WhatsApp asked for a restart",
    "connection_closed": "connection closed",
    "connection_lost": "connection lost",
    "network_unreachable": "no network",
    "dns": "name not found (DNS)",
    "tls_untrusted": "certificate not trusted",
    "proxy": "proxy failed",
    "qr_expired": "QR code not scanned",
    "passkey_required": "passkey required",
    "server_error": "error at WhatsApp",
    "unavailable": "WhatsApp unavailable",
    "rate_limited": "too many logins",
    "upgrade_refused": "connection refused by WhatsApp",
    "replaced": "replaced by another connection",
    "logged_out": "unlinked on the phone",
    "own_logout": "logged out by us",
    "temporarily_banned": "banned for a time",
    "locked": "account locked",
    "banned": "number banned",
    "client_outdated": "version too old",
    "repair_needed": "credentials to be repaired",
    "unknown_failure": "unknown failure",
    "attempt_timed_out": "login took too long",
    "undecryptable_frame": "unreadable data",
    "store_failed": "own store failed",
    "requested": "asked for",
    "deaf": "open, but deaf",
    "same_device": "two sessions of one device",
    "worker_exited": "worker process ended",
    "worker_hung": "worker process hung",
}
