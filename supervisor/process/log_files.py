"""Logs by kind, beside the supervisor's own: JSON lines in a file that nobody else can read,
rotated by size.

Whoever writes never waits for a disk: a thread writes, and what it cannot keep up with is dropped
and counted. A disk that is full is told once, and again when it works.
"""

import contextlib
import json
import logging
import os
import queue
import sys
import threading
from collections.abc import Iterator, Mapping
from io import TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Any, Final

import structlog

MOST_BYTES: Final = 10 * 2**20
KEPT: Final = 5
"""Files at the most: the one that is written, and those before it (`.1` is the newest of them)."""
MOST_WAITING: Final = 10_000
"""Lines; a disk that hangs for longer costs lines, and nobody's time."""
MOST_GATHERED: Final = 1_000
"""Lines that are written as one."""
CLOSE_SECONDS: Final = 2.0
_LINE: Final = json.JSONEncoder(separators=(",", ":"), default=str)

log = structlog.get_logger("logs")


class LogFile:
    """A file that is being written. It is made with its first line.

    `gather_seconds`: so long lines are gathered, and written as one; a kill -9 loses those. With
    many lines a thread that wakes for each costs more than all else.
    """

    def __init__(self, path: Path, gather_seconds: float = 0.0) -> None:
        self._path = path
        self._gather_seconds = gather_seconds
        self._closing = threading.Event()
        self._waiting = queue.SimpleQueue[str | None]()
        self._file = _Rotated(path)
        self._dropped = 0
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # a daemon: a disk that hangs must not keep the program from its end
        self._thread = threading.Thread(target=self._run, name=path.name, daemon=True)
        self._thread.start()

    def write(self, line: Mapping[str, Any]) -> None:
        """Write a line, or drop it; nothing is raised, and nobody waits.

        Everything but printable ASCII is escaped: whatever shows it, no line ends early and no
        terminal is steered.
        """
        if self._waiting.qsize() >= MOST_WAITING:
            self._dropped += 1
            if self._dropped == 1:
                log.error(f"{self._path} is not written fast enough", action="log_file_stuck")
            return
        self._waiting.put(_LINE.encode(line))
        if self._dropped:
            log.error(
                f"{self._path} lacks {self._dropped} lines",
                action="log_file_dropped",
                lines=self._dropped,
            )
            self._dropped = 0

    def close(self) -> None:
        """Write what waits, for a moment at the most, and close."""
        self._closing.set()
        self._waiting.put(None)
        self._thread.join(CLOSE_SECONDS)

    def _run(self) -> None:
        while (text := self._gathered()) is not None:
            record = logging.makeLogRecord({"msg": text})
            try:
                self._file.handle(record)
            except Exception:  # without this thread there would be no lines for ever
                self._file.handleError(record)
        try:
            self._file.close()
        except OSError as error:
            log.error(
                f"{self._path} cannot be closed: its last lines may be missing",
                action="log_file_failed",
                error=str(error),
            )

    def _gathered(self) -> str | None:
        """The lines that have gathered; None: there are no more."""
        first = self._waiting.get()
        if first is None or not self._gather_seconds:
            return first
        self._closing.wait(self._gather_seconds)
        lines = [first]
        with contextlib.suppress(queue.Empty):
            while len(lines) < MOST_GATHERED:
                line = self._waiting.get_nowait()
                if line is None:
                    self._waiting.put(None)  # for the next time
                    break
                lines.append(line)
        return "\n".join(lines)


class _Rotated(RotatingFileHandler):
    """The standard library's, for a thread of its own."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            path, maxBytes=MOST_BYTES, backupCount=KEPT - 1, encoding="ascii", delay=True
        )
        self._fails = self._failed = False

    def _open(self) -> TextIOWrapper:
        with contextlib.suppress(FileNotFoundError):
            _end_last_line(Path(self.baseFilename))
        return open(self.baseFilename, "a", encoding="ascii", opener=_private)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a line; into a new file if somebody has taken the old one away."""
        try:
            self._leave_a_file_that_is_gone()
        except OSError:  # a full disk: what the old one still held is lost, as the file is
            self.handleError(record)
            self._fails = True
        self._failed = False
        super().emit(record)
        if self._fails and not self._failed:
            log.info(f"{self.baseFilename} is written again", action="log_file_written")
        self._fails = self._failed

    def _leave_a_file_that_is_gone(self) -> None:
        """Raises OSError; also then the next line begins a new file."""
        if self.stream is not None and not Path(self.baseFilename).exists():
            stream, self.stream = self.stream, None
            stream.close()

    def handleError(self, _record: logging.LogRecord) -> None:
        """What could not be written: told once."""
        self._failed = True
        if not self._fails:
            log.error(
                f"{self.baseFilename} cannot be written, and lines are missing there",
                action="log_file_failed",
                error=str(sys.exception()),
            )


def _end_last_line(path: Path) -> None:
    """A full disk or a kill leaves half a line: it swallows none that comes. Raises OSError."""
    with path.open("r+b") as opened:
        size = opened.seek(0, os.SEEK_END)
        opened.seek(max(0, size - 1))
        if opened.read(1) not in (b"", b"\n"):
            opened.write(b"\n")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def newest_first(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of such a file and of those before it, the newest first. One file at a time is in
    memory; what is no JSON (the end of a full disk) is left out. Raises OSError.
    """
    files = [path, *(path.with_name(f"{path.name}.{number}") for number in range(1, KEPT))]
    seen = set[int]()
    for file in files:
        try:
            with file.open("rb") as opened:
                inode = os.fstat(opened.fileno()).st_ino
                if inode in seen:  # it was rotated while the one before was read
                    continue
                seen.add(inode)
                lines = opened.read().splitlines()
        except FileNotFoundError:
            continue
        for line in reversed(lines):
            try:
                found = json.loads(line)
            except ValueError:
                continue
            if isinstance(found, dict):
                yield found
