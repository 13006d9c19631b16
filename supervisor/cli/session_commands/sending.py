"""`wasup sessions send`."""

import sys
from typing import Annotated

import typer

from sessions.model import parse_session_id
from supervisor.cli.common.options import Json, SessionName
from supervisor.cli.common.output import say, show_json
from supervisor.cli.common.reach import must_run


def send(
    session: SessionName,
    to: Annotated[
        str, typer.Argument(help="A number with its country code, or a jid (docs/sending.md).")
    ],
    text: Annotated[str, typer.Argument(help="The text; `-` reads it from stdin.")],
    as_json: Json = False,
) -> None:
    """Send a text from an open session; done when WhatsApp's server has it."""
    words = sys.stdin.read() if text == "-" else text
    answer = must_run().call(
        "POST", f"/sessions/{parse_session_id(session)}/messages", {"to": to, "text": words}
    )
    if as_json:
        show_json(answer)
    else:
        say(f"Sent to {to}: message {answer['id']}.")
