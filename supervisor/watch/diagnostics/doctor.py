"""Checks, all at once, each bounded in time; what they find, the most important cause first.

Which checks there are stands in checks.py. A check that fails or hangs is itself told, and stops
none of the others. None of them logs a number in: what is asked of WhatsApp ends before any login.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import msgspec

from sessions.model import StoreUnavailable
from sessions.store import Store
from sessions.views.times import iso
from supervisor.access.access import Access
from supervisor.host.reading.host_sampler import Reading
from supervisor.places import store_marker
from supervisor.places.installation import DATABASE
from supervisor.process import lock
from supervisor.settings import Settings
from supervisor.watch.diagnostics.results import (
    DiagnosticResult,
    Issue,
    IssueType,
    ResourceUsage,
    Severity,
    result_of,
)
from supervisor.watch.memory_growth import MemoryGrowth

CHECK_SECONDS: Final = 15.0
"""For one check: more than a look at WhatsApp takes, or a statement of the database."""

T = TypeVar("T")
Ask = Callable[[str], Awaitable[Any]]
"""A GET at the running supervisor; its JSON. Raises NotChecked when it refuses us, and any other
Exception, whose text is for the operator, when it does not answer.
"""


class NotChecked(Exception):
    """It cannot be checked here; the message says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What is examined.

    `store`: to read from; None: it cannot be opened, or there is none yet. `supervisor`: the pid of
    the one that runs, `since` (seconds of wall clock) it has the data directory. `ask`: its API;
    None: it does not run, or we are it. `latency_ms`: of round trips to WhatsApp. `logs`: the file
    of its log, if it has one.
    """

    settings: Settings
    directory: Path
    host: Callable[[], Awaitable[Reading]]
    store: Store | None = None
    sessions: int = 0
    """How many there are."""
    supervisor: int | None = None
    since: float | None = None
    logs: Path | None = None
    latency_ms: float | None = None
    access: Access | None = None
    """The entrance, where we are the supervisor."""
    growth: Callable[[], MemoryGrowth] | None = None
    """How memory grows, where we are the supervisor."""
    ask: Ask | None = None
    within: bool = False
    """We are the running supervisor itself."""

    @property
    def directories(self) -> list[Path]:
        """Whose file systems may not become full: those of the data, the log and the backups.

        In place of a data directory that is not there yet: where it will be made.
        """
        logs = [self.logs.parent] if self.logs else []
        return [nearest(self.directory), *logs, *self.settings.further_directories()]

    def files(self) -> list[Path]:
        """What the supervisor keeps in its data directory; some may not be there."""
        names = ("", "-wal", "-shm")
        return [
            *(self.directory / f"{DATABASE}{suffix}" for suffix in names),
            self.directory / store_marker.FILE_NAME,
            self.directory / lock.FILE_NAME,
        ]


def nearest(directory: Path) -> Path:
    """The directory, or what of the way to it is there."""
    while not directory.exists() and directory != directory.parent:
        directory = directory.parent
    return directory


@dataclass(frozen=True, slots=True)
class Check:
    """One thing to look at. `about`: what, in a few words; `kind`: of what type a failure is.

    `alone`: it measures, and what others do meanwhile would be measured, too.
    """

    name: str
    about: str
    kind: IssueType
    look: Callable[[Subject], Awaitable[Iterable[Issue]]]
    alone: bool = False


class Checked(msgspec.Struct, frozen=True, rename="camel"):
    """What has become of a check.

    `state`: ok (nothing was found), found, or skipped. `words`: why it was skipped, or what it is
    about.
    """

    name: str
    state: Literal["ok", "found", "skipped"]
    words: str
    took_ms: float
    issues: tuple[Issue, ...] = ()


class Examination(DiagnosticResult, frozen=True, rename="camel"):
    """A diagnosis, and which checks it rests on."""

    timestamp: str
    checks: tuple[Checked, ...]


async def examine(
    subject: Subject,
    checks: Sequence[Check],
    notify: Callable[[Checked], None] = lambda checked: None,
    seconds: float = CHECK_SECONDS,
) -> list[Checked]:
    """Carry the checks out, all at once, and behind them those that are to be alone, one by one;
    `notify` is told of each as it ends.

    What they found is in the order of the checks.
    """

    async def carried_out(check: Check) -> Checked:
        checked = await _carry_out(subject, check, seconds)
        notify(checked)
        return checked

    together = [check for check in checks if not check.alone]
    found = list(await asyncio.gather(*(carried_out(check) for check in together)))
    found += [await carried_out(check) for check in checks if check.alone]
    by_name = {one.name: one for one in found}
    return [by_name[check.name] for check in checks]


def concluded(
    checked: Sequence[Checked], took_seconds: float, usage: ResourceUsage | None
) -> Examination:
    """The whole of it."""
    found = result_of(
        (issue for one in checked for issue in one.issues), took_seconds * 1000, usage
    )
    return Examination(
        **{name: getattr(found, name) for name in found.__struct_fields__},
        timestamp=iso(time.time()),
        checks=tuple(checked),
    )


async def _carry_out(subject: Subject, check: Check, seconds: float) -> Checked:
    began = time.monotonic()
    issues: tuple[Issue, ...] = ()
    skipped = None
    try:
        async with asyncio.timeout(seconds):
            issues = tuple(await check.look(subject))
    except NotChecked as error:
        skipped = str(error)
    except StoreUnavailable as error:  # the check of the database says why
        skipped = str(error)
    except TimeoutError:
        issues = (_hangs(check, seconds),)
    except Exception as error:  # a doctor that falls ill himself must not hide what others found
        issues = (_failed(check, error),)
    took_ms = round((time.monotonic() - began) * 1000, 1)
    if skipped is not None:
        return Checked(check.name, "skipped", skipped, took_ms)
    return Checked(check.name, "found" if issues else "ok", check.about, took_ms, issues)


def _hangs(check: Check, seconds: float) -> Issue:
    return Issue(
        check.kind,
        Severity.HIGH,
        f"The check of {check.about} did not end within {seconds:g} s: what it asks hangs.",
        "See whether the disk, the network and the database answer; then run it again.",
        (check.name,),
        (f"wasup doctor --check {check.name}", "dmesg --level=err | tail"),
    )


def _failed(check: Check, error: Exception) -> Issue:
    return Issue(
        check.kind,
        Severity.MEDIUM,
        f"The check of {check.about} could not be carried out: {type(error).__name__}: {error}",
        "If that does not explain itself, report it with this line.",
        (check.name,),
        (f"wasup doctor --check {check.name}",),
    )


async def asked_of_the_running(ask: Ask, check: str) -> list[Issue]:
    """What the running supervisor's own check of this name finds. Raises NotChecked."""
    try:
        found = await ask(f"/diagnostics?check={check}")
    except NotChecked:
        raise
    except Exception as error:  # the check of the supervisor says why
        raise NotChecked("the supervisor that runs does not answer") from error
    return msgspec.convert(found["issues"], list[Issue])
