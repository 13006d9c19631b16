"""`wasup sessions create`."""

import sys
from typing import Annotated

import typer

from sessions.model import parse_session_id
from supervisor.cli.common.exits import EXIT_USAGE, fail
from supervisor.cli.common.options import Json, Png
from supervisor.cli.common.output import say, show_json
from supervisor.cli.common.reach import must_run
from supervisor.cli.session_commands.pairing import until_paired


def create(
    session: Annotated[
        str, typer.Argument(metavar="ID", help="What to call it: letters, digits, _ . -")
    ],
    start: Annotated[bool, typer.Option("--start/--no-start", help="Start it at once.")] = True,
    proxy: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="scheme://user:password@host:port; `-` reads it from stdin, unseen by others.",
        ),
    ] = None,
    wait: Annotated[
        bool, typer.Option("--wait", help="Show its QR, and stay until a phone has scanned it.")
    ] = False,
    png: Png = None,
    as_json: Json = False,
) -> None:
    """Add a session to the running supervisor.

    With --wait the QR comes at once: scan it, and the number is open.
    """
    name = parse_session_id(session)
    if wait and (as_json or not start):
        fail("--wait shows a QR: it goes with neither --json nor --no-start.", EXIT_USAGE)
    given = sys.stdin.readline().strip() if proxy == "-" else proxy
    client = must_run()
    created = client.call("POST", "/sessions", {"id": name, "start": start, "proxy": given})
    if as_json:
        show_json(created)
    elif wait:
        until_paired(client, name, png)
    elif start:
        say(f"{name} is there. Pair it: `wasup sessions qr {name}`.")
    else:
        say(f"{name} is there, stopped. Start it: `wasup sessions start {name}`.")
