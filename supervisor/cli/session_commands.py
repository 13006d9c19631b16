"""`wasup sessions ...`: look at them, take over what was paired elsewhere, hand it out again, put
archived credentials back.
"""

import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from sessions.credentials import baileys_folders
from sessions.credentials.baileys_folders import FoundSession
from sessions.credentials.proxy import parse_proxy
from sessions.model import SessionNotFound, SessionState, WasupError, parse_session_id
from sessions.views.snapshot import iso
from supervisor.cli.client import CommandFailed
from supervisor.cli.command_line import (
    EXIT_USAGE,
    carry_out,
    configuration,
    fail,
    must_run,
    own_store,
    reading_store,
    running,
    say,
    show,
)
from supervisor.cli.session_list import asks_for_a_human, list_on

app = typer.Typer(
    no_args_is_help=True, suggest_commands=False, help="Sessions and their credentials."
)

SessionName = Annotated[str, typer.Argument(help="The session's id.")]


@app.command("list")
def list_sessions(
    state: Annotated[
        list[SessionState] | None,
        typer.Option(help="Only those in this state; may be given several times."),
    ] = None,
    for_me: Annotated[
        bool, typer.Option("--for-me", help="Only those that wait for a human.")
    ] = False,
) -> None:
    """Show the sessions of the running supervisor: state, why, when they try next, and what a human
    must do.
    """
    seen = carry_out(_sessions())
    shown = [
        one
        for one in seen
        if (not state or one["state"] in state) and (not for_me or asks_for_a_human(one))
    ]
    list_on(Console(), shown, time.time())


@app.command("start")
def start_sessions(
    names: Annotated[
        list[str] | None, typer.Argument(help="The sessions' ids.", metavar="[ID]...")
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
) -> None:
    """Start sessions of the running supervisor.

    After `wasup restore`: only when the old installation is gone.
    """
    if everybody == bool(names):
        fail("Name the sessions to start, or say --all.", EXIT_USAGE)
    started, refused = carry_out(_start(names or []))
    say(f"{started} started." if started or not everybody else "No session is stopped.")
    if refused:
        fail(f"{refused} not started.")


@app.command("import")
def import_sessions(
    directory: Annotated[
        Path,
        typer.Argument(
            help=(
                "A useMultiFileAuthState folder, a folder of such folders, or of Whaticket's JSON"
                " files."
            ),
            exists=True,
        ),
    ],
    skip_unreadable: Annotated[
        bool,
        typer.Option(
            "--skip-unreadable",
            help="Leave out key files that cannot be read, instead of refusing their session.",
        ),
    ] = False,
    start: Annotated[
        bool, typer.Option("--start/--no-start", help="Start what is imported at once.")
    ] = False,
    session: Annotated[
        str | None,
        typer.Option(
            "--id",
            help="What to call the one session that lies there, instead of its folder's name.",
        ),
    ] = None,
    use_backup: Annotated[
        bool,
        typer.Option(
            "--use-backup",
            help="Where creds.json cannot be read, take the creds.json.bak beside it.",
        ),
    ] = False,
) -> None:
    """Take over sessions that were paired with Baileys elsewhere.

    End the other program first: two logins of one device fight (440).
    """
    refused = carry_out(_import(directory, skip_unreadable, start, session, use_backup))
    if refused:
        fail(f"{len(refused)} not imported: {', '.join(refused)}")


@app.command("export")
def export_session(
    session: SessionName,
    directory: Annotated[
        Path, typer.Argument(help="The folder to write; it must not exist, or be empty.")
    ],
) -> None:
    """Write a session's credentials as a useMultiFileAuthState folder.

    Stop the session before another program uses them.
    """
    carry_out(_export(session, directory))
    say(
        f"{session} is in {directory}. It holds the keys of the number: whoever has them can be it."
    )


@app.command()
def archives(session: SessionName) -> None:
    """Show the credentials of a session that were put aside; of a deleted session, too."""
    table = Table("archive", "when", "why", "what", "entries", box=None)
    for archive in carry_out(_archives(session)):
        what = "everything" if archive["whole"] else "creds only (snapshot)"
        table.add_row(
            str(archive["id"]),
            archive["archivedAt"],
            archive["reason"],
            what,
            str(archive["entries"]),
        )
    show(table)


@app.command()
def restore(
    session: SessionName,
    archive: Annotated[
        int | None, typer.Option(help="Which one (see `archives`); by default what fits best.")
    ] = None,
    start: Annotated[
        bool,
        typer.Option(
            "--start/--no-start", help="Start the session afterwards; else it is stopped."
        ),
    ] = True,
) -> None:
    """Put archived credentials back in place of the present ones, which are archived themselves."""
    restored = carry_out(_restore(session, archive, start))
    say(
        f"{session} has its credentials of {restored['archivedAt']} back (archive {restored['id']},"
        f" {restored['reason']})."
    )


@app.command("proxy")
def set_proxy(
    session: SessionName,
    url: Annotated[
        str,
        typer.Argument(
            help=(
                "scheme://user:password@host:port, or `none`; `-` reads it from stdin, where nobody"
                " sees it."
            )
        ),
    ],
) -> None:
    """Let a stopped or parked session use this proxy from its next start on (`none`: no proxy)."""
    given = sys.stdin.readline().strip() if url == "-" else url
    name = carry_out(_set_proxy(session, None if given == "none" else given))
    say(
        f"{session} goes through {name} from its next start on."
        if name
        else f"{session} uses no proxy from its next start on."
    )


async def _set_proxy(session: str, url: str | None) -> str | None:
    name, settings = parse_session_id(session), configuration()
    proxy = parse_proxy(url) if url is not None else None
    client = running(settings)
    if client is not None:
        await client.call("PUT", f"/sessions/{name}/proxy", {"proxy": proxy.url if proxy else None})
    else:
        async with own_store(settings, "wasup sessions proxy") as store:
            if name not in {row.id for row in await store.sessions()}:
                raise SessionNotFound(f"There is no session {name!r}.")
            await store.set_proxy(name, proxy)
    return proxy.name if proxy else None


async def _sessions() -> Any:
    return (await must_run(configuration()).call("GET", "/sessions"))["sessions"]


async def _start(names: list[str]) -> tuple[int, int]:
    """How many were started, and how many refused; each refusal is told.

    Without names: all that wait for it.
    """
    client = must_run(configuration())
    if not names:
        stopped = [
            seen
            for seen in (await client.call("GET", "/sessions"))["sessions"]
            if seen["state"] == "stopped"
        ]
        restored = [seen for seen in stopped if seen["restored"]]
        names = [seen["id"] for seen in restored or stopped]
    refused = 0
    for name in names:
        try:
            await client.call("POST", f"/sessions/{parse_session_id(name)}/start")
        except (CommandFailed, WasupError) as error:
            say(f"{name}: {error}", err=True)
            refused += 1
    return len(names) - refused, refused


async def _import(
    directory: Path, skip_unreadable: bool, start: bool, session: str | None, use_backup: bool
) -> list[str]:
    """The names of what was refused; each is told with its reason."""
    refused = []
    found = baileys_folders.find(directory, skip_unreadable, session, use_backup)
    for unread in found.refused:
        say(f"{unread.path}: {unread.reason} {unread.hint}", err=True)
        refused.append(unread.path)
    for each in track(found.sessions, "importing", console=Console(stderr=True), transient=True):
        for warning in each.warnings:
            say(f"{each.id}: {warning}", err=True)
        try:
            await _import_one(each, start)
        except (WasupError, CommandFailed) as error:
            hint = f" {error.hint}" if isinstance(error, WasupError) else ""
            say(f"{each.id}: {error}{hint}", err=True)
            refused.append(each.id)
        else:
            say(f"{each.id}: imported, {len(each.entries)} entries")
    return refused


async def _import_one(found: FoundSession, start: bool) -> None:
    settings = configuration()
    client = running(settings)
    if client is not None:
        await client.call(
            "POST", f"/sessions/{found.id}/import", {"entries": found.entries, "start": start}
        )
        return
    async with own_store(settings, "wasup sessions import", may_be_new=True) as store:
        await store.import_session(found.id, found.entries, start)


async def _export(session: str, directory: Path) -> None:
    async with reading_store(configuration()) as store:
        entries = await store.export_session(parse_session_id(session))
    baileys_folders.export(entries, directory)


async def _archives(session: str) -> list[Any]:
    async with reading_store(configuration()) as store:
        return [
            {
                "id": a.id,
                "archivedAt": iso(a.archived_at),
                "reason": a.reason,
                "whole": a.whole,
                "entries": a.entries,
            }
            for a in await store.archives(parse_session_id(session))
        ]


async def _restore(session: str, archive: int | None, start: bool) -> Any:
    name, settings = parse_session_id(session), configuration()
    client = running(settings)
    if client is not None:
        body = {"archive": archive, "start": start}
        return (await client.call("POST", f"/sessions/{name}/restore", body))["archive"]
    async with own_store(settings, "wasup sessions restore") as store:
        restored = await store.restore(name, archive, wanted=start)
    return {"id": restored.id, "archivedAt": iso(restored.archived_at), "reason": restored.reason}
