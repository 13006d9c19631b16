"""How full the file systems are on which something is kept.

A look at one that hangs (a lost network mount) keeps nobody waiting.
"""

import os
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

PATIENCE_SECONDS: Final = 2.0
"""For one look at all of them; statvfs takes microseconds where the disk is well."""
FRESH_SECONDS: Final = 1.0
"""However many ask, a look is made once a second."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskReading:
    """A file system. None: it has not answered yet, or has no fixed number of inodes (btrfs)."""

    directories: tuple[str, ...]
    """Of those that are watched, which lie on it."""
    total_bytes: int | None = None
    available_bytes: int | None = None
    """To an ordinary user."""
    used_fraction: float | None = None
    """As df reckons: of what an ordinary user could have."""
    inodes: int | None = None
    inodes_available: int | None = None
    inodes_used_fraction: float | None = None
    silent_seconds: float = 0.0
    """For how long a look at it has been waiting; 0: it answered."""
    problem: str | None = None
    """Why it could not be read: the directory is gone, or may not be entered."""

    @property
    def where(self) -> str:
        """Its directories, in words."""
        return ", ".join(self.directories)


class _Look(threading.Thread):
    """One look at one directory.

    A daemon, since it may never come back: nobody joins it without a limit, nor does the
    interpreter's end.
    """

    def __init__(self, directory: Path, statvfs: Callable[[Path], os.statvfs_result]) -> None:
        super().__init__(name=f"disk of {directory}", daemon=True)
        self.began = time.monotonic()
        self.device: int | None = None
        self.found: os.statvfs_result | None = None
        self.problem: str | None = None
        self._directory = directory
        self._statvfs = statvfs

    def run(self) -> None:
        try:
            found = self._statvfs(self._directory)
            self.device = os.stat(self._directory).st_dev
            self.found = found
        except OSError as error:
            self.problem = error.strerror or str(error)


class Disks:
    """The file systems of some directories."""

    def __init__(
        self,
        directories: Iterable[Path],
        statvfs: Callable[[Path], os.statvfs_result] = os.statvfs,
        fresh_seconds: float = FRESH_SECONDS,
    ) -> None:
        self._directories = tuple(dict.fromkeys(directories))
        self._statvfs = statvfs
        self._looks: dict[Path, _Look] = {}
        self._fresh_seconds = fresh_seconds
        self._last: tuple[float, tuple[DiskReading, ...]] = (float("-inf"), ())
        self._lock = threading.Lock()

    def fresh(self) -> tuple[DiskReading, ...] | None:
        """What was read a moment ago, without a look and without waiting; None: too long ago."""
        at, found = self._last
        return found if time.monotonic() - at < self._fresh_seconds else None

    def reading(self, patience_seconds: float = PATIENCE_SECONDS) -> tuple[DiskReading, ...]:
        """Each file system, the fullest first.

        One that has not answered the look before is neither asked again nor waited for.
        """
        with self._lock:
            if (known := self.fresh()) is not None:
                return known
            until = time.monotonic() + patience_seconds
            begun = [
                self._begin(directory)
                for directory in self._directories
                if not self._hangs(directory)
            ]
            for look in begun:
                look.join(max(0.0, until - time.monotonic()))
            found = tuple(sorted(self._grouped(), key=lambda disk: -(disk.used_fraction or 0.0)))
            self._last = (time.monotonic(), found)
            return found

    def _hangs(self, directory: Path) -> bool:
        look = self._looks.get(directory)
        return look is not None and look.is_alive()

    def _begin(self, directory: Path) -> _Look:
        look = self._looks[directory] = _Look(directory, self._statvfs)
        look.start()
        return look

    def _grouped(self) -> list[DiskReading]:
        """Directories of one device are one reading; those that did not answer have one each."""
        devices: dict[int, list[Path]] = {}
        readings = []
        for directory, look in self._looks.items():
            if look.ident is None:
                continue  # no thread could be started for it, which its reader was told
            if look.device is not None and look.found is not None:
                devices.setdefault(look.device, []).append(directory)
            elif look.is_alive():
                silent = time.monotonic() - look.began
                readings.append(
                    DiskReading(directories=(str(directory),), silent_seconds=round(silent, 1))
                )
            else:
                readings.append(DiskReading(directories=(str(directory),), problem=look.problem))
        for directories in devices.values():
            found = self._looks[directories[0]].found
            assert found is not None, "only those that answered have a device"
            readings.append(disk_reading(tuple(str(directory) for directory in directories), found))
        return readings


def disk_reading(directories: tuple[str, ...], found: os.statvfs_result) -> DiskReading:
    """What statvfs says, as figures. Pure."""
    used, available = found.f_blocks - found.f_bfree, found.f_bavail
    inodes_used = found.f_files - found.f_ffree
    return DiskReading(
        directories=directories,
        total_bytes=found.f_blocks * found.f_frsize,
        available_bytes=available * found.f_frsize,
        used_fraction=used / (used + available) if used + available else None,
        inodes=found.f_files or None,
        inodes_available=found.f_favail if found.f_files else None,
        inodes_used_fraction=inodes_used / (inodes_used + found.f_favail)
        if inodes_used + found.f_favail > 0
        else None,
    )
