"""The data directory's lock: one supervisor at a time, and the second one is told who holds it."""

import fcntl
import json
import os
import time
from pathlib import Path
from types import TracebackType
from typing import Final

FILE_NAME: Final = "supervisor.lock"


class Locked(Exception):
    """Another supervisor holds the data directory."""


class DirectoryLock:
    """Held for as long as the process lives; the kernel lets go of it however the process ends."""

    def __init__(self, directory: Path, describe: str) -> None:
        self._path = directory / FILE_NAME
        self._describe = describe
        self._handle: int | None = None

    def __enter__(self) -> "DirectoryLock":
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(handle, 1000).decode(errors="replace").strip()
            os.close(handle)
            raise Locked(
                f"The data directory {self._path.parent} is held by another supervisor: {holder or 'unknown'}"
            ) from None
        note = {"pid": os.getpid(), "since": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "api": self._describe}
        os.ftruncate(handle, 0)
        os.pwrite(handle, json.dumps(note).encode() + b"\n", 0)
        self._handle = handle
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
