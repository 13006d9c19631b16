"""Which logs are written below `logs/` in the data directory, beside those that are always written
or have a setting of their own (audit.log, websocket.log).

What the supervisor's own log says is copied: all of it (`supervisor.log`, where nobody else is
known to keep it), and what is told of reconnecting (`reconnect.log`).
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from supervisor.process import logs
from supervisor.process.log_files import LogFile
from supervisor.process.streams import is_kept

DIRECTORY: Final = "logs"
"""Below the data directory."""
KINDS: Final = ("performance", "reconnect", "requests", "supervisor")
RECONNECTING: Final = frozenset({"reconnect_planned", "reconnected"})
"""What of the supervisor's log is told of reconnecting, by its action."""

MANY_LINES: Final = frozenset({"requests", "supervisor"})
GATHER_SECONDS: Final = 0.5
"""For so long the lines of those are gathered before they are written."""

KindLogs = Mapping[str, LogFile]
"""By kind; one that is missing is not written."""


@contextmanager
def written(
    directory: Path, kinds: frozenset[str], log_format: str, level: str, secrets: list[str]
) -> Iterator[KindLogs]:
    """The logs of these kinds, while the block runs; the log's settings are those of
    `logs.configure`.
    """
    wanted = kinds - ({"supervisor"} if is_kept() else set())
    files = {
        kind: LogFile(
            directory / DIRECTORY / f"{kind}.log", GATHER_SECONDS if kind in MANY_LINES else 0.0
        )
        for kind in sorted(wanted)
    }
    copies: list[logs.Copy] = []
    if "supervisor" in files:
        copies.append(logs.Copy(files["supervisor"].write))
    if "reconnect" in files:
        copies.append(logs.Copy(files["reconnect"].write, RECONNECTING, "info"))
    logs.configure(log_format, level, secrets, copies)
    try:
        yield files
    finally:
        logs.configure(log_format, level, secrets)
        for file in files.values():
            file.close()
