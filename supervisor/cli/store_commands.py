"""`wasup backup`, `wasup restore`, `wasup store ...`: the whole store at once."""

from pathlib import Path
from typing import Annotated, Final

import typer

from sessions.store import RewriteReport
from sessions.store.backups import backup as store_backup
from sessions.store.backups.backup import BackupReport
from supervisor.cli.command_line import (
    carry_out,
    configuration,
    fail,
    own_directory,
    own_store,
    reading_store,
    say,
)
from supervisor.places import store_marker
from supervisor.places.store_opening import data_directory, store_url

PAUSED: Final = (
    "{} sessions ran when the backup was made. They stay stopped, so that nobody is logged in"
    " twice: when the old installation is gone, `wasup run`, then `wasup sessions start --all`."
)

app = typer.Typer(
    no_args_is_help=True, suggest_commands=False, help="The store: encryption at rest."
)


def backup(
    file: Annotated[Path, typer.Argument(help="The file to write; it must not exist.")],
) -> None:
    """Copy the whole store into one file, while the supervisor runs or not.

    It holds the keys of all numbers.
    """
    say(f"{file}: {carry_out(_backup(file))}")


def restore(
    file: Annotated[Path, typer.Argument(help="A file that `wasup backup` wrote.", exists=True)],
) -> None:
    """Fill an empty store from a backup: a new data directory, or a new PostgreSQL database.

    The supervisor must not run.

    No restored session logs in until you start it: the installation that the backup is of may still
    run.
    """
    report = carry_out(_restore(file))
    say(f"Restored from {file}: {_told(report)}")
    if report.paused:
        say(PAUSED.format(report.paused))


@app.command()
def rotate() -> None:
    """Encrypt everything with the first key of WHATSAPP_STORE_KEY; afterwards the others can be
    dropped. The supervisor must not run.
    """
    report = carry_out(_rotate())
    say(f"{report.rewritten} values were encrypted with the first key of WHATSAPP_STORE_KEY.")
    if not report.complete:
        fail(
            f"{report.unreadable} values cannot be read (see above) and stay as they are: keep the"
            " other keys."
        )
    say("Everything is. The other keys can be dropped.")


async def _backup(file: Path) -> str:
    settings = configuration()
    async with reading_store(settings) as store:
        return _told(await store_backup.backup(store, file, data_directory(settings)))


async def _restore(file: Path) -> BackupReport:
    settings = configuration()
    directory = data_directory(settings)
    with own_directory(settings, "wasup restore"):
        report = await store_backup.restore(file, store_url(settings), directory)
        store_marker.forget(directory)  # this is its store from now on
        return report


async def _rotate() -> RewriteReport:
    async with own_store(configuration(), "wasup store rotate") as store:
        return await store.rewrite_secrets()


def _told(report: BackupReport) -> str:
    return (
        f"{report.sessions} sessions, {report.keys} keys, {report.archives} archives,"
        f" {report.events} events."
    )
