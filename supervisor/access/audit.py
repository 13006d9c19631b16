"""Who changed what, and who was refused: a line for each in `audit.log`, never with what was sent.

Written beside the call, never in its way; read by `wasup audit`. Calls are told of by the gatehouse
(api/gatehouse/audited.py). Credentials that nobody knows are refused elsewhere (refusals.py: the
supervisor's log), and so are clients of the live feed (`websocket.log`).
"""

import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from sessions.views.times import iso
from supervisor.access.principal import Principal
from supervisor.process.log_files import LogFile, newest_first
from supervisor.process.log_kinds import DIRECTORY

FILE: Final = Path(DIRECTORY) / "audit.log"
"""Below the data directory."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """A call that changed something, or was refused.

    `route`: as the URL table has it; `made`: where what it made is; `result`: `done`, or the code
    of its error.
    """

    address: str | None
    route: str
    session: str | None
    webhook: str | None
    made: str | None
    status: int
    result: str


class AuditLog:
    """The log that is being written."""

    def __init__(self, directory: Path) -> None:
        self._file = LogFile(directory / FILE)

    def write(self, principal: Principal, deed: Deed, unlogged: int = 0) -> None:
        """Write a line. `unlogged`: refusals of the same caller since the line before."""
        line: dict[str, Any] = {
            "at": iso(time.time()),
            "principal": principal.name,
            "id": principal.id,
            "key": principal.key,
            "scope": principal.scope.value,
            **asdict(deed),
        }
        if unlogged:
            line["unlogged"] = unlogged
        self._file.write(line)

    def close(self) -> None:
        """Write what waits."""
        self._file.close()


def read(
    directory: Path,
    session: str | None = None,
    key: str | None = None,
    since: str | None = None,
) -> Iterator[dict[str, Any]]:
    """The lines of a data directory's log, newest first: of a session, of a key, since an instant
    (ISO 8601, UTC, as the lines have it). Raises OSError.
    """
    for line in newest_first(directory / FILE):
        if since is not None and str(line.get("at", "")) < since:
            return
        if session is not None and line.get("session") != session:
            continue
        if key is not None and line.get("key") != key:
            continue
        yield line
