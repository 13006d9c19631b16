"""The data directory's lock: one supervisor at a time, and the second one is told who holds it."""

import contextlib
import fcntl
import json
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Final

FILE_NAME: Final = "supervisor.lock"
LOOKS: Final = 4
LOOK_SECONDS: Final = 0.05


class Locked(Exception):
    """Another supervisor holds the data directory."""


def _take(handle: int) -> None:
    """Lock it, or raise BlockingIOError. Tried for a moment: a command that only looks who holds it (`holder`) holds it while it looks."""
    for _ in range(LOOKS):
        with contextlib.suppress(BlockingIOError):
            return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        time.sleep(LOOK_SECONDS)
    return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def holder(directory: Path) -> dict[str, str] | None:
    """What the supervisor that holds the directory has noted (pid, since, api), or None when nobody holds it."""
    try:
        handle = os.open(directory / FILE_NAME, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return dict(json.loads(os.read(handle, 1000) or b"{}"))
    else:
        return None
    finally:
        os.close(handle)


class DirectoryLock:
    """Held for as long as the process lives; the kernel lets go of it however the process ends."""

    def __init__(self, directory: Path, describe: str) -> None:
        self._path = directory / FILE_NAME
        self._describe = describe
        self._since = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._handle: int | None = None

    def __enter__(self) -> "DirectoryLock":
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            _take(handle)
        except BlockingIOError:
            holder = os.read(handle, 1000).decode(errors="replace").strip()
            os.close(handle)
            raise Locked(
                f"The data directory {self._path.parent} is held by another supervisor: {holder or 'unknown'}"
            ) from None
        self._handle = handle
        self.note(self._describe)
        return self

    def note(self, api: str) -> None:
        """Write down who holds it, and where its API listens, for whoever finds it locked."""
        assert self._handle is not None, "only the holder writes"
        note = {"pid": os.getpid(), "since": self._since, "api": api}
        os.ftruncate(self._handle, 0)
        os.pwrite(self._handle, json.dumps(note).encode() + b"\n", 0)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
