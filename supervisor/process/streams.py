"""How a process parts with its standard streams: what they cannot take any more is lost, and its
exit status stays what it was.

Python flushes them at its very end, and gives 120 in place of any status when that fails: on a full
disk, or when the reader is gone. A process manager would be told of a failure that never was. (With
PYTHONUNBUFFERED nothing is left to flush, and nothing of this is seen.)
"""

import atexit
import contextlib
import os
import sys
from pathlib import Path
from typing import Final

PM2: Final = "pm_id"
JOURNAL: Final = "JOURNAL_STREAM"
"""Set by those who keep the log of what they have started; systemd's, to the device and the inode
of the stream that it reads.
"""


def keep_exit_status() -> None:
    """From now on.

    Whoever cares whether its output has arrived must flush and look for itself, before.
    """
    atexit.register(release)


def release() -> None:
    """Flush the standard streams; lead one that refuses to nowhere, so that the last flush of all
    has nothing to complain about.
    """
    for stream in (sys.stdout, sys.stderr):
        if stream is None:  # it was closed before we began
            continue
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(
                OSError, ValueError
            ):  # no descriptor of its own, or none left: then there is no more to do
                nowhere = os.open(os.devnull, os.O_WRONLY)
                os.dup2(nowhere, stream.fileno())
                os.close(nowhere)


def log_file(stream: int = 2) -> Path | None:
    """The file that the log goes to; a pipe or a terminal (pm2 writes it, or nobody) is none."""
    try:
        target = Path(os.readlink(f"/proc/self/fd/{stream}"))
    except OSError:
        return None
    return target if target.is_file() and not target.is_relative_to("/dev") else None


def is_kept(stream: int = 2) -> bool:
    """Whether somebody is known to keep what goes there: it is a file, or pm2 or systemd's journal
    reads it.
    """
    try:
        status = os.fstat(stream)
    except OSError:
        return False
    journal = f"{status.st_dev}:{status.st_ino}"
    return log_file(stream) is not None or PM2 in os.environ or os.environ.get(JOURNAL) == journal
