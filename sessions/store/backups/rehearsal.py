"""Whether a backup can be restored, found out by restoring it: into a scratch store, which is read
through and thrown away.
"""

import asyncio
import hashlib
import tempfile
import time
from pathlib import Path
from typing import Final

import msgspec

from sessions.model import StoreError, StoreUnavailable
from sessions.store import verification
from sessions.store.backups import backup
from sessions.store.engine import database
from sessions.store.sealing.cipher import Cipher

SCRATCH: Final = "scratch.db"


class Rehearsal(msgspec.Struct, frozen=True, rename="camel"):
    """What came of it.

    `restore_seconds`: what the restore took, without the reading; None: it could not be restored.
    `wrong`: as in a VerifyReport; empty: with this file and the keys at hand the fleet comes back.
    """

    file_bytes: int
    sha256: str
    sessions: int = 0
    keys: int = 0
    archives: int = 0
    events: int = 0
    values: int = 0
    restore_seconds: float | None = None
    wrong: list[str] = []


async def rehearse(file: Path, workspace: Path, cipher: Cipher | None) -> Rehearsal:
    """Restore a backup into a scratch store and read everything there.

    Raises OSError, StoreUnavailable: nobody knows then. `workspace`: where the scratch store lies
    meanwhile; it takes some four times the room of the backup.
    """
    size, digest = await asyncio.to_thread(_digest, file)
    with tempfile.TemporaryDirectory(prefix=backup.RESTORE_PREFIX, dir=workspace) as directory:
        scratch = database.sqlite_url(Path(directory) / SCRATCH)
        began = time.monotonic()
        try:
            restored = await backup.restore(file, scratch, Path(directory), for_good=False)
        except StoreUnavailable:
            raise
        except StoreError as error:
            return Rehearsal(size, digest, wrong=[f"It cannot be restored: {error}"])
        seconds = time.monotonic() - began
        engine = database.open_single_file(Path(directory) / SCRATCH)
        try:
            async with engine.connect() as connection:
                read = await verification.verify(connection, cipher)
        finally:
            await database.dispose(engine)
    return Rehearsal(
        size,
        digest,
        sessions=restored.sessions,
        keys=restored.keys,
        archives=restored.archives,
        events=restored.events,
        values=read.values,
        restore_seconds=round(seconds, 3),
        wrong=read.wrong,
    )


def _digest(file: Path) -> tuple[int, str]:
    with file.open("rb") as opened:
        digest = hashlib.file_digest(opened, "sha256").hexdigest()
        return opened.tell(), digest
