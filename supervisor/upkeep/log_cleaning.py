"""Logs that are too old, those of sessions long deleted among them, go.

Only files of the data directory's own `logs/`, by the names that wasup and its process managers
give them. What is being written is never old: but a worker may say nothing for a month, so the file
of a session that there is stays.
"""

import re
import stat
import time
from collections.abc import Collection
from pathlib import Path
from typing import Final

from sessions.model import SessionId
from supervisor.upkeep.jobs import JobFailed

DAY_SECONDS: Final = 24 * 3600.0
_LOG: Final = re.compile(r".+\.(log|out|err)(\.\d+)?(\.gz)?")
_AUDIT: Final = "audit.log"
"""Bounded by its size alone: who did what is asked for late."""
_SPARE: Final = "spare-worker-"
"""Of workers that wait; they go with them."""


class LogDirectory:
    """The directory, and how long a file that nobody writes to is kept, days."""

    def __init__(self, directory: Path, days: int) -> None:
        self._directory = directory
        self._days = days

    def clean(self, sessions: Collection[SessionId], now: float | None = None) -> str:
        """Delete what is too old; what was done, in words. Blocking. Raises JobFailed, OSError.

        `sessions`: those that there are.
        """
        before = (time.time() if now is None else now) - self._days * DAY_SECONDS
        written = {f"worker-{session}.log" for session in sessions}
        count, size, refused = 0, 0, list[OSError]()
        for file in self._directory.iterdir() if self._directory.is_dir() else ():
            if not _is_log(file.name) or file.name in written:
                continue
            try:
                about = file.lstat()
                if stat.S_ISREG(about.st_mode) and about.st_mtime < before:
                    file.unlink()
                    count, size = count + 1, size + about.st_size
            except FileNotFoundError:
                continue
            except OSError as error:
                refused.append(error)
        if refused:
            raise JobFailed(
                f"{len(refused)} old logs could not be deleted, the first: {refused[0]}.",
                f"Whose is {self._directory}, and is its disk all right?",
            )
        return (
            f"{count} logs that nobody had written to for {self._days} days were deleted"
            f" ({size / 2**20:,.1f} MiB)."
        )


def _is_log(name: str) -> bool:
    ours = not name.startswith((_AUDIT, _SPARE))
    return ours and _LOG.fullmatch(name) is not None
