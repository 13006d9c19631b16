"""`wasup webhooks create`, `update`, `pause`, `resume`, `rotate-secret` and `delete`."""

import sys
from enum import StrEnum
from typing import Annotated, Any

import typer

from supervisor.cli.common.completion import event_types, session_ids
from supervisor.cli.common.exits import EXIT_USAGE, fail
from supervisor.cli.common.options import Json, WebhookName, WebhookNames, Yes
from supervisor.cli.common.output import say, show_json
from supervisor.cli.common.questions import ask_first
from supervisor.cli.common.reach import must_run


class Payload(StrEnum):
    """How much of an event is sent."""

    FULL = "full"
    THIN = "thin"


Types = Annotated[
    list[str] | None,
    typer.Option(
        "--type",
        help="A type, `message.received`, a group, `message.*`, or `*`; may be repeated.",
        autocompletion=event_types,
    ),
]
Sessions = Annotated[
    list[str] | None,
    typer.Option(
        "--session", help="Of this session alone; may be repeated.", autocompletion=session_ids
    ),
]
Headers = Annotated[
    list[str] | None,
    typer.Option(
        "--header",
        help=(
            "`Name: value`, sent with each request; may be repeated. `-` reads them from stdin, a"
            " line each, where nobody sees them."
        ),
    ),
]
Form = Annotated[
    Payload | None, typer.Option(help="thin: without `data`, which GET /events gives.")
]
Description = Annotated[str | None, typer.Option(help="For yourself.")]
Secret = Annotated[
    str | None,
    typer.Option(help="`whsec_` and base64; `-` reads it from stdin. Without it one is made."),
]


def create(
    url: Annotated[str, typer.Argument(help="http://host/path or https://host/path.")],
    types: Types = None,
    sessions: Sessions = None,
    headers: Headers = None,
    payload: Form = None,
    description: Description = None,
    secret: Secret = None,
    paused: Annotated[bool, typer.Option("--paused", help="Send nothing yet.")] = False,
    after: Annotated[
        int | None,
        typer.Option(min=0, help="Begin behind this event, not with what happens from now on."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Send what happens to a URL, signed. The secret that signs is shown this once."""
    body = _chosen(None, types, sessions, headers, payload, description) | {"url": url}
    body |= {"paused": paused} | ({} if after is None else {"after": after})
    body |= _secret(secret)
    found = must_run().call("POST", "/webhooks", body)
    if as_json:
        show_json(found)
        return
    say(f"{found['id']} is made. Its secret, shown this once:\n\n  {found['secret']}\n")
    say(f"Does it arrive? `wasup webhooks test {found['id']}`")


def update(
    webhook: WebhookName,
    url: Annotated[str | None, typer.Option(help="Another URL.")] = None,
    types: Types = None,
    sessions: Sessions = None,
    all_sessions: Annotated[
        bool, typer.Option("--all-sessions", help="Of all sessions, and the fleet's own events.")
    ] = False,
    headers: Headers = None,
    payload: Form = None,
    description: Description = None,
    as_json: Json = False,
) -> None:
    """Change what is named and leave the rest; what may be repeated replaces all that was there."""
    body = _chosen(url, types, sessions, headers, payload, description)
    if all_sessions and sessions:
        fail("--session and --all-sessions say two things.", EXIT_USAGE)
    body |= {"sessions": []} if all_sessions else {}
    if not body:
        fail("Say what is to be different: `wasup webhooks update --help`.", EXIT_USAGE)
    _told(must_run().call("PATCH", f"/webhooks/{webhook}", body), "is changed", as_json)


def pause(webhooks: WebhookNames, as_json: Json = False) -> None:
    """Send nothing for now; what happens is kept for it, as long as the event log keeps it."""
    _set_paused(webhooks, True, "is paused", as_json)


def resume(webhooks: WebhookNames, as_json: Json = False) -> None:
    """Go on where it was paused, or try a failing endpoint at once."""
    _set_paused(webhooks, False, "is sent what happens", as_json)


def rotate_secret(webhook: WebhookName, secret: Secret = None, as_json: Json = False) -> None:
    """Sign with another secret, shown this once; for 24 hours the one before signs, too."""
    found = must_run().call("POST", f"/webhooks/{webhook}/secret", _secret(secret))
    if as_json:
        show_json(found)
        return
    say(f"{webhook} signs with a new secret, shown this once:\n\n  {found['secret']}\n")
    say("For 24 hours the one before signs, too: give your endpoint the new one until then.")


def delete(webhook: WebhookName, yes: Yes = False, as_json: Json = False) -> None:
    """Remove a webhook, and what it has not delivered."""
    client = must_run()
    found = client.call("GET", f"/webhooks/{webhook}")
    ask_first(f"Delete {webhook} ({found['url']})? {found['behind']} events wait for it.", yes)
    answer = client.call("DELETE", f"/webhooks/{webhook}")
    if as_json:
        show_json(answer)
    else:
        say(f"{webhook} is deleted.")


def _chosen(
    url: str | None,
    types: list[str] | None,
    sessions: list[str] | None,
    headers: list[str] | None,
    payload: Payload | None,
    description: str | None,
) -> dict[str, Any]:
    """What was said, as the API takes it."""
    given = {
        "url": url,
        "types": types or None,
        "sessions": sessions or None,
        "headers": dict(map(_header, _lines(headers))) if headers else None,
        "payload": payload,
        "description": description,
    }
    return {name: value for name, value in given.items() if value is not None}


def _lines(given: list[str]) -> list[str]:
    if given != ["-"]:
        return given
    return [line.strip() for line in sys.stdin if line.strip()]


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon:
        fail("A header is written as `Name: value`.", EXIT_USAGE)
    return name.strip(), value.strip()


def _secret(given: str | None) -> dict[str, Any]:
    if given is None:
        return {}
    return {"secret": sys.stdin.readline().strip() if given == "-" else given}


def _set_paused(webhooks: list[str], paused: bool, words: str, as_json: bool) -> None:
    client = must_run()
    for webhook in webhooks:
        found = client.call("PATCH", f"/webhooks/{webhook}", {"paused": paused})
        _told(found, words, as_json)


def _told(found: Any, words: str, as_json: bool) -> None:
    if as_json:
        show_json(found)
    else:
        say(f"{found['id']} {words}.")
