"""What commands print: what people read, tables, and the API's JSON for programs.

Answers go to stdout, and nothing else does; all else that is said goes to stderr.
"""

import re
import shutil
import sys
from typing import TYPE_CHECKING, Any, Final

import msgspec
import typer

from sessions.views.plain_text import is_seen, plain

if TYPE_CHECKING:  # rich is loaded by those who print a table
    from rich.table import Table

WIDE: Final = 10_000
"""Columns where no terminal says how many there are."""
_NOT_ASCII: Final = re.compile(r"[^\x00-\x7e]")


def say(text: str = "", *, err: bool = False, end: bool = True) -> None:
    """Print lines.

    Whatever comes from outside is in them may not steer the terminal (plain_text.py).
    """
    typer.echo(plain(text, keep="\n"), err=err, nl=end)


def show(table: "Table") -> None:
    """Print a table: for a terminal as wide as that is, nothing cut; for a program each row on one
    line, without colours.

    Its texts are shown as they are: no markup.
    """
    from rich.console import Console
    from rich.text import Text

    for column in table.columns:
        column.overflow = "fold"
        column.header = Text(plain(str(column.header)))
        column._cells = [Text(plain(str(cell))) for cell in column._cells]
    console = Console()
    (console if console.is_terminal else Console(width=WIDE)).print(table)


def show_json(answer: Any) -> None:
    """Print the API's answer as it came, on one line.

    What would steer a terminal is escaped in JSON's own way, so that the text stays the same.
    """
    document = msgspec.json.encode(answer).decode()
    typer.echo(_NOT_ASCII.sub(lambda found: _escaped(found[0]), document))


def _escaped(character: str) -> str:
    if is_seen(character):
        return character
    units = character.encode("utf-16-be", errors="surrogatepass").hex()
    return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))


def fitted(text: str) -> str:
    """A line that does not break on a terminal: what is too much is cut there, and nowhere else."""
    if not sys.stdout.isatty():
        return text
    from rich.cells import cell_len, set_cell_size

    columns = shutil.get_terminal_size().columns
    return text if cell_len(text) <= columns else set_cell_size(text, columns - 1) + "…"
