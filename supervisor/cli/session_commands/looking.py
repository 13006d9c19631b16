"""`wasup sessions list` and `wasup sessions show`."""

import time
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import typer
from rich.console import Console

from sessions.model import SessionState, parse_session_id
from supervisor.cli.common.options import Json, SessionName
from supervisor.cli.common.output import say, show_json
from supervisor.cli.common.reach import must_run
from supervisor.cli.session_commands.table import asks_for_a_human, list_on, number_of


def list_sessions(
    state: Annotated[
        list[SessionState] | None,
        typer.Option(help="Only those in this state; may be given several times."),
    ] = None,
    for_me: Annotated[
        bool, typer.Option("--for-me", help="Only those that wait for a human.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show the sessions of the running supervisor: state, why, when they try next, and what a human
    must do.
    """
    answer = must_run().every("/sessions", "sessions")
    shown = [
        one
        for one in answer["sessions"]
        if (not state or one["state"] in state) and (not for_me or asks_for_a_human(one))
    ]
    if as_json:
        show_json(answer | {"sessions": shown})
    else:
        list_on(Console(), shown, time.time())


def show_session(session: SessionName, as_json: Json = False) -> None:
    """Show one session: its state, number and proxy, and what a human must do."""
    seen = must_run().call("GET", f"/sessions/{parse_session_id(session)}")
    if as_json:
        show_json(seen)
        return
    for line in lines(seen):
        say(line)


def lines(seen: Mapping[str, Any]) -> Iterator[str]:
    """A session, line by line. Pure."""
    why, name = seen["reconnection"], seen["id"]
    yield f"{name} is {seen['state'].upper()} since {why['since']}"
    yield ""
    yield f"  What to do:  {why['humanAction']}"
    for label, value in (
        ("Number", number_of(seen)),
        ("Name", seen["name"]),
        ("Proxy", seen["proxy"]),
        ("Closed", _closed(seen)),
        ("Next try", why["nextAttemptAt"]),
        ("Phone seen", seen["phoneLastSeen"]),
        ("Created", seen["createdAt"]),
    ):
        if value:
            yield f"  {label + ':':<12} {value}"
    yield ""
    yield f"  Why, at length: wasup explain {name}"


def _closed(seen: Mapping[str, Any]) -> str | None:
    why = seen["reconnection"]
    if why["closeReason"] is None:
        return None
    code = f" ({why['closeCode']})" if why["closeCode"] is not None else ""
    return f"{why['closeReason']}{code} at {why['closedAt']}"
