"""Processes that may be signalled: only those whose working directory is the campaign's own data
directory.
"""

import os
import signal
from pathlib import Path
from types import TracebackType

import psutil


class Target:
    """One process, held by a pidfd, so that a number that is given to another process later is
    never struck.
    """

    def __init__(self, pid: int, fd: int | None) -> None:
        self.pid = pid
        self._fd = fd

    @classmethod
    def below(cls, directory: Path, pid: int | None) -> "Target":
        """A worker of this directory.

        What is not (or no longer) one is a target that nothing happens to.
        """
        if pid is None:
            return cls(-1, None)
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            return cls(pid, None)
        try:
            ours = Path(psutil.Process(pid).cwd()) == directory
        except psutil.Error:
            ours = False
        if not ours:
            os.close(fd)
            return cls(pid, None)
        return cls(pid, fd)

    @property
    def there(self) -> bool:
        """Whether it is one of ours, and was alive when it was looked up."""
        return self._fd is not None

    def signal(self, number: signal.Signals) -> bool:
        """Signal it; whether it was there."""
        if self._fd is None:
            return False
        try:
            signal.pidfd_send_signal(self._fd, number)
        except ProcessLookupError:
            return False
        return True

    def __enter__(self) -> "Target":
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None


def working_below(directory: Path) -> list[psutil.Process]:
    """The processes whose command line or working directory is below the directory, this one left
    out.
    """
    found = []
    for process in psutil.process_iter(["cmdline", "cwd"]):
        places = [process.info["cwd"] or "", *(process.info["cmdline"] or [])]
        if process.pid != os.getpid() and any(str(directory) in place for place in places):
            found.append(process)
    return found
