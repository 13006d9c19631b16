"""Diagnose, plan, apply, verify, roll back.

What is decided is decided in `plan`; here it is done, all of it or nothing.

The order of an application: the new files are written beside their places (what can run out of
space happens here), the journal is made durable, the files go into their places, the kernel values
are set. A failure before the last step takes everything back. A kernel value that is refused takes
nothing back: the others are good without it, and it is told. A crash at any point leaves a journal
that `rollback` understands.
"""

import contextlib
import copy
import errno
import fcntl
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final

from supervisor.host.needs.facts import Facts, image_facts, read_facts, read_sysctl, sysctl_path
from supervisor.host.needs.requirements import BY_NAME, SESSIONS_DEFAULT, SESSIONS_MOST, Kind
from supervisor.host.tuning.diagnosis import SystemLimit, critical, diagnose
from supervisor.host.tuning.file_tree import Owned, Staged, Tree
from supervisor.host.tuning.journal import (
    FILES,
    JOURNAL_FILE,
    FileRecord,
    Journal,
    KernelRecord,
    UnusableJournal,
    read_journal,
    write_journal,
)
from supervisor.host.tuning.plan import JOURNAL_GONE, Inputs, KernelChange, Plan, make_plan
from supervisor.host.tuning.system_files import LIMITS_FILE

FILE_MODE: Final = 0o644
HELD_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


LOCKS: Final = Path("/run")
"""Where root's programs keep what is of this boot only; others may look, and not write."""


class Busy(Exception):
    """Another optimizer is at work on the same tree."""


class NoSystem(Exception):
    """The root is no file system of a Linux system."""


class Action(StrEnum):
    """What was done."""

    PLANNED = "planned"
    APPLIED = "applied"
    NOTHING = "nothing to do"
    UNDONE = "undone"  # an application failed, and what it had changed was put back
    ROLLED_BACK = "rolled back"


@dataclass(frozen=True, slots=True, kw_only=True)
class OptimizationResult:
    """What was found, done and left."""

    action: Action
    root: str
    sessions: int
    plan: Plan
    before: Sequence[SystemLimit]
    after: Sequence[SystemLimit]
    done: Sequence[str] = ()
    failures: Sequence[str] = ()
    container: str | None = None

    @property
    def good(self) -> bool:
        """True if nothing failed and nothing critical is left."""
        return not self.failures and not critical(self.after)


@dataclass(slots=True)
class _Outcome:
    done: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


class SystemOptimizer:
    """The host (or an image below `root`) made ready for so many sessions.

    `proc` and `sys` are what is mounted there.
    """

    def __init__(
        self,
        sessions: int = SESSIONS_DEFAULT,
        root: Path = Path("/"),
        proc: Path = Path("/proc"),
        sys: Path = Path("/sys"),
    ) -> None:
        """Raises NoSystem, ValueError."""
        if not 1 <= sessions <= SESSIONS_MOST:
            raise ValueError(f"{sessions} sessions: from 1 to {SESSIONS_MOST:,}, please")
        self.sessions = sessions
        if not (root.resolve() / "etc").is_dir():
            raise NoSystem(f"{root} is no file system of a Linux system: it has no directory etc")
        self._tree = Tree(root)
        self._proc, self._sys = proc, sys

    # ---- looking

    def facts(self) -> Facts:
        """What the host has."""
        return read_facts(self._proc, self._sys) if self._tree.live else image_facts()

    def plan(self, facts: Facts | None = None) -> Plan:
        """What would be changed. Raises OSError, UnusableJournal."""
        journal, no_journal = None, JOURNAL_GONE
        try:
            journal = read_journal(self._tree)
        except PermissionError:
            if os.geteuid() == 0:
                raise
            # Enough for a look. Who changes something reads it once more, and then it has to be
            # there.
            no_journal = "only root may read its journal, so what was before it is not known here"
        return make_plan(
            Inputs(
                sessions=self.sessions,
                facts=facts or self.facts(),
                sysctl=self._tree.sysctl_configuration(),
                limits=self._tree.limits_configuration(),
                ours={path: self._tree.read_ours(path) for path in FILES},
                journal=journal,
                no_journal=no_journal,
                logins_read_limits=self._tree.logins_read_limits(),
                image_has_systemd=self._tree.has_systemd(),
            )
        )

    def diagnose(self) -> list[SystemLimit]:
        """What there is, against what is wanted. Raises OSError, UnusableJournal."""
        facts = self.facts()
        return diagnose(facts, self.plan(facts))

    def look(self) -> OptimizationResult:
        """Plan and diagnosis; nothing is changed. Raises OSError, UnusableJournal."""
        facts = self.facts()
        plan = self.plan(facts)
        limits = diagnose(facts, plan)
        action = Action.PLANNED if plan.changes else Action.NOTHING
        return self._result(action, plan, limits, limits, _Outcome(), facts.container)

    def _result(
        self,
        action: Action,
        plan: Plan,
        before: Sequence[SystemLimit],
        after: Sequence[SystemLimit],
        outcome: _Outcome,
        container: str | None,
    ) -> OptimizationResult:
        return OptimizationResult(
            action=action,
            root=str(self._tree.root),
            sessions=self.sessions,
            plan=plan,
            before=before,
            after=after,
            done=outcome.done,
            failures=outcome.failures,
            container=container,
        )

    # ---- changing

    def apply(self) -> OptimizationResult:
        """Change what has to change, and look whether it did.

        Raises Busy, OSError (nothing was changed), UnusableJournal.
        """
        with self._alone(), _signals_held():
            facts = self.facts()
            plan = self.plan(facts)
            before = diagnose(facts, plan)
            self._sweep()
            if not plan.changes:
                return self._result(
                    Action.NOTHING, plan, before, before, _Outcome(), facts.container
                )
            outcome = _Outcome()
            action = Action.APPLIED if self._carry_out(plan, facts, outcome) else Action.UNDONE
            if action is Action.APPLIED:
                self._verify(plan, outcome)
            _, after = self._look_again(plan, before, outcome)
            return self._result(action, plan, before, after, outcome, facts.container)

    def rollback(self) -> OptimizationResult:
        """Put back what was found before the first application.

        Raises Busy, OSError, UnusableJournal.
        """
        with self._alone(), _signals_held():
            facts = self.facts()
            plan = self.plan(facts)
            before = diagnose(facts, plan)
            journal = read_journal(self._tree)
            self._sweep()
            if journal is None:
                return self._result(
                    Action.NOTHING, plan, before, before, _Outcome(), facts.container
                )
            outcome = _Outcome()
            self._restore(journal, outcome)
            left, after = self._look_again(plan, before, outcome)
            return self._result(Action.ROLLED_BACK, left, before, after, outcome, facts.container)

    def _look_again(
        self, plan: Plan, before: Sequence[SystemLimit], outcome: _Outcome
    ) -> tuple[Plan, Sequence[SystemLimit]]:
        """What there is after a change.

        If that cannot be read any more, what was changed is told all the same.
        """
        try:
            facts = self.facts()
            left = self.plan(facts)
        except (OSError, UnusableJournal) as error:
            outcome.failures.append(
                f"what there is now could not be read ({_told(error)}): the table is of before"
            )
            return plan, before
        return left, diagnose(facts, left)

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One at a time on a tree; the lock goes with the process."""
        handle = _open_lock(self._tree.root)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield
        except BlockingIOError:
            raise Busy(
                f"another optimizer is at work on {self._tree.root}: try again when it has ended"
            ) from None
        finally:
            os.close(handle)

    def _sweep(self) -> None:
        """Remove what a killed run has left beside the places."""
        for path in (*FILES, JOURNAL_FILE):
            self._tree.sweep(path)

    # ---- applying

    def _carry_out(self, plan: Plan, facts: Facts, outcome: _Outcome) -> bool:
        """All of it, or nothing and False. The kernel comes last."""
        old_journal = read_journal(self._tree)
        old_owned = self._tree.read_ours(JOURNAL_FILE)
        changes = [change for change in plan.files if change.changes]
        journal = self._journal_for(plan, facts, old_journal)
        made = [path for path in journal.directories if not (self._tree.root / path).exists()]
        staged: dict[str, Staged] = {}
        moved: list[tuple[str, Owned | None]] = []
        try:
            self._tree.make_directories(made)
            for change in changes:
                if change.after is not None:
                    staged[change.path] = self._tree.stage(
                        change.path, _owned_like(change.before, change.after)
                    )
            write_journal(self._tree, journal)
            for change in changes:
                moved.append((change.path, change.before))
                if change.after is None:
                    self._tree.remove(change.path)
                else:
                    staged[change.path].commit()
        except BaseException as error:
            outcome.failures.append(f"{_told(error)}: everything was put back as it was")
            for file in staged.values():
                file.discard()
            self._take_back(moved, old_owned, made, outcome)
            if not isinstance(error, OSError):
                raise
            return False
        outcome.done += [
            f"/{change.path} {'removed' if change.after is None else 'written'}"
            for change in changes
        ]
        for kernel_change in plan.kernel:
            self._set(kernel_change.key, kernel_change.after, outcome)
        return True

    def _journal_for(self, plan: Plan, facts: Facts, old: Journal | None) -> Journal:
        """The journal as it has to be before the first change: what was found first stays, what we
        are about to write is added.
        """
        journal = copy.deepcopy(old) if old else Journal()
        for change in plan.files:
            if change.changes:
                record = journal.files.setdefault(change.path, FileRecord(change.before))
                if change.after not in record.written:
                    record.written.append(change.after)
                if change.path == LIMITS_FILE:
                    for name, fact in facts.values.items():
                        if name in BY_NAME and BY_NAME[name].kind is Kind.ULIMIT:
                            journal.limits.setdefault(name, fact.value)
        for kernel_change in plan.kernel:
            kernel_record = journal.kernel.setdefault(
                kernel_change.key, KernelRecord(kernel_change.before)
            )
            if kernel_change.after not in kernel_record.written:
                kernel_record.written.append(kernel_change.after)
        for path in (
            JOURNAL_FILE,
            *(change.path for change in plan.files if change.after is not None),
        ):
            self._tree.place(path)
            journal.directories += [
                made
                for made in self._tree.missing_directories(path)
                if made not in journal.directories
            ]
        return journal

    def _take_back(
        self,
        moved: Sequence[tuple[str, Owned | None]],
        journal: Owned | None,
        made: Sequence[str],
        outcome: _Outcome,
    ) -> None:
        """After a failure. If this fails as well (a dying disk), the journal stays, and says so."""
        try:
            for path, owned in [*moved, (JOURNAL_FILE, journal)]:
                now = self._tree.read_ours(path)
                if now == owned:
                    continue
                if owned is None:
                    self._tree.remove(path)
                else:
                    self._tree.write(path, owned)
            self._tree.remove_directories(made)
        except OSError as error:
            outcome.failures[-1:] = [
                outcome.failures[-1].split(":", 1)[0],
                (
                    f"putting things back failed as well ({_told(error)}): run --rollback when the"
                    " cause is mended"
                ),
            ]

    def _set(self, key: str, value: str, outcome: _Outcome) -> bool:
        """A kernel value. What the kernel refuses is told with its cause."""
        try:
            handle = os.open(
                sysctl_path(key, self._proc / "sys"), os.O_WRONLY | os.O_TRUNC | os.O_CLOEXEC
            )
            try:
                os.write(handle, f"{value}\n".encode())
            finally:
                os.close(handle)
        except OSError as error:
            outcome.failures.append(f"{key} = {value} was refused: {_cause(error)}")
            return False
        outcome.done.append(f"{key} = {value}")
        return True

    def _verify(self, plan: Plan, outcome: _Outcome) -> None:
        """Read everything back."""
        for change in plan.files:
            try:
                now = self._tree.read_ours(change.path)
            except OSError as error:
                outcome.failures.append(f"/{change.path} cannot be read back: {_told(error)}")
                continue
            if (now.content if now else None) != change.after:
                outcome.failures.append(
                    f"/{change.path} is not what was written: somebody else changes it"
                )
        for kernel_change in plan.kernel:
            self._verify_kernel(kernel_change, outcome)

    def _verify_kernel(self, change: KernelChange, outcome: _Outcome) -> None:
        try:
            now = read_sysctl(change.key, self._proc / "sys")
        except OSError as error:
            outcome.failures.append(f"{change.key} cannot be read back: {_cause(error)}")
            return
        refused = any(failure.startswith(f"{change.key} =") for failure in outcome.failures)
        if now != change.after and not refused:
            outcome.failures.append(f"{change.key} is {now} after {change.after} was written")

    # ---- rolling back

    def _restore(self, journal: Journal, outcome: _Outcome) -> None:
        for path, record in journal.files.items():
            try:
                self._restore_file(path, record, outcome)
            except OSError as error:
                outcome.failures.append(f"/{path} was not put back: {_told(error)}")
        if self._tree.live:
            for key, kernel_record in journal.kernel.items():
                self._restore_kernel(key, kernel_record, outcome)
        if outcome.failures:
            outcome.failures.append(
                f"/{JOURNAL_FILE} is kept: mend the cause and run --rollback again"
            )
            return
        try:
            self._tree.remove(JOURNAL_FILE)
            for left in self._tree.remove_directories(journal.directories):
                outcome.done.append(f"/{left} is left: there is something in it that is not ours")
        except OSError as error:
            outcome.failures.append(f"{_told(error)}: all is put back but this")

    def _restore_file(self, path: str, record: FileRecord, outcome: _Outcome) -> None:
        now = self._tree.read_ours(path)
        if now == record.previous:
            return
        content = now.content if now else None
        if (
            now
            and content not in record.written
            and (record.previous is None or content != record.previous.content)
        ):
            kept = f"{JOURNAL_FILE.rsplit('/', 1)[0]}/{path.rsplit('/', 1)[1]}.edited"
            self._tree.write(kept, now)
            outcome.done.append(f"/{path} had been edited since: what it said is kept in /{kept}")
        if record.previous is None:
            self._tree.remove(path)
            outcome.done.append(f"/{path} removed")
        else:
            self._tree.write(path, record.previous)
            outcome.done.append(f"/{path} put back")

    def _restore_kernel(self, key: str, record: KernelRecord, outcome: _Outcome) -> None:
        try:
            now = read_sysctl(key, self._proc / "sys")
        except OSError as error:
            outcome.failures.append(f"{key} cannot be read: {_cause(error)}")
            return
        if now == record.previous:
            return
        if now not in record.written:
            outcome.done.append(
                f"{key} is {now}, which is not ours: left alone (it was {record.previous}"
                " before us)"
            )
            return
        self._set(key, record.previous, outcome)


def _owned_like(before: Owned | None, content: bytes) -> Owned:
    """A file that was there keeps its mode and owner."""
    if before is None:
        return Owned(content, FILE_MODE, os.geteuid(), os.getegid(), 0)
    return Owned(content, before.mode, before.uid, before.gid, 0)


@contextlib.contextmanager
def _signals_held() -> Iterator[None]:
    """Ctrl-C and its like come when all is done: it takes a moment, and nothing is left half-done.

    A mask would hold them from this thread only, and any other would take them. Python's handlers
    run in the main thread alone.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {
        number: signal.signal(number, lambda number, _: came.append(number))
        for number in HELD_SIGNALS
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        for arrived in came:
            signal.raise_signal(arrived)


def _told(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return f"{type(error).__name__}: {error}"


def _cause(error: OSError) -> str:
    if error.errno == errno.EROFS:
        return (
            "/proc/sys is read-only here (a container): set it on its host, or with `docker run"
            " --sysctl`"
        )
    if error.errno in (errno.EACCES, errno.EPERM):
        return "not allowed (root, and in a container its host, may)"
    if error.errno == errno.EINVAL:
        return (
            "this kernel does not take such a value; the line stays in our file, where the next"
            " boot will say the same"
        )
    return error.strerror or str(error)


def _open_lock(root: Path) -> int:
    """What is locked for work on a tree. Raises OSError.

    Root's is a file below /run that nobody else can open, and so nobody else can hold. An ordinary
    user locks the directory itself: nothing has to be made for it.
    """
    if os.geteuid() != 0 or not LOCKS.is_dir():
        return os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    state = root.stat()
    file = LOCKS / f"wasup-optimizer-{state.st_dev:x}-{state.st_ino:x}.lock"
    handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    os.fchmod(handle, 0o600)
    return handle
