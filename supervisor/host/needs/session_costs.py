"""What a session costs a host, as measured once: the assumption where nothing was measured yet, and
the table of wanted limits. Pure.

A session is a Node process and its line to the supervisor.
"""

import math
from typing import Final

from supervisor.host.numbers import whole

MIB: Final = 1024**2

WORKER_BYTES: Final = 55 * MIB
"""PSS of an idle worker: 51 to 52 MiB among 20 (docs/benchmarks.md), 53 to 57 among 10 to 30, by
the fall of MemAvailable 53 to 57.
"""
SUPERVISOR_BYTES: Final = 256 * MIB
"""The supervisor is 85 MiB with 20 sessions; the rest is for the system's own daemons."""
WORKER_THREADS: Final = 11
"""Node 24: 7 at rest, and 4 more of libuv as soon as a name is looked up or a file is read.

Counted in /proc/<pid>/status.
"""
WORKER_DESCRIPTORS: Final = 40
"""24 at rest in /proc/<pid>/fd of an open worker; a media transfer and its files come on top."""
SUPERVISOR_DESCRIPTORS: Final = 3
"""Of the supervisor for each session: its worker's line, its pidfd, and one to spare for a
replacement or a log.
"""
SYSTEM_TASKS: Final = 4096
"""Threads that are not ours: kernel threads, daemons, a database, logins."""


def descriptors_needed(sessions: int) -> int:
    """Descriptors that the supervisor opens for so many sessions."""
    return SUPERVISOR_DESCRIPTORS * sessions + 256


def descriptors_wanted(sessions: int) -> int:
    """The guide's figure, or more where the supervisor needs it."""
    return max(whole("nofile"), descriptors_needed(sessions))


def descriptors_enough(sessions: int) -> int:
    """A limit at which a supervisor of so many sessions raises no alert: the guide's figure is for
    a host that is to grow.
    """
    return math.ceil(descriptors_needed(sessions) / (whole("descriptors_alert") / 100))


def tasks_needed(sessions: int) -> int:
    """Threads of so many workers, their supervisor and the rest of the system."""
    return WORKER_THREADS * sessions + SYSTEM_TASKS


def user_tasks_needed(sessions: int) -> int:
    """Threads of the user that runs the fleet: workers, supervisor, warm spares, a shell."""
    return WORKER_THREADS * sessions + 512


def system_descriptors_needed(sessions: int) -> int:
    """Descriptors of the whole system: workers, supervisor, and the guide's figure for everything
    else.
    """
    return WORKER_DESCRIPTORS * sessions + descriptors_needed(sessions) + whole("nofile")


def memory_needed_bytes(sessions: int) -> int:
    """Memory of so many idle sessions, none kept free."""
    return WORKER_BYTES * sessions + SUPERVISOR_BYTES
