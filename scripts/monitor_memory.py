"""What the cron monitor has told already: so a trouble is told once when it begins and once when it
is over, and else once a day.

Like the monitor it imports nothing of the program that it watches.
"""

import contextlib
import errno
import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

FORMAT: Final = 1
REMIND_SECONDS: Final = 24 * 3600.0
ROOM_BYTES: Final = 16 * 1024
"""The file is padded to that, so that on a full disk it can be written over where it stands."""
MOST_CHARACTERS: Final = 300
"""A trouble's words are cut after so many."""
SHOWN: Final = 10
"""A line names so many troubles of one kind, and counts the others."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something that is wrong.

    `label`: what troubles of its kind have in common, told once for all of them; may be empty.
    """

    label: str
    item: str
    since: float = 0.0
    """Seconds since 1970."""
    told: float = 0.0


Troubles = Mapping[str, Trouble]
"""By key: where it was seen, and what it is about.

The words may change while it lasts, the key does not.
"""


@dataclass(frozen=True, slots=True)
class News:
    """What is to be told now, and what is known from now on."""

    lines: tuple[str, ...]
    known: Troubles


def compare(known: Troubles, seen: Troubles, judged: Iterable[str], now: float) -> News:
    """What has begun, lasts for another day, or is over. Pure.

    `judged`: the places (the part of a key before the first slash) that this run could look at.
    What it could not look at goes on.
    """
    places = frozenset(judged)
    began = {
        key: replace(trouble, since=now, told=now)
        for key, trouble in seen.items()
        if key not in known
    }
    over = {
        key: trouble
        for key, trouble in known.items()
        if key not in seen and key.split("/")[0] in places
    }
    still = {
        key: replace(seen.get(key, old), since=old.since, told=old.told)
        for key, old in known.items()
        if key not in over
    }
    due = {
        key: replace(trouble, told=now)
        for key, trouble in still.items()
        if now - trouble.told >= REMIND_SECONDS
    }
    lines = [words(began.values())] if began else []
    lines += [f"still, since {_stamp(due)}: {words(due.values())}"] if due else []
    lines += (
        [
            f"over, after {_duration(now - min(one.since for one in over.values()))}:"
            f" {words(over.values())}"
        ]
        if over
        else []
    )
    return News(tuple(lines), still | due | began)


def words(troubles: Iterable[Trouble]) -> str:
    """Troubles in one line, those of a kind together; of many only some."""
    kinds: dict[str, list[str]] = {}
    for trouble in troubles:
        kinds.setdefault(trouble.label, []).append(printable(trouble.item))
    return "; ".join(
        f"{label}: {listed(items)}" if label else "; ".join(items) for label, items in kinds.items()
    )


def listed(items: Iterable[str]) -> str:
    """Some items and how many there are besides."""
    every = sorted(items)
    more = [f"and {len(every) - SHOWN} more"] if len(every) > SHOWN else []
    return ", ".join(every[:SHOWN] + more)


def printable(text: str) -> str:
    """On one line, without anything that a terminal would obey, and not too long."""
    line = " ".join(
        "".join(character if character.isprintable() else " " for character in text).split()
    )
    return line if len(line) <= MOST_CHARACTERS else line[: MOST_CHARACTERS - 1] + "…"


def _stamp(troubles: Troubles) -> str:
    return datetime.fromtimestamp(min(one.since for one in troubles.values()), UTC).strftime(
        "%Y-%m-%dT%H:%MZ"
    )


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.0f} h"


class Memory:
    """The file. What cannot be read counts as nothing: then everything is told anew.

    `spare`: where it is kept if the file's disk takes nothing at all; on another disk, and in a
    directory that is everybody's.
    """

    def __init__(self, file: Path, spare: Path) -> None:
        self._file = file
        self._spare = spare

    def read(self) -> Troubles:
        """What is known. While there is a spare file, it is the newer one."""
        spare = _read(self._spare)
        return _read(self._file) or {} if spare is None else spare

    def write(self, known: Troubles) -> None:
        """Keep it, whole or not at all; on a full disk over the old one, if it has the room, or in
        the spare file. Raises OSError.
        """
        content = json.dumps(
            {"format": FORMAT, "known": {key: asdict(one) for key, one in known.items()}}
        ).encode()
        content = content.ljust(-(-len(content) // ROOM_BYTES) * ROOM_BYTES)
        beside = self._file.with_name(self._file.name + ".new")
        try:
            with _private(beside, os.O_CREAT | os.O_TRUNC) as handle:
                _write_all(handle, content)
                os.fsync(handle)
            beside.replace(self._file)
        except OSError:
            with contextlib.suppress(OSError):
                beside.unlink()
            if not _written_over(self._file, content):
                _write_spare(self._spare, content)
                return
        with contextlib.suppress(OSError):
            self._spare.unlink()


def _read(file: Path) -> Troubles | None:
    """What stands in a file of our own; None: there is none, or it is another's, or broken."""
    try:
        handle = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        with os.fdopen(handle, "rb") as opened:
            if os.fstat(handle).st_uid != os.geteuid():
                return None
            document = json.loads(opened.read())
        if document["format"] != FORMAT:
            return None
        return {str(key): _trouble(one) for key, one in document["known"].items()}
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None


def _written_over(file: Path, content: bytes) -> bool:
    """Whether it could be written where it stands: its blocks are its own, however full the disk
    is.
    """
    try:
        with _private(file) as handle:
            if os.fstat(handle).st_size < len(content):
                return False
            _write_all(handle, content)
            os.ftruncate(handle, len(content))
    except OSError:
        return False
    return True


def _write_spare(file: Path, content: bytes) -> None:
    """Raises OSError, also when somebody else has put a file there."""
    with _private(file, os.O_CREAT | os.O_NONBLOCK) as handle:
        if os.fstat(handle).st_uid != os.geteuid():
            raise PermissionError(errno.EPERM, "it is another user's", str(file))
        os.fchmod(handle, 0o600)
        os.ftruncate(handle, 0)
        _write_all(handle, content)


@contextlib.contextmanager
def _private(file: Path, flags: int = 0) -> Iterator[int]:
    handle = os.open(file, os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW | flags, 0o600)
    try:
        yield handle
    finally:
        os.close(handle)


def _write_all(handle: int, content: bytes) -> None:
    while content:
        content = content[os.write(handle, content) :]


def _trouble(one: Mapping[str, object]) -> Trouble:
    now = time.time()
    since, told = (
        min(float(str(one[name])), now) for name in ("since", "told")
    )  # a clock that was set back must not silence it
    return Trouble(str(one["label"]), str(one["item"]), since, told)


class Skipped:
    """How many runs in a row found another one under way.

    Its file is written by those who do not hold the monitor's lock.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def more(self) -> int:
        """One more; how many there are now."""
        count = self.count() + 1
        with contextlib.suppress(OSError), _private(self._file, os.O_CREAT) as handle:
            _write_all(handle, f"{count}\n".encode())
        return count

    def count(self) -> int:
        """How many there were."""
        try:
            return int(self._file.read_text())
        except (OSError, ValueError):
            return 0

    def forget(self) -> None:
        """A run is under way that skips nothing."""
        with contextlib.suppress(OSError):
            self._file.unlink()
