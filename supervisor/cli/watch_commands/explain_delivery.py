"""`wasup explain-delivery MESSAGE`: has it arrived at the webhooks, and if not, why."""

import sys
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final
from urllib.parse import quote

import typer

from sessions.views.plain_text import plain_all
from supervisor.cli.common.completion import session_ids
from supervisor.cli.common.options import Json
from supervisor.cli.common.output import say, show_json
from supervisor.cli.common.reach import must_run
from supervisor.cli.watch_commands.explain import clock, wrapped
from supervisor.delivery.explanations import arrival

PAGE: Final = 100
"""Events that are asked for at a time: the most that the API gives."""


def explain_delivery(
    message: Annotated[
        str, typer.Argument(metavar="MESSAGE", help="The message's id, as its events name it.")
    ],
    session: Annotated[
        str | None,
        typer.Option(
            help="Of this session alone: several may have it.", autocompletion=session_ids
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Say of a message whether its events have arrived at each webhook, or why not, when they are
    tried next, and what you must do; exit status 1 if something has not arrived.
    """
    only = "" if session is None else f"&session={quote(session, safe='')}"
    told = whole(
        must_run().every(f"/messages/{quote(message, safe='')}/deliveries", "events", only, PAGE)
    )
    if as_json:
        show_json(told)
    else:
        from shutil import get_terminal_size

        width = get_terminal_size().columns if sys.stdout.isatty() else None
        for line in lines(plain_all(told)):
            say(line if width is None else wrapped(line, width))
    raise typer.Exit(0 if told["arrived"] or not _is_sent(told) else 1)


def whole(told: Mapping[str, Any]) -> dict[str, Any]:
    """All pages as one answer: each page judges itself alone, and a later one may hold what has not
    arrived. Pure.
    """
    states = [one["state"] for event in told["events"] for one in event["webhooks"]]
    arrived, words = arrival(len(told["events"]), states)
    return {**told, "arrived": arrived, "words": words}


def lines(told: Mapping[str, Any]) -> Iterator[str]:
    """The explanation, line by line. Pure."""
    yield f"{told['message']}: {told['words']}"
    for event in told["events"]:
        yield ""
        whose = event["session"] or "the fleet"
        yield f"Event {event['n']}, {event['type']} of {whose}, {clock(event['time'])}"
        for one in event["webhooks"]:
            yield f"  {one['webhook']} ({one['url']}): {one['state'].upper().replace('_', ' ')}"
            yield f"      Why:         {one['why']}"
            if not one["arrived"]:
                yield f"      What to do:  {one['whatToDo']}"


def _is_sent(told: Mapping[str, Any]) -> bool:
    """Whether there is a webhook at all."""
    return any(event["webhooks"] for event in told["events"])
