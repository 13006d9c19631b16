"""`wasup keys ...`: who may call the API, and what."""

from datetime import UTC, datetime
from typing import Annotated, Any
from urllib.parse import quote

import typer

from sessions.model import parse_session_id
from supervisor.access.key import id_of
from supervisor.access.scopes import ORDER, Scope
from supervisor.cli.common.completion import session_ids
from supervisor.cli.common.exits import EXIT_USAGE, fail
from supervisor.cli.common.groups import LazyGroup, Verb, group
from supervisor.cli.common.moments import FORMS, seconds_away
from supervisor.cli.common.options import Json
from supervisor.cli.common.output import say, show, show_json
from supervisor.cli.common.reach import must_run


class KeyVerbs(LazyGroup):
    """The verbs."""

    verbs = {  # noqa: RUF012 - the base class declares it as one of the class
        "create": Verb("key_commands", "create", "Make a key; it is shown once"),
        "list": Verb("key_commands", "list_keys", "Show what each may, and when it was last used"),
        "revoke": Verb("key_commands", "revoke", "Let nobody in with a key any more"),
    }


app = group(KeyVerbs, "Keys of the running supervisor's API (docs/access.md).")


def create(
    scope: Annotated[
        Scope,
        typer.Option(help=f"What it may: {', '.join(ORDER)}; each includes those before it."),
    ],
    name: Annotated[str | None, typer.Option(help="Whose it is; for people.")] = None,
    session: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ID",
            help="For this session only; may be given several times. Else for all.",
            autocompletion=session_ids,
        ),
    ] = None,
    expires: Annotated[
        str | None, typer.Option(metavar="WHEN", help=f"When it ends: {FORMS}. Else never.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Make a key. It stands on stdout, alone, and is shown this once: nobody can read it again.

    What else is to be said of it stands on stderr.
    """
    wanted: dict[str, Any] = {"name": name or f"{scope} key", "scope": scope.value}
    if session:
        wanted["sessions"] = [parse_session_id(one) for one in session]
    if expires is not None:
        wanted["expiresInSeconds"] = _seconds_until(expires)
    made = must_run().call("POST", "/keys", wanted)
    if as_json:
        show_json(made)
        return
    say(made["key"])
    ends = f", until {made['expiresAt']}" if made["expiresAt"] else ""
    say(
        f"Key {made['id']} ({made['name']}): {scope}, {_sessions(made)}{ends}. Keep it now: it is"
        f" not shown again. `wasup keys revoke {made['id']}` ends it.",
        err=True,
    )


def list_keys(as_json: Json = False) -> None:
    """Show all keys: what each may, until when, and when it was last used (to the minute)."""
    from rich.table import Table

    seen = must_run().every("/keys", "keys")
    if as_json:
        show_json(seen)
        return
    table = Table("id", "name", "scope", "sessions", "created", "expires", "last used", box=None)
    now = datetime.now(UTC).isoformat()
    for key in seen["keys"]:
        ended = key["expiresAt"] is not None and key["expiresAt"] <= now
        expires = key["expiresAt"] or "never"
        table.add_row(
            key["id"],
            key["name"],
            key["scope"],
            _sessions(key),
            key["createdAt"],
            f"{expires} (expired)" if ended else expires,
            key["lastUsedAt"] or "never",
        )
    show(table)


def revoke(
    keys: Annotated[list[str], typer.Argument(metavar="KEY...", help="Their ids.")],
    as_json: Json = False,
) -> None:
    """Let nobody in with these keys any more, from this moment on, nor with tokens made of them."""
    client = must_run()
    for key in keys:
        # who has the key at hand, and not its id, need not look it up
        revoked = client.call("DELETE", f"/keys/{quote(id_of(key) or key, safe='')}")
        if as_json:
            show_json(revoked)
        else:
            say(f"{revoked['id']} is refused from now on.")


def _sessions(key: Any) -> str:
    return "all sessions" if key["sessions"] is None else ", ".join(key["sessions"])


def _seconds_until(text: str) -> float:
    """How long a key lives. Ends the command if that is no time, or not to come."""
    try:
        seconds = seconds_away(text)
    except ValueError:
        fail(f"--expires is {text[:40]!r}; it accepts {FORMS}.", EXIT_USAGE)
    if seconds <= 0:
        fail(f"--expires is {text[:40]!r}, which is over; it accepts {FORMS}.", EXIT_USAGE)
    return seconds
