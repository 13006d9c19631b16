"""`wasup events`: what happens, a line each."""

import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from http import HTTPStatus
from typing import Annotated, Any, Final
from urllib.parse import quote

import typer

from sessions.views.plain_text import plain
from supervisor.cli.common.client import Client
from supervisor.cli.common.completion import event_types, session_ids
from supervisor.cli.common.exits import CommandFailed, NoSupervisor
from supervisor.cli.common.options import Follow, Json
from supervisor.cli.common.output import fitted, say, show_json
from supervisor.cli.common.reach import configuration, must_run
from supervisor.cli.watch_commands.event_words import line

WAIT_SECONDS: Final = 30
"""The API answers at the latest then, with no event."""
AGAIN_SECONDS: Final = 1.0
"""How often a supervisor that is gone is looked for."""
LINES: Final = 20

Event = dict[str, Any]


def events(
    follow: Follow = False,
    after: Annotated[
        int | None, typer.Option(min=0, help="Go on after the event of this number.")
    ] = None,
    types: Annotated[
        list[str] | None,
        typer.Option(
            "--type",
            help="Only this type, `message.received`, or group, `message`; may be repeated.",
            autocompletion=event_types,
        ),
    ] = None,
    sessions: Annotated[
        list[str] | None,
        typer.Option(
            "--session",
            help="Only those of this session; may be repeated.",
            autocompletion=session_ids,
        ),
    ] = None,
    lines: Annotated[
        int,
        typer.Option("--lines", "-n", min=0, help="So many of the newest, if no --after is given."),
    ] = LINES,
    as_json: Json = False,
) -> None:
    """Show what happens to the sessions, a line each: the newest events, or those after a number.

    With --follow it goes on, also when the supervisor restarts; what was missed is told on stderr.
    """
    chosen = Chosen(types or [], sessions or [])
    client = must_run(configuration())
    number = _tail(client, chosen, lines, as_json) if after is None else after
    if follow:
        _follow(client, number, chosen, as_json)
    elif after is not None:
        for page in _pages(client, number, chosen):
            _tell_gap(page)
            _print(page["events"], as_json)


class Chosen:
    """Which events are shown."""

    def __init__(self, types: Sequence[str], sessions: Sequence[str]) -> None:
        self.all = not types and not sessions
        """Whether every event is."""
        asked = {
            # a group may be named without its star, as it was before
            "type": ",".join(kind if set(kind) & set(".*") else f"{kind}.*" for kind in types),
            "session": ",".join(sessions),
        }
        self.query = "".join(
            f"&{name}={quote(text, safe=',*')}" for name, text in asked.items() if text
        )
        """What the API is asked for."""


def _tail(client: Client, chosen: Chosen, lines: int, as_json: bool) -> int:
    """Print the newest; from which number on it goes on."""
    last = int(client.call("GET", "/events?limit=0")["last"])
    # Who chooses may have to go far back for so many; who takes all has them at the end.
    begin = max(0, last - lines) if chosen.all else 0
    newest: deque[Event] = deque(maxlen=lines)
    if lines:
        for page in _pages(client, begin, chosen):
            newest.extend(page["events"])
            last = page["last"]
    _print(newest, as_json)
    return last


def _pages(client: Client, after: int, chosen: Chosen) -> Iterator[Any]:
    """The events after a number, up to now."""
    following: int | None = after
    while following is not None:
        page = _read(client, following, 0, chosen)
        yield page
        following = page["next"]


def _follow(client: Client, after: int, chosen: Chosen, as_json: bool) -> None:
    """Go on for ever, over restarts of the supervisor."""
    away = False
    while True:
        try:
            page = _read(client, after, WAIT_SECONDS, chosen)
        except NoSupervisor as error:
            if not away:
                say(f"{error} Waiting for one; Ctrl-C ends it.", err=True)
            away = True
            time.sleep(AGAIN_SECONDS)
            client = _another(client)
            continue
        if away:
            say(f"A supervisor answers again; going on after event {after}.", err=True)
            away = False
        if page is None:
            say("The log has begun anew: all that it has is new.", err=True)
            after = 0
            continue
        _tell_gap(page)
        _print(page["events"], as_json)
        after = page["last"] if page["next"] is None else page["next"]


def _another(client: Client) -> Client:
    """The supervisor that runs now, or the one that is known, to be tried again."""
    try:
        return must_run()
    except NoSupervisor:
        return client


def _read(client: Client, after: int, wait_seconds: int, chosen: Chosen) -> Any:
    """A page; None: the log has begun anew, and never had that number."""
    answer = client.ask("GET", f"/events?after={after}&wait={wait_seconds}{chosen.query}")
    if answer.status == HTTPStatus.GONE and wait_seconds:
        return None
    if answer.status == HTTPStatus.SERVICE_UNAVAILABLE and wait_seconds:
        raise NoSupervisor(client.refusal(answer))
    if answer.status >= HTTPStatus.BAD_REQUEST:
        raise CommandFailed(client.refusal(answer))
    return client.decoded(answer)


def _tell_gap(page: Any) -> None:
    if page["gap"] is not None:
        first, last = page["gap"]["first"], page["gap"]["last"]
        say(
            f"Events are missing: the log has no room any more for {first} to {last}"
            " (WHATSAPP_EVENT_LOG_DAYS, WHATSAPP_EVENT_LOG_MAX_MIB).",
            err=True,
        )


def _print(found: Iterable[Event], as_json: bool) -> None:
    for event in found:
        if as_json:
            show_json(event)
        else:
            say(fitted(plain(line(event))))
    sys.stdout.flush()
