"""The two files that we write, and others of their kind: their grammar, their order, our texts, and
the difference. Pure: text in, text out.

Order matters in both: of two lines for the same key the later one counts (sysctl.d(5),
limits.conf(5)).
"""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from supervisor.host.needs.requirements import limit_value

LIMITS_FILE: Final = "etc/security/limits.d/99-websocket-limits.conf"
SYSCTL_FILE: Final = "etc/sysctl.d/99-websocket-optimizations.conf"
"""Both below the root, without a leading slash."""
SYSCTL_DIRECTORIES: Final = (
    "etc/sysctl.d",
    "run/sysctl.d",
    "usr/local/lib/sysctl.d",
    "usr/lib/sysctl.d",
    "lib/sysctl.d",
)
"""Of two files with the same name only that of the first directory is read."""
SYSCTL_LAST: Final = "etc/sysctl.conf"
"""`sysctl --system` reads it after all others; systemd does not read it at all, unless a link in
sysctl.d points at it (Debian has one).
"""
LIMITS_FIRST: Final = "etc/security/limits.conf"
LIMITS_DIRECTORY: Final = "etc/security/limits.d"

HEADER: Final = (
    "# Written by wasup (scripts/optimize_system.py) for {sessions} sessions. `optimize_system.py"
    " --rollback` takes it back."
)
HEADER_START: Final = HEADER.split("{", 1)[0]
KEPT: Final = "# Found in this file and kept as it was:"
KEPT_END: Final = "# End of what was found."
COMMENT_WIDTH: Final = 118

LimitKey = tuple[str, str, str]
"""Whom it is for, soft or hard, and the item: ("*", "soft", "nofile")."""


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a file that sets something: `key` to `value`. `raw` is how it stands there."""

    file: str
    number: int
    key: str
    value: str
    raw: str

    @property
    def place(self) -> str:
        """For messages."""
        return f"/{self.file}:{self.number}"


@dataclass(frozen=True, slots=True)
class Malformed:
    """A line that is neither a setting nor a comment."""

    file: str
    number: int
    raw: str

    @property
    def place(self) -> str:
        """For messages."""
        return f"/{self.file}:{self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """What the files of one kind set, in the order in which they count.

    `ours_at`: how many lines of others come before our file.
    """

    lines: Sequence[Line] = ()
    malformed: Sequence[Malformed] = ()
    ours_at: int = 0
    unreadable: Mapping[str, str] = field(default_factory=dict)
    """Files that could not be read, and why."""

    def effective(self, key: str) -> Line | None:
        """The line of others that counts."""
        return next((line for line in reversed(self.lines) if line.key == key), None)

    def after_ours(self, key: str) -> Line | None:
        """The line of others that overrides ours."""
        return next(
            (line for line in reversed(self.lines[self.ours_at :]) if line.key == key), None
        )


# ---- grammar


def parse_sysctl(file: str, text: str) -> tuple[list[Line], list[Malformed]]:
    """The lines of a sysctl.d file.

    Both `.` and `/` separate the parts of a key; a leading `-` says that a failure does not matter.
    """
    lines, malformed = [], []
    for number, raw in enumerate(text.splitlines(), 1):
        stripped = raw.strip()
        if not stripped or stripped[0] in "#;":
            continue
        name, equals, value = stripped.partition("=")
        name = name.strip()
        if not equals and name.startswith("-") and len(name) > 1:
            continue  # "not this key, whatever a pattern says": sets nothing
        key = name.removeprefix("-").strip().replace("/", ".")
        if not equals or not key or " " in key:
            malformed.append(Malformed(file, number, raw))
        else:
            lines.append(Line(file, number, key, " ".join(value.split()), raw))
    return lines, malformed


def parse_limits(file: str, text: str) -> tuple[list[Line], list[Malformed]]:
    """The lines of a limits.conf file: domain, type, item, value; pam_limits passes over what
    follows. A type of `-` gives two lines.
    """
    lines, malformed = [], []
    for number, raw in enumerate(text.splitlines(), 1):
        words = raw.split("#", 1)[0].split()
        if not words:
            continue
        if len(words) == 2 and words[1] == "-":
            continue  # "no limits for this user": sets nothing
        if len(words) < 4 or words[1].lower() not in ("soft", "hard", "-"):
            malformed.append(Malformed(file, number, raw))
            continue
        domain, kind, item, value = words[:4]
        sides = ("soft", "hard") if kind == "-" else (kind.lower(),)
        lines += [
            Line(file, number, limit_key((domain, side, item.lower())), value, raw)
            for side in sides
        ]
    return lines, malformed


def limit_key(parts: LimitKey) -> str:
    """The key of a limits line, as it is written."""
    return " ".join(parts)


# ---- order


def sysctl_order(present: Mapping[str, Sequence[str]]) -> list[str]:
    """The files that are read, in order.

    `present`: names in each directory. Our own file has its place among them, also if it is not
    there.
    """
    chosen: dict[str, str] = {}
    for directory in SYSCTL_DIRECTORIES:
        for name in present.get(directory, ()):
            if name.endswith(".conf"):
                chosen.setdefault(name, f"{directory}/{name}")
    chosen[SYSCTL_FILE.rsplit("/", 1)[1]] = SYSCTL_FILE
    return [chosen[name] for name in sorted(chosen)]


def limits_order(present: Sequence[str]) -> list[str]:
    """The files that pam_limits reads, in order. `present`: names in limits.d."""
    names = {name for name in present if name.endswith(".conf")} | {LIMITS_FILE.rsplit("/", 1)[1]}
    return [LIMITS_FIRST, *(f"{LIMITS_DIRECTORY}/{name}" for name in sorted(names))]


# ---- our texts


@dataclass(frozen=True, slots=True)
class Entry:
    """A line that we write, and why."""

    key: str
    value: str
    why: str
    optional: bool = False
    """The key may be missing at boot."""


def sysctl_text(entries: Sequence[Entry], kept: Sequence[str], sessions: int) -> bytes | None:
    """The sysctl.d file; None: there is nothing to write."""
    body = [
        part
        for entry in entries
        for part in (
            *_comment(entry.why),
            f"{'-' if entry.optional else ''}{entry.key} = {entry.value}",
            "",
        )
    ]
    return _text(body, kept, sessions)


def limits_text(entries: Sequence[Entry], kept: Sequence[str], sessions: int) -> bytes | None:
    """The limits.d file; None: there is nothing to write.

    Entries with the same reason share one comment.
    """
    body: list[str] = []
    last = ""
    for entry in entries:
        if entry.why != last:
            body += ["", *_comment(entry.why)] if body else _comment(entry.why)
            last = entry.why
        body.append(f"{entry.key} {entry.value}")
    return _text([*body, ""] if body else body, kept, sessions)


def _text(body: Sequence[str], kept: Sequence[str], sessions: int) -> bytes | None:
    if not body and not kept:
        return None
    # What was found comes first: where both speak of the same key, ours is meant to count.
    found = [KEPT, *kept, KEPT_END, ""] if kept else []
    lines = [HEADER.format(sessions=sessions), "", *found, *body]
    return ("\n".join(lines).rstrip("\n") + "\n").encode("utf-8", "surrogateescape")


def without_kept(content: bytes) -> str:
    """Of a file that we wrote, only what is ours. Empty if we did not write it."""
    text = content.decode("utf-8", "surrogateescape")
    if not text.startswith(HEADER_START):
        return ""
    lines, inside = [], False
    for line in text.splitlines():
        inside = line == KEPT or (inside and line != KEPT_END)
        # An empty line in the place of one left out: line numbers stay right.
        lines.append("" if inside else line)
    return "\n".join(lines)


def _comment(text: str) -> list[str]:
    lines, line = [], "#"
    for word in text.split():
        if len(line) + 1 + len(word) > COMMENT_WIDTH:
            lines.append(line)
            line = "#"
        line += f" {word}"
    return [*lines, line]


def difference(path: str, before: bytes | None, after: bytes | None) -> str:
    """A unified diff. Empty: there is none."""
    if before == after:
        return ""
    old, new = (_lines(content) for content in (before, after))
    old_name, new_name = (
        f"/{path}" if content is not None else "/dev/null" for content in (before, after)
    )
    return (
        "\n".join(line.rstrip("\n") for line in difflib.unified_diff(old, new, old_name, new_name))
        + "\n"
    )


def _lines(content: bytes | None) -> list[str]:
    return [] if content is None else content.decode("utf-8", "replace").splitlines()


# ---- who else speaks


def special_limits(lines: Iterable[Line], item: str, least: float) -> list[Line]:
    """Lines for single users or groups that are below `least`: they count more than our `*`."""
    found = []
    for line in lines:
        domain, _, line_item = line.key.split(" ")
        if line_item == item and domain not in ("*", "root"):
            try:
                value = limit_value(line.value)
            except ValueError:
                continue  # not a number: pam_limits ignores it as well
            if value < least:
                found.append(line)
    return found
