"""The database: can it be reached, who holds it, is it whole; and how old its newest copy is."""

import shlex
import sqlite3
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from sqlalchemy.exc import SQLAlchemyError

from sessions.model import StoreError, StoreUnavailable
from sessions.store.engine.database import is_sqlite, name_of, newest_revision, revisions
from sessions.store.engine.examination import (
    FileFacts,
    ServerFacts,
    examine_file,
    examine_server,
)
from sessions.store.writing import faults
from supervisor.places import store_marker
from supervisor.places.store_opening import store_url
from supervisor.process.daemon_threads import in_thread
from supervisor.upkeep.schedule import OFF
from supervisor.watch.diagnostics import postgresql
from supervisor.watch.diagnostics.doctor import NotChecked, Subject
from supervisor.watch.diagnostics.resources import clock_differs
from supervisor.watch.diagnostics.results import Issue, Severity

LARGE_WAL_BYTES: Final = 256 * 2**20
OLD_BACKUP_SECONDS: Final = 3 * 24 * 3600.0
SQLITE_MAGIC: Final = b"SQLite format 3\0"
MOST_FILES: Final = 1_000
"""Of a directory, that are looked at for backups."""


async def check_database(subject: Subject) -> Iterable[Issue]:
    """Whether it can be read and written, who holds it, and whether it is whole."""
    url = store_url(subject.settings)
    try:
        await in_thread(lambda: store_marker.check_file(subject.directory, url))
    except StoreUnavailable as error:
        return [_issue(Severity.CRITICAL, f"{error}", error.hint, f"ls -la '{subject.directory}'")]
    except OSError:
        raise NotChecked("the data directory cannot be entered") from None
    if not is_sqlite(url):
        return await _server(subject)
    file = Path(url.database or "")
    if not await in_thread(file.exists):
        raise NotChecked("there is no store yet: the first start makes it")
    try:
        facts = await in_thread(lambda: examine_file(file))
    except (OSError, sqlite3.Error) as error:
        return [
            _issue(
                Severity.CRITICAL,
                f"{file} cannot be opened: {error}.",
                "See whose it is, and whether it is whole; else restore the newest backup.",
                f"ls -la {shlex.quote(str(file))}",
                "wasup store verify",
            )
        ]
    return [*_of_file(file, facts, subject), *await _keys(subject)]


async def check_backups(subject: Subject) -> Iterable[Issue]:
    """How old the newest copy of the store is, where copies are known to go."""
    by_the_clock = subject.settings.backups_directory()
    directories = subject.settings.further_directories()
    if await in_thread(by_the_clock.is_dir):
        directories.append(by_the_clock)
    elif not directories and subject.settings.backup_schedule != OFF:
        return []  # the first is made within the hour; the supervisor's alerts watch that
    if not directories:
        raise NotChecked(
            "where backups go is not known: WHATSAPP_BACKUP_SCHEDULE is off, and no directory is"
            " named in WHATSAPP_WATCHED_DIRECTORIES"
        )
    newest = await in_thread(lambda: newest_backup(directories, subject.files()))
    named = ", ".join(map(str, directories))
    copy = f"wasup store backup {shlex.quote(str(directories[0]))}/wasup-$(date +%F).db"
    if newest is None:
        return [
            _issue(
                Severity.MEDIUM,
                f"There is no backup in {named}.",
                "Make one each day, and keep some of them on another machine.",
                copy,
            )
        ]
    age_seconds = time.time() - newest[1]
    if age_seconds > OLD_BACKUP_SECONDS:
        return [
            _issue(
                Severity.MEDIUM,
                f"The newest backup, {newest[0]}, is {age_seconds / 86_400:.0f} days old.",
                "Make one each day, and see why none was made.",
                copy,
                "crontab -l",
            )
        ]
    return []


def newest_backup(
    directories: Iterable[Path], in_use: Iterable[Path] = ()
) -> tuple[Path, float] | None:
    """The newest copy of a store there, and when it was written (seconds of wall clock).

    `in_use`: files of the store itself, which are no copies, and must not even be opened: a process
    that closes a file loses all its locks on it, SQLite's among them.
    """
    ours = {_which(file) for file in in_use if file.exists()}
    found = [
        (file, file.stat().st_mtime)
        for directory in directories
        if directory.is_dir()
        for file, _ in zip(directory.iterdir(), range(MOST_FILES), strict=False)
        if file.is_file() and _which(file) not in ours and _is_database(file)
    ]
    return max(found, key=lambda one: one[1], default=None)


def _which(file: Path) -> tuple[int, int]:
    about = file.stat()
    return about.st_dev, about.st_ino


def _is_database(file: Path) -> bool:
    try:
        with file.open("rb") as opened:
            return opened.read(len(SQLITE_MAGIC)) == SQLITE_MAGIC
    except OSError:
        return False  # another user's: then it is no backup that this one can restore


def _of_file(file: Path, facts: FileFacts, subject: Subject) -> Iterator[Issue]:
    quoted = shlex.quote(str(file))
    if facts.locked and facts.locked_by == (subject.supervisor,):
        yield _issue(
            Severity.HIGH,
            f"The supervisor itself has been writing {file} for seconds: the disk is slow, or"
            " hangs.",
            "See what keeps the disk busy.",
            "iostat -x 1 3",
            "dmesg --level=err | tail",
        )
    elif facts.locked:
        others = [pid for pid in facts.locked_by if pid != subject.supervisor]
        who = ", ".join(f"{_command(pid)} (pid {pid})" for pid in others)
        yield _issue(
            Severity.CRITICAL,
            f"{file} is locked by {who or 'another process'}: nothing can be written.",
            "End what holds it, or wait until it is done; a copy is made by `wasup store backup`,"
            " never by opening the file.",
            *([f"ps -fp {','.join(map(str, others))}"] if others else [f"fuser -v {quoted}"]),
            *(f"kill {pid}" for pid in others),
        )
    elif facts.problem is not None:
        yield _issue(
            Severity.CRITICAL,
            f"{file} cannot be written: {facts.problem}.",
            "See whether the disk is full, and whose the file is.",
            f"df -h {quoted}",
            f"ls -la {shlex.quote(str(file.parent))}",
        )
    for line in facts.damage:
        yield _issue(
            Severity.CRITICAL,
            f"{file} is damaged: {line}.",
            "Stop the supervisor, keep the file, and restore the newest backup.",
            "wasup store verify",
            f"cp -a {quoted} {quoted}.damaged",
        )
    yield from _revision(facts.revision, str(file))
    if facts.wal_bytes > LARGE_WAL_BYTES:
        yield _issue(
            Severity.MEDIUM,
            f"{file}-wal has grown to {facts.wal_bytes // 2**20} MiB: somebody reads without an"
            " end, and keeps SQLite from tidying up.",
            "End the reader (a copy, a browser of databases).",
            f"fuser -v {quoted}",
        )


async def _server(subject: Subject) -> list[Issue]:
    url = store_url(subject.settings)
    name = name_of(url)
    where = f"-h {url.host or '/var/run/postgresql'}" + (f" -p {url.port}" if url.port else "")
    try:
        facts = await examine_server(url)
    except (SQLAlchemyError, OSError) as error:
        return [
            _issue(
                Severity.CRITICAL,
                f"{name} cannot be reached: {faults.describe(error).rstrip('.')}.",
                "Start PostgreSQL, or mend the way to it, the user or the password.",
                f"pg_isready {where}",
                "sudo systemctl status postgresql",
            )
        ]
    return [*_of_server(name, facts, subject), *await _keys(subject)]


def _of_server(name: str, facts: ServerFacts, subject: Subject) -> Iterator[Issue]:
    if facts.owner is not None and subject.supervisor is None and not subject.within:
        yield _issue(
            Severity.CRITICAL,
            f"Another supervisor owns {name} ({facts.owner}), and none runs on"
            f" {subject.directory}: two of them are set to one database.",
            "Stop the other one, or give this one a database of its own.",
            'psql -c "SELECT pid, client_addr, backend_start FROM pg_stat_activity WHERE'
            " application_name = 'wasup'\"",
        )
    yield from clock_differs(facts.at_seconds - facts.server_seconds, name)
    yield from _revision(facts.revision, name)
    settings = subject.settings
    most = settings.database_pool_size + settings.database_max_overflow + 1
    yield from postgresql.advice(name, facts, most)


async def _keys(subject: Subject) -> list[Issue]:
    """What is encrypted needs its key."""
    if subject.store is None:
        return []
    try:
        await subject.store.check_keys()
    except StoreError as error:
        return [
            _issue(
                Severity.CRITICAL,
                f"{error}",
                error.hint,
                "wasup store verify",
            )
        ]
    return []


def _revision(revision: str | None, name: str) -> Iterator[Issue]:
    if revision is not None and revision not in revisions():
        yield _issue(
            Severity.CRITICAL,
            f"{name} was written by a newer version (schema {revision}, this one has"
            f" {newest_revision()}).",
            "Run the newer version, or restore the backup from before it (docs/upgrading.md).",
            "wasup --version",
            "git log --oneline -5",
        )


def _command(pid: int) -> str:
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return "a process"
    return b" ".join(arguments[:3]).decode(errors="replace").strip() or "a process"


def _issue(severity: Severity, description: str, solution: str, *commands: str) -> Issue:
    return Issue("configuration", severity, description, solution, ("database",), commands)
