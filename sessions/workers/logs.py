"""The workers' own log files: `worker-<session>.log` is the living worker's, `.log.1` its
predecessor's. Bounded, whatever they say.
"""

import os
from pathlib import Path
from typing import Final

MAX_LOG_BYTES: Final = 5 * 1024 * 1024
KEPT_BYTES: Final = 1024 * 1024
"""Of a file that has grown too large, so much of its end is put aside."""
_SPARE: Final = "spare-worker-"


class WorkerLogs:
    """The files in one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        directory.mkdir(mode=0o700, exist_ok=True)

    def begin(self, worker_id: str, session: str | None) -> Path:
        """The file for a worker that is about to be started."""
        if session is None:
            return self._spare(worker_id)
        self._put_aside(session)
        return self._of(session)

    def give(self, worker_id: str, session: str) -> None:
        """A spare worker has been given to a session: its file bears that name from now on."""
        self._put_aside(session)
        if self._spare(worker_id).exists():
            self._spare(worker_id).replace(self._of(session))

    def end(self, worker_id: str) -> None:
        """A worker has ended. A spare's file tells nobody anything; a session's stays."""
        self._spare(worker_id).unlink(missing_ok=True)

    def forget_spares(self) -> None:
        """Spares do not outlive their supervisor; what it left of their files goes."""
        for file in self._directory.glob(f"{_SPARE}*.log"):
            file.unlink(missing_ok=True)

    def keep_small(self) -> None:
        """Put the end of what has grown too large aside, and let the worker write on, at the
        beginning (its file is open for appending).

        The end alone: a worker that prints gigabytes must not double them, and what it said last is
        what is looked for. It takes a moment: call it in a thread. What is renamed or removed
        meanwhile is left alone. Raises OSError, when all others are done.
        """
        failed: list[OSError] = []
        for file in self._directory.glob("*worker-*.log"):
            try:
                _cut(file)
            except FileNotFoundError:
                # its worker has ended, or was given a session: the file has another name now
                continue
            except OSError as error:
                failed.append(error)
        if failed:
            raise failed[0]

    def _put_aside(self, session: str) -> None:
        file = self._of(session)
        if file.exists():
            file.replace(file.with_name(f"{file.name}.1"))

    def _of(self, session: str) -> Path:
        return self._directory / f"worker-{session}.log"

    def _spare(self, worker_id: str) -> Path:
        return self._directory / f"{_SPARE}{worker_id}.log"


def _cut(file: Path) -> None:
    """Make room if a file is too large.

    The copy is whole or not there: it takes the old one's place when it is written.
    """
    with file.open("r+b") as open_file:
        size = os.fstat(open_file.fileno()).st_size
        if size <= MAX_LOG_BYTES:
            return
        try:
            open_file.seek(max(0, size - KEPT_BYTES))
            unfinished = file.with_name(f"{file.name}.1.unfinished")
            unfinished.touch(mode=0o600)
            unfinished.write_bytes(open_file.read(KEPT_BYTES))
            unfinished.replace(file.with_name(f"{file.name}.1"))
        finally:
            # also when the end could not be put aside: a full disk is why, and this makes room
            open_file.truncate(0)
