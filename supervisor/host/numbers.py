"""The tuning guide's numbers, all of them, in one table: docs/host.md says where they come from.

What is wanted, alerted and tested takes its values from here; docs/host.md shows it.
"""

from dataclasses import dataclass
from typing import Final

GIB: Final = 1024**3


@dataclass(frozen=True, slots=True)
class Number:
    """A number of the guide: its name, the value in the unit, and in which of the guide's tables it
    stands.
    """

    name: str
    value: float
    unit: str
    table: str
    meaning: str


OPTIMIZATIONS: Final = "Otimizações Implementadas"
ALERTS: Final = "Alertas Automáticos"
CRITERIA: Final = "Critérios de Aprovação"
MONITORING: Final = "Monitoramento"
SUCCESS: Final = "Métricas de Sucesso"

NUMBERS: Final[tuple[Number, ...]] = (
    Number(
        "nofile_default",
        1024,
        "descriptors",
        OPTIMIZATIONS,
        "the usual soft limit of a process: far too low",
    ),
    Number("nofile", 65_536, "descriptors", OPTIMIZATIONS, "wanted for a process, soft and hard"),
    Number("net.ipv4.tcp_max_syn_backlog", 8192, "connections", OPTIMIZATIONS, "wanted at least"),
    Number("net.ipv4.tcp_keepalive_time", 600, "seconds", OPTIMIZATIONS, "wanted at most"),
    Number("net.ipv4.tcp_fin_timeout", 30, "seconds", OPTIMIZATIONS, "wanted at most"),
    Number("net.core.somaxconn", 8192, "connections", OPTIMIZATIONS, "wanted at least"),
    Number("net.core.netdev_max_backlog", 5000, "packets", OPTIMIZATIONS, "wanted at least"),
    Number("vm.max_map_count", 262_144, "mappings", OPTIMIZATIONS, "wanted at least"),
    Number("kernel.shmmax", GIB, "bytes", OPTIMIZATIONS, "wanted at least (1 GB)"),
    Number("interval", 5, "seconds", MONITORING, "between two readings of the monitor"),
    Number("history", 100, "readings", MONITORING, "that the monitor keeps"),
    Number("port", 8000, "port", MONITORING, "counted by the guide's own netstat line"),
    Number("cpu_alert", 80, "percent", ALERTS, "CPU above it raises an alert"),
    Number("memory_alert", 85, "percent", ALERTS, "memory in use above it raises an alert"),
    Number(
        "descriptors_alert", 90, "percent", ALERTS, "descriptors in use above it raise an alert"
    ),
    Number(
        "websockets_alert",
        500,
        "connections",
        ALERTS,
        "WebSocket connections above it raise an alert",
    ),
    Number(
        "load_alert", 4.0, "processes", ALERTS, "load average of a minute above it raises an alert"
    ),
    Number("descriptors_test", 10_000, "descriptors", CRITERIA, "a process may open at least"),
    Number("memory_test", 2 * GIB, "bytes", CRITERIA, "available at least (2 GB)"),
    Number("connections_test", 500, "connections", CRITERIA, "open at the same time at least"),
    Number("cpu_test", 80, "percent", CRITERIA, "CPU at rest below"),
    Number("nofile_before", 1024, "descriptors", SUCCESS, "before"),
    Number("connections_before", 100, "connections", SUCCESS, "at the same time before, about"),
    Number("cpu_before", 90, "percent", SUCCESS, "CPU under load before, above"),
    Number("nofile_after", 65_536, "descriptors", SUCCESS, "afterwards"),
    Number(
        "connections_after", 500, "connections", SUCCESS, "at the same time afterwards, more than"
    ),
    Number("cpu_after", 70, "percent", SUCCESS, "CPU under load afterwards, below"),
)

_VALUES: Final = {number.name: number.value for number in NUMBERS}


def number(name: str) -> float:
    """The value of a row. Raises KeyError."""
    return _VALUES[name]


def whole(name: str) -> int:
    """The value of a row that is a whole number. Raises KeyError."""
    return int(_VALUES[name])
