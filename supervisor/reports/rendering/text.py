"""A document as text, short: for a terminal, and for a channel that takes no file."""

from collections.abc import Sequence
from typing import Final

from supervisor.reports.rendering.document import Document, Level

ROWS: Final = 5
"""Of a table."""
TOLD: Final = 4
"""Of the sections, the first: figures, availability, causes, the worst sessions."""


def text(document: Document) -> bytes:
    """The text."""
    lines = [f"{document.title}: {document.period}", *document.notes, "", document.levels_title]
    for level in document.levels:
        detail = f"; {level.detail}" if level.detail else ""
        lines.append(f"  {level.name}: {level.value}{_state(level)} ({level.target}{detail})")
    lines += ["", document.advice_title]
    lines += [f"  {one.severity}: {one.text}" for one in document.advice] or [
        f"  {document.nothing_to_do}"
    ]
    for number, section in enumerate(document.sections[:TOLD]):
        lines += ["", section.title, *(f"  {note}" for note in section.notes)]
        rows = section.rows if number == 0 else section.rows[:ROWS]
        lines += [f"  {_row(row[0], row[1:])}" for row in rows]
    return ("\n".join([*lines, "", document.made]) + "\n").encode()


def _state(level: Level) -> str:
    return f" - {level.state_words}" if level.state_words else ""


def _row(first: str, rest: Sequence[str]) -> str:
    return f"{first}: {' | '.join(cell for cell in rest if cell)}"
