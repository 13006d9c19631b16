"""docs/seeds.md: every line of the documents that wasup began from has its row, and what is to show
it exists.
"""

import re
import shlex
from collections.abc import Iterator
from typing import Final, NamedTuple

import pytest

from scripts.generate_docs import ROOT
from supervisor.history.series import SERIES
from supervisor.process.log_kinds import KINDS
from tests.unit.program.test_docs_examples import (
    calls_of,
    unknown_command,
    unknown_route,
    words_of,
)

PAGE: Final = ROOT / "docs" / "seeds.md"
LINES: Final = {"000": 55, "001": 48, "002": 74, "003": 37, "004": 55}
"""How many each document has."""
STATES: Final = ("yes", "partly", "not yet", "other")
LATER: Final = frozenset({"dashboard", "speed", "messages", "several machines"})
"""What a line that is not there yet may come with."""
MAKEFILE: Final = (ROOT / "Makefile").read_text("utf-8")


class Row(NamedTuple):
    """A row of the page."""

    line: str
    here: str
    see: str


def rows() -> list[Row]:
    """All rows of the page's five tables."""
    found = []
    for line in PAGE.read_text("utf-8").splitlines():
        if re.match(r"\| \d{3}\.\d+ ", line):
            cells = re.split(r" (?<!\\)\| ", line.strip("| "))
            assert len(cells) == 4, line
            found.append(Row(cells[0], cells[2], cells[3]))
    return found


def unknown(see: str) -> Iterator[str]:
    """What of a row's last cell does not exist, or is of no kind that can be looked up."""
    links = re.findall(r"\[[^]]+\]\([^)]+\)", see)  # whether they lead somewhere, another test asks
    codes = re.findall(r"`([^`]+)`", see)
    if not links and not codes:
        yield "nothing is named"
    for code in codes:
        if not exists(code.replace("\\|", "|")):
            yield code


def exists(code: str) -> bool:
    """Whether a command, file or call is there."""
    if commands := list(words_of(code)):
        return all(unknown_command(words) is None for words in commands)
    if calls := list(calls_of(code)):
        series = re.findall(r"series=([\w.]+)", code)
        return not any(unknown_route(call) for call in calls) and set(series) <= set(SERIES)
    first, *others = [word for word in shlex.split(code) if word != "sudo"]
    if first == "make":
        return all(re.search(rf"^{re.escape(target)}:", MAKEFILE, re.M) for target in others)
    if first == "pm2":
        return others[0] in {"start", "logs", "restart"} and others[1] in {
            "wasup",
            "ecosystem.config.js",
        }
    if first in {"grep", "tail"}:
        folder, _, name = others[-1].rpartition("/")
        return folder == "data/logs" and is_written(name)
    if not (ROOT / first).exists():
        return False
    options = [option for option in others if option.startswith("-")]
    text = (ROOT / first).read_text("utf-8") if options else ""
    return all(f'"{option}"' in text for option in options)


def is_written(name: str) -> bool:
    """Whether the program, its cron monitor or pm2 writes a log of that name."""
    if name in {f"{kind}.log" for kind in KINDS}:
        return True
    files = [*(ROOT / "supervisor").rglob("*.py"), ROOT / "scripts" / "monitor.py"]
    files.append(ROOT / "ecosystem.config.js")
    return any(name in file.read_text("utf-8") for file in files)


def test_every_line_of_every_document_has_one_row() -> None:
    expected = [f"{name}.{n}" for name, most in LINES.items() for n in range(1, most + 1)]
    assert [row.line for row in rows()] == expected


@pytest.mark.parametrize("document", LINES)
def test_every_row_says_in_one_word_whether_it_is_there(document: str) -> None:
    strange = [
        row for row in rows() if row.line.startswith(document) and not row.here.startswith(STATES)
    ]
    assert strange == []


def test_what_will_come_is_named_by_its_name() -> None:
    named = {name for row in rows() for name in re.findall(r"not yet \(([^)]+)\)", row.here)}
    assert named <= LATER


@pytest.mark.parametrize("document", LINES)
def test_what_is_to_show_a_line_exists(document: str) -> None:
    strange = {
        row.line: missing
        for row in rows()
        if row.line.startswith(document) and (missing := [*unknown(row.see)])
    }
    assert strange == {}


def test_what_does_not_exist_is_found() -> None:
    """These tests can fail."""
    for code in (
        "wasup nonsense",
        "wasup status --nonsense",
        "make nonsense",
        "GET /nonsense",
        "curl localhost:4001/nonsense",
        "curl 'localhost:4001/history?series=nonsense'",
        "scripts/nonsense.py",
        "scripts/monitor_websocket_resources.py --nonsense",
        "supervisor/nonsense/",
        "tail data/logs/nonsense.log",
        "nonsense",
    ):
        assert list(unknown(f"`{code}`")) == [code]
    assert list(unknown("by looking")) == ["nothing is named"]
