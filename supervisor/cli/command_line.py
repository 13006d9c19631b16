"""What all commands share: the settings, how a command ends badly, and either the running
supervisor or the store itself.
"""

import asyncio
import errno
import os
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sessions.model import StoreUnavailable, WasupError
from sessions.views.plain_text import plain
from supervisor.cli.client import Client, CommandFailed
from supervisor.process import logs
from supervisor.process.lock import DirectoryLock, Locked
from supervisor.settings import BadSettings, Settings, load

if (
    TYPE_CHECKING
    # the store's room is loaded by the commands that open it: it takes longer than most others need
    # in all
):
    from sessions.store import Store

T = TypeVar("T")

EXIT_USAGE: Final = 2
"""As a command ends that was given what it does not take."""
EXIT_CONFIG: Final = 78
"""EX_CONFIG of sysexits.h: nothing but a human can mend it, so a process manager need not try
again.
"""
COPY_IT: Final = (
    "SQLite cannot read a database there that was closed in order. Copy the directory and set"
    " WHATSAPP_DATA_DIR to the copy."
)
WIDE: Final = 10_000
"""Columns where no terminal says how many there are."""


def fail(message: str, status: int = 1) -> NoReturn:
    """End with a message on stderr."""
    say(message, err=True)
    raise typer.Exit(status)


def say(text: str = "", *, err: bool = False, end: bool = True) -> None:
    """Print lines.

    Whatever comes from outside is in them may not steer the terminal (plain_text.py).
    """
    typer.echo(plain(text, keep="\n"), err=err, nl=end)


def show(table: Table) -> None:
    """Print a table: for a terminal as wide as that is, for a program each row on one line.

    Its texts are shown as they are: no markup.
    """
    for column in table.columns:
        column.header = Text(plain(str(column.header)))
        column._cells = [Text(plain(str(cell))) for cell in column._cells]
    console = Console()
    (console if console.is_terminal else Console(width=WIDE)).print(table)


def carry_out(work: Coroutine[Any, Any, T]) -> T:
    """Run a command to its end; what goes wrong is told in a sentence or two."""
    os.umask(0o077)  # what a command writes holds keys
    logs.configure("auto", "warning")
    try:
        return asyncio.run(work)
    except WasupError as error:
        fail(f"{error} {error.hint}")
    except (CommandFailed, Locked) as error:
        fail(str(error))
    except OSError as error:
        fail(in_words(error))


def in_words(error: OSError) -> str:
    """What the operating system refused, of which file, and what to do about it where that is
    known: no number of an error.
    """
    reason = error.strerror or str(error)
    of = (
        f"{os.fsdecode(error.filename)}: "
        if isinstance(error.filename, (str, bytes, os.PathLike))
        else ""
    )
    hint = _WHAT_TO_DO.get(error.errno or 0)
    return f"{of}{reason.rstrip('.')}." + (f" {hint}" if hint else "")


_WHAT_TO_DO: Final = {
    errno.EADDRINUSE: (
        "Something else listens there (`ss -ltnp` says what): end it, or set WHATSAPP_API_PORT to"
        " another port."
    ),
    errno.EADDRNOTAVAIL: (
        "This machine has no such address: set WHATSAPP_API_HOST to one that it has."
    ),
    errno.EACCES: "Be the user whom it belongs to, or choose another place.",
    errno.EROFS: "That file system is read-only: choose another place.",
    errno.ENOSPC: "The disk is full: free space, or choose another place.",
}


def configuration() -> Settings:
    """The settings, or the end of the command."""
    try:
        return load()
    except BadSettings as error:
        fail(str(error), EXIT_CONFIG)


def running(settings: Settings) -> Client | None:
    """The running supervisor of this data directory, if there is one."""
    return Client.of_running(settings, settings.data_dir)


def must_run(settings: Settings) -> Client:
    """The running supervisor. Raises CommandFailed when there is none."""
    client = running(settings)
    if client is None:
        raise CommandFailed(
            f"No supervisor runs on {settings.data_dir}; start it first, or say where it is:"
            " --directory, or WHATSAPP_DATA_DIR."
        )
    return client


@contextmanager
def own_directory(settings: Settings, command: str) -> Iterator[None]:
    """The data directory, while nobody else has it; who comes meanwhile is told of this command.

    Raises Locked.
    """
    from sessions.store.backups import backup as store_backup

    directory = settings.data_dir
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    with DirectoryLock(directory, command=command):
        store_backup.clear_away(directory)
        yield


@asynccontextmanager
async def own_store(
    settings: Settings, command: str, may_be_new: bool = False
) -> "AsyncIterator[Store]":
    """The store, while nobody else has it.

    Raises Locked, StoreUnavailable, and CommandFailed when there is none (unless it may be new).
    """
    from supervisor.places.store_opening import open_store

    if not may_be_new:
        _must_exist(settings)
    with own_directory(settings, command):
        store = await open_store(settings)
        try:
            yield store
        finally:
            await store.close()


@asynccontextmanager
async def reading_store(settings: Settings) -> "AsyncIterator[Store]":
    """The store to read from, whether a supervisor has it or not.

    Raises CommandFailed when there is none.
    """
    from sessions.store import Store
    from sessions.store.engine.database import is_sqlite
    from supervisor.places.store_opening import store_cipher, store_url

    _must_exist(settings)
    url, directory = store_url(settings), settings.data_dir
    store = Store.beside(url, store_cipher(settings))
    try:
        yield store
    except StoreUnavailable as error:
        if is_sqlite(url) and os.statvfs(directory).f_flag & os.ST_RDONLY:
            raise StoreUnavailable(
                f"{error}: {directory} is on a read-only file system.", COPY_IT
            ) from None
        raise
    finally:
        await store.close()


def _must_exist(settings: Settings) -> None:
    """A file can be seen; what a server has, it says itself."""
    from sessions.store.engine.database import is_sqlite
    from supervisor.places.store_opening import store_url

    url = store_url(settings)
    if is_sqlite(url) and not Path(url.database or "").exists():
        raise CommandFailed(
            f"There is no store in {settings.data_dir}; say where it is: --directory, or"
            " WHATSAPP_DATA_DIR."
        )
