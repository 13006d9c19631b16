"""The data directory's lock: one supervisor or command at a time, and the second one is told who
holds it.
"""

import contextlib
import errno
import fcntl
import json
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Final

from supervisor.process.streams import log_file

FILE_NAME: Final = "supervisor.lock"
NOTE_BYTES: Final = 1000
"""Of the note that its holder leaves; whoever looks reads no more."""
LOOKS: Final = 4
LOOK_SECONDS: Final = 0.05


class Locked(Exception):
    """Another supervisor, or a command, holds the data directory."""


def _take(handle: int) -> None:
    """Lock it, or raise BlockingIOError.

    Tried for a moment: a command that only looks who holds it (`holder`) holds it while it looks.
    """
    for _ in range(LOOKS):
        with contextlib.suppress(BlockingIOError):
            return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        time.sleep(LOOK_SECONDS)
    return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def holder(directory: Path) -> dict[str, str] | None:
    """What the supervisor (pid, since, api, and log where that is a file) or the command (pid,
    since, command) that holds the directory has noted; None: nobody holds it.
    """
    try:
        handle = _open_to_look(directory / FILE_NAME)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read_note(handle)
    else:
        return None
    finally:
        os.close(handle)


def held_by(directory: Path) -> str | None:
    """Who holds a data directory, in words; None: nobody, or nobody that we may see."""
    try:
        note = holder(directory)
    except (OSError, ValueError):  # closed to us, or nothing of ours
        return None
    if note is None:
        return None
    who = note.get("command") or note.get("api") or "a supervisor"
    return f"{who} (pid {note.get('pid')}, since {note.get('since')})"


def _open_to_look(file: Path) -> int:
    """For reading, if the file system is read-only by now; else also for writing, without which
    some network file systems lock nothing.
    """
    try:
        return os.open(file, os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
    return os.open(file, os.O_RDONLY | os.O_CLOEXEC)


def _read_note(handle: int) -> dict[str, str]:
    """Empty if its holder has not written it yet."""
    return dict(json.loads(os.read(handle, NOTE_BYTES) or b"{}"))


class DirectoryLock:
    """Held for as long as the process lives; the kernel lets go of it however the process ends."""

    def __init__(self, directory: Path, api: str = "", command: str = "") -> None:
        """Who wants it: a supervisor with an API, or a command."""
        self._path = directory / FILE_NAME
        self._describe = {"command": command} if command else {"api": api}
        self._since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._handle: int | None = None

    def __enter__(self) -> "DirectoryLock":
        try:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            told = f"The data directory {self._path.parent} cannot be written: {error.strerror}."
            raise type(error)(told) from None
        try:
            _take(handle)
        except BlockingIOError:
            note = _read_note(handle)
            os.close(handle)
            raise Locked(
                f"The data directory {self._path.parent} is held by {_told(note)}"
            ) from None
        self._handle = handle
        self._write(self._describe)
        return self

    def note(self, api: str) -> None:
        """Write down where the supervisor's API listens, for whoever finds it locked; and which
        file its log is, which nobody else can tell of a process that lets nobody look into it.
        """
        log = log_file()
        self._write({"api": api} if log is None else {"api": api, "log": str(log)})

    def _write(self, who: dict[str, str]) -> None:
        assert self._handle is not None, "only the holder writes"
        note = {"pid": os.getpid(), "since": self._since} | who
        if len(json.dumps(note)) >= NOTE_BYTES:
            note.pop("log", None)  # a path of this length is left out, and the rest can be read
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, json.dumps(note).encode() + b"\n", 0)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def _told(note: dict[str, str]) -> str:
    if command := note.get("command"):
        return (
            f"`{command}` (pid {note.get('pid')}, since {note.get('since')}): try again when that"
            " has ended."
        )
    return f"another supervisor: {json.dumps(note) if note else 'unknown'}"
