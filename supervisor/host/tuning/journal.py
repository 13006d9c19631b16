"""What the optimizer has found before it changed anything, kept beside the tree it changes, so that
`--rollback` can put exactly that back.

It is written before the first change and grows with each run; what was found first is never
overwritten. Nobody but its owner may have written it: root restores what stands in it, so a journal
that another user could have forged is refused.
"""

import base64
import binascii
import json
import os
import stat
from dataclasses import dataclass, field
from typing import Any, Final

from supervisor.host.needs.requirements import WRITABLE, limit_text, limit_value
from supervisor.host.tuning.file_tree import Owned, Tree
from supervisor.host.tuning.system_files import LIMITS_FILE, SYSCTL_FILE

JOURNAL_FILE: Final = "var/lib/wasup/system-optimization.json"
VERSION: Final = 1
FILES: Final = (LIMITS_FILE, SYSCTL_FILE)
KEYS: Final = frozenset(row.name for row in WRITABLE)
JOURNAL_BYTES_MOST: Final = 16 * 1024**2
"""More than both files, many times over, can ever be."""


class UnusableJournal(Exception):
    """The journal is damaged, or somebody else could have written it."""


@dataclass(slots=True)
class FileRecord:
    """A file as it was found (None: it was not there), and every content that we put there since
    (None: we removed it).
    """

    previous: Owned | None
    written: list[bytes | None] = field(default_factory=list)


@dataclass(slots=True)
class KernelRecord:
    """A kernel value as it was found, and every value that we wrote since."""

    previous: str
    written: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Journal:
    """What was found first. Empty: we have changed nothing."""

    files: dict[str, FileRecord] = field(default_factory=dict)
    kernel: dict[str, KernelRecord] = field(default_factory=dict)
    limits: dict[str, float] = field(default_factory=dict)
    """This process's limits at the first run (`nofile_soft` and so on): afterwards a login has
    those that we wrote.
    """
    directories: list[str] = field(default_factory=list)
    """Directories that we made, uppermost first."""

    @property
    def empty(self) -> bool:
        """True if nothing was ever changed."""
        return not (self.files or self.kernel or self.directories)


def read_journal(tree: Tree) -> Journal | None:
    """The journal; None: there is none. Raises UnusableJournal, OSError."""
    file = tree.place(JOURNAL_FILE)
    owned = tree.read_ours(JOURNAL_FILE)
    if owned is None:
        return None
    if owned.uid != os.geteuid() or stat.S_IMODE(owned.mode) & (stat.S_IWGRP | stat.S_IWOTH):
        raise UnusableJournal(
            f"{file} belongs to user {owned.uid} or others may write it, so it may be forged."
            " Nothing was changed. Look at it; if you trust it, `chown` it to yourself and `chmod"
            " 600` it, then try again."
        )
    try:
        return _decode(owned.content)
    except (ValueError, KeyError, TypeError, AttributeError, binascii.Error) as error:
        raise UnusableJournal(
            f"{file} cannot be understood ({type(error).__name__}: {error}). Nothing was changed."
            f" Put back a whole copy; without one, remove it together with /{LIMITS_FILE} and"
            f" /{SYSCTL_FILE}."
        ) from error


def write_journal(tree: Tree, journal: Journal) -> None:
    """Make it durable. Its directory is there. Raises OSError."""
    content = json.dumps(_encode(journal), indent=1, sort_keys=True).encode() + b"\n"
    tree.write(JOURNAL_FILE, Owned(content, 0o600, os.geteuid(), os.getegid(), 0))


def _encode(journal: Journal) -> dict[str, Any]:
    return {
        "version": VERSION,
        "files": {
            path: {
                "previous": None if record.previous is None else _encode_owned(record.previous),
                "written": [_encode_bytes(content) for content in record.written],
            }
            for path, record in journal.files.items()
        },
        "kernel": {
            key: {"previous": record.previous, "written": record.written}
            for key, record in journal.kernel.items()
        },
        "limits": {name: limit_text(value) for name, value in journal.limits.items()},
        "directories": journal.directories,
    }


def _encode_owned(owned: Owned) -> dict[str, Any]:
    return {
        "content": _encode_bytes(owned.content),
        "mode": owned.mode,
        "uid": owned.uid,
        "gid": owned.gid,
        "changed_at_ns": owned.changed_at_ns,
    }


def _encode_bytes(content: bytes | None) -> str | None:
    return None if content is None else base64.b64encode(content).decode()


def _decode(content: bytes) -> Journal:
    """Raises ValueError, KeyError, TypeError or AttributeError.

    Names that are not ours are refused: root will write there.
    """
    if len(content) > JOURNAL_BYTES_MOST:
        raise ValueError("it is far too long")
    document = json.loads(content)
    if document["version"] != VERSION:
        raise ValueError(
            f"version {document['version']!r} is not {VERSION}: another wasup wrote it"
        )
    _only(document["files"], FILES)
    _only(document["kernel"], KEYS)
    parents = {str(parent) for path in (*FILES, JOURNAL_FILE) for parent in _parents(path)}
    _only(document["directories"], parents)
    return Journal(
        files={path: _decode_file(record) for path, record in document["files"].items()},
        kernel={key: _decode_kernel(record) for key, record in document["kernel"].items()},
        limits={str(name): limit_value(value) for name, value in document["limits"].items()},
        directories=[str(directory) for directory in document["directories"]],
    )


def _only(names: Any, allowed: Any) -> None:
    strange = [name for name in names if name not in allowed]
    if strange:
        raise ValueError(f"{strange[0]!r} is not ours to restore")


def _parents(path: str) -> list[str]:
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(1, len(parts))]


def _decode_file(record: Any) -> FileRecord:
    previous = record["previous"]
    return FileRecord(
        None if previous is None else _decode_owned(previous),
        [_decode_bytes(content) for content in record["written"]],
    )


def _decode_owned(record: Any) -> Owned:
    content = _decode_bytes(record["content"])
    if content is None:
        raise ValueError("a file without content")
    numbers = [record[name] for name in ("mode", "uid", "gid", "changed_at_ns")]
    if (
        not all(isinstance(number, int) and number >= 0 for number in numbers)
        or record["mode"] > 0o7777
    ):
        raise ValueError("mode, owner or time of a file is no number")
    return Owned(content, *numbers)


def _decode_bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text, validate=True)


def _decode_kernel(record: Any) -> KernelRecord:
    texts = [record["previous"], *record["written"]]
    if not all(isinstance(text, str) and "\n" not in text for text in texts):
        raise ValueError("a kernel value is no text")
    return KernelRecord(texts[0], texts[1:])
