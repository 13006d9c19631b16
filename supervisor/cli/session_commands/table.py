"""How `wasup sessions list` shows sessions: on a terminal of any width nothing is cut; for a
program each is one line.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from sessions.views.plain_text import plain
from sessions.views.times import duration, wall_seconds
from supervisor.cli.common.output import show

COLOURS: Final = {
    "open": "green",
    "parked": "red",
    "quarantined": "red",
    "qr": "cyan",
    "stopped": "dim",
}
"""Of states; all others are on their way, and yellow."""


def asks_for_a_human(session: Mapping[str, Any]) -> bool:
    """Whether somebody has to do something about it."""
    return not session["reconnection"]["humanAction"].startswith("Nothing")


def list_on(console: Console, sessions: Sequence[Mapping[str, Any]], now: float) -> None:
    """Print them. `now`: wall clock, seconds."""
    if not console.is_terminal:
        show(_lines(sessions))
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("session", overflow="fold", min_width=8)
    table.add_column("state", no_wrap=True)
    for name in ("for", "number", "why", "next try"):
        table.add_column(name, overflow="fold")
    for session in sessions:
        state, why = session["state"], session["reconnection"]
        table.add_row(
            _plain(session["id"]),
            Text(state, style=COLOURS.get(state, "yellow")),
            duration(now - wall_seconds(why["since"])),
            _plain(number_of(session)),
            _plain(_reason(session)),
            _next_try(why["nextAttemptAt"], now),
        )
    console.print(table)
    for session in filter(asks_for_a_human, sessions):
        console.print()
        console.print(Text(f"{plain(session['id'])}:", style="bold"), overflow="fold")
        console.print(Padding(_plain(session["reconnection"]["humanAction"]), (0, 0, 0, 2)))
    counts = Counter(session["state"] for session in sessions)
    console.print(f"\n{counts_words(counts)}", style="dim")


def _lines(sessions: Iterable[Mapping[str, Any]]) -> Table:
    table = Table("session", "state", "phone", "since", "reason", "next", "what to do", box=None)
    for session in sessions:
        why = session["reconnection"]
        table.add_row(
            _plain(session["id"]),
            session["state"],
            _plain(session["jid"] or ""),
            why["since"],
            _reason(session),
            why["nextAttemptAt"] or "",
            _plain(why["humanAction"]),
        )
    return table


def _reason(session: Mapping[str, Any]) -> str:
    """Why it was closed; of an open one, or one that was stopped, the last close is an old
    story.
    """
    return (
        ""
        if session["state"] in {"open", "stopped"}
        else session["reconnection"]["closeReason"] or ""
    )


def number_of(session: Mapping[str, Any]) -> str:
    """The number alone: a jid also names the device and the server."""
    return str(session["jid"] or "").partition("@")[0].partition(":")[0]


def _next_try(at: str | None, now: float) -> str:
    return "" if at is None else f"in {duration(max(0.0, wall_seconds(at) - now))}"


def counts_words(states: Mapping[str, int]) -> str:
    """How many sessions there are, and how many of them in each state."""
    total = sum(states.values())
    ordered = sorted(states.items(), key=lambda item: -item[1])
    told = ", ".join(f"{count} {state}" for state, count in ordered)
    return f"{total} session{'' if total == 1 else 's'}" + (f": {told}" if told else "")


def _plain(text: str) -> Text:
    """Never markup, and nothing that moves the cursor: names and messages come from elsewhere."""
    return Text(plain(text))
