"""What a diagnosis says: issues, the most important cause first, and the figures beside them. Pure.

An issue says what is wrong, whom it affects, and what to do about it; its commands can be pasted.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final, Literal

import msgspec

IssueType = Literal["token", "resource", "connection", "configuration"]


class Severity(StrEnum):
    """How soon somebody has to act."""

    LOW = "low"  # advice: nothing is broken
    MEDIUM = "medium"  # to be mended in working hours
    HIGH = "high"  # something does not work, or soon will not
    CRITICAL = "critical"  # numbers are away, or will be with the next restart


RANKS: Final = {severity: rank for rank, severity in enumerate(Severity)}


class Issue(msgspec.Struct, frozen=True, rename="camel"):
    """Something that is wrong.

    `solution`: what to do, in words; `commands`: the same to be pasted, without secrets.
    """

    type: IssueType
    severity: Severity
    description: str
    solution: str
    affected_components: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()

    @property
    def wants_somebody(self) -> bool:
        """Whether it is more than advice."""
        return self.severity is not Severity.LOW


class MemoryUsage(msgspec.Struct, frozen=True, rename="camel"):
    """Memory of the machine, or of its control group."""

    used_bytes: int
    available_bytes: int
    percent: float


class CpuUsage(msgspec.Struct, frozen=True, rename="camel"):
    """Of all cores, over the sampler's window; the load over 1, 5 and 15 minutes."""

    percent: float
    load_average: tuple[float, float, float]


class ConnectionUsage(msgspec.Struct, frozen=True, rename="camel"):
    """WebSocket connections, and how many raise an alert. None: not known here."""

    active: int | None
    max_allowed: int
    percent: float | None


class NetworkUsage(msgspec.Struct, frozen=True, rename="camel"):
    """Bytes a second in both directions; what a round trip to WhatsApp takes; TCP segments that
    were sent again, as a share of those that were sent. None: nothing to tell it from.
    """

    bandwidth_bytes_per_second: float
    latency_ms: float | None
    packet_loss_percent: float | None


class ResourceUsage(msgspec.Struct, frozen=True, rename="camel"):
    """What the machine has in use, from the one sampler of the host."""

    memory: MemoryUsage
    cpu: CpuUsage
    connections: ConnectionUsage
    network: NetworkUsage


class DiagnosticMetrics(msgspec.Struct, frozen=True, rename="camel"):
    """How long the diagnosis took, what is in use, and how many issues are high or critical."""

    response_time_ms: float
    resource_usage: ResourceUsage | None
    error_count: int


class DiagnosticResult(msgspec.Struct, frozen=True, rename="camel"):
    """A diagnosis.

    `success`: nobody has to act. `issues`: the most important cause first. `recommendations`: what
    to do, in the same order, each once.
    """

    success: bool
    issues: tuple[Issue, ...]
    recommendations: tuple[str, ...]
    metrics: DiagnosticMetrics


def most_important_first(issues: Iterable[Issue]) -> tuple[Issue, ...]:
    """By severity; among equals those stay in front that were found in front.

    A full disk comes before the database that cannot write on it, because its check does.
    """
    return tuple(sorted(issues, key=lambda issue: -RANKS[issue.severity]))


def result_of(
    issues: Iterable[Issue], response_time_ms: float, usage: ResourceUsage | None = None
) -> DiagnosticResult:
    """Issues, in the order in which they were found, as a diagnosis."""
    ordered = most_important_first(issues)
    return DiagnosticResult(
        success=not any(issue.wants_somebody for issue in ordered),
        issues=ordered,
        recommendations=tuple(dict.fromkeys(issue.solution for issue in ordered)),
        metrics=DiagnosticMetrics(
            response_time_ms=round(response_time_ms, 1),
            resource_usage=usage,
            error_count=count_of_errors(ordered),
        ),
    )


def count_of_errors(issues: Sequence[Issue]) -> int:
    """How many of them are more than a matter for working hours."""
    return sum(RANKS[issue.severity] >= RANKS[Severity.HIGH] for issue in issues)
