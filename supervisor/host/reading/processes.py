"""What a process weighs and may: memory, CPU, descriptors and limits, from `/proc`.

And who is the supervisor, who are its workers.
"""

import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PROC: Final = Path("/proc")
LOCK_FILE: Final = "supervisor.lock"
"""In the data directory; whoever holds it has noted its pid in it (supervisor/process/lock.py)."""
WORKER_MAIN: Final = b"sessions/worker/main.js"
OPEN_FILES: Final = "Max open files"
PROCESSES: Final = "Max processes"

_PSS: Final = re.compile(rb"^Pss:\s+(\d+) kB", re.MULTILINE)
_LIMIT: Final = re.compile(r"^(Max .+?)\s+(unlimited|\d+)\s+(unlimited|\d+)", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessReading:
    """One process now.

    PSS: what is shared is divided among those who share it, so that the sum over workers is true.

    None: the process is another user's, of which the kernel tells only root.
    """

    pid: int
    pss_bytes: int | None
    rss_bytes: int
    cpu_seconds: float
    """User and system time since it began, without its children."""
    descriptors: int | None
    threads: int
    age_seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ProcessLimit:
    """A limit of a process. None: unlimited."""

    soft: int | None
    hard: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundWorkers:
    """The worker processes that work in a data directory, and how many others there are on this
    host.

    `elsewhere`: of other data directories; `unreadable`: of other users, so that only root sees
    where they work.
    """

    pids: tuple[int, ...]
    elsewhere: int = 0
    unreadable: int = 0


def read_process(pid: int, proc: Path = PROC, weigh: bool = True) -> ProcessReading | None:
    """What a process weighs; None: it is gone (or a zombie, which weighs nothing).

    Raises OSError where there is no /proc.

    Without `weigh` its PSS is left out: the kernel walks through all of its memory for it, some 2
    ms for a worker; the rest takes 0.2 ms.
    """
    folder = proc / str(pid)
    try:
        state, *fields = (folder / "stat").read_text().rpartition(")")[2].split()
        if state in "ZX":
            return None
        ticks = os.sysconf("SC_CLK_TCK")
        # proc(5) counts from 1, and the state is field 3: utime 14, stime 15, num_threads 20,
        # starttime 22, rss 24.
        return ProcessReading(
            pid=pid,
            pss_bytes=_pss_bytes(folder) if weigh else None,
            rss_bytes=int(fields[20]) * os.sysconf("SC_PAGE_SIZE"),
            cpu_seconds=(int(fields[10]) + int(fields[11])) / ticks,
            descriptors=_descriptors(folder),
            threads=int(fields[16]),
            age_seconds=max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - int(fields[18]) / ticks),
        )
    except (FileNotFoundError, ProcessLookupError):
        proc.stat()  # gone is the process, not /proc
        return None


def process_limits(pid: int, proc: Path = PROC) -> Mapping[str, ProcessLimit]:
    """The limits that a process really has, by the kernel's names (`Max open files`, `Max
    processes` ...). Raises ProcessLookupError.
    """
    try:
        text = (proc / str(pid) / "limits").read_text()
    except FileNotFoundError:
        raise ProcessLookupError(f"there is no process {pid}") from None
    return {
        name: ProcessLimit(soft=_limit(soft), hard=_limit(hard))
        for name, soft, hard in _LIMIT.findall(text)
    }


def find_supervisor(data_directory: Path, proc: Path = PROC) -> int | None:
    """The pid of the supervisor that holds a data directory; None: nobody does, or a command.

    Raises PermissionError: it is another user's.
    """
    lock = data_directory / LOCK_FILE
    try:
        note = json.loads(lock.read_bytes() or b"{}")  # empty: the holder has not written it yet
    except FileNotFoundError:
        return None
    except ValueError:
        return None  # not a note; whoever holds it is no supervisor of ours
    pid = note.get("pid") if isinstance(note, dict) and "command" not in note else None
    return pid if isinstance(pid, int) and _holds(pid, lock, proc) else None


def find_workers(data_directory: Path | None = None, proc: Path = PROC) -> FoundWorkers:
    """The workers that work in a data directory; without one: all of this host.

    Raises OSError where there is no /proc.
    """
    pids, elsewhere, unreadable = [], 0, 0
    for pid in _worker_pids(proc):
        try:
            if data_directory is None or os.path.samefile(proc / str(pid) / "cwd", data_directory):
                pids.append(pid)
            else:
                elsewhere += 1
        except (FileNotFoundError, ProcessLookupError):
            elsewhere += (
                int(not data_directory.exists()) if data_directory is not None else 0
            )  # else: it has just ended
        except PermissionError:
            unreadable += 1
    return FoundWorkers(pids=tuple(sorted(pids)), elsewhere=elsewhere, unreadable=unreadable)


def _worker_pids(proc: Path) -> Iterator[int]:
    for entry in os.scandir(proc):
        if not entry.name.isdecimal():
            continue
        try:
            arguments = (proc / entry.name / "cmdline").read_bytes().rstrip(b"\0").split(b"\0")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it has ended since, or is hidden from us (hidepid)
        if len(arguments) > 1 and arguments[-1].endswith(WORKER_MAIN):
            yield int(entry.name)


def _holds(pid: int, lock: Path, proc: Path) -> bool:
    """Whether a process has the lock's file open: a note may be older than its writer's death, and
    the pid somebody else's by now.
    """
    folder = proc / str(pid) / "fd"
    try:
        for name in sorted(os.listdir(folder), key=int):
            # it is among the first that a supervisor opens
            try:
                if os.path.samefile(folder / name, lock):
                    return True
            except FileNotFoundError:
                continue  # closed since, or no file
    except (FileNotFoundError, ProcessLookupError):
        return False
    except PermissionError:
        # It keeps its descriptors to itself, as a supervisor does also before its own user. Whose
        # lock it is, the kernel tells all.
        if _lock_is_of(pid, lock, proc):
            return True
        raise
    return False


def _lock_is_of(pid: int, lock: Path, proc: Path) -> bool:
    """Whether that process has the lock on the file, by the kernel's table of locks."""
    inode = lock.stat().st_ino
    held = re.compile(
        rf"^\d+: FLOCK +ADVISORY +WRITE {pid} [0-9a-f]+:[0-9a-f]+:{inode} ", re.MULTILINE
    )
    return held.search((proc / "locks").read_text(encoding="ascii", errors="replace")) is not None


def _pss_bytes(folder: Path) -> int | None:
    try:
        found = _PSS.search((folder / "smaps_rollup").read_bytes())
    except PermissionError:
        return None
    return int(found[1]) * 1024 if found else None


def _descriptors(folder: Path) -> int | None:
    try:
        return len(os.listdir(folder / "fd"))
    except PermissionError:
        return None


def _limit(text: str) -> int | None:
    return None if text == "unlimited" else int(text)
