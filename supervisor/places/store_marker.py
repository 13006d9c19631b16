"""A data directory knows which store is its own: a database that is gone, empty or another one is
noticed, and never begun anew in silence.

The marker is a small file beside the database; the same number stands in the database. A supervisor
that starts without its sessions looks healthy, and nobody is told that a thousand numbers are away.
"""

import contextlib
import os
import secrets
from pathlib import Path
from typing import Final

from sqlalchemy import URL

from sessions.model import StoreUnavailable
from sessions.store import Store
from sessions.store.engine.database import is_sqlite, name_of

FILE_NAME: Final = "store.id"


def check_file(directory: Path, url: URL) -> None:
    """Before an SQLite file is opened (which would make it): it may be missing in a new directory
    only. Raises StoreUnavailable.
    """
    marker = directory / FILE_NAME
    if not is_sqlite(url) or not marker.exists():
        return
    file = Path(url.database or "")
    if not file.exists():
        raise _refusal(directory, f"{file} is gone")
    if not file.stat().st_size:
        raise _refusal(directory, f"{file} is empty")


async def check_store(directory: Path, store: Store, url: URL) -> None:
    """The store that was opened is the directory's own; one that has no number yet is given one.

    Raises StoreUnavailable.
    """
    marker = directory / FILE_NAME
    known = await store.identity()
    with contextlib.suppress(FileNotFoundError):
        if marker.read_text(encoding="utf-8", errors="replace").strip() != known:
            what = "is empty, or new" if known is None else "is another store"
            raise _refusal(directory, f"{name_of(url)} {what}")
        return
    if known is None:
        known = secrets.token_hex(8)
        await store.identify(known)
    _write(marker, known)


def forget(directory: Path) -> None:
    """The store of this directory is about to be another one, on purpose."""
    (directory / FILE_NAME).unlink(missing_ok=True)


def _write(marker: Path, identity: str) -> None:
    """Whole or not at all: half a number would be another store's."""
    draft = marker.with_suffix(".new")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as opened:
        opened.write(identity + "\n")
        opened.flush()
        os.fsync(descriptor)
    draft.replace(marker)


def _refusal(directory: Path, what: str) -> StoreUnavailable:
    return StoreUnavailable(
        f"{directory} had a store with sessions, and {what}.",
        "Put the database back, or fill a new one from the newest backup (wasup store restore"
        f" FILE). To begin with an empty store on purpose: delete {directory / FILE_NAME}. The"
        " numbers then have to be paired anew.",
    )
