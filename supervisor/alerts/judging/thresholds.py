"""Above which figures an alert begins, and above which it is critical. Pure.

One rule says which number counts: an explicit setting, else the alerts file, else the profile, else
the default. A critical limit that would lie below its warning's by that (somebody has set the
warning alone) is none: then there is a warning, and nothing critical.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from supervisor.host.numbers import number, whole
from supervisor.host.reading.alarms import AlertLimits

WEBSOCKETS_PER_SESSION: Final = 2
"""An open session has one; during a replacement, and from its API's readers, there may be
another.
"""
Profile = Literal["development", "staging", "production"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Above which an alert is raised: fractions of 1, milliseconds, processes that want a core,
    connections, seconds, closes in an hour. `..._critical` None: it never is.
    """

    memory: float = 0.8
    memory_critical: float | None = 0.9
    cpu: float = 0.9
    cpu_critical: float | None = None
    error_rate: float = 0.1
    error_rate_critical: float | None = None
    response_time_ms: float = 5000.0
    response_time_ms_critical: float | None = None
    descriptors: float = number("descriptors_alert") / 100
    load: float | None = None
    """None: the tuning guide's, or the number of cores if that is more."""
    websockets: int | None = None
    """None: the tuning guide's, or twice the sessions if that is more."""
    disk: float = 0.85
    """Of room and of inodes; above it somebody should tidy up.

    docs/evidence.md#database-settings.
    """
    disk_critical: float = 0.95
    """Above it the store is about to fail."""
    down_seconds: float = 300.0
    """For so long a session may be away."""
    flapping_closes: int = 6

    def of_host(self, cores: int, sessions: int) -> AlertLimits:
        """The host's, for so many cores and sessions."""
        return AlertLimits(
            cpu_fraction=self.cpu,
            cpu_critical_fraction=self.cpu_critical,
            memory_fraction=self.memory,
            memory_critical_fraction=self.memory_critical,
            descriptors_fraction=self.descriptors,
            websockets=self.websockets
            or max(whole("websockets_alert"), WEBSOCKETS_PER_SESSION * sessions),
            load=self.load or max(number("load_alert"), float(cores)),
            disk_fraction=self.disk,
            disk_critical_fraction=self.disk_critical,
        )


PROFILES: Final[Mapping[Profile, Mapping[str, Any]]] = {
    "production": {
        "cpu": 0.7,
        "cpu_critical": 0.85,
        "memory": 0.8,
        "memory_critical": 0.9,
        "disk": 0.85,
        "disk_critical": 0.95,
        "response_time_ms": 2000.0,
        "response_time_ms_critical": 5000.0,
        "error_rate": 0.05,
        "error_rate_critical": 0.1,
        "down_seconds": 300.0,
        "flapping_closes": 6,
    },
    "staging": {
        "cpu": 0.8,
        "cpu_critical": 0.9,
        "memory": 0.85,
        "memory_critical": 0.93,
        "disk": 0.85,
        "disk_critical": 0.95,
        "response_time_ms": 3000.0,
        "response_time_ms_critical": 8000.0,
        "error_rate": 0.1,
        "error_rate_critical": 0.2,
        "down_seconds": 900.0,
        "flapping_closes": 10,
    },
    "development": {
        "cpu": 0.95,
        "cpu_critical": None,
        "memory": 0.9,
        "memory_critical": 0.97,
        "disk": 0.9,
        "disk_critical": 0.97,
        "response_time_ms": 5000.0,
        "response_time_ms_critical": None,
        "error_rate": 0.25,
        "error_rate_critical": None,
        "down_seconds": 3600.0,
        "flapping_closes": 20,
    },
}
"""What each profile says; of what it does not say the default counts. production: the percentages
of docs/evidence.md#names-that-scripts-use.
"""


def thresholds(
    explicit: Mapping[str, Any],
    file: Mapping[str, Any] | None = None,
    profile: Profile | None = None,
) -> Thresholds:
    """The one rule. All by the names of the fields above; fractions, milliseconds, seconds."""
    said = {**(PROFILES[profile] if profile else {}), **(file or {}), **explicit}
    found = replace(Thresholds(), **said)
    return replace(
        found,
        memory_critical=_above(found.memory_critical, found.memory),
        cpu_critical=_above(found.cpu_critical, found.cpu),
        error_rate_critical=_above(found.error_rate_critical, found.error_rate),
        response_time_ms_critical=_above(found.response_time_ms_critical, found.response_time_ms),
        disk_critical=max(found.disk_critical, found.disk),
    )


def _above(critical: float | None, warning: float) -> float | None:
    return None if critical is None or critical <= warning else critical
