"""`wasup explain ID`: the three answers that an operator wants at three in the morning, then the
story.
"""

import re
import shutil
import sys
import textwrap
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final

import typer

from sessions.model import parse_session_id
from sessions.views.plain_text import plain_all
from sessions.views.times import duration, wall_seconds
from supervisor.cli.common.options import Json, SessionName
from supervisor.cli.common.output import say, show_json
from supervisor.cli.common.reach import must_run

SHOWN: Final = 8
"""Incidents that fit on a screen below the answers; `--all` shows what the API gives."""

NOBODY_WATCHED: Final = (
    " What it was not available was time without a supervisor, or its way from a start to being"
    " open."
)


def explain(
    session: SessionName,
    everything: Annotated[
        bool, typer.Option("--all", help="The whole timeline, not only the newest few.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Say of a session why it is where it is, when it tries next, and what you must do; then its
    last incidents.
    """
    told = must_run().call("GET", f"/sessions/{parse_session_id(session)}/explain")
    if as_json:
        show_json(told)
        return
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    for line in lines(plain_all(told), None if everything else SHOWN):
        say(line if width is None else wrapped(line, width))


def lines(told: Mapping[str, Any], most: int | None) -> Iterator[str]:
    """The explanation, line by line, for a terminal or a program. Pure."""
    ago = duration(wall_seconds(told["timestamp"]) - wall_seconds(told["since"]))
    yield f"{told['id']} is {told['state'].upper()}, for {ago} (since {clock(told['since'])})"
    yield ""
    yield f"  Why:         {told['why']}"
    yield f"  When next:   {_when(told)}"
    yield f"  What to do:  {told['humanAction']}"
    yield ""
    yield from _figures(told)
    story = told["timeline"]
    if not story:
        yield "  No incident is on record." + (
            NOBODY_WATCHED if (told["availability"]["24h"] or 1.0) < 1.0 else ""
        )
        return
    shown = story[:most]
    yield f"  Last incidents (newest first, times in UTC{_of(len(shown), len(story))}):"
    for incident in shown:
        yield from _incident(incident)


def wrapped(line: str, width: int) -> str:
    """A line broken between words, what follows indented below where its text begins."""
    label = re.match(r"  (\w[\w ]*:)? *|      ", line)
    indent = " " * (len(label.group()) if label else 2)
    broken = textwrap.wrap(
        line, max(width, 2 * len(indent)), subsequent_indent=indent, break_on_hyphens=False
    )
    return "\n".join(broken)


def clock(time: str) -> str:
    """An ISO time as people read it: day and second, UTC."""
    return time[:19].replace("T", " ") + " UTC"


def _when(told: Mapping[str, Any]) -> str:
    at, estimated = told["whenNext"], told["outage"] is not None
    return f"{told['whenNextWords']}" + (
        f" ({'about' if estimated else 'at'} {clock(at)})" if at else ""
    )


def _figures(told: Mapping[str, Any]) -> Iterator[str]:
    available, budget = told["availability"], told["budget"]
    if told["rule"]:
        yield f"  Rule: {told['rule']}. Breaker: {told['breaker']}."
    if available["since"] is None:
        yield "  Availability: nothing to say yet, it has not been open since records are kept."
    else:
        yield (
            f"  Available: {_percent(available['24h'])} of the last 24 h,"
            f" {_percent(available['7d'])} of 7 d (of the time that it was wanted; on record since"
            f" {clock(available['since'])})."
        )
    mean = told["mttrSeconds"]
    healed = f", back after {duration(mean)} on average" if mean is not None else ""
    times = f"{told['reconnects24h']} time{'' if told['reconnects24h'] == 1 else 's'}"
    yield (
        f"  Came back {times} in 24 h{healed}. Logins: {budget['used']} of {budget['limit']} a day."
    )
    yield ""


def _incident(incident: Mapping[str, Any]) -> Iterator[str]:
    cost = duration(incident["costSeconds"])
    ended = {"under way": "still away", "open": "back"}.get(incident["ending"], incident["ending"])
    yield f"  {clock(incident['beganAt'])[:-4]}  {ended}, away {cost}  {incident['causeOnTheWire']}"
    waits = ", ".join(duration(wait) for wait in incident["waited"][-6:])
    tries = f"{incident['attempts']} {'try' if incident['attempts'] == 1 else 'tries'}"
    yield f"      {incident['rule']}; {tries}" + (f"; waited {waits}" if waits else "")
    if incident["outage"] and incident["outage"] not in incident["rule"]:
        yield f"      {incident['outage']}"


def _percent(part: float | None) -> str:
    """Never rounded up to 100 %."""
    return "nothing" if part is None else f"{int(part * 100_000) / 1000:g} %"


def _of(shown: int, there: int) -> str:
    return "" if shown == there else f"; {shown} of {there}, --all shows more"
