"""What would be changed, and what is left alone: from facts, files and journal to the new content
of both files and the kernel values. Pure.

The rules, in one place:

- A value that is as wanted or better is left alone, and our file says nothing of it. What we wrote
  ourselves is no proof of that: judged is
  what was found before us, so that a second run writes the same again and a run for fewer sessions
  writes less.
- If it is better only until the next boot (the kernel starts with less, and no file says
  otherwise), our file keeps it at what it is.
- Where another file asks for more than is wanted, ours asks for as much as that file.
- No descriptor limit is written above `fs.nr_open`, nor, in a running system that may not raise
  hard limits, above the present one: pam_limits
  would fail on it, and then change nothing (Debian) or let nobody log in (all others).
- A soft limit that no file sets is no proof of what a login gets: a shell can have raised its own.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from supervisor.host.needs.facts import Fact, Facts
from supervisor.host.needs.requirements import BY_NAME, WRITABLE, Wanted, limit_text, limit_value
from supervisor.host.numbers import whole
from supervisor.host.tuning.file_tree import Owned
from supervisor.host.tuning.journal import Journal
from supervisor.host.tuning.system_files import (
    HEADER_START,
    LIMITS_FILE,
    SYSCTL_FILE,
    Configuration,
    Entry,
    Line,
    Malformed,
    limit_key,
    limits_text,
    parse_limits,
    parse_sysctl,
    special_limits,
    sysctl_text,
    without_kept,
)

KERNEL_HARD_DESCRIPTORS: Final = 4096
"""INR_OPEN_MAX: the hard descriptor limit where nobody sets one."""
SYSTEMD_HARD_DESCRIPTORS: Final = 524_288
"""What systemd gives everything that it starts (DefaultLimitNOFILE=1024:524288, since version
240).
"""
JOURNAL_GONE: Final = "its journal is gone: what was before it cannot be put back any more"

_Parse = Callable[[str, str], tuple[list[Line], list[Malformed]]]


@dataclass(frozen=True, slots=True)
class FileChange:
    """One of our files: as it is (None: not there) and as it shall be (None: not there)."""

    path: str
    before: Owned | None
    after: bytes | None

    @property
    def changes(self) -> bool:
        """True if there is anything to do."""
        return (self.before.content if self.before else None) != self.after


@dataclass(frozen=True, slots=True)
class KernelChange:
    """A kernel value: as it is and as it shall be."""

    key: str
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that would be done, and what was noticed on the way."""

    sessions: int
    files: Sequence[FileChange] = ()
    kernel: Sequence[KernelChange] = ()
    promised: Mapping[str, float] = field(default_factory=dict)
    """Limits that a login has once the files are in place: `nofile_soft` and so on."""
    persisted: Mapping[str, str] = field(default_factory=dict)
    """Kernel values that our file sets at boot."""
    refused: Mapping[str, str] = field(default_factory=dict)
    """Limits that are not as wanted and that we cannot set here, and why."""
    notes: Sequence[str] = ()

    @property
    def changes(self) -> bool:
        """True if there is anything to do."""
        return bool(self.kernel) or any(change.changes for change in self.files)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What a plan is made from."""

    sessions: int
    facts: Facts
    sysctl: Configuration
    limits: Configuration
    ours: Mapping[str, Owned | None]
    journal: Journal | None = None
    no_journal: str = JOURNAL_GONE
    """Why there is none beside files of ours."""
    logins_read_limits: bool = True
    """Something in pam.d calls pam_limits."""
    image_has_systemd: bool = True
    """Of an image: what its processes start with."""


@dataclass(slots=True)
class _Draft:
    """A plan on its way."""

    notes: list[str] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


def make_plan(given: Inputs) -> Plan:
    """The plan."""
    draft = _Draft()
    _note_files(given, draft)
    if not given.logins_read_limits:
        draft.notes.append(
            f"nothing in /etc/pam.d calls pam_limits: no login here reads /{LIMITS_FILE}. "
            "Set the limit where the supervisor is started: LimitNOFILE=, `docker run --ulimit`"
        )
    sysctl_entries, sysctl_file = _plan_sysctl(given, draft)
    limit_entries, limits_file = _plan_limits(given, sysctl_entries, draft)
    return Plan(
        sessions=given.sessions,
        files=(limits_file, sysctl_file),
        kernel=_kernel_changes(given, sysctl_entries) if given.facts.live else (),
        promised=_promised(given, limit_entries),
        persisted={entry.key: entry.value for entry in sysctl_entries},
        refused=draft.refused,
        notes=draft.notes,
    )


def _note_files(given: Inputs, draft: _Draft) -> None:
    for configuration in (given.sysctl, given.limits):
        for wrong in configuration.malformed:
            draft.notes.append(
                f"{wrong.place} cannot be understood and is left alone: {wrong.raw.strip()[:80]!r}"
            )
        for file, why in configuration.unreadable.items():
            draft.notes.append(
                f"{file} cannot be read ({why}), so what it says is not taken into account"
            )


# ---- what was found in the file that we write


@dataclass(frozen=True, slots=True, kw_only=True)
class _Found:
    """What others have put into our file, before us or since.

    `lost`: the file is ours, but no journal says what was before it.
    """

    lines: Mapping[str, Line] = field(default_factory=dict)
    malformed: Sequence[Malformed] = ()
    ours: Mapping[str, Line] = field(default_factory=dict)
    lost: bool = False

    def kept(self, superseded: set[str]) -> list[str]:
        """The raw lines to carry over, each once, in their order."""
        keep = [line for key, line in self.lines.items() if key not in superseded]
        return list(
            dict.fromkeys([line.raw for line in keep] + [wrong.raw for wrong in self.malformed])
        )


def _found(given: Inputs, path: str, parse: _Parse) -> _Found:
    now = given.ours.get(path)
    record = given.journal.files.get(path) if given.journal else None
    if now is None and record is None:
        return _Found()
    content = now.content if now else b""
    before = record.previous.content if record and record.previous else b""
    marked = content.decode("utf-8", "surrogateescape").startswith(HEADER_START)
    written: dict[str, set[str]] = {}
    for text in (
        [without_kept(old) for old in record.written if old] if record else [without_kept(content)]
    ):
        for line in parse(path, text)[0]:
            written.setdefault(line.key, set()).add(line.value)
    current, wrong = parse(path, content.decode("utf-8", "surrogateescape"))
    earlier, _ = parse(path, before.decode("utf-8", "surrogateescape"))
    lines: dict[str, Line] = {}
    for line in [
        *earlier,
        *(line for line in current if line.value not in written.get(line.key, ())),
    ]:
        lines.pop(line.key, None)  # so that the order is that of the lines that count
        lines[line.key] = line
    ours = {line.key: line for line in current if line.value in written.get(line.key, ())}
    return _Found(lines=lines, malformed=wrong, ours=ours, lost=marked and record is None)


# ---- kernel values


def _plan_sysctl(given: Inputs, draft: _Draft) -> tuple[list[Entry], FileChange]:
    now = given.ours.get(SYSCTL_FILE)
    found = _found(given, SYSCTL_FILE, parse_sysctl)
    if found.lost:
        draft.notes.append(f"/{SYSCTL_FILE} is ours, but {given.no_journal}")
    entries = [entry for row in WRITABLE if (entry := _sysctl_entry(row, given, found, draft))]
    kept = found.kept({entry.key for entry in entries})
    return entries, FileChange(SYSCTL_FILE, now, sysctl_text(entries, kept, given.sessions))


def _read_only_reason(row: Wanted, given: Inputs) -> str:
    value = row.wanted_text(given.sessions)
    if row.name.startswith("net."):
        flag = f'`docker run --sysctl {row.name}="{value}"`'
        return (
            f"/proc/sys is read-only in here: start the container with {flag}, or set it on its"
            " host if Docker refuses"
        )
    return (
        "/proc/sys is read-only in here: it is the whole host's; run there `sysctl -w"
        f" {row.name}='{value}'`, or this script"
    )


def _sysctl_entry(row: Wanted, given: Inputs, found: _Found, draft: _Draft) -> Entry | None:
    if given.facts.live and row.name not in given.facts.values:
        if not row.may_be_missing:
            draft.refused[row.name] = (
                f"{given.facts.missing.get(row.name, 'unknown')}; it is not written"
            )
        return None
    if row.name in given.facts.read_only:
        return _read_only_entry(row, given, found, draft)
    other = _other_setting(row, given.sysctl, found, draft)
    line = _sysctl_value(row, given, found, other, draft)
    if line is None:
        return None
    _note_override(row, given.sysctl.after_ours(row.name), given.sessions, draft)
    if row.may_be_missing:
        draft.notes.append(
            f"{row.name} is set at boot only if its module is loaded by then: `echo nf_conntrack >"
            " /etc/modules-load.d/nf_conntrack.conf`"
        )
    return Entry(row.name, line, _sentence(row.why(given.sessions)), optional=row.may_be_missing)


def _read_only_entry(row: Wanted, given: Inputs, found: _Found, draft: _Draft) -> Entry | None:
    """What cannot be set is not written either, since nothing would apply it; but a line of ours
    that stands there already is kept.
    """
    if not row.satisfied(given.facts.values[row.name].value, given.sessions):
        draft.refused[row.name] = _read_only_reason(row, given)
    line = found.ours.get(row.name)
    return (
        Entry(row.name, line.value, _sentence(row.why(given.sessions)), row.may_be_missing)
        if line
        else None
    )


def _other_setting(
    row: Wanted, configuration: Configuration, found: _Found, draft: _Draft
) -> Fact | None:
    """What the files say without our own lines."""
    line = (
        configuration.after_ours(row.name)
        or found.lines.get(row.name)
        or configuration.effective(row.name)
    )
    if line is None:
        return None
    value = re.split(r"\s+[#;]", line.value)[0]  # the kernel stops reading there, too
    try:
        return Fact(row.parse(value), value)
    except ValueError:
        draft.notes.append(
            f"{line.place} gives {row.name} a value that is none, and is left alone:"
            f" {line.value[:80]!r}"
        )
        return None


def _sysctl_value(
    row: Wanted, given: Inputs, found: _Found, other: Fact | None, draft: _Draft
) -> str | None:
    """What our file has to say; None: nothing."""
    base = _kernel_base(row, given, found, other)
    if base is None and row.grows_with_memory and not given.facts.live:
        if other is None:
            draft.notes.append(
                f"{row.name} is left to the kernel, which derives it from memory: look again on the"
                " booted host"
            )
            return None
        base = other
    if base is None or not row.satisfied(base.value, given.sessions):
        wanted = Fact(row.wanted(given.sessions), row.wanted_text(given.sessions))
        return (other if other and row.as_good(other.value, wanted.value) else wanted).text
    if other is not None:
        return None if row.satisfied(other.value, given.sessions) else base.text
    starts_worse = row.kernel_default is not None and not row.satisfied(
        row.kernel_default, given.sessions
    )
    return base.text if starts_worse else None


def _kernel_base(row: Wanted, given: Inputs, found: _Found, other: Fact | None) -> Fact | None:
    """The value as it would be without us. None: nobody knows."""
    if not given.facts.live:
        if other is not None:
            return other
        return (
            None
            if row.kernel_default is None
            else Fact(row.kernel_default, str(int(row.kernel_default)))
        )
    record = given.journal.kernel.get(row.name) if given.journal else None
    if record is not None:
        return Fact(row.parse(record.previous), record.previous)
    if found.lost and row.name in found.ours:
        return None
    return given.facts.values[row.name]


def _note_override(row: Wanted, line: Line | None, sessions: int, draft: _Draft) -> None:
    if line is None:
        return
    try:
        if row.satisfied(row.parse(line.value), sessions):
            return
    except ValueError:
        return  # told as a value that is none
    draft.notes.append(
        f"{line.place} sets {row.name} to {line.value!r} and is read after our file, so it wins at"
        " the next boot: change it there"
    )


def _kernel_changes(given: Inputs, entries: Sequence[Entry]) -> list[KernelChange]:
    changes = []
    for entry in entries:
        row, now = BY_NAME[entry.key], given.facts.values[entry.key]
        if entry.key in given.facts.read_only:
            continue
        # Somebody may have raised it since beyond what we wrote: that is left alone.
        if not row.as_good(now.value, row.parse(entry.value)):
            changes.append(KernelChange(entry.key, now.text, entry.value))
    return changes


# ---- limits of processes


def _plan_limits(
    given: Inputs, sysctl: Sequence[Entry], draft: _Draft
) -> tuple[list[Entry], FileChange]:
    found = _found(given, LIMITS_FILE, parse_limits)
    if found.lost:
        draft.notes.append(f"/{LIMITS_FILE} is ours, but {given.no_journal}")
    entries: list[Entry] = []
    for item, domains in (("nofile", ("*", "root")), ("nproc", ("*",))):
        for domain in domains:
            entries += _limit_entries(item, domain, given, found, sysctl, draft)
        _note_special(item, given, draft)
    now = given.ours.get(LIMITS_FILE)
    kept = found.kept({entry.key for entry in entries})
    return entries, FileChange(LIMITS_FILE, now, limits_text(entries, kept, given.sessions))


def _limit_entries(
    item: str, domain: str, given: Inputs, found: _Found, sysctl: Sequence[Entry], draft: _Draft
) -> list[Entry]:
    """Soft and hard, always both: a soft limit above the hard one is cut down to it without a word,
    so the pair has to stand by itself.
    """
    wanted = BY_NAME[f"{item}_soft"].wanted(given.sessions)
    base = {side: _login_limit(domain, side, item, given, found) for side in ("soft", "hard")}
    lasting = (
        item != "nofile" or _limit_line(limit_key((domain, "soft", item)), given, found) is not None
    )
    if min(base.values()) >= wanted and lasting:
        return []
    ceiling, why_not_more = _ceiling(item, given, sysctl)
    if ceiling < wanted:
        for side in ("soft", "hard"):
            draft.refused.setdefault(f"{item}_{side}", why_not_more)
    # Also where the ceiling lets us write no more than this process has: another login may have
    # less.
    sides = {side: min(max(wanted, value), ceiling) for side, value in base.items()}
    why = _limits_comment(item, domain, given.sessions) + (
        f" {_sentence(why_not_more)}" if ceiling < wanted else ""
    )
    entries = [
        Entry(limit_key((domain, side, item)), limit_text(value), why)
        for side, value in sides.items()
    ]
    for entry in entries:
        _note_limit_override(entry, given.limits.after_ours(entry.key), draft)
    return entries


def _login_limit(domain: str, side: str, item: str, given: Inputs, found: _Found) -> float:
    """What a login of such a user would have without our lines."""
    key, name = limit_key((domain, side, item)), f"{item}_{side}"
    value = _limit_line(key, given, found)
    if value is not None:
        return value
    if not given.facts.live or (found.lost and key in found.ours):
        return _starting_limit(name, given.image_has_systemd)
    remembered = (
        given.journal.limits if given.journal and LIMITS_FILE in given.journal.files else {}
    )
    return remembered.get(name, given.facts.values[name].value)


def _limit_line(key: str, given: Inputs, found: _Found) -> float | None:
    """What the files say without our own lines."""
    line = given.limits.after_ours(key) or found.lines.get(key) or given.limits.effective(key)
    try:
        return None if line is None else limit_value(line.value)
    except ValueError:
        return None  # pam_limits ignores such a value too


def _starting_limit(name: str, systemd: bool) -> float:
    """What a process starts with where no file says otherwise.

    `nproc` is derived from memory and more than fits into it.
    """
    if name == "nofile_soft":
        return whole("nofile_default")
    if name == "nofile_hard":
        return SYSTEMD_HARD_DESCRIPTORS if systemd else KERNEL_HARD_DESCRIPTORS
    return math.inf


def _ceiling(item: str, given: Inputs, sysctl: Sequence[Entry]) -> tuple[float, str]:
    """The most that may be written, and why not more."""
    ceiling, why = math.inf, ""
    if item == "nofile":
        planned = next((int(entry.value) for entry in sysctl if entry.key == "fs.nr_open"), None)
        present = given.facts.values.get("fs.nr_open")
        default = BY_NAME["fs.nr_open"].kernel_default or 0
        most = max(planned or 0, present.value if present else 0) or default
        later = given.sysctl.after_ours("fs.nr_open")
        if later is not None and later.value.isdecimal():
            most = min(most, int(later.value))
        ceiling, why = most, f"fs.nr_open is {most:.0f}, and no process may have more"
    if given.facts.live and not given.facts.may_raise_limits:
        hard = given.facts.values[f"{item}_hard"]
        if hard.value < ceiling:
            ceiling = hard.value
            why = (
                "this host does not let root raise hard limits (CAP_SYS_RESOURCE is missing), and"
                f" the present one is {hard.text}: with a higher value pam_limits would refuse"
                " every login (Debian's would change nothing). In Docker, start the container with"
                f" `--ulimit {item}={limit_text(BY_NAME[f'{item}_hard'].wanted(given.sessions))}`"
            )
    return ceiling, why


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


def _limits_comment(item: str, domain: str, sessions: int) -> str:
    reason = _sentence(BY_NAME[f"{item}_soft"].why(sessions))
    return (
        f"{reason} `*` does not mean root, so root has lines of its own."
        if domain == "root"
        else reason
    )


def _note_limit_override(entry: Entry, line: Line | None, draft: _Draft) -> None:
    if line is None:
        return
    try:
        if limit_value(line.value) >= limit_value(entry.value):
            return
    except ValueError:
        pass  # pam_limits ignores the value, but it is worth a word
    draft.notes.append(
        f"{line.place} says {line.raw.strip()!r} and is read after our file, so it wins: change it"
        " there"
    )


def _note_special(item: str, given: Inputs, draft: _Draft) -> None:
    for line in special_limits(
        given.limits.lines, item, BY_NAME[f"{item}_soft"].wanted(given.sessions)
    ):
        draft.notes.append(
            f"{line.place} gives one user or group less than is wanted, and counts more than `*`:"
            f" {line.raw.strip()!r}"
        )


def _promised(given: Inputs, entries: Sequence[Entry]) -> dict[str, float]:
    """What a login of an ordinary user has with the files in place.

    Only what some file says: for the rest, nobody can promise anything.
    """
    if given.facts.live and not given.logins_read_limits:
        return {}
    found = _found(given, LIMITS_FILE, parse_limits)
    promised: dict[str, float] = {}
    for item in ("nofile", "nproc"):
        for side in ("soft", "hard"):
            key = limit_key(("*", side, item))
            ours = next((entry.value for entry in entries if entry.key == key), None)
            line = (
                given.limits.after_ours(key) or found.lines.get(key) or given.limits.effective(key)
            )
            after = given.limits.after_ours(key)
            text = after.value if after else ours or (line.value if line else None)
            if text is not None:
                try:
                    promised[f"{item}_{side}"] = limit_value(text)
                except ValueError:
                    continue  # told already: a value that is none promises nothing
    return promised
