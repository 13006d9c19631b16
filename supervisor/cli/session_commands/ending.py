"""`wasup sessions logout` and `delete`: they ask first."""

from typing import Annotated

import typer

from sessions.model import parse_session_id
from supervisor.cli.common.options import Json, SessionName, Yes
from supervisor.cli.common.output import say, show_json
from supervisor.cli.common.questions import ask_first
from supervisor.cli.common.reach import must_run


def logout(session: SessionName, yes: Yes = False, as_json: Json = False) -> None:
    """Unlink the device at WhatsApp; its credentials are archived, and the number has to be paired
    anew.
    """
    name, client = parse_session_id(session), must_run()
    ask_first(f"Unlink {name} at WhatsApp? It has to be paired anew afterwards.", yes)
    answer = client.call("POST", f"/sessions/{name}/logout")
    if as_json:
        show_json(answer)
    else:
        say(
            f"{name} is being unlinked. To pair it again: `wasup sessions start {name}`,"
            f" then `wasup sessions qr {name}`."
        )


def delete(
    session: SessionName,
    purge: Annotated[
        bool,
        typer.Option("--purge", help="Destroy its credentials; else they are archived."),
    ] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Stop a session and remove it; its credentials are archived, unless they are purged.

    It stays linked on the phone: `wasup sessions logout` first, if it is to be unlinked.
    """
    name, client = parse_session_id(session), must_run()
    ask_first(
        f"Delete {name} and DESTROY its credentials? Nothing brings them back."
        if purge
        else f"Delete {name}? Its credentials stay archived.",
        yes,
    )
    answer = client.call("DELETE", f"/sessions/{name}?purge={str(purge).lower()}")
    if as_json:
        show_json(answer)
    elif purge:
        say(f"{name} is deleted, and its credentials are destroyed.")
    else:
        say(f"{name} is deleted. To have it back: `wasup sessions restore {name}`.")
