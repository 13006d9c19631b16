"""Whether the SQLite file that is open is still the one that its path names: who writes into a
removed file writes for nobody.
"""

from pathlib import Path

from sqlalchemy import URL

from sessions.store.engine.database import is_sqlite


class DatabaseFile:
    """An SQLite file as it was when it was opened."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._opened = _which(path)

    @classmethod
    def of(cls, url: URL) -> "DatabaseFile | None":
        """The file of a database that is one."""
        return cls(Path(url.database or "")) if is_sqlite(url) else None

    def lost(self) -> str | None:
        """What has become of it, in words; None: it is where it was. Raises OSError."""
        now = _which(self._path)
        if now == self._opened:
            return None
        if now is None:
            what = f"{self._path} is gone: it was removed, or its directory was"
        else:
            what = f"{self._path} is another file than the one that was opened: it was replaced"
        return (
            f"{what}. Put it back if it was moved; else stop the supervisor and restore the newest"
            " backup"
        )


def _which(path: Path) -> tuple[int, int] | None:
    """Device and inode; None: there is no such file."""
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino
