"""`wasup audit`: who changed what, and who was refused."""

import time
from itertools import islice
from typing import Annotated, Any, Final

import typer

from sessions.model import parse_session_id
from sessions.views.times import iso
from supervisor.access.key import id_of
from supervisor.cli.common.completion import session_ids
from supervisor.cli.common.exits import EXIT_USAGE, CommandFailed, fail
from supervisor.cli.common.moments import FORMS, seconds_ago
from supervisor.cli.common.options import Json
from supervisor.cli.common.output import say, show, show_json
from supervisor.cli.common.reach import configuration

LINES: Final = 50


def audit(
    session: Annotated[
        str | None,
        typer.Option(
            metavar="ID", help="What was done to this session.", autocompletion=session_ids
        ),
    ] = None,
    key: Annotated[
        str | None, typer.Option(metavar="KEY", help="What was done with this key.")
    ] = None,
    since: Annotated[
        str | None, typer.Option(metavar="WHEN", help=f"Not what was before: {FORMS}.")
    ] = None,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=1, help="So many of the newest.")
    ] = LINES,
    as_json: Json = False,
) -> None:
    """Show who changed what by the API, and who was refused; the newest first.

    From logs/audit.log in the data directory and the files before it, whether a supervisor runs or
    not. --json: as they were written, a line each.
    """
    from supervisor.access.audit import FILE, read

    name = None if session is None else parse_session_id(session)
    begin = None if since is None else _instant(since)
    directory = configuration().data_dir
    of_key = None if key is None else id_of(key) or key
    try:
        found = list(islice(read(directory, name, of_key, begin), lines))
    except OSError as error:
        raise CommandFailed(
            f"{directory / FILE} cannot be read ({error.strerror}): be the user whom the supervisor"
            " runs as."
        ) from None
    if as_json:
        for line in found:
            show_json(line)
    elif found:
        _show(found)
    else:
        say("Nothing of that kind is in the audit log.", err=True)


def _show(found: list[dict[str, Any]]) -> None:
    from rich.table import Table

    table = Table("at", "who", "key", "from", "what", "to", "came of it", box=None)
    for line in found:
        status = f"{line.get('result')} ({line.get('status')})"
        if line.get("unlogged"):
            status += f", and {line['unlogged']} more like it"
        about = line.get("session") or line.get("webhook") or line.get("made") or ""
        said = (line.get(name) or "" for name in ("at", "principal", "key", "address", "route"))
        table.add_row(*map(str, said), str(about), status)
    show(table)


def _instant(text: str) -> str:
    try:
        return iso(time.time() - seconds_ago(text))
    except (ValueError, OverflowError):
        fail(f"--since is {text[:40]!r}; it accepts {FORMS}.", EXIT_USAGE)
