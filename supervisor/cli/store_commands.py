"""`wasup store ...`: the whole store at once. `wasup backup` and `wasup restore` are names of
before.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from sessions.views.times import duration
from supervisor.cli.common.exits import EXIT_USAGE, fail
from supervisor.cli.common.groups import LazyGroup, Verb, group
from supervisor.cli.common.options import Json
from supervisor.cli.common.output import say, show_json
from supervisor.cli.common.reach import configuration
from supervisor.cli.common.store_access import carry_out, own_directory, own_store, reading_store

if TYPE_CHECKING:
    from sessions.store import RewriteReport
    from sessions.store.backups.backup import BackupReport
    from sessions.store.backups.rehearsal import Rehearsal
    from sessions.store.verification import VerifyReport

WRONG_SHOWN: Final = 20
PAUSED: Final = (
    "{} sessions ran when the backup was made. They stay stopped, so that nobody is logged in"
    " twice: when the old installation is gone, `wasup run`, then `wasup sessions start --all`."
)


class StoreVerbs(LazyGroup):
    """The verbs."""

    verbs = {  # noqa: RUF012 - the base class declares it as one of the class
        "backup": Verb("store_commands", "backup", "Copy the whole store into one file"),
        "restore": Verb("store_commands", "restore", "Fill an empty store from a backup"),
        "verify": Verb("store_commands", "verify", "Read everything, of the store or a backup"),
        "rotate-key": Verb("store_commands", "rotate_key", "Encrypt everything with the first key"),
    }
    old = {  # noqa: RUF012 - the base class declares it as one of the class
        "rotate": Verb("store_commands", "rotate_key", "rotate-key"),
    }


app = group(StoreVerbs, "The store: backup, restore, verification, encryption at rest.")


def backup(
    file: Annotated[Path, typer.Argument(help="The file to write; it must not exist.")],
    as_json: Json = False,
) -> None:
    """Copy the whole store into one file, while the supervisor runs or not.

    It holds the keys of all numbers.
    """
    report = carry_out(_backup(file))
    if as_json:
        show_json(report)
    else:
        say(f"{file}: {_told(report)}")


def restore(
    file: Annotated[
        Path, typer.Argument(help="A file that `wasup store backup` wrote.", exists=True)
    ],
    as_json: Json = False,
) -> None:
    """Fill an empty store from a backup: a new data directory, or a new PostgreSQL database.

    The supervisor must not run.

    No restored session logs in until you start it: the installation that the backup is of may still
    run.
    """
    report = carry_out(_restore(file))
    if as_json:
        show_json(report)
        return
    say(f"Restored from {file}: {_told(report)}")
    if report.paused:
        say(PAUSED.format(report.paused))


def verify(
    file: Annotated[
        Path | None,
        typer.Argument(help="A backup; without one the store itself is read.", exists=True),
    ] = None,
    rehearse: Annotated[
        bool,
        typer.Option(
            "--rehearse", help="Restore the backup into a scratch store beside it, and read that."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Read everything in the store, or in a backup, with the keys at hand, and say what cannot be
    read. Changes nothing, and the supervisor may run.

    Exit status 1 if anything is wrong.
    """
    if rehearse and file is None:
        fail("--rehearse needs a backup: wasup store verify FILE --rehearse", EXIT_USAGE)
    report: VerifyReport | Rehearsal
    if rehearse and file is not None:
        report = carry_out(_rehearse(file))
    else:
        report = carry_out(_verify(file))
    if as_json:
        show_json(report)
        raise typer.Exit(1 if report.wrong else 0)
    for sentence in report.wrong[:WRONG_SHOWN]:
        say(sentence, err=True)
    looked = f"{report.values} values of {report.sessions} sessions were read"
    if report.wrong:
        fail(
            f"{looked}; {len(report.wrong)} cannot be used. `wasup sessions restore ID` puts a"
            " session's last good credentials back."
        )
    seconds = getattr(report, "restore_seconds", None)
    took = "" if seconds is None else f" Restoring it took {duration(seconds)}."
    say(f"{file or 'The store'} is whole: {looked}.{took}")


def rotate_key(as_json: Json = False) -> None:
    """Encrypt everything with the first key of WHATSAPP_STORE_KEY; afterwards the others can be
    dropped. The supervisor must not run.
    """
    report = carry_out(_rotate())
    if as_json:
        show_json(report)
        raise typer.Exit(0 if report.complete else 1)
    say(f"{report.rewritten} values were encrypted with the first key of WHATSAPP_STORE_KEY.")
    if not report.complete:
        fail(
            f"{report.unreadable} values cannot be read (see above) and stay as they are: keep the"
            " other keys."
        )
    say("Everything is. The other keys can be dropped.")


async def _backup(file: Path) -> "BackupReport":
    from sessions.store.backups import backup as store_backup
    from supervisor.places.store_opening import data_directory

    settings = configuration()
    async with reading_store(settings) as store:
        return await store_backup.backup(store, file, data_directory(settings))


async def _restore(file: Path) -> "BackupReport":
    from sessions.store.backups import backup as store_backup
    from supervisor.places import store_marker
    from supervisor.places.store_opening import data_directory, store_url

    settings = configuration()
    directory = data_directory(settings)
    with own_directory(settings, "wasup store restore"):
        report = await store_backup.restore(file, store_url(settings), directory)
        store_marker.forget(directory)  # this is its store from now on
        return report


async def _verify(file: Path | None) -> "VerifyReport":
    from sessions.store.backups import backup as store_backup
    from supervisor.places.store_opening import store_cipher

    settings = configuration()
    if file is None:
        async with reading_store(settings) as store:
            return await store.verify()
    # The copy is as secret as the backup, and may be large: it lies beside it.
    return await store_backup.verify(file, file.absolute().parent, store_cipher(settings))


async def _rehearse(file: Path) -> "Rehearsal":
    from sessions.store.backups.rehearsal import rehearse
    from supervisor.places.store_opening import store_cipher

    # The scratch store is as secret as the backup, and may be large: it lies beside it.
    return await rehearse(file, file.absolute().parent, store_cipher(configuration()))


async def _rotate() -> "RewriteReport":
    async with own_store(configuration(), "wasup store rotate-key") as store:
        return await store.rewrite_secrets()


def _told(report: "BackupReport") -> str:
    return (
        f"{report.sessions} sessions, {report.keys} keys, {report.archives} archives,"
        f" {report.events} events."
    )
