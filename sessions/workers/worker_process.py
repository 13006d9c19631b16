"""A worker process: the only module that spawns, signals and reaps one.

Its end is watched with a pidfd, never with a child watcher or a thread, and never through a pipe
that a grandchild could hold open. It is spawned into a process session of its own, so that its
whole group can be signalled and a terminal's Ctrl-C does not reach it.
"""

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PASSED_ON: Final = (
    "PATH",
    "HOME",
    "LANG",
    "LC_ALL",
    "TZ",
    "TMPDIR",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "NODE_EXTRA_CA_CERTS",
)
"""What a worker inherits of our environment; nothing else, least of all our own secrets."""
_PR_GET_DUMPABLE: Final = 3
_PR_SET_DUMPABLE: Final = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerUser:
    """As whom workers run, where that is not the supervisor's own user.

    They have this group and no other.
    """

    name: str
    uid: int
    gid: int
    home: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StopLadder:
    """How a worker is stopped: asked over its connection, then SIGTERM to its group, then SIGKILL;
    seconds of patience for each.
    """

    ask_seconds: float = 5.0
    terminate_seconds: float = 3.0
    kill_seconds: float = 5.0

    @property
    def total_seconds(self) -> float:
        """The longest that a stop can take."""
        return self.ask_seconds + self.terminate_seconds + self.kill_seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Exit:
    """How a process ended: its exit status, or the signal that killed it.

    Both None when it was not our child.

    `abandoned`: it has not ended, not even by SIGKILL, and nobody waits for that any more.
    """

    status: int | None = None
    signal: int | None = None
    abandoned: bool = False

    def __str__(self) -> str:
        if self.abandoned:
            return "cannot be ended, not even by SIGKILL"
        if self.signal is not None:
            return f"killed by {signal.Signals(self.signal).name}"
        return "ended" if self.status is None else f"exited with status {self.status}"


class WatchedProcess:
    """A living process and the promise of its end."""

    def __init__(self, pid: int, child: "subprocess.Popen[bytes] | None" = None) -> None:
        self.pid = pid
        self._child = child
        self._pidfd = os.pidfd_open(pid)
        self.ended: asyncio.Future[Exit] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().add_reader(self._pidfd, self._on_end)

    def signal_group(self, number: signal.Signals) -> None:
        """Signal the process and its group; nothing happens if it has ended."""
        if not self.ended.done():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    def release(self) -> None:
        """Watch it no more; it lives on without us."""
        if self._pidfd >= 0:
            asyncio.get_running_loop().remove_reader(self._pidfd)
            os.close(self._pidfd)
            self._pidfd = -1

    async def ends_within(self, seconds: float) -> bool:
        """Whether it ends within so many seconds."""
        done, _ = await asyncio.wait([self.ended], timeout=seconds)
        return bool(done)

    def _on_end(self) -> None:
        self.release()
        # at once: the pidfd said that it has ended
        code = self._child.wait() if self._child else None
        if not self.ended.done():
            self.ended.set_result(_exit(code))


def _exit(code: int | None) -> Exit:
    if code is None:
        return Exit()
    return Exit(signal=-code) if code < 0 else Exit(status=code)


def spawn(
    command: Sequence[str],
    environment: Mapping[str, str],
    directory: Path,
    log_file: Path,
    user: WorkerUser | None = None,
) -> WatchedProcess:
    """Start a process: own session, stdin closed, output appended to its log file, only the
    environment that is meant for it.

    `user`: as whom it runs (only root can say); the file is opened before, so that it need not be
    able to.
    """
    passed = {name: os.environ[name] for name in PASSED_ON if name in os.environ}
    if user is not None:
        passed["HOME"] = user.home
    log = os.open(log_file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        child = subprocess.Popen(
            list(command),
            env=passed | dict(environment),
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            user=None if user is None else user.uid,
            group=None if user is None else user.gid,
            extra_groups=None if user is None else [],
        )
    finally:
        os.close(log)
    try:
        return WatchedProcess(child.pid, child)
    except BaseException:  # no descriptor to watch it with: then nobody would ever see to its end
        child.kill()
        raise


def started_at_ticks(pid: int) -> int | None:
    """When the process started, in kernel ticks since boot, or None if there is none.

    With the pid it names a process for certain.
    """
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        return None
    after_name = stat.rpartition(")")[2].split()  # the name itself may hold blanks and brackets
    return None if after_name[0] == "Z" else int(after_name[19])


def find(pid: int, ticks: int) -> WatchedProcess | None:
    """The process of that pid and start time, watched, or None if it has ended (its pid may be
    another's by now).
    """
    if started_at_ticks(pid) != ticks:
        return None
    try:
        process = WatchedProcess(pid)
    except ProcessLookupError:
        return None
    if started_at_ticks(pid) == ticks:  # the pidfd holds the pid from here on
        return process
    process.release()
    return None


def works_in(pid: int, directory: Path) -> bool:
    """Whether the process's working directory is this one.

    False also if there is no such process, or we may not know.
    """
    cwd = f"/proc/{pid}/cwd"
    try:
        return os.path.samefile(cwd, directory)
    except PermissionError:
        # it is of a user of its own, and root may look at another's processes only with
        # CAP_SYS_PTRACE
        pass
    except OSError:
        return False
    with contextlib.suppress(OSError):
        here, its = directory.stat(), os.stat(f"/proc/{pid}")
        with _as(its.st_uid, its.st_gid):
            found = os.stat(cwd)
        return (found.st_dev, found.st_ino) == (here.st_dev, here.st_ino)
    return False


@contextlib.contextmanager
def _as(uid: int, gid: int) -> Iterator[None]:
    """Look at files as that user does, in this thread alone (setfsuid(2)); nothing happens unless
    we are root.

    The kernel takes this for a change of who we are and forgets what was said of who may look into
    us: it is said again.
    """
    libc = ctypes.CDLL(None)
    dumpable = libc.prctl(_PR_GET_DUMPABLE, 0, 0, 0, 0)
    own_gid, own_uid = libc.setfsgid(gid), libc.setfsuid(uid)
    try:
        yield
    finally:
        libc.setfsuid(own_uid)
        libc.setfsgid(own_gid)
        libc.prctl(_PR_SET_DUMPABLE, int(dumpable == 1), 0, 0, 0)
