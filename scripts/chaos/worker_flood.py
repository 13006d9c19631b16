"""A worker that floods its line: frames without end on the worker's own connection, as a bug or a
compromised dependency would send them.

The connection is taken from the living worker by a copy of its descriptor (pidfd_getfd(2)), so that
the supervisor cannot tell the flood from the worker's own words.
"""

import ctypes
import json
import os
import socket
from contextlib import suppress
from pathlib import Path
from typing import Final

from scripts.chaos.garbage import SOCKET

PIDFD_GETFD: Final = 438
"""The number of the system call, the same on every architecture (Linux 5.6)."""
FRAMES: Final = 80_000
SEND_SECONDS: Final = 20.0
"""The supervisor has cut the line long before; a supervisor that reads on for so long has
failed.
"""


def flood(pid: int, session: str) -> bool:
    """Flood, until the line is cut.

    Blocking. False: the worker had no line, or none that we may have.
    """
    line = _line_of(pid)
    if line is None:
        return False
    frame = (
        json.dumps({"type": "qr", "session": session, "attempt": 1, "qr": "2@flood"}).encode()
        + b"\n"
    )
    with line, suppress(OSError):
        os.set_blocking(line.fileno(), True)
        line.settimeout(SEND_SECONDS)
        for _ in range(FRAMES // 100):
            line.sendall(100 * frame)
    return True


def _line_of(pid: int) -> socket.socket | None:
    """A copy of the worker's connection to the supervisor."""
    try:
        pidfd = os.pidfd_open(pid)
        handles = [int(name) for name in os.listdir(f"/proc/{pid}/fd")]
    except OSError:
        return None
    try:
        for handle in handles:
            copy = ctypes.CDLL(None, use_errno=True).syscall(PIDFD_GETFD, pidfd, handle, 0)
            if copy < 0:
                continue
            with suppress(OSError):
                found = socket.socket(fileno=copy)
                if found.family == socket.AF_UNIX and Path(str(found.getpeername())).name == SOCKET:
                    return found
                found.close()
                continue
            with suppress(OSError):
                os.close(copy)
        return None
    finally:
        os.close(pidfd)
