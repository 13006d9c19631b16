"""Log files of a subject of its own: JSON lines, for our user alone, rotated, written by a thread.

Beside the supervisor's log and never instead of it: whoever writes a line waits for no disk, and a
line that cannot be written harms nobody (the supervisor's log says so, once in a while).
"""

import contextlib
import io
import logging
import logging.handlers
import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from io import TextIOWrapper
from pathlib import Path
from typing import Final, Literal

import msgspec
import structlog

from sessions.views.times import iso

Level = Literal["debug", "info", "warning", "error"]

MAX_BYTES: Final = 10 * 1024 * 1024
BACKUPS: Final = 5
"""Of a file, so much is written before it is put aside, and so many of those are kept."""
MOST_WAITING: Final = 10_000
"""Lines that may wait for the thread; what comes while a disk hangs is dropped."""
CLOSE_SECONDS: Final = 2.0
TELL_SECONDS: Final = 60.0

log = structlog.get_logger("logs")


class LogFile:
    """One file, with those before it beside it: `name.log`, `name.log.1` ...

    `level`: what is below it is not written.
    """

    def __init__(self, path: Path, level: str = "info") -> None:
        self.path = path
        self._level = logging.getLevelNamesMapping()[level.upper()]
        self._lines: queue.Queue[str | None] = queue.Queue(MOST_WAITING)
        self._told_at = float("-inf")
        self._file = _File(path, self._on_lost)
        self._writer: threading.Thread | None = None

    def write(self, level: Level, what: str, **fields: object) -> None:
        """A line; never waits. Fields that are None are left out."""
        number = logging.getLevelNamesMapping()[level.upper()]
        if number < self._level:
            return
        given = {name: value for name, value in fields.items() if value is not None}
        line = {"timestamp": iso(time.time()), "level": level, "event": what} | given
        if self._writer is None:  # with the first line: most installations never have one
            self._writer = threading.Thread(target=self._write, name=self.path.name, daemon=True)
            self._writer.start()
        try:
            self._lines.put_nowait(msgspec.json.encode(line).decode())
        except queue.Full:
            self._on_lost("its lines come faster than the disk takes them")

    def close(self) -> None:
        """Write what waits, and let go of the file; a disk that hangs is waited for no longer than
        CLOSE_SECONDS.
        """
        if self._writer is None:
            return
        with contextlib.suppress(queue.Full):
            self._lines.put(None, timeout=CLOSE_SECONDS)
        self._writer.join(CLOSE_SECONDS)

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            self._file.handle(logging.makeLogRecord({"msg": line}))
        self._file.close()

    def _on_lost(self, why: str) -> None:
        now = time.monotonic()
        if now - self._told_at >= TELL_SECONDS:
            self._told_at = now
            log.warning(
                f"lines are lost to {self.path.name}: {why}", action="log_lost", path=str(self.path)
            )


class _File(logging.handlers.RotatingFileHandler):
    """The standard library's, for our user alone, whose errors are ours to tell."""

    def __init__(self, path: Path, on_lost: Callable[[str], None]) -> None:
        self._on_lost = on_lost
        super().__init__(
            path, maxBytes=MAX_BYTES, backupCount=BACKUPS, encoding="utf-8", delay=True
        )

    def _open(self) -> TextIOWrapper:
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        return TextIOWrapper(io.FileIO(descriptor, "a"), encoding="utf-8", write_through=True)

    def handleError(self, record: logging.LogRecord) -> None:
        """Of logging's kind; what it would print is none of the supervisor's output."""
        error = sys.exc_info()[1]
        self._on_lost(str(error) if isinstance(error, OSError) else type(error).__name__)
