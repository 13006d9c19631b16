"""`wasup sessions start`, `stop` and `reconnect`."""

from collections.abc import Callable, Sequence
from typing import Annotated, Any

import typer

from sessions.model import InvalidSessionId, SessionId, parse_session_id
from supervisor.cli.common.client import Client
from supervisor.cli.common.completion import session_ids
from supervisor.cli.common.exits import EXIT_USAGE, CommandFailed, NoSupervisor, fail
from supervisor.cli.common.options import Json, SessionNames
from supervisor.cli.common.output import say, show_json
from supervisor.cli.common.reach import must_run


def start(
    names: Annotated[
        list[str] | None,
        typer.Argument(help="The sessions' ids.", metavar="[ID]...", autocompletion=session_ids),
    ] = None,
    everybody: Annotated[
        bool,
        typer.Option(
            "--all",
            help=(
                "All that a restored backup has brought back; or, where there are none, all that"
                " are stopped."
            ),
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Start sessions of the running supervisor.

    After `wasup store restore`: only when the old installation is gone.
    """
    if everybody == bool(names):
        fail("Name the sessions to start, or say --all.", EXIT_USAGE)
    client = must_run()
    chosen = names or _stopped(client)
    refused = for_each(client, chosen, "start", as_json)
    started = len(chosen) - refused
    if not as_json:
        say(f"{started} started." if started or not everybody else "No session is stopped.")
    if refused:
        fail(f"{refused} not started.")


def stop(names: SessionNames, as_json: Json = False) -> None:
    """Stop sessions; each stays stopped until it is started, also over a restart of the
    supervisor.
    """
    refused = for_each(must_run(), names, "stop", as_json, _state)
    if refused:
        fail(f"{refused} not stopped.")


def reconnect(names: SessionNames, as_json: Json = False) -> None:
    """Have sessions connect anew: cut any wait short, and let one attempt through.

    What cannot help is refused: a number that was logged out has to be paired.
    """
    refused = for_each(must_run(), names, "reconnect", as_json, _state)
    if refused:
        fail(f"{refused} not reconnected.")


def for_each(
    client: Client,
    names: Sequence[str],
    verb: str,
    as_json: bool,
    words: Callable[[Any], str] | None = None,
) -> int:
    """Ask for it for each session, and tell how each took it; how many refused.

    One that refuses keeps no other from it. Raises NoSupervisor.
    """
    refused = 0
    for name in names:
        try:
            answer = client.call("POST", _path(verb, parse_session_id(name)))
        except NoSupervisor:
            raise
        except (CommandFailed, InvalidSessionId) as error:
            hint = f" {error.hint}" if isinstance(error, InvalidSessionId) else ""
            say(f"{name}: {error}{hint}", err=True)
            refused += 1
            continue
        if as_json:
            show_json(answer)
        elif words is not None:
            say(words(answer))
    return refused


def _path(verb: str, session: SessionId) -> str:
    return (
        f"/force-reconnection/{session}" if verb == "reconnect" else f"/sessions/{session}/{verb}"
    )


def _state(answer: Any) -> str:
    return f"{answer['id']} is {answer['state']}."


def _stopped(client: Client) -> list[str]:
    """Those that wait for a start: of a restored backup, else all."""
    stopped = [
        seen
        for seen in client.every("/sessions", "sessions")["sessions"]
        if seen["state"] == "stopped"
    ]
    restored = [seen for seen in stopped if seen["restored"]]
    return [seen["id"] for seen in restored or stopped]
