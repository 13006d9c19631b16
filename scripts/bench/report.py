"""What was measured: figures with all their samples, as a table for people and as JSON for
programs.
"""

import json
import statistics
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table: what was measured, and every sample of it."""

    part: str
    what: str
    unit: str
    samples: list[float]


@dataclass(slots=True)
class Report:
    """What was measured so far."""

    figures: list[Figure] = field(default_factory=list)
    remarks: list[tuple[str, str]] = field(default_factory=list)

    def add(self, part: str, what: str, unit: str, samples: Iterable[float]) -> None:
        """Add a line."""
        self.figures.append(Figure(part, what, unit, [round(sample, 3) for sample in samples]))

    def remark(self, part: str, text: str) -> None:
        """Add a sentence below a part's lines."""
        self.remarks.append((part, text))

    def table(self) -> str:
        """All of it, for people."""
        width = max((len(figure.what) for figure in self.figures), default=0)
        lines = [f"{'':{width}}  {'n':>3} {'median':>9} {'least':>9} {'most':>9}"]
        for part in dict.fromkeys(figure.part for figure in self.figures):
            lines += ["", part]
            for figure in (figure for figure in self.figures if figure.part == part):
                shown = (
                    statistics.median(figure.samples),
                    min(figure.samples),
                    max(figure.samples),
                )
                numbers = " ".join(f"{number:9.2f}" for number in shown)
                lines.append(
                    f"{figure.what:{width}}  {len(figure.samples):3} {numbers} {figure.unit}"
                )
            lines += [f"  {text}" for of, text in self.remarks if of == part]
        return "\n".join(lines)

    def as_json(self, machine: dict[str, Any]) -> str:
        """All of it, for programs."""
        figures = [
            {
                "part": figure.part,
                "what": figure.what,
                "unit": figure.unit,
                "median": statistics.median(figure.samples),
                "samples": figure.samples,
            }
            for figure in self.figures
        ]
        remarks = [{"part": part, "text": text} for part, text in self.remarks]
        return (
            json.dumps({"machine": machine, "figures": figures, "remarks": remarks}, indent=2)
            + "\n"
        )
