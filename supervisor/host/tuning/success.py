"""The guide's measures of success: before the tuning, after it, and on this host. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from supervisor.host.numbers import number, whole
from supervisor.host.tuning.validation import Validation

UNKNOWN: Final = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Success:
    """A measure, in words."""

    name: str
    before: str
    after: str
    here: str


def successes(results: Sequence[Validation]) -> list[Success]:
    """All four, from what the validations have measured."""
    measured: Mapping[str, Mapping[str, str | float | None]] = {
        result.name: result.measured for result in results
    }
    connections, performance = measured["connections"], measured["performance"]
    cpu = performance["cpuUnderLoadPercent"]
    return [
        Success(
            name="descriptors of a process",
            before=f"{whole('nofile_before'):,}",
            after=f"{whole('nofile_after'):,}",
            here=f"{measured['file_descriptors']['soft']}",
        ),
        Success(
            name="connections at the same time",
            before=f"about {whole('connections_before')}",
            after=f"more than {whole('connections_after')}",
            here=f"{connections['open']} (all that were asked for)"
            if connections["trouble"] is None
            else f"{connections['open']}",
        ),
        Success(
            name='"Insufficient resources"',
            before="often",
            after="never",
            here=f"{connections['trouble'] or 'not seen'}",
        ),
        Success(
            name="CPU under their load",
            before=f"above {number('cpu_before'):.0f} %",
            after=f"below {number('cpu_after'):.0f} %",
            here=UNKNOWN if cpu is None else f"{cpu} %",
        ),
    ]


def success_text(rows: Sequence[Success]) -> str:
    """A table of them."""
    lines = [f"{'':30}{'before':>14}{'after':>16}  here"]
    lines += [f"{row.name:30}{row.before:>14}{row.after:>16}  {row.here}" for row in rows]
    return "\n".join(lines) + "\n"
