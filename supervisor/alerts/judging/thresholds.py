"""Above which figures an alert begins. Pure."""

from dataclasses import dataclass

from supervisor.host.numbers import number, whole
from supervisor.host.reading.alarms import AlertLimits

WEBSOCKETS_PER_SESSION = 2
"""An open session has one; during a replacement, and from its API's readers, there may be
another.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thresholds:
    """Above which an alert is raised: fractions of 1, milliseconds, processes that want a core,
    connections.
    """

    memory: float = 0.8
    cpu: float = 0.9
    error_rate: float = 0.1
    response_time_ms: float = 5000.0
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

    def of_host(self, cores: int, sessions: int) -> AlertLimits:
        """The host's, for so many cores and sessions."""
        return AlertLimits(
            cpu_fraction=self.cpu,
            memory_fraction=self.memory,
            descriptors_fraction=self.descriptors,
            websockets=self.websockets
            or max(whole("websockets_alert"), WEBSOCKETS_PER_SESSION * sessions),
            load=self.load or max(number("load_alert"), float(cores)),
            disk_fraction=self.disk,
            disk_critical_fraction=self.disk_critical,
        )
