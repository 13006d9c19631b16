"""The alerts that there are, as data: of what kind each is, and what silences it. Pure.

Their words are in `words/`, what an operator does about each in docs/runbooks.md, under its name.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from supervisor.alerts.alerts import Alert, Severity

Kind = Literal["performance", "connectivity", "system", "application"]
Subject = Literal["session", "fleet", "host"]

OUTAGE: Final = "outage"


@dataclass(frozen=True, slots=True)
class Rule:
    """An alert by its name.

    `severity`: as it begins, unless whoever begins it says otherwise. `explained_by`: while this
    alert is on for the same sessions, it is the cause, and this one is not told of.
    """

    name: str
    subject: Subject
    kind: Kind
    severity: Severity = "warning"
    explained_by: str | None = None

    @property
    def runbook(self) -> str:
        """Where it stands what to do."""
        return f"docs/runbooks.md#{self.name}"


_RULES: Final = (
    Rule("parked", "session", "connectivity", "critical"),
    Rule("logged_out", "session", "connectivity", "critical"),
    Rule("restricted", "session", "connectivity", "critical"),
    Rule("quarantined", "session", "connectivity", "critical"),
    Rule("down", "session", "connectivity", "critical", OUTAGE),
    Rule("flapping", "session", "connectivity", "warning", OUTAGE),
    Rule("breaker_open", "session", "connectivity", "warning", OUTAGE),
    Rule("crash_budget", "session", "application", "critical"),
    Rule("reconnect_budget", "session", "connectivity"),
    Rule("phone_offline", "session", "connectivity"),
    Rule("deaf", "session", "connectivity", "warning", OUTAGE),
    Rule("worker_lag", "session", "performance"),
    Rule("response_time", "session", "performance", "warning", OUTAGE),
    Rule("worker_killed", "session", "application"),
    Rule("worker_replaced", "session", "application"),
    Rule("replacement_failed", "session", "application"),
    Rule("session_error", "session", "application"),
    Rule(OUTAGE, "fleet", "connectivity", "critical"),
    Rule("service_level", "fleet", "connectivity", "warning", OUTAGE),
    Rule("error_rate", "fleet", "performance", "warning", OUTAGE),
    Rule("worker_abandoned", "fleet", "system", "critical"),
    Rule("store", "fleet", "application", "critical"),
    Rule("task", "fleet", "application", "critical"),
    Rule("exceptions", "fleet", "application"),
    Rule("delivery_failing", "fleet", "application"),
    Rule("delivery_dead", "fleet", "application"),
    Rule("delivery_gap", "fleet", "application", "critical"),
    Rule("delivery_paused", "fleet", "application", "critical"),
    Rule("channel_failing", "fleet", "application"),
    Rule("backup_old", "fleet", "application"),
    Rule("backup_corrupt", "fleet", "application", "critical"),
    Rule("upkeep_failed", "fleet", "application"),
    Rule("disk_space", "host", "system"),
    Rule("disk_inodes", "host", "system"),
    Rule("disk_filling", "host", "system"),
    Rule("disk_silent", "host", "system", "critical"),
    Rule("cpu", "host", "performance"),
    Rule("memory", "host", "performance"),
    Rule("load", "host", "performance"),
    Rule("descriptors", "host", "system"),
    Rule("supervisor_descriptors", "host", "system"),
    Rule("websockets", "host", "system"),
    Rule("shedding", "host", "system"),
    Rule("clock", "host", "system"),
)

RULES: Final[Mapping[str, Rule]] = {rule.name: rule for rule in _RULES}
"""By name. A test looks that whatever begins an alert has its rule here."""

CAUSES: Final[Mapping[str, str]] = {
    "logged_out": "logged_out",
    "banned": "restricted",
    "temporarily_banned": "restricted",
    "locked": "restricted",
}
"""Of the alert `parked`, by its close reason: which rule says better what has happened."""


def rule_of(alert: Alert) -> Rule:
    """The rule by which an alert is told of."""
    return RULES[
        CAUSES.get(alert.cause or "", alert.name) if alert.name == "parked" else alert.name
    ]
