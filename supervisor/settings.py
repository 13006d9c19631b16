"""The settings: `WHATSAPP_*` environment variables (or the installation's `.env` file), read once
and handed down as frozen values. A few have names of their own, without the prefix.

Names and defaults that people's scripts use stay as they are. Durations are
milliseconds. A bad value refuses the start and names the variable, the value and what is accepted;
an unknown `WHATSAPP_*` variable is warned about.
"""

import contextlib
import difflib
import functools
import ipaddress
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final, cast
from urllib.parse import unquote, urlsplit
from zoneinfo import ZoneInfo

from dotenv import dotenv_values
from pydantic import BeforeValidator, Field, SecretStr, ValidationError, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from supervisor.places import time_zone
from supervisor.places.installation import DATA, ENV_FILE, folder, left_behind
from supervisor.upkeep import schedule

if TYPE_CHECKING:
    from sessions import policy
    from sessions.lifecycle.dependencies import SessionConfig
    from sessions.store.tables.events import LogBounds
    from sessions.workers.limits import Limits
    from supervisor.alerts.alerting import AlertingConfig
    from supervisor.alerts.channels.alerts_file import AlertsFile
    from supervisor.alerts.judging.thresholds import Profile, Thresholds
    from supervisor.delivery.endpoint.targets import Guards
    from supervisor.fleet.live_feed_limits import LiveFeedLimits
    from supervisor.gate.gate import GateConfig
    from supervisor.reports.period import Regular

PREFIX: Final = "WHATSAPP_"
PM2_VARIABLE: Final = "pm_id"
"""pm2 gives it to whatever it starts."""
SECRETS: Final = frozenset(
    {"api_token", "jwt_secret", "noise_root_key", "database_url", "store_key"}
)
"""Their values are quoted nowhere.

(The root key is no secret, but who takes a private key for it by mistake has given one away.)
"""
FOR_FEW: Final = frozenset({"api_token", "jwt_secret", "database_url", "store_key"})
"""Whoever reads these has the fleet."""
_REFERENCE: Final = re.compile(r"\$\{(?P<name>[^}:]*)(?P<default>:-)?[^}]*\}")
"""What python-dotenv replaces in a value."""
_ACCOUNT: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://)\S*@")
_CUT: Final = re.compile(r"^\s*(?:export\s+)?(?P<name>\w+)\s*=\s*(?!['\"])\S.*?\s#", re.MULTILINE)
"""A line of a `.env` file of which the end is taken for a comment."""
SHORTEST_TOKEN: Final = 16
"""Characters."""
SHORTEST_SIGNING_SECRET_BYTES: Final = 32
"""RFC 7518, 3.2: an HS256 key is as long as the hash at least."""
_ORIGIN: Final = re.compile(r"https?://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:[0-9]{1,5})?")
"""A site as browsers name it in Origin."""
MOST_IN_MEMORY: Final = 10_000
"""Events; the rest is read from the store when it is asked for."""
_DAY_MS: Final = 24 * 3600 * 1000
_SCHEDULES: Final = (
    "backup_schedule",
    "report_daily_schedule",
    "report_weekly_schedule",
    "report_monthly_schedule",
)


class BadSettings(Exception):
    """The settings cannot be used; the message says which variable, what it holds and what it
    accepts.
    """


def _whole_number(value: Any) -> Any:
    """Only digits: pydantic would also take 1e3, 10.0 or True."""
    if isinstance(value, str) and not value.strip().isdecimal():
        raise ValueError("a whole number is needed")
    return value


PositiveMilliseconds = Annotated[int, BeforeValidator(_whole_number), Field(ge=1, le=7 * _DAY_MS)]
Count = Annotated[int, BeforeValidator(_whole_number), Field(ge=1, le=1_000_000)]
BackupCount = Annotated[int, BeforeValidator(_whole_number), Field(ge=0, le=1000)]
Mebibytes = Annotated[int, BeforeValidator(_whole_number), Field(ge=32, le=65_536)]
Fraction = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False)]


class Settings(BaseSettings):
    """Every setting, with its unit, default and reason.

    The environment's name is the field's in capitals behind `WHATSAPP_`, or the field's alias.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        extra="ignore",
        frozen=True,
        env_ignore_empty=True,
    )

    reconnection_max_retries: Count = Field(
        10, description="Attempts at the exponential pace before the long tail."
    )
    reconnection_base_delay: PositiveMilliseconds = Field(
        2_000, description="Ceiling of the first backoff wait, ms; it doubles from there."
    )
    reconnection_max_delay: PositiveMilliseconds = Field(
        300_000, description="No backoff wait is longer, ms."
    )
    reconnection_tail_delay: PositiveMilliseconds = Field(
        900_000, description="One attempt per this time after the retries are used up, ms."
    )
    circuit_breaker_threshold: Count = Field(
        5, description="Failed attempts in a row that open a session's breaker."
    )
    circuit_breaker_timeout: PositiveMilliseconds = Field(
        600_000, description="How long an open breaker waits before its one trial, ms."
    )
    connect_timeout: PositiveMilliseconds = Field(
        30_000, description="Deadline of an attempt, from connect to open or QR, ms."
    )
    qr_timeout: PositiveMilliseconds | None = Field(
        None,
        description=(
            "How long each of the six QR codes of an attempt is shown, ms; unset: WhatsApp's own 60"
            " s, then 20 s each."
        ),
    )
    daily_reconnect_budget: Count = Field(
        200,
        description=(
            "Logins of a session in 24 hours. At 80 % an alert; beyond it one try per"
            " WHATSAPP_RECONNECTION_TAIL_DELAY."
        ),
    )
    policy_file: Path | None = Field(
        None,
        description=(
            "TOML file that changes rows of the policy (docs/policy.md); `wasup policy reload`"
            " reads it again."
        ),
    )
    alerts_file: Path | None = Field(
        None,
        description=(
            "TOML file that says by which channels alerts are told to whom, and above which limits"
            " (docs/alert-channels.md); `wasup alerts reload` reads it again. chmod 600: it has"
            " passwords."
        ),
    )
    stable_after: PositiveMilliseconds = Field(
        60_000, description="Open for so long, failures are forgotten, ms."
    )
    worker_crash_budget: Count = Field(
        5,
        description=(
            "Crashes of a session's worker within the window before it is slowed to the window's"
            " pace."
        ),
    )
    worker_crash_window: PositiveMilliseconds = Field(
        600_000, description="The window of the crash budget, ms."
    )
    performance_monitoring: bool = Field(
        True, description="Watch the thresholds below and raise alerts."
    )
    shed_load: bool = Field(
        True,
        description="While memory, CPU or descriptors are critical, refuse calls that can wait"
        " (docs/monitoring.md#when-the-host-is-critical).",
    )
    beyond_capacity: Annotated[str, Field(pattern="^(refuse|allow)$")] = Field(
        "refuse",
        description="What becomes of a new session that does not fit on this host by"
        " `wasup capacity`: refuse or allow.",
    )
    health_check_interval: PositiveMilliseconds = Field(
        30_000, description="How often an open session is probed, ms."
    )
    memory_threshold: Fraction = Field(
        0.8, description="Host memory in use that raises an alert, fraction of 1."
    )
    cpu_threshold: Fraction = Field(
        0.9, description="Host CPU use that raises an alert, fraction of 1."
    )
    error_rate_threshold: Fraction = Field(
        0.1,
        description="Failed operations of the last 5 minutes that raise an alert, fraction of 1.",
    )
    response_time_threshold: PositiveMilliseconds = Field(
        5_000,
        description=(
            "Mean of a session's last 20 round trips (probes and sends) that raises an alert, ms."
            " Closes nothing: see WHATSAPP_PROBE_TIMEOUT."
        ),
    )
    probe_timeout: PositiveMilliseconds | None = Field(
        None,
        description=(
            "A probe of an open session that is not answered by then has failed, and the session is"
            " reconnected, ms; unset: 5000, or WHATSAPP_RESPONSE_TIME_THRESHOLD if that is more."
        ),
    )
    alert_profile: Annotated[str, Field(pattern="^(development|staging|production)$")] | None = (
        Field(
            None,
            description=(
                "Limits of alerts that are not set one by one: development, staging or production"
                " (docs/alerts.md#limits); unset: the defaults here."
            ),
        )
    )
    memory_critical_threshold: Fraction | None = Field(
        None,
        description=(
            "Host memory in use that raises a critical alert, fraction of 1; unset: by"
            " WHATSAPP_ALERT_PROFILE, else 0.9."
        ),
    )
    cpu_critical_threshold: Fraction | None = Field(
        None,
        description=(
            "Host CPU use that raises a critical alert, fraction of 1; unset: by"
            " WHATSAPP_ALERT_PROFILE, else none is critical."
        ),
    )
    error_rate_critical_threshold: Fraction | None = Field(
        None,
        description=(
            "Failed operations of the last 5 minutes that raise a critical alert, fraction of 1;"
            " unset: by WHATSAPP_ALERT_PROFILE, else none is critical."
        ),
    )
    response_time_critical_threshold: PositiveMilliseconds | None = Field(
        None,
        description=(
            "Mean of a session's last 20 round trips that raises a critical alert, ms; unset: by"
            " WHATSAPP_ALERT_PROFILE, else none is critical."
        ),
    )
    down_alert_after: PositiveMilliseconds = Field(
        300_000, description="For so long a session may be away until it is an alert (`down`), ms."
    )
    flapping_alert_closes: Annotated[int, BeforeValidator(_whole_number), Field(ge=2, le=1000)] = (
        Field(6, description="Closes of a session in an hour that are an alert (`flapping`).")
    )
    availability_target: Annotated[float, Field(ge=50, le=99.999, allow_inf_nan=False)] = Field(
        99.9,
        description=(
            "Part of the time that the fleet's sessions are to be open, percent; time down that"
            " uses up the rest too fast is an alert (`service_level`)."
        ),
    )
    descriptor_threshold: Fraction = Field(
        0.9,
        description=(
            "Open descriptors, of the host or of the supervisor's own limit, that raise an alert,"
            " fraction of 1."
        ),
    )
    load_threshold: Annotated[float, Field(gt=0, le=100_000, allow_inf_nan=False)] | None = Field(
        None,
        description=(
            "Load average of a minute that raises an alert, processes; unset: 4.0, or the number of"
            " cores if that is more."
        ),
    )
    websocket_threshold: Count | None = Field(
        None,
        description=(
            "WebSocket connections of the host that raise an alert; unset: 500, or twice the"
            " sessions if that is more."
        ),
    )
    disk_threshold: Fraction = Field(
        0.85,
        description=(
            "Room or inodes in use, of a watched file system, that raise a warning, fraction of 1."
        ),
    )
    disk_critical_threshold: Fraction = Field(
        0.95,
        description=(
            "Room or inodes in use, of a watched file system, that raise a critical alert, fraction"
            " of 1."
        ),
    )
    alert_repeat_hours: Annotated[float, Field(gt=0, le=720, allow_inf_nan=False)] = Field(
        4.0,
        description=(
            "After how long an alert that is on, and that nobody has acknowledged, is told again,"
            " hours (docs/alerts.md)."
        ),
    )
    alert_quiet_hours: str | None = Field(
        None,
        description=(
            "Hours such as 22:00-07:00 in which only critical alerts are told; the others are"
            " summarised when they end (docs/alerts.md)."
        ),
    )
    maintenance_windows: str | None = Field(
        None,
        description=(
            "Hours such as `sun 02:00-04:00` in which no alert is told; what is still on when they"
            " end is told then (docs/alerts.md)."
        ),
    )
    language: Annotated[str, Field(pattern="^(en|pt-BR)$")] = Field(
        "en", description="Of what is told to people by alerts and reports: en or pt-BR."
    )
    watched_directories: str | None = Field(
        None,
        description=(
            "Further directories whose file systems are watched (comma-separated). The data"
            " directory's always is, WHATSAPP_BACKUP_DIR's, and that of the log if it is a file. A"
            " relative path is meant from the installation's folder."
        ),
    )
    worker_heartbeat_interval: PositiveMilliseconds = Field(
        5_000, description="How often a worker says that it lives, ms."
    )
    worker_heartbeat_timeout: PositiveMilliseconds = Field(
        20_000, description="A worker silent for so long is killed and replaced, ms."
    )
    gate_rate: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)] = Field(
        5.0, description="Logins per second of the whole fleet."
    )
    gate_burst: Count = Field(10, description="Logins that may go at once after a quiet time.")
    egress_rate: Annotated[float, Field(gt=0, le=1000, allow_inf_nan=False)] | None = Field(
        None,
        description=(
            "Logins per second of one egress (the machine's own address, or a proxy); unset:"
            " WHATSAPP_GATE_RATE."
        ),
    )
    egress_burst: Count | None = Field(
        None,
        description=(
            "Logins of one egress that may go at once after a quiet time; unset:"
            " WHATSAPP_GATE_BURST."
        ),
    )
    gate_concurrency: Count = Field(50, description="Attempts under way at the same time.")
    worker_spawn_concurrency: Count = Field(
        4,
        description=(
            "Worker processes being started at the same time; each costs some 0.3 s of CPU."
        ),
    )
    spare_workers: Annotated[int, BeforeValidator(_whole_number), Field(ge=0, le=64)] = Field(
        1,
        description="Warm workers that wait for a session in need of one; each weighs some 45 MiB.",
    )
    worker_user: str | None = Field(
        None,
        description=(
            "Where the supervisor is root: the unprivileged user that workers run as, so that a"
            " worker which is taken over reaches neither store nor API (docs/security.md)."
        ),
    )
    worker_permissions: bool = Field(
        True,
        description=(
            "Start workers under Node's permission model: no files but their own, no further"
            " processes (docs/security.md)."
        ),
    )
    debuggable: bool = Field(
        False,
        description=(
            "Let debuggers and profilers of the supervisor's own user look into it (py-spy, gdb,"
            " core dumps); else only root can."
        ),
    )
    worker_max_heap: Mebibytes = Field(512, description="V8 heap limit of a worker, MiB.")
    worker_memory_soft: Mebibytes = Field(
        400, description="A worker above this is replaced in an idle window, MiB resident."
    )
    worker_memory_hard: Mebibytes = Field(
        800, description="A worker above this is killed and replaced, MiB resident."
    )
    worker_max_lag: PositiveMilliseconds = Field(
        5_000,
        description=(
            "A worker whose event loop is later than this, three heartbeats in a row, is"
            " replaced, ms."
        ),
    )
    shutdown: Annotated[str, Field(pattern="^(stop|detach)$")] | None = Field(
        None,
        description=(
            "What SIGTERM and SIGINT do to the workers. stop: they end. detach: they live on with"
            " their sockets and wait for the next supervisor. Unset: detach under pm2, else stop."
        ),
    )
    adoption_window: PositiveMilliseconds = Field(
        60_000,
        description=(
            "How long a worker without a supervisor waits for the next one before it closes its"
            " socket and ends, ms."
        ),
    )
    event_log_days: Annotated[int, BeforeValidator(_whole_number), Field(ge=1, le=365)] = Field(
        7,
        description=(
            "How long events are kept, days: so long a webhook, or whoever follows /events, may be"
            " away without missing any."
        ),
    )
    event_log_max_mib: Mebibytes = Field(
        1_024, description="What all events together may weigh, MiB; older ones are dropped first."
    )
    event_log_size: Count | None = Field(
        None,
        description=(
            "Events that are kept at the most; unset: as many as the two bounds above leave room"
            " for."
        ),
    )
    webhook_retry_hours: Annotated[int, BeforeValidator(_whole_number), Field(ge=1, le=720)] = (
        Field(
            72,
            description=(
                "How long a webhook is sent again what it has not accepted, hours; then it is kept"
                " until it is redriven (docs/webhooks.md)."
            ),
        )
    )
    webhook_failing_minutes: Annotated[
        int, BeforeValidator(_whole_number), Field(ge=1, le=1440)
    ] = Field(
        5,
        description=(
            "After how long a webhook that accepts nothing is an alert (`delivery_failing`),"
            " minutes."
        ),
    )
    webhook_private_targets: bool | None = Field(
        None,
        description=(
            "Whether webhooks may lead to this machine and to private networks; unset: only those"
            " of the operator, and of keys of scope admin for all sessions, while the API is on"
            " loopback itself (docs/webhooks.md)."
        ),
    )
    incident_log_days: Annotated[int, BeforeValidator(_whole_number), Field(ge=1, le=3650)] = Field(
        70,
        description=(
            "How long incidents, and when sessions were open, are kept after they are over, days:"
            " /incidents and `wasup explain` show them, and a monthly report reads two months."
        ),
    )
    log_days: Annotated[int, BeforeValidator(_whole_number), Field(ge=1, le=3650)] = Field(
        30,
        description=(
            "How long a log in the data directory to which nobody writes any more is kept, days:"
            " above all those of deleted sessions."
        ),
    )
    backup_schedule: str = Field(
        "0 * * * *",
        description=(
            "When a backup is made and verified, as cron writes it (minute hour day month weekday),"
            " in WHATSAPP_TIME_ZONE; off: only by `wasup upkeep run backups` (docs/upkeep.md)."
        ),
    )
    report_daily_schedule: str = Field(
        "0 8 * * *",
        description=(
            "When the report of the day before is made, as cron writes it, in WHATSAPP_TIME_ZONE;"
            " off: only when it is asked for (docs/reports.md)."
        ),
    )
    report_weekly_schedule: str = Field(
        "0 8 * * 1", description="The same of the report of the week before, from Monday."
    )
    report_monthly_schedule: str = Field(
        "0 8 1 * *", description="The same of the report of the month before."
    )
    backup_dir: Path | None = Field(
        None,
        description=(
            "Where backups go; a relative path is meant from the installation's folder. Another"
            " disk than the data's is better. Unset: `backups` in the data directory."
        ),
    )
    backup_keep_hourly: BackupCount = Field(
        6, description="How many hours keep their newest backup."
    )
    backup_keep_daily: BackupCount = Field(7, description="How many days keep their newest backup.")
    backup_keep_weekly: BackupCount = Field(
        4, description="How many weeks keep their newest backup."
    )
    data_dir: Path = Field(
        Path(DATA),
        description=(
            "Holds everything that is written: database, socket, logs, lock. A relative path is"
            " meant from the installation's folder."
        ),
    )
    database_url: SecretStr | None = Field(
        None,
        description=(
            "postgresql://user:password@host/database in place of the SQLite file in the data"
            " directory. One supervisor per database. Several servers (host1:5432,host2:5432): the"
            " one is taken that may be written to (docs/credentials.md)."
        ),
    )
    database_pool_size: Annotated[int, BeforeValidator(_whole_number), Field(ge=1, le=1000)] = (
        Field(
            20,
            description=(
                "Connections to PostgreSQL that are kept open for reading; writing has one of its"
                " own."
            ),
        )
    )
    database_max_overflow: Annotated[int, BeforeValidator(_whole_number), Field(ge=0, le=1000)] = (
        Field(30, description="Further connections to PostgreSQL for a rush of reads.")
    )
    store_key: SecretStr | None = Field(
        None,
        description=(
            "Encrypts credentials and events at rest: 32 bytes as hex or base64. Several,"
            " comma-separated: the first encrypts, all decrypt (see `wasup store rotate-key`)."
        ),
    )
    api_host: str = Field(
        "127.0.0.1", description="Where the API listens. Anything but loopback needs an API token."
    )
    api_port: Annotated[int, BeforeValidator(_whole_number), Field(ge=0, le=65_535)] = Field(
        4001, description="The API's port; 0 picks a free one."
    )
    api_connections: Annotated[int, BeforeValidator(_whole_number), Field(ge=8, le=65_536)] = Field(
        2048,
        description=(
            "Connections that the API keeps at once, half of them waiting for events; a quarter of"
            " the descriptor limit at the most."
        ),
    )
    api_token: SecretStr | None = Field(
        None,
        description=(
            "Bearer token that every API call must carry; required when the API is not on loopback."
            " Without one, see WHATSAPP_API_LOCAL_USERS."
        ),
    )
    api_local_users: Annotated[str, Field(pattern="^(own|all)$")] = Field(
        "own",
        description=(
            "Who may call without a token. own: processes of the supervisor's own user and of root,"
            " and nobody through a proxy. all: whoever has a process on this machine, and with that"
            " every number (docs/security.md)."
        ),
    )
    jwt_secret: SecretStr | None = Field(
        None,
        validation_alias="JWT_SECRET",
        description=(
            "Signs short-lived tokens (HS256), 32 bytes or more: whoever has it can make tokens"
            " himself (docs/access.md). Unset: one that is made once and kept in the store."
        ),
    )
    api_rate_per_minute: Count = Field(
        6_000,
        description=(
            "Calls of one key in a minute; beyond it 429 with Retry-After. WHATSAPP_API_TOKEN and"
            " the local user have no such bound."
        ),
    )
    api_burst: Count = Field(
        600, description="Calls of one key that may come at once after a quiet time."
    )
    api_failures_per_minute: Count = Field(
        30,
        description=(
            "Wrong tokens of one address in a minute; beyond it 429, and WHATSAPP_API_TOKEN is not"
            " tried from there (docs/access.md)."
        ),
    )
    cors_origins: str | None = Field(
        None,
        description=(
            "Web sites whose pages may call the API and the live feed, with a token:"
            " https://panel.example.com, comma-separated, each exactly as a browser says it. Unset:"
            " none but its own."
        ),
    )
    max_websocket_connections: Annotated[
        int, BeforeValidator(_whole_number), Field(ge=1, le=65_536)
    ] = Field(
        500,
        validation_alias="MAX_WEBSOCKET_CONNECTIONS",
        description=(
            "Clients of the live feed at once; a quarter of the descriptor limit at the most. They"
            " take none of the places of WHATSAPP_API_CONNECTIONS."
        ),
    )
    memory_threshold_mb: Mebibytes = Field(
        1_024,
        validation_alias="MEMORY_THRESHOLD_MB",
        description=(
            "While the supervisor itself has more, no further client of the live feed is let in,"
            " MiB resident."
        ),
    )
    feed_cpu_threshold: Annotated[float, Field(gt=0, le=100, allow_inf_nan=False)] = Field(
        80.0,
        validation_alias="CPU_THRESHOLD",
        description=(
            "While more of the host's CPU is in use, no further client of the live feed is let in,"
            " percent; 100: whatever is in use."
        ),
    )
    log_format: Annotated[str, Field(pattern="^(auto|json|human)$")] = Field(
        "auto", description="json, human, or auto: human on a terminal."
    )
    log_level: Annotated[str, Field(pattern="^(debug|info|warning|error)$")] = Field(
        "info", description="debug, info, warning or error."
    )
    websocket_log_level: Annotated[str, Field(pattern="^(debug|info|warning|error|off)$")] = Field(
        "info",
        description=(
            "What of the live feed's clients is written to logs/websocket.log in the data"
            " directory: debug (also what each stage of a handshake took), info, warning (refused,"
            " too slow), error, or off."
        ),
    )
    log_files: Annotated[
        str,
        Field(
            pattern=(
                "^(none|(performance|reconnect|requests|supervisor)"
                "(,(performance|reconnect|requests|supervisor))*)$"
            )
        ),
    ] = Field(
        "performance,reconnect,requests,supervisor",
        description=(
            "Which logs are written to logs/ in the data directory, separated by commas:"
            " performance, reconnect, requests, supervisor (where neither pm2 nor systemd nor a"
            " file keeps the log already); none: none of them."
        ),
    )
    metrics_sessions: Annotated[int, BeforeValidator(_whole_number), Field(ge=0, le=20_000)] = (
        Field(
            1_000,
            description=(
                "Sessions that have series of their own in GET /metrics and OpenTelemetry, the"
                " first by name; of the others there are the sums over all."
            ),
        )
    )
    time_zone: str | None = Field(
        None,
        description=(
            "Time zone in which schedules are meant, and reports are written, such as"
            " America/Sao_Paulo; unset: the host's."
        ),
    )
    web_socket_url: str | None = Field(
        None,
        description=(
            "Another server than WhatsApp's own (the stand-in, a relay): ws:// or wss:// URL;"
            " {session} becomes the session's id."
        ),
    )
    noise_root_key: Annotated[str, Field(pattern="^[0-9a-fA-F]{64}$")] | None = Field(
        None,
        description=(
            "Hex public key that replaces WhatsApp's pinned root; refused unless the URL above is a"
            " loopback address."
        ),
    )

    @model_validator(mode="after")
    def _check_together(self) -> "Settings":
        if self.web_socket_url is not None and not _is_web_socket_url(self.web_socket_url):
            shown = "(hidden)" if set(self.web_socket_url) & set("@?") else self.web_socket_url
            raise _wrong(
                "web_socket_url", shown, "a ws:// or wss:// URL, without user and password"
            )
        if self.noise_root_key is not None and not (
            self.web_socket_url and is_loopback(urlsplit(self.web_socket_url).hostname)
        ):
            accepted = (
                "nothing, unless WHATSAPP_WEB_SOCKET_URL is a loopback address: nobody may weaken"
                " the trust in the real server"
            )
            raise _wrong("noise_root_key", "(set)", accepted)
        self._check_secret("api_token", _check_token)
        if self.api_token is None and not is_loopback(self.api_host):
            raise _wrong(
                "api_host", self.api_host, "a loopback address, unless WHATSAPP_API_TOKEN is set"
            )
        if self.reconnection_max_delay < self.reconnection_base_delay:
            raise _wrong(
                "reconnection_max_delay",
                self.reconnection_max_delay,
                f"at least WHATSAPP_RECONNECTION_BASE_DELAY ({self.reconnection_base_delay})",
            )
        if self.worker_memory_hard <= self.worker_memory_soft:
            raise _wrong(
                "worker_memory_hard",
                self.worker_memory_hard,
                f"more than WHATSAPP_WORKER_MEMORY_SOFT ({self.worker_memory_soft})",
            )
        self._check_alerts()
        self._check_secret("jwt_secret", _check_signing_secret)
        for origin in self.allowed_origins:
            if not _ORIGIN.fullmatch(origin):
                raise _wrong(
                    "cors_origins",
                    origin,
                    "origins such as https://panel.example.com or http://localhost:3000: lower"
                    " case, without a path, a slash at the end or *",
                )
        self._check_text("time_zone", time_zone.named)
        for field in _SCHEDULES:
            self._check_text(field, schedule.checked)
        self._check_secret("database_url", _parse_server_url)
        self._check_secret("store_key", _parse_keys)
        if self.worker_heartbeat_timeout < 2 * self.worker_heartbeat_interval:
            raise _wrong(
                "worker_heartbeat_timeout",
                self.worker_heartbeat_timeout,
                "at least twice WHATSAPP_WORKER_HEARTBEAT_INTERVAL"
                f" ({self.worker_heartbeat_interval})",
            )
        return self

    def _check_alerts(self) -> None:
        if self.disk_critical_threshold < self.disk_threshold:
            raise _wrong(
                "disk_critical_threshold",
                self.disk_critical_threshold,
                f"at least WHATSAPP_DISK_THRESHOLD ({self.disk_threshold})",
            )
        for field in ("memory", "cpu", "error_rate", "response_time"):
            self._check_critical(f"{field}_critical_threshold", f"{field}_threshold")
        self._check_hours("alert_quiet_hours")
        self._check_hours("maintenance_windows")

    def _check_critical(self, field: str, of: str) -> None:
        critical, warning = getattr(self, field), getattr(self, of)
        both = {field, of} <= self.model_fields_set
        if both and critical is not None and critical <= warning:
            raise _wrong(field, critical, f"more than {variable(of)} ({warning})")

    def _check_text(self, field: str, parse: Callable[[str], object]) -> None:
        text: str | None = getattr(self, field)
        if text is not None:
            try:
                parse(text)
            except ValueError as error:
                raise _wrong(field, text, str(error)) from None

    def _check_hours(self, field: str) -> None:
        from supervisor.alerts.hours import FORM, Hours

        hours: str | None = getattr(self, field)
        if hours is not None:
            try:
                Hours.parse(hours)
            except ValueError:
                raise _wrong(field, hours, FORM) from None

    def _check_secret(self, field: str, parse: Callable[[str], object]) -> None:
        secret: SecretStr | None = getattr(self, field)
        if secret is not None:
            try:
                parse(secret.get_secret_value())
            except ValueError as error:
                raise ValueError(f"{variable(field)} is (hidden); {error}") from None

    def secrets(self) -> Iterator[str]:
        """Every value that no log may hold."""
        for field in SECRETS:
            match getattr(self, field):
                case SecretStr() as secret:
                    yield secret.get_secret_value()
        if self.store_key is not None:
            yield from (key.strip() for key in self.store_key.get_secret_value().split(","))
        if self.database_url is not None and (
            password := urlsplit(self.database_url.get_secret_value()).password
        ):
            yield from (password, unquote(password))

    # --- what is handed down ----------------------------------------------------------------------
    #
    # Each room is imported where its numbers are made: every command reads the settings, and most
    # need none of the rooms, which together take longer to load than all else.

    def policy_config(self, rules: "policy.Rules | None" = None) -> "policy.Config":
        """The policy: that table (by default the built-in one) with the settings' numbers."""
        from sessions import policy

        return policy.Config(
            base_seconds=self.reconnection_base_delay / 1000,
            cap_seconds=self.reconnection_max_delay / 1000,
            max_retries=self.reconnection_max_retries,
            tail_seconds=self.reconnection_tail_delay / 1000,
            crash_budget=self.worker_crash_budget,
            crash_window_seconds=self.worker_crash_window / 1000,
            daily_logins=self.daily_reconnect_budget,
            rules=policy.RULES if rules is None else rules,
        )

    def session_config(self, rules: "policy.Rules | None" = None) -> "SessionConfig":
        """A session's numbers, with that table of the policy."""
        from sessions.lifecycle.dependencies import SessionConfig
        from sessions.lifecycle.health import HealthConfig

        return SessionConfig(
            policy=self.policy_config(rules),
            breaker_threshold=self.circuit_breaker_threshold,
            breaker_timeout_seconds=self.circuit_breaker_timeout / 1000,
            connect_timeout_seconds=self.connect_timeout / 1000,
            qr_timeout_seconds=(self.qr_timeout or 60_000) / 1000,
            stable_after_seconds=self.stable_after / 1000,
            health=HealthConfig(
                interval_seconds=self.health_check_interval / 1000,
                probe_timeout_seconds=self.probe_timeout_ms / 1000,
                heartbeat_timeout_seconds=self.worker_heartbeat_timeout / 1000,
            ),
        )

    def event_log_bounds(self) -> "LogBounds":
        """What the event log keeps."""
        from sessions.store.tables.events import LogBounds

        return LogBounds(
            most=self.event_log_size,
            age_seconds=self.event_log_days * 24 * 3600.0,
            size_bytes=self.event_log_max_mib * 2**20,
        )

    @property
    def events_in_memory(self) -> int:
        """How many of them are kept in memory, too."""
        return min(self.event_log_size or MOST_IN_MEMORY, MOST_IN_MEMORY)

    @property
    def allowed_origins(self) -> frozenset[str]:
        """The web sites whose pages may call."""
        names = (self.cors_origins or "").split(",")
        return frozenset(name.strip() for name in names if name.strip())

    def webhook_guards(self, port: int) -> "Guards":
        """Where webhooks may lead. `port`: the API's."""
        from supervisor.delivery.endpoint.targets import Guards

        own, private = (self.api_host, port), self.webhook_private_targets
        return Guards.of(private, own, on_loopback=is_loopback(self.api_host))

    def gate_config(self) -> "GateConfig":
        """The gate's numbers."""
        from supervisor.gate.gate import GateConfig

        return GateConfig(
            rate_per_second=self.gate_rate,
            burst=self.gate_burst,
            concurrency=self.gate_concurrency,
            egress_rate_per_second=self.egress_rate,
            egress_burst=self.egress_burst,
        )

    def thresholds(self, file: "AlertsFile | None" = None) -> "Thresholds":
        """What raises alerts: an explicit setting counts, else the file of alerts, else the
        profile, else the default.
        """
        from supervisor.alerts.judging.thresholds import thresholds

        explicit = {
            name: value
            for field, (name, value) in {
                "memory_threshold": ("memory", self.memory_threshold),
                "memory_critical_threshold": ("memory_critical", self.memory_critical_threshold),
                "cpu_threshold": ("cpu", self.cpu_threshold),
                "cpu_critical_threshold": ("cpu_critical", self.cpu_critical_threshold),
                "error_rate_threshold": ("error_rate", self.error_rate_threshold),
                "error_rate_critical_threshold": (
                    "error_rate_critical",
                    self.error_rate_critical_threshold,
                ),
                "response_time_threshold": (
                    "response_time_ms",
                    float(self.response_time_threshold),
                ),
                "response_time_critical_threshold": (
                    "response_time_ms_critical",
                    self.response_time_critical_threshold,
                ),
                "descriptor_threshold": ("descriptors", self.descriptor_threshold),
                "load_threshold": ("load", self.load_threshold),
                "websocket_threshold": ("websockets", self.websocket_threshold),
                "disk_threshold": ("disk", self.disk_threshold),
                "disk_critical_threshold": ("disk_critical", self.disk_critical_threshold),
                "down_alert_after": ("down_seconds", self.down_alert_after / 1000),
                "flapping_alert_closes": ("flapping_closes", self.flapping_alert_closes),
            }.items()
            if field in self.model_fields_set
        }
        profile = cast("Profile | None", self.alert_profile)
        if file is None:
            return thresholds(explicit, None, profile)
        return thresholds(explicit, file.thresholds, profile or file.profile)

    def alerting_config(self, file: "AlertsFile | None" = None) -> "AlertingConfig":
        """Who is told of alerts when; by the same rule as in `thresholds`."""
        from supervisor.alerts.alerting import AlertingConfig
        from supervisor.alerts.channels.alerts_file import AlertsFile
        from supervisor.alerts.decision import Timing
        from supervisor.alerts.hours import Hours
        from supervisor.alerts.judging.sessions import SessionLimits

        def said(field: str, of_file: Any) -> Any:
            explicit = field in self.model_fields_set or of_file is None
            return getattr(self, field) if explicit else of_file

        of = AlertsFile() if file is None else file
        quiet = said("alert_quiet_hours", of.quiet_hours)
        windows = said("maintenance_windows", of.maintenance_windows)
        limits = self.thresholds(file)
        return AlertingConfig(
            timing=Timing(repeat=said("alert_repeat_hours", of.repeat_hours) * 3600.0),
            quiet=None if quiet is None else Hours.parse(quiet),
            windows=None if windows is None else Hours.parse(windows),
            zone=self.zone(),
            language=said("language", of.language),
            limits=SessionLimits(down_seconds=limits.down_seconds, closes=limits.flapping_closes),
            availability=self.availability_target / 100,
        )

    @property
    def probe_timeout_ms(self) -> int:
        """How long a probe may take.

        Unset, an operator's longer threshold goes on to lengthen it: no update may disconnect
        anybody.
        """
        return self.probe_timeout or max(5_000, self.response_time_threshold)

    @property
    def log_kinds(self) -> frozenset[str]:
        """The kinds of logs that are written as files."""
        return frozenset(self.log_files.split(",")) - {"none"}

    def zone(self) -> ZoneInfo:
        """The time zone of schedules and reports."""
        return time_zone.of_host() if self.time_zone is None else time_zone.named(self.time_zone)

    def backups_directory(self) -> Path:
        """Where backups go."""
        if self.backup_dir is None:
            return self.data_dir.expanduser().absolute() / "backups"
        return folder() / self.backup_dir.expanduser()

    def report_schedules(self) -> "Mapping[Regular, str]":
        """When each regular report is made."""
        return {
            "daily": self.report_daily_schedule,
            "weekly": self.report_weekly_schedule,
            "monthly": self.report_monthly_schedule,
        }

    def further_directories(self) -> list[Path]:
        """The watched directories, but for the data directory."""
        names = (self.watched_directories or "").split(",")
        return [folder() / Path(name.strip()).expanduser() for name in names if name.strip()]

    def web_socket_ports(self, api_port: int) -> frozenset[int]:
        """The ports at which a connection is counted as a WebSocket one.

        `api_port`: the one that the API has got.
        """
        from supervisor.host.reading.connections import websocket_ports

        return websocket_ports(api_port, self.web_socket_url)

    def detaches(self) -> bool:
        """Whether the workers live on when the supervisor is told to stop. pm2 restarts what it has
        stopped, mostly; a terminal does not.
        """
        return self.shutdown == "detach" or (self.shutdown is None and PM2_VARIABLE in os.environ)

    def feed_limits(self) -> "LiveFeedLimits":
        """What the live feed may take."""
        from supervisor.fleet.live_feed_limits import LiveFeedLimits

        return LiveFeedLimits(
            max_websocket_connections=self.max_websocket_connections,
            memory_threshold_mb=self.memory_threshold_mb,
            cpu_threshold=self.feed_cpu_threshold,
        )

    def limits(self) -> "Limits":
        """What a worker may weigh, and how late it may be."""
        from sessions.workers.limits import Limits

        return Limits(
            soft_bytes=self.worker_memory_soft * 2**20,
            hard_bytes=self.worker_memory_hard * 2**20,
            lag_ms=float(self.worker_max_lag),
        )

    def worker_environment(self) -> dict[str, str]:
        """What a worker is told (docs/wire.md)."""
        environment = {
            "WASUP_CONNECT_TIMEOUT_MS": str(self.connect_timeout),
            "WASUP_PROBE_TIMEOUT_MS": str(self.probe_timeout_ms),
            "WASUP_HEARTBEAT_INTERVAL_MS": str(self.worker_heartbeat_interval),
            "WASUP_ADOPTION_WINDOW_MS": str(self.adoption_window),
            "WASUP_LOG_LEVEL": "warn" if self.log_level == "warning" else self.log_level,
        }
        if self.qr_timeout is not None:
            environment["WASUP_QR_TIMEOUT_MS"] = str(self.qr_timeout)
        if self.web_socket_url is not None:
            environment["WASUP_WEB_SOCKET_URL"] = self.web_socket_url
        if self.noise_root_key is not None:
            environment["WASUP_NOISE_ROOT_KEY"] = self.noise_root_key
        return environment


# The store's room is imported where a setting needs it: most commands have no such setting, and
# SQLAlchemy takes its time.


def _parse_keys(text: str) -> None:
    """Raises ValueError."""
    from sessions.store.sealing.cipher import parse_keys

    parse_keys(text)


def _parse_server_url(text: str) -> None:
    """An SQLite file elsewhere would have no lock: two supervisors of two directories would own it.

    Raises ValueError.
    """
    from sessions.store.engine.database import parse_url

    if parse_url(text).get_backend_name() == "sqlite":
        raise ValueError(
            "an SQLite file is always WHATSAPP_DATA_DIR's own; this accepts"
            " postgresql://user:password@host/database"
        )


def _check_token(text: str) -> None:
    """What a client can send in a header. Raises ValueError, which does not quote it."""
    if text.endswith("\r"):
        raise ValueError(
            "it ends in a carriage return, as lines of Windows files do: take that off (tr -d"
            " '\\r')."
        )
    if text != text.strip() or any(not character.isprintable() for character in text):
        raise ValueError("no HTTP header can carry its blanks or control characters.")
    if len(text) < SHORTEST_TOKEN:
        raise ValueError(f"it accepts {SHORTEST_TOKEN} characters or more.")


def _check_signing_secret(text: str) -> None:
    """Raises ValueError, which does not quote it."""
    if len(text.encode()) < SHORTEST_SIGNING_SECRET_BYTES:
        raise ValueError(
            f"it accepts {SHORTEST_SIGNING_SECRET_BYTES} bytes or more: `openssl rand -hex 32`"
            " makes some."
        )


def load() -> Settings:
    """Read the environment and the `.env` of installation.py's folder.

    Raises BadSettings with a line for each thing that is wrong.
    """
    file = folder() / ENV_FILE
    try:
        if wrong := [*_no_text(), *_lost_references(file)]:
            raise BadSettings("\n".join(wrong))
        loaded = Settings(_env_file=file)
    except UnicodeDecodeError:
        raise BadSettings(
            f"{file} is not UTF-8 text; it holds lines such as WHATSAPP_API_PORT=4001."
        ) from None
    except OSError as error:
        raise BadSettings(
            f"{file} cannot be read ({error.strerror}): be the user whom the supervisor runs as, or"
            " name another folder (--directory)."
        ) from None
    except ValidationError as error:
        raise BadSettings("\n".join(_explain(dict(detail)) for detail in error.errors())) from None
    here = left_behind()
    if here is not None and "data_dir" not in loaded.model_fields_set:
        raise BadSettings(
            f"{here} has settings or data of its own, and {folder()} is the folder that wasup is"
            f" installed in. Say which one is meant: wasup --directory {here}, or --directory"
            f" {folder()}; or set WHATSAPP_DATA_DIR."
        )
    return loaded.model_copy(
        update={
            "data_dir": folder() / loaded.data_dir.expanduser(),
            "policy_file": loaded.policy_file and folder() / loaded.policy_file.expanduser(),
            "alerts_file": loaded.alerts_file and folder() / loaded.alerts_file.expanduser(),
        }
    )


def _no_text() -> Iterator[str]:
    """A line for each setting of the environment that is no text."""
    for name, value in os.environ.items():
        if _is_ours(name) and not _is_unicode(name + value):
            shown = name.encode(errors="backslashreplace").decode()
            yield (
                f"{shown} is not UTF-8 text; it has to be (a value in another encoding, or bytes in"
                " place of their hex digits?)."
            )


def _is_unicode(text: str) -> bool:
    """Whether it has no bytes of which Python could make no text (PEP 383)."""
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _lost_references(file: Path) -> Iterator[str]:
    """A line for each setting of the `.env` file that names a variable which nobody has set:
    nothing would be put there, silently.
    """
    if not file.is_file():
        return
    written, known = dotenv_values(file, interpolate=False), {**os.environ}
    for name, value in written.items():
        for reference in _REFERENCE.finditer(value or "") if _is_ours(name) else ():
            if reference["default"] is None and reference["name"] not in known:
                unset = "${...}" if _field_of().get(name.upper()) in SECRETS else reference[0]
                yield (
                    f"{name} in {file} holds {unset}, which stands for a variable that is not set. "
                    "If it is meant as it stands, set it in the environment instead of the file."
                )
        if value is not None:
            known.setdefault(name, value)


def file_warnings(policy_file: Path | None) -> list[str]:
    """What is doubtful about where the settings come from: who else reads or writes it, and what of
    it is not taken.
    """
    file, found = folder() / ENV_FILE, []
    copied = sorted(variable(field) for field in FOR_FEW if os.environ.get(variable(field)))
    if copied and PM2_VARIABLE in os.environ:
        found.append(
            f"{' and '.join(copied)} came through pm2's environment, so `pm2 save` writes it into"
            f" dump.pm2: put it into {file} (chmod 600), then `pm2 delete wasup && pm2 start"
            " ecosystem.config.js && pm2 save`"
        )
    try:
        about, text = file.stat(), file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):  # there is none, or `load` has said so
        pass
    else:
        given = {field for field in FOR_FEW if dotenv_values(file).get(variable(field))}
        if given and about.st_mode & _others(about, stat.S_IRGRP, stat.S_IROTH):
            found.append(f"{file} holds secrets and can be read by others: chmod 600 {file}")
        secret = {variable(field) for field in SECRETS}
        found += [
            f"in {file}, what stands behind the ` #` of {line['name']} is taken for a comment: put"
            " the value in single quotes if it belongs to it, or the comment on a line of its own"
            for line in _CUT.finditer(text)
            if line["name"].upper() in secret
        ]
    for one in (file, policy_file):
        with contextlib.suppress(OSError):
            if one is not None and (about := one.stat()).st_mode & _others(
                about, stat.S_IWGRP, stat.S_IWOTH
            ):
                found.append(f"{one} can be changed by others: chmod go-w {one}")
    return found


def _others(file: os.stat_result, group: int, world: int) -> int:
    """The bits that open a file to others than us.

    In a file of somebody else's it is the group that we read by (root:wasup, 640).
    """
    return world | (group if file.st_uid == os.geteuid() else 0)


def unknown_variables() -> list[str]:
    """A warning for each `WHATSAPP_*` variable that is not a setting."""
    known = {variable(name) for name in Settings.model_fields}
    given = {
        name.upper()
        for name in (*os.environ, *dotenv_values(folder() / ENV_FILE))
        if name.upper().startswith(PREFIX)
    }
    return [
        f"{name} is not a setting and is ignored{_similar(name, known)}"
        for name in sorted(given - known)
    ]


def variable(field: str) -> str:
    """The environment's name of a field."""
    known = Settings.model_fields.get(field)
    alias = None if known is None else known.validation_alias
    return alias if isinstance(alias, str) else PREFIX + field.upper()


def _is_ours(name: str) -> bool:
    """Whether an environment's variable is a setting by its name, or tries to be one."""
    upper = name.upper()
    return upper.startswith(PREFIX) or upper in _field_of()


@functools.cache
def _field_of() -> dict[str, str]:
    """The fields by the environment's names of them."""
    return {variable(field): field for field in Settings.model_fields}


def is_loopback(host: str | None) -> bool:
    """Whether a host name or address can only be this machine."""
    if host is None:
        return False
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _is_web_socket_url(url: str) -> bool:
    """Whether it is one that Python and Node read alike: they differ on backslashes and on what
    stands before an @.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return (
        parts.scheme in {"ws", "wss"}
        and bool(parts.hostname)
        and not set(parts.netloc) & set("\\@")
        and "\\" not in url
    )


def _similar(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.8)
    return f": did you mean {close[0]}?" if close else "."


def _wrong(field: str, value: object, accepted: str) -> ValueError:
    return ValueError(f"{variable(field)} is {_quotable(str(value))}; it accepts {accepted}.")


def _quotable(value: str) -> str:
    """A value without the user and password of a URL: somebody may have given it to the wrong
    variable.
    """
    return _ACCOUNT.sub(r"\1(hidden)@", value)


def _explain(detail: dict[str, Any]) -> str:
    if not detail["loc"]:  # from _check_together: it has named the variable already
        return str(detail["ctx"]["error"])
    field = str(detail["loc"][0])
    field = _field_of().get(field, field)
    value = "(hidden)" if field in SECRETS else _quotable(repr(detail["input"]))
    about = Settings.model_fields[field].description
    return f"{variable(field)} is {value}: {detail['msg']}. {about}"
