"""What the campaign prints: a line for each step, the table at the end, and all that is known of a
violation.
"""

import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rich.console import Console
from rich.table import Table
from rich.text import Text

from scripts.chaos.invariants import Violation
from scripts.chaos.plan import BY_NAME, Promise, Step
from scripts.chaos.recovery import Recovery


def _console() -> Console:
    """A terminal's own width; in a file or a CI log, room enough for the table."""
    return Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else 130)


@dataclass(slots=True)
class Row:
    """One line of the table: what a fault has cost so far."""

    recoveries: list[float] = field(default_factory=list)
    firsts: list[float] = field(default_factory=list)
    texts: list[float] = field(default_factory=list)
    count: int = 0
    logins: int = 0
    replaced: int = 0


@dataclass(slots=True)
class Report:
    """What was seen so far."""

    console: Console = field(default_factory=_console)
    rows: dict[str, Row] = field(default_factory=dict)
    violations: list[Violation] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    """Faults that this machine does not allow, and why not."""
    details: list[str] = field(default_factory=list)
    """What was known when invariants broke."""

    def step(
        self, step: Step, of: int, sessions: Sequence[str], recovery: Recovery, logins: int
    ) -> None:
        """A step is over."""
        row = self.rows.setdefault(step.fault, Row())
        row.count += 1
        row.logins += logins
        row.replaced += recovery.replaced
        if recovery.first_seconds is not None:
            row.firsts.append(recovery.first_seconds)
        if recovery.seconds is not None:
            row.recoveries.append(recovery.seconds)
            row.texts.append(recovery.texts_seconds)
        whom = "all" if len(sessions) > 1 else "".join(sessions)
        healed = (
            "not healed"
            if recovery.seconds is None
            else f"{recovery.seconds:5.1f} s, {logins} logins"
        )
        mark, style = ("✘", "red") if recovery.violations else ("✔", "green")
        number = f"{step.number:>{len(str(of))}}/{of}"
        self.console.print(
            Text(mark, style=style) + Text(f" {number}  {f'{step} {whom}'.strip():56} {healed}")
        )

    def skip(self, step: Step, of: int, why: str) -> None:
        """A step could not be inflicted here."""
        self.skipped[step.fault] = why
        number = f"{step.number:>{len(str(of))}}/{of}"
        self.console.print(
            Text("-", style="yellow") + Text(f" {number}  {step!s:56} skipped: {why}")
        )

    def broken(self, violations: Sequence[Violation], replay: str, details: str) -> None:
        """Invariants broke."""
        self.violations += violations
        self.details.append(details)
        self._show(violations)
        self.console.print(Text(details))
        self.console.print(Text(f"Again: {replay}", style="bold"))

    def table(self) -> None:
        """Faults, counts, and recovery times."""
        table = Table("fault", "promise")
        for heading in (
            "count",
            "first, max s",
            "median s",
            "max s",
            "texts, max s",
            "logins",
            "workers replaced",
        ):
            table.add_column(heading, justify="right")
        for name in (name for name in BY_NAME if name in self.rows):
            row = self.rows[name]
            promise = BY_NAME[name].promise
            times = [f"{max(row.firsts):.2f}" if promise is Promise.OUTAGE and row.firsts else "-"]
            times += [
                f"{of(row.recoveries):.2f}" if row.recoveries else "-"
                for of in (statistics.median, max)
            ]
            times.append(f"{max(row.texts, default=0.0):.2f}")
            counts = (str(row.logins), str(row.replaced))
            table.add_row(name, promise.name.lower(), str(row.count), *times, *counts)
        self.console.print(table)
        for name, why in self.skipped.items():
            self.console.print(f"{name} was skipped: {why}", style="yellow")

    def verdict(self) -> None:
        """What broke, once more, and what was known then: of a long log people see the last page
        first.
        """
        self._show(self.violations)
        for details in self.details[-1:]:
            self.console.print(Text(details))

    def _show(self, violations: Sequence[Violation]) -> None:
        for violation in violations:
            self.console.print(Text(f"✘ {violation}", style="bold red"))

    def figures(self, figures: Mapping[str, str]) -> None:
        """What else was counted."""
        for name, value in figures.items():
            self.console.print(f"{name}: {value}")
