"""The store itself, for commands that need it while no supervisor has it, or beside one.

The store's room is loaded by the commands that open it: it takes longer than most others need in
all.
"""

import asyncio
import os
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sessions.model import StoreUnavailable
from supervisor.cli.common.exits import CommandFailed
from supervisor.process.lock import DirectoryLock
from supervisor.settings import Settings

if TYPE_CHECKING:
    from sessions.store import Store

T = TypeVar("T")

COPY_IT: Final = (
    "SQLite cannot read a database there that was closed in order. Copy the directory and set"
    " WHATSAPP_DATA_DIR to the copy."
)


def carry_out(work: Coroutine[Any, Any, T]) -> T:
    """Work on the store, to its end; what it logs is a line for people."""
    from supervisor.process import logs

    os.umask(0o077)  # what a command writes holds keys
    logs.configure("auto", "warning")
    return asyncio.run(work)


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
