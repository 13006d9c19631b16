"""Draw the docs that are made from the code: the state diagram, the tables of docs/host.md,
docs/reference.md, docs/events.md and docs/close-reasons.md, and that of docs/history.md.

`python -m scripts.generate_docs` writes them; `--check` says whether they are true (a test does the
same).
"""

import inspect
import re
import sys
from collections.abc import Iterable, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any, Final

import msgspec
import typer
from pydantic_core import PydanticUndefined
from typer.main import get_command

import supervisor.program  # noqa: F401 - with it all rooms that publish events are there
from api.routes import ROUTES
from sessions.lifecycle.machine import TRANSITIONS, Signal
from sessions.model import CloseReason, EventData, SessionState, event_types
from sessions.policy import RULES, Mend, in_words
from sessions.views import explanations
from supervisor.cli.cli import app as commands
from supervisor.history.series import SERIES
from supervisor.host.needs.requirements import TABLE as WANTED
from supervisor.host.numbers import NUMBERS
from supervisor.settings import Settings, variable

ROOT: Final = Path(__file__).resolve().parent.parent
ARCHITECTURE: Final = ROOT / "ARCHITECTURE.md"
REFERENCE: Final = ROOT / "docs" / "reference.md"
CLOSE_REASONS: Final = ROOT / "docs" / "close-reasons.md"
EVENTS: Final = ROOT / "docs" / "events.md"
HOST: Final = ROOT / "docs" / "host.md"
HISTORY: Final = ROOT / "docs" / "history.md"
FLEETS: Final = (500, 5000)
MOST_CALLS: Final = 3
"""Named of those that may give an error code; the others are counted."""
"""Sizes for which docs/host.md shows what is wanted: the one that is taken when none is named, and
the largest that wasup is for.
"""
_DIAGRAM: Final = re.compile(
    r"(?<=<!-- state diagram: generated -->\n).*?(?=<!-- end of state diagram -->)", re.DOTALL
)
_EVENT_TABLES: Final = re.compile(
    r"(?<=<!-- events: generated -->\n).*?(?=<!-- end of events -->)", re.DOTALL
)
_SERIES_TABLE: Final = re.compile(
    r"(?<=<!-- series: generated -->\n).*?(?=<!-- end of series -->)", re.DOTALL
)
GROUPS: Final[Mapping[str, str]] = {
    "session": "Sessions",
    "message": "Messages",
    "outage": "Outages",
    "alert": "Alerts",
    "worker": "Workers",
    "delivery": "Webhooks",
    "policy": "The policy",
}
"""The words before the dot, in the order of the page."""


def documents() -> Mapping[Path, str]:
    """Every generated document, as it should be."""
    return {
        ARCHITECTURE: _DIAGRAM.sub(
            lambda _: state_diagram(), ARCHITECTURE.read_text(encoding="utf-8")
        ),
        REFERENCE: reference(),
        CLOSE_REASONS: close_reasons(),
        EVENTS: _EVENT_TABLES.sub(lambda _: events(), EVENTS.read_text(encoding="utf-8")),
        HOST: host(HOST.read_text(encoding="utf-8")),
        HISTORY: _SERIES_TABLE.sub(lambda _: series(), HISTORY.read_text(encoding="utf-8")),
    }


def series() -> str:
    """What is measured."""
    rows = (
        (
            f"`{one.name}`",
            "" if one.subject == "none" else f"each {one.subject}",
            one.kind,
            one.unit,
            one.words,
        )
        for one in SERIES.values()
    )
    return _table(("series", "of", "kind", "unit", "what it is"), rows) + "\n"


def state_diagram() -> str:
    """The machine's table as a Mermaid diagram.

    STOP leads to stopped from everywhere and is left out, to be readable.
    """
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> stopped"]
    for state, row in TRANSITIONS.items():
        for signal, target in row.items():
            if signal is not Signal.STOP:
                lines.append(f"    {state} --> {target}: {signal.value}")
    return "\n".join([*lines, "```", ""])


def reference() -> str:
    """Settings, routes, states, close reasons and commands, from the code."""
    parts = [
        "# Reference",
        (
            "Made from the code by `python -m scripts.generate_docs`; a test fails when it is out"
            " of date."
        ),
        "## Settings",
        (
            "Environment variables, or lines of the `.env` file in the folder that wasup is"
            " installed in (`wasup --directory DIR` names another one). A bad value refuses the"
            " start (exit status 78) and says what is accepted; an unknown `WHATSAPP_*` variable is"
            " warned about; an empty one counts as not set."
        ),
        _table(("variable", "default", "meaning"), _settings()),
        "## Routes",
        (
            'JSON in, JSON out. Errors have one shape: `{"error": {"code", "message", "hint"}}`. '
            "Limits, and what to do about an error: [api.md](api.md)."
        ),
        (
            "`scope`: what a key needs, and *fleet* that it has to be for all sessions"
            " ([access.md](access.md))."
        ),
        _table(("call", "scope", "what it does"), _routes()),
        "## Error codes",
        (
            "Which call gives which, is in `/openapi.json` too; what to do about a status is in"
            " [api.md](api.md)."
        ),
        _table(("code", "status", "of"), _codes()),
        "## Session states",
        _table(
            ("state", "meaning"),
            ((f"`{state}`", text) for state, text in _members(SessionState)),
        ),
        "## Close reasons",
        (
            "Why a session was closed, and what the default table (`sessions/policy/rules.py`)"
            " does. *Counts*: failures added to the session's breaker. *Force*: whether `POST"
            " /force-reconnection/{id}` is accepted once it is parked."
        ),
        _table(
            ("reason", "does", "counts", "credentials", "force", "what a human must do"), _reasons()
        ),
        "## Commands",
        _table(("command", "what it does"), _commands(get_command(commands))),
    ]
    return "\n\n".join(parts) + "\n"


def close_reasons() -> str:
    """The operator's page: for each close reason and state the texts that `explain` gives."""
    parts = [
        "# Why is it closed, and what do I do?",
        (
            "Made from the code (`sessions/views/explanations.py`, `sessions/policy/rules.py`) by"
            " `python -m scripts.generate_docs`. These are the texts of `wasup explain ID` and `GET"
            " /sessions/{id}/explain`; `{id}` is the session's. What wasup does is the default:"
            " `wasup policy show` tells what your policy file makes of it."
        ),
        "## Close reasons",
        _table(
            ("reason", "on the wire", "why", "what wasup does", "what you do"), explanations.rows()
        ),
        "## When next, if it is parked",
        "A session that waits has a time; a parked one waits for this:",
        _table(
            ("reason", "next try"),
            (
                (f"`{reason}`", text.until)
                for reason, text in explanations.TEXTS.items()
                if text.until
            ),
        ),
        "## States",
        _table(("state", "why", "when next"), explanations.state_rows()),
    ]
    return "\n\n".join(parts) + "\n"


def events() -> str:
    """The types of events and what each tells, group by group."""
    parts = []
    kinds_of_all = sorted(event_types(), key=lambda kind: list(GROUPS).index(_group(kind)))
    for group, kinds in groupby(kinds_of_all, key=_group):
        rows = (
            (f"`{kind.type}`", _documented(kind), ", ".join(_fields(kind)) or "nothing")
            for kind in kinds
        )
        parts += [f"### {GROUPS[group]}", _table(("type", "what has happened", "`data`"), rows)]
    return "\n\n".join(parts) + "\n"


def _group(kind: type[EventData]) -> str:
    return kind.type.split(".")[0]


def _fields(kind: type[EventData]) -> Iterable[str]:
    for field in msgspec.structs.fields(kind):
        yield f"`{field.encode_name}`"


def host(text: str) -> str:
    """The host's page with its tables. Raises ValueError when it has lost their markers."""
    for name, table in (("wanted limits", wanted_limits()), ("guide numbers", guide_numbers())):
        between = re.compile(
            rf"(?<=<!-- {name}: generated -->\n).*?(?=<!-- end of {name} -->)", re.DOTALL
        )
        text, found = between.subn(lambda _, table=table: table + "\n", text)  # type: ignore[misc]
        if found != 1:
            raise ValueError(f"docs/host.md has {found} places for {name}, and should have one")
    return text


def guide_numbers() -> str:
    """The tuning guide's numbers as a table."""
    rows = (
        (f"`{row.name}`", _plain(row.value), row.unit, row.table, row.meaning) for row in NUMBERS
    )
    return _table(("number", "value", "unit", "in the guide's table", "meaning"), rows)


def wanted_limits() -> str:
    """What is wanted of a host, for some sizes of the fleet."""
    rows = (
        (
            f"`{row.name}`",
            row.direction.value,
            *(row.wanted_shown(sessions) for sessions in FLEETS),
            row.why(FLEETS[0]),
        )
        for row in WANTED
    )
    return _table(
        ("limit", "", *(f"{sessions:,} sessions" for sessions in FLEETS), f"why, for {FLEETS[0]}"),
        rows,
    )


def _plain(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:g}"


def _settings() -> Iterable[tuple[str, ...]]:
    for name, field in Settings.model_fields.items():
        default = "" if field.default in (None, PydanticUndefined) else f"`{_shown(field.default)}`"
        yield f"`{variable(name)}`", default, field.description or ""


def _shown(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _routes() -> Iterable[tuple[str, ...]]:
    for route in ROUTES:
        needs = f"`{route.scope}`" if route.needs_token else "open to all"
        needs += ", *fleet*" if route.fleet else ""
        yield f"`{route.method} {route.path}`", needs, _documented(route.handler)


def _codes() -> Iterable[tuple[str, ...]]:
    """Every error code of the API, by status, and the calls that may give it."""
    every = [f"`{route.method} {route.path}`" for route in ROUTES]
    calls: dict[tuple[int, str], list[str]] = {}
    for route in ROUTES:
        for status, codes in route.problems().items():
            for code in codes:
                calls.setdefault((status, code), []).append(f"`{route.method} {route.path}`")
    for (status, code), names in sorted(calls.items()):
        others = [name for name in every if name not in names]
        if len(others) <= MOST_CALLS + 1:
            words = "every call" + (f" but {', '.join(others)}" if others else "")
        elif len(names) > MOST_CALLS + 1:
            words = f"{', '.join(names[:MOST_CALLS])}, {len(names) - MOST_CALLS} others"
        else:
            words = ", ".join(names)
        yield f"`{code}`", str(status), words


def _reasons() -> Iterable[tuple[str, ...]]:
    for reason in CloseReason:
        rule = RULES[reason]
        force = "yes" if rule.mend is Mend.RECONNECT else "no"
        yield (
            f"`{reason}`",
            in_words(rule),
            str(rule.counts),
            rule.credentials.value,
            force,
            rule.human,
        )


def _commands(command: Any, name: str = "wasup") -> Iterable[tuple[str, ...]]:
    """As the command line itself finds them: a group loads what is below it when it is asked."""
    below = command.list_commands(None) if hasattr(command, "list_commands") else ()
    for found in below:
        yield from _commands(command.get_command(None, found), f"{name} {found}")
    if not below:
        yield f"`{name}`", _two_paragraphs(command.help or "")


def _members(kind: type[SessionState]) -> Iterable[tuple[str, str]]:
    """An enum's members with the docstrings behind them, which Python itself forgets."""
    found = re.findall(
        r'^    (\w+) = "\w+"\n    """(.*?)"""', inspect.getsource(kind), re.MULTILINE | re.DOTALL
    )
    return [(kind[name].value, " ".join(text.split())) for name, text in found]


def _documented(thing: object) -> str:
    return _two_paragraphs(inspect.getdoc(thing) or "")


def _two_paragraphs(text: str) -> str:
    """What it does, and what one has to know of it; in a cell of a table."""
    return " ".join(" ".join(text.split("\n\n")[:2]).split())


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines
    )


def main(check: bool = False) -> None:
    """Write the documents, or with --check say which are out of date."""
    stale = [
        path
        for path, text in documents().items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
    for path in stale:
        print(f"{path.relative_to(ROOT)} {'is out of date' if check else 'written'}")
        if not check:
            path.write_text(documents()[path], encoding="utf-8")
    sys.exit(1 if check and stale else 0)


if __name__ == "__main__":
    typer.run(main)
