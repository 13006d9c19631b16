"""The directory with the backups of one store: each a file, and beside it a record of what is known
of it.

All blocking: call it in a thread. Names carry the store's number, so that installations which share
a directory leave each other's backups alone.
"""

import os
import re
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
import structlog

from sessions.views.times import wall_seconds

_STAMP: Final = "%Y-%m-%dT%H-%M-%SZ"
"""Without colons: not every file system takes them."""
SHOWN_DIGITS: Final = 8

log = structlog.get_logger("backups")


class Record(msgspec.Struct, frozen=True, rename="camel"):
    """What is known of a backup, beside it.

    `made_at`: the moment that it is of. `verified_at`: when it was restored into a scratch store
    and everything there was read; null: it could not be, and `wrong` says why (so it does, too,
    when the file was found to be another than it was). `restore_seconds`: what the restore took.
    """

    made_at: str
    file_bytes: int
    sha256: str
    sessions: int
    values: int
    verified_at: str | None
    restore_seconds: float | None
    wrong: list[str]


class Backup(msgspec.Struct, frozen=True):
    """A backup. `made_at`: seconds of wall clock; `record` None: nothing is known of it."""

    file: Path
    made_at: float
    record: Record | None

    @property
    def good(self) -> bool:
        """Whether it could be restored, and is the same since."""
        return (
            self.record is not None
            and self.record.verified_at is not None
            and not self.record.wrong
        )


class Shelf:
    """The backups of the store with that number."""

    def __init__(self, directory: Path, store: str) -> None:
        self.directory = directory
        self._prefix = f"wasup-{store[:SHOWN_DIGITS]}"
        self._name = re.compile(re.escape(self._prefix) + r"-(\d{4}-\d\d-\d\dT\d\d-\d\d-\d\dZ)\.db")

    def begin(self) -> Path:
        """A new, empty place to work in, beside the backups; what a killed one has left there is
        removed. Raises OSError.
        """
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.end()
        self._workspace.mkdir(mode=0o700)
        return self._workspace

    def end(self) -> None:
        """The work is done: what is left of it goes."""
        shutil.rmtree(self._workspace, ignore_errors=True)

    @property
    def _workspace(self) -> Path:
        return self.directory / f".{self._prefix}.unfinished"

    def put(self, file: Path, record: Record) -> Path:
        """A backup takes its place among the others. Raises OSError."""
        at = datetime.fromtimestamp(wall_seconds(record.made_at), UTC)
        target = self.directory / f"{self._prefix}-{at.strftime(_STAMP)}.db"
        file.rename(target)
        self.note(target, record)
        return target

    def note(self, file: Path, record: Record) -> None:
        """Write down what is known of a backup; whole or not at all. Raises OSError."""
        target = _record_of(file)
        draft = target.with_suffix(".new")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n")
            opened.flush()
            os.fsync(descriptor)
        draft.replace(target)

    def backups(self) -> list[Backup]:
        """All of them, the oldest first. Raises OSError."""
        if not self.directory.is_dir():
            return []
        found = []
        for file in self.directory.iterdir():
            if (named := self._name.fullmatch(file.name)) and file.is_file():
                at = datetime.strptime(named[1], _STAMP).replace(tzinfo=UTC).timestamp()
                found.append(Backup(file, at, _read(_record_of(file))))
        return sorted(found, key=lambda backup: backup.made_at)

    def remove(self, backup: Backup) -> None:
        """A backup is not kept any longer. Raises OSError."""
        backup.file.unlink(missing_ok=True)
        _record_of(backup.file).unlink(missing_ok=True)
        log.info(f"{backup.file} is not kept any longer", action="backup_removed")


def _record_of(file: Path) -> Path:
    return file.with_suffix(".json")


def _read(file: Path) -> Record | None:
    """None: there is none that can be read, so nothing is known."""
    try:
        return msgspec.json.decode(file.read_bytes(), type=Record)
    except (OSError, msgspec.MsgspecError):
        return None
