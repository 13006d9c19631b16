"""Trouble that only a launcher can make inside the supervisor: named in a file, begun and ended
while it runs.

`no-forks`: the machine refuses new processes (EAGAIN), as a full process table or a container's
pids.max does; the kernel's own way
(RLIMIT_NPROC) binds no root, and a cgroup is not everybody's to make. `failing-looks`: what is
looked at of each worker cannot be read.
"""

import errno
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

VARIABLE: Final = "CHAOS_TROUBLE"
NO_FORKS: Final = "no-forks"
FAILING_LOOKS: Final = "failing-looks"


def begin(file: Path, trouble: str) -> None:
    """From now on."""
    file.write_text(trouble)


def end(file: Path) -> None:
    """No more."""
    file.unlink(missing_ok=True)


def under_way(file: Path, trouble: str) -> bool:
    """Whether it is."""
    try:
        return file.read_text() == trouble
    except OSError:
        return False


def install(file: Path) -> None:
    """Make the supervisor's parts look at the file; call it before it runs."""
    from sessions.workers import limit_watch, worker_process

    class Refused(subprocess.Popen[bytes]):
        """A process that may be refused."""

        def __init__(self, *given: Any, **more: Any) -> None:
            if under_way(file, NO_FORKS):
                raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
            super().__init__(*given, **more)

    weigh: Callable[[int], int] = limit_watch.resident_bytes

    def resident_bytes(pid: int) -> int:
        if under_way(file, FAILING_LOOKS):
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return weigh(pid)

    seen_there = type("subprocess", (), {"Popen": Refused, "DEVNULL": subprocess.DEVNULL})
    vars(worker_process)["subprocess"] = seen_there
    limit_watch.resident_bytes = resident_bytes
