"""The connections to WhatsApp: where they fail while they are made, how they end, and whether they
are set up as they should be. From what is on record; nothing is connected for it.
"""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import msgspec

from sessions.model import CloseReason, StoreError
from sessions.records.incidents import Incident, RecordedClose
from sessions.views.times import iso
from supervisor.gate.way_probe import WHATSAPP_URL
from supervisor.watch.diagnostics.doctor import NotChecked, Subject
from supervisor.watch.diagnostics.installation import INCIDENTS, version_issues
from supervisor.watch.diagnostics.results import Issue, Severity

DAY_SECONDS: Final = 24 * 3600.0
OFTEN: Final = 10
"""Failures, or closes, of a day that are a pattern and no accident."""
HALF: Final = 0.5
STAGES: Final[Mapping[str, str]] = {
    CloseReason.DNS: "name",
    CloseReason.NETWORK_UNREACHABLE: "connect",
    CloseReason.PROXY: "proxy",
    CloseReason.TLS_UNTRUSTED: "tls",
    CloseReason.UPGRADE_REFUSED: "upgrade",
    CloseReason.UNAVAILABLE: "upgrade",
    CloseReason.RATE_LIMITED: "upgrade",
    CloseReason.ATTEMPT_TIMED_OUT: "login",
    CloseReason.CLIENT_OUTDATED: "login",
    CloseReason.CONNECTION_CLOSED: "login",
    CloseReason.CONNECTION_LOST: "login",
    CloseReason.WORKER_EXITED: "worker",
    CloseReason.WORKER_HUNG: "worker",
}
"""At which stage of its handshake a connection was that closed for such a reason."""


class HandshakeIssue(msgspec.Struct, frozen=True, rename="camel"):
    """Connections that did not come to be, for one reason, in the last day."""

    stage: str
    reason: str
    count: int
    sessions: int
    last_at: str
    message: str


class ClosureAnalysis(msgspec.Struct, frozen=True, rename="camel"):
    """How open connections ended in the last day.

    `short_lived`: before they were stable. `by_hour`: of the day, UTC. `patterns`: what stands out,
    a sentence each.
    """

    count: int
    short_lived: int
    by_reason: dict[str, int]
    by_hour: dict[str, int]
    patterns: tuple[str, ...]


class ConfigValidation(msgspec.Struct, frozen=True, rename="camel"):
    """How connections are set up. `parameters`: milliseconds."""

    valid: bool
    url: str
    tls: bool
    parameters: dict[str, int]
    issues: tuple[Issue, ...]


class ConnectionDiagnosticService:
    """Looks at connections, past and possible.

    The records are read once: all that one service tells rests on the same.
    """

    def __init__(self, subject: Subject) -> None:
        self._subject = subject
        self._read: Sequence[Incident] | None = None

    async def analyze_handshake_failures(self) -> list[HandshakeIssue]:
        """Connections that failed while they were made, by reason; the most frequent first."""
        return handshake_failures(await self._closes())

    async def check_premature_closures(self) -> ClosureAnalysis:
        """How those that were open have ended."""
        return closures(await self._closes())

    async def validate_websocket_config(self) -> ConfigValidation:
        """Whether the settings of connections fit together, and versions to each other."""
        settings = self._subject.settings
        url = settings.web_socket_url or WHATSAPP_URL
        issues = [
            *_settings_that_disagree(
                settings.connect_timeout,
                settings.probe_timeout_ms,
                settings.health_check_interval,
                url,
            ),
            *await version_issues(self._subject, await self._known_incidents()),
        ]
        return ConfigValidation(
            valid=not any(issue.wants_somebody for issue in issues),
            url=url,
            tls=url.startswith("wss:"),
            parameters={
                "connectTimeoutMs": settings.connect_timeout,
                "probeTimeoutMs": settings.probe_timeout_ms,
                "healthCheckIntervalMs": settings.health_check_interval,
                "heartbeatIntervalMs": settings.worker_heartbeat_interval,
                "heartbeatTimeoutMs": settings.worker_heartbeat_timeout,
            },
            issues=tuple(issues),
        )

    async def _closes(self) -> list[tuple[str, RecordedClose]]:
        """Of the last day, with whose each is. Raises NotChecked, StoreUnavailable."""
        return closes_since(await self._incidents(), time.time() - DAY_SECONDS)

    async def _incidents(self) -> Sequence[Incident]:
        if self._read is None:
            if self._subject.store is None:
                raise NotChecked("there is no store that could be read")
            self._read = await self._subject.store.records.incidents(None, None, INCIDENTS)
        return self._read

    async def _known_incidents(self) -> Sequence[Incident]:
        """None where there are none to read: the settings can be judged without."""
        try:
            return await self._incidents()
        except (NotChecked, StoreError):  # told by the check of the database
            return ()


async def check_connections(subject: Subject) -> Iterable[Issue]:
    """What the last day's failures and closes have in common, and how connections are set up."""
    service = ConnectionDiagnosticService(subject)
    url = subject.settings.web_socket_url or WHATSAPP_URL
    settings = subject.settings
    return [
        *_settings_that_disagree(
            settings.connect_timeout, settings.probe_timeout_ms, settings.health_check_interval, url
        ),
        *(
            _pattern(
                f"{one.count} connections of {one.sessions} sessions failed at the stage"
                f" {one.stage} in the last day ({one.reason}), the last one at {one.last_at}."
            )
            for one in await service.analyze_handshake_failures()
            if one.count >= OFTEN
        ),
        *(_pattern(words) for words in (await service.check_premature_closures()).patterns),
    ]


def closes_since(incidents: Iterable[Incident], since: float) -> list[tuple[str, RecordedClose]]:
    """The closes of sessions since then, that were not asked for. Pure."""
    return [
        (incident.session, close)
        for incident in incidents
        if incident.session is not None
        for close in incident.closes
        if close.at >= since and close.reason is not CloseReason.REQUESTED
    ]


def handshake_failures(closes: Iterable[tuple[str, RecordedClose]]) -> list[HandshakeIssue]:
    """Those that never were open, by reason, the most frequent first. Pure."""
    by_reason: dict[str, list[tuple[str, RecordedClose]]] = {}
    for session, close in closes:
        if not close.was_open and close.reason in STAGES:
            by_reason.setdefault(close.reason.value, []).append((session, close))
    found = []
    for reason, some in by_reason.items():
        last = max((close for _, close in some), key=lambda close: close.at)
        found.append(
            HandshakeIssue(
                stage=STAGES[reason],
                reason=reason,
                count=len(some),
                sessions=len({session for session, _ in some}),
                last_at=iso(last.at),
                message=last.message,
            )
        )
    return sorted(found, key=lambda one: -one.count)


def closures(closes: Iterable[tuple[str, RecordedClose]]) -> ClosureAnalysis:
    """Those that were open, in figures and in what stands out. Pure."""
    ended = [(session, close) for session, close in closes if close.was_open]
    reasons = Counter(close.reason.value for _, close in ended)
    hours = Counter(time.strftime("%H", time.gmtime(close.at)) for _, close in ended)
    short = sum(not close.was_stable for _, close in ended)
    return ClosureAnalysis(
        count=len(ended),
        short_lived=short,
        by_reason=dict(reasons.most_common()),
        by_hour=dict(sorted(hours.items())),
        patterns=tuple(_patterns([session for session, _ in ended], reasons, hours, short)),
    )


def _patterns(
    sessions: Sequence[str], reasons: Counter[str], hours: Counter[str], short: int
) -> Iterator[str]:
    count = len(sessions)
    if count < OFTEN:
        return
    (session, most), *_ = Counter(sessions).most_common(1)
    if most > HALF * count and len(set(sessions)) > 1:
        yield f"{most} of the last day's {count} closes are of one session, {session}."
    (reason, most), *_ = reasons.most_common(1)
    if most > HALF * count:
        yield f"{most} of the last day's {count} closes have one reason, {reason}."
    (hour, most), *_ = hours.most_common(1)
    if most > HALF * count and len(hours) > 1:
        yield f"{most} of the last day's {count} closes fell into one hour, {hour}:00 UTC."
    if short > HALF * count:
        yield f"{short} of the last day's {count} connections closed before they were stable."


def _pattern(words: str) -> Issue:
    return Issue(
        "connection",
        Severity.LOW,
        words,
        "See what these have in common; wasup reconnects by itself meanwhile.",
        ("sessions",),
        ("wasup sessions list", "wasup explain ID --all"),
    )


def _settings_that_disagree(
    connect_ms: int, probe_ms: int, interval_ms: int, url: str
) -> Iterator[Issue]:
    if probe_ms >= interval_ms:
        yield Issue(
            "configuration",
            Severity.MEDIUM,
            f"A probe may take {probe_ms} ms and comes every {interval_ms} ms: one is asked while"
            " another is on its way.",
            "Set WHATSAPP_PROBE_TIMEOUT below WHATSAPP_HEALTH_CHECK_INTERVAL.",
            ("settings", "sessions"),
            ("env | grep -E 'WHATSAPP_(PROBE_TIMEOUT|HEALTH_CHECK_INTERVAL)='",),
        )
    if connect_ms < 10_000:
        yield Issue(
            "configuration",
            Severity.MEDIUM,
            f"An attempt has {connect_ms} ms: over a slow proxy a login takes longer.",
            "Leave WHATSAPP_CONNECT_TIMEOUT at 30000.",
            ("settings", "sessions"),
            ("env | grep WHATSAPP_CONNECT_TIMEOUT=",),
        )
    if url.startswith("ws:") and "127.0.0.1" not in url and "localhost" not in url:
        yield Issue(
            "configuration",
            Severity.HIGH,
            "WHATSAPP_WEB_SOCKET_URL goes over the network without TLS.",
            "Use a wss:// URL.",
            ("settings", "sessions"),
            ("env | grep WHATSAPP_WEB_SOCKET_URL=",),
        )
