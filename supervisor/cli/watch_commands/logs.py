"""`wasup logs SESSION`: what its worker and the supervisor have written about it, in the order of
time.
"""

import os
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple

import msgspec
import typer

from sessions.model import parse_session_id
from sessions.views.times import wall_seconds
from supervisor.cli.common.exits import CommandFailed
from supervisor.cli.common.options import Follow, Json, SessionName
from supervisor.cli.common.output import say, show_json
from supervisor.cli.common.reach import configuration
from supervisor.process.lock import holder

LINES: Final = 50
LOOK_SECONDS: Final = 0.5
MOST_BYTES: Final = 64 * 2**20
"""Of a larger log only so much of its end is looked through."""
MOST_JOURNAL_LINES: Final = 20_000
LOGS: Final = "logs"
PM2_LOG: Final = "supervisor.log"
"""Where ecosystem.config.js has pm2 write the supervisor's log."""
LEVELS: Final = {10: "trace", 20: "debug", 30: "info", 40: "warning", 50: "error", 60: "fatal"}
"""The numbers of the worker's log."""
_OUR_OWN: Final = frozenset(
    {"timestamp", "time", "level", "event", "msg", "session", "action", "worker"}
)


class LogLine(NamedTuple):
    """A line, and who wrote it (`worker` or `supervisor`).

    `at`: seconds of wall clock; of a line that names none, of the line before it.
    """

    at: float
    by: str
    text: str
    fields: dict[str, Any]


def logs(
    session: SessionName,
    follow: Follow = False,
    lines: Annotated[
        int, typer.Option("--lines", "-n", min=0, help="So many of the newest lines.")
    ] = LINES,
    as_json: Json = False,
) -> None:
    """Show what a session's worker has written, and what the supervisor has written about it.

    Whether a supervisor runs or not; the worker's predecessor is shown, too. --json: as they were
    written, a line each, with `by` and `at`.
    """
    name = parse_session_id(session)
    directory = configuration().data_dir
    with ExitStack() as stack:
        sources: list[Source] = [
            LogFile(directory / LOGS / f"worker-{name}.log.1", "worker", None),
            LogFile(directory / LOGS / f"worker-{name}.log", "worker", None),
        ]
        supervisor = _supervisor_log(directory, name, follow)
        if supervisor is None:
            say(
                "The supervisor's own lines are where its output goes; from here that cannot be"
                " told. Shown are the worker's.",
                err=True,
            )
        else:
            stack.callback(supervisor.close)
            sources.append(supervisor)
        newest: deque[LogLine] = deque(maxlen=lines)
        newest.extend(_in_order(sources))
        if not newest and not follow:
            raise CommandFailed(
                f"Nobody has written about {name}. `wasup sessions list` shows which sessions there"
                " are."
            )
        _print(newest, as_json)
        while follow:
            time.sleep(LOOK_SECONDS)
            _print(_in_order(sources), as_json)


class Source:
    """Lines of a log, as they come."""

    def new(self) -> Iterator[LogLine]:
        """Those that have come since the last look."""
        raise NotImplementedError

    def close(self) -> None:
        """Let go of it."""


class LogFile(Source):
    """A log file that may be cut, or give its name to another, while it is read."""

    def __init__(self, path: Path, by: str, only: str | None) -> None:
        """`only`: the session of which it is read; None: the file is all its own."""
        self._path = path
        self._by = by
        self._only = only
        self._at = 0
        self._inode = 0
        self._time = 0.0
        self._unfinished = b""

    def new(self) -> Iterator[LogLine]:
        """The lines that have been finished since the last look. Raises OSError."""
        try:
            with self._path.open("rb") as file:
                seen = os.fstat(file.fileno())
                if seen.st_ino != self._inode or seen.st_size < self._at:
                    first = self._inode == 0
                    self._inode, self._unfinished = seen.st_ino, b""
                    self._at = max(0, seen.st_size - MOST_BYTES) if first else 0
                    if self._at:  # in the middle of a line
                        file.seek(self._at)
                        self._at += len(file.readline())
                file.seek(self._at)
                for raw in file:
                    self._at += len(raw)
                    if not raw.endswith(b"\n"):
                        self._unfinished += raw
                        break
                    line, self._unfinished = self._unfinished + raw, b""
                    yield from self._of(line)
        except FileNotFoundError:
            return

    def _of(self, raw: bytes) -> Iterator[LogLine]:
        if self._only is not None and self._only.encode() not in raw:
            return  # most lines of a large fleet's log are of others
        found = parsed(raw.decode(errors="replace").rstrip("\r\n"), self._by, self._time)
        if self._only is None or found.fields.get("session") == self._only:
            self._time = found.at
            yield found


class Journal(Source):
    """What systemd keeps of the supervisor's unit."""

    def __init__(self, unit: str, session: str, follow: bool) -> None:
        self._command = ["journalctl", "--unit", unit, "--output", "cat", "--no-pager"]
        self._session = session
        self._before = True
        self._rest = b""
        # It begins to listen before what was is read, so that nothing falls in between.
        self._following = self._follow() if follow else None

    def _follow(self) -> "subprocess.Popen[bytes]":
        process = subprocess.Popen(
            [*self._command, "--lines", "0", "--follow"],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert process.stdout is not None
        os.set_blocking(process.stdout.fileno(), False)
        return process

    def new(self) -> Iterator[LogLine]:
        """Those that have come since the last look. Raises OSError without a journalctl."""
        content = b""
        if self._before:
            self._before = False
            command = [*self._command, "--lines", str(MOST_JOURNAL_LINES)]
            content = subprocess.run(command, stdout=subprocess.PIPE, check=False).stdout
        elif self._following is not None:
            assert self._following.stdout is not None
            content = self._following.stdout.read() or b""
        *whole, self._rest = (self._rest + content).split(b"\n")
        for raw in whole:
            found = parsed(raw.decode(errors="replace"), "supervisor", 0.0)
            if found.fields.get("session") == self._session:
                yield found

    def close(self) -> None:
        """End journalctl."""
        if self._following is not None:
            self._following.terminate()
            self._following.communicate()


def parsed(line: str, by: str, before: float) -> LogLine:
    """A line as it was written: JSON, mostly. `before`: the time of the line before. Pure."""
    try:
        fields = msgspec.json.decode(line)
    except msgspec.DecodeError:
        fields = None
    if not isinstance(fields, dict):
        return LogLine(before, by, line, {})
    return LogLine(_seconds(fields, before), by, line, fields)


def in_words(line: LogLine) -> str:
    """A line for people: when, who, how bad, what, and what else it says. Pure."""
    if not line.fields:
        return f"{'':19}  {line.by:<10}  {line.text}"
    when = datetime.fromtimestamp(line.at, UTC).strftime("%Y-%m-%d %H:%M:%S")
    fields = line.fields
    level = LEVELS.get(fields.get("level", 0), str(fields.get("level", "")))
    more = " ".join(
        f"{name}={value}"
        for name, value in fields.items()
        if name not in _OUR_OWN and value is not None
    )
    words = fields.get("event") or fields.get("msg") or ""
    return f"{when}  {line.by:<10}  {level:<7}  {words}  {more}".rstrip()


def _seconds(fields: dict[str, Any], before: float) -> float:
    """When it was written: the supervisor names it in ISO 8601, the worker in milliseconds."""
    match fields:
        case {"timestamp": str(text)}:
            try:
                return wall_seconds(text)
            except ValueError:
                return before
        case {"time": int(milliseconds)}:
            return milliseconds / 1000
        case _:
            return before


def _in_order(sources: Iterable[Source]) -> list[LogLine]:
    return sorted((line for source in sources for line in source.new()), key=lambda line: line.at)


def _supervisor_log(directory: Path, session: str, follow: bool) -> Source | None:
    """Where the supervisor's lines are: in the file that it names, in the journal, in pm2's file;
    None: nowhere that is known.
    """
    note = holder(directory) or {}
    if Path(note.get("log", "")).is_file():
        return LogFile(Path(note["log"]), "supervisor", session)
    unit = _unit(note.get("pid"))
    if unit is not None and not unit.startswith("pm2-"):
        return Journal(unit, session, follow)
    by_pm2 = directory / LOGS / PM2_LOG
    return LogFile(by_pm2, "supervisor", session) if by_pm2.is_file() else None


def _unit(pid: Any) -> str | None:
    """The systemd service that a process belongs to; None: to none."""
    try:
        groups = Path(f"/proc/{int(pid)}/cgroup").read_text()
    except (OSError, TypeError, ValueError):
        return None
    name = groups.strip().rpartition("/")[2]
    return name if name.endswith(".service") and not name.startswith("user@") else None


def _print(found: Iterable[LogLine], as_json: bool) -> None:
    for line in found:
        if as_json:
            when = datetime.fromtimestamp(line.at, UTC).isoformat(timespec="milliseconds")
            written = line.fields or {"msg": line.text}
            show_json({"at": when.replace("+00:00", "Z"), "by": line.by, **written})
        else:
            say(in_words(line))
    sys.stdout.flush()
