"""`wasup sessions import`, `export`, `archives` and `restore`: credentials that come from
elsewhere, go elsewhere, or were put aside.
"""

from pathlib import Path
from typing import Annotated, Any

import typer

from sessions.credentials import baileys_folders
from sessions.credentials.baileys_folders import FoundSession
from sessions.model import WasupError, parse_session_id
from supervisor.cli.common.exits import CommandFailed, fail
from supervisor.cli.common.options import Json, SessionName
from supervisor.cli.common.output import say, show, show_json
from supervisor.cli.common.reach import configuration, running
from supervisor.cli.common.store_access import carry_out, own_store, reading_store


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
    as_json: Json = False,
) -> None:
    """Take over sessions that were paired with Baileys elsewhere.

    End the other program first: two logins of one device fight (440).
    """
    refused = _import(directory, skip_unreadable, start, session, use_backup, as_json)
    if refused:
        fail(f"{len(refused)} not imported: {', '.join(refused)}")


def export_session(
    session: SessionName,
    directory: Annotated[
        Path, typer.Argument(help="The folder to write; it must not exist, or be empty.")
    ],
    as_json: Json = False,
) -> None:
    """Write a session's credentials as a useMultiFileAuthState folder.

    Stop the session before another program uses them.
    """
    entries = carry_out(_export(session, directory))
    if as_json:
        show_json({"id": session, "entries": entries})
    else:
        say(
            f"{session} is in {directory}. It holds the keys of the number: whoever has them can be"
            " it."
        )


def archives(session: SessionName, as_json: Json = False) -> None:
    """Show the credentials of a session that were put aside; of a deleted session, too."""
    from rich.table import Table

    found = carry_out(_archives(session))
    if as_json:
        show_json({"archives": found})
        return
    table = Table("archive", "when", "why", "what", "entries", box=None)
    for archive in found:
        what = "everything" if archive["whole"] else "creds only (snapshot)"
        table.add_row(
            str(archive["id"]),
            archive["archivedAt"],
            archive["reason"],
            what,
            str(archive["entries"]),
        )
    show(table)


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
    as_json: Json = False,
) -> None:
    """Put archived credentials back in place of the present ones, which are archived themselves."""
    answer = _restore(session, archive, start)
    if as_json:
        show_json(answer)
        return
    restored = answer["archive"]
    say(
        f"{session} has its credentials of {restored['archivedAt']} back (archive {restored['id']},"
        f" {restored['reason']})."
    )


def _import(
    directory: Path,
    skip_unreadable: bool,
    start: bool,
    session: str | None,
    use_backup: bool,
    as_json: bool,
) -> list[str]:
    """The names of what was refused; each is told with its reason."""
    from rich.console import Console
    from rich.progress import track

    refused = []
    found = baileys_folders.find(directory, skip_unreadable, session, use_backup)
    for unread in found.refused:
        say(f"{unread.path}: {unread.reason} {unread.hint}", err=True)
        refused.append(unread.path)
    for each in track(found.sessions, "importing", console=Console(stderr=True), transient=True):
        for warning in each.warnings:
            say(f"{each.id}: {warning}", err=True)
        try:
            answer = _import_one(each, start)
        except (WasupError, CommandFailed) as error:
            hint = f" {error.hint}" if isinstance(error, WasupError) else ""
            say(f"{each.id}: {error}{hint}", err=True)
            refused.append(each.id)
        else:
            if as_json:
                show_json(answer)
            else:
                say(f"{each.id}: imported, {len(each.entries)} entries")
    return refused


def _import_one(found: FoundSession, start: bool) -> Any:
    settings = configuration()
    client = running(settings)
    if client is not None:
        return client.call(
            "POST", f"/sessions/{found.id}/import", {"entries": found.entries, "start": start}
        )
    carry_out(_into_store(found, start))
    return {"id": found.id}


async def _into_store(found: FoundSession, start: bool) -> None:
    async with own_store(configuration(), "wasup sessions import", may_be_new=True) as store:
        await store.import_session(found.id, found.entries, start)


async def _export(session: str, directory: Path) -> int:
    async with reading_store(configuration()) as store:
        entries = await store.export_session(parse_session_id(session))
    baileys_folders.export(entries, directory)
    return len(entries)


async def _archives(session: str) -> list[Any]:
    from sessions.views.times import iso

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


def _restore(session: str, archive: int | None, start: bool) -> Any:
    name = parse_session_id(session)
    client = running(configuration())
    if client is not None:
        body = {"archive": archive, "start": start}
        return client.call("POST", f"/sessions/{name}/restore", body)
    return {"archive": carry_out(_restore_in_store(session, archive, start))}


async def _restore_in_store(session: str, archive: int | None, start: bool) -> Any:
    from sessions.views.times import iso

    async with own_store(configuration(), "wasup sessions restore") as store:
        restored = await store.restore(parse_session_id(session), archive, wanted=start)
    return {"id": restored.id, "archivedAt": iso(restored.archived_at), "reason": restored.reason}
