"""The table of all checks, in the order of cause before effect, and what they are given:
within the supervisor, and for a command that finds it running, hanging or not there at all.
"""

import asyncio
import os
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from sessions.model import StoreError
from sessions.store import Store
from sessions.store.engine.database import is_sqlite
from sessions.views.times import wall_seconds
from supervisor.access.access import Access
from supervisor.fleet.fleet import Fleet
from supervisor.host.reading.host_sampler import HostSampler, Reading, find_targets
from supervisor.host.reading.readings import SAMPLE_SECONDS, Host
from supervisor.places.store_opening import data_directory, store_cipher, store_url
from supervisor.process import lock
from supervisor.process.daemon_threads import in_thread
from supervisor.process.streams import log_file
from supervisor.settings import Settings
from supervisor.watch.diagnostics.connections import check_connections
from supervisor.watch.diagnostics.doctor import (
    Ask,
    Check,
    Checked,
    Examination,
    Subject,
    concluded,
    examine,
)
from supervisor.watch.diagnostics.installation import (
    check_managers,
    check_permissions,
    check_settings,
    check_supervisors,
    check_versions,
)
from supervisor.watch.diagnostics.network import check_webhooks, check_whatsapp
from supervisor.watch.diagnostics.resources import (
    ResourceDiagnosticService,
    check_clock,
    check_disks,
    check_limits,
    check_machine,
)
from supervisor.watch.diagnostics.results import ResourceUsage
from supervisor.watch.diagnostics.running import check_growth, check_supervisor
from supervisor.watch.diagnostics.store import check_backups, check_database
from supervisor.watch.diagnostics.tokens import check_keys, check_token
from supervisor.watch.memory_growth import MemoryGrowth

CHECKS: Final = (
    Check("settings", "the settings", "configuration", check_settings),
    Check("permissions", "owners and modes", "configuration", check_permissions),
    Check("supervisors", "two supervisors", "configuration", check_supervisors),
    Check("limits", "the limits of processes", "resource", check_limits),
    Check("disks", "the disks", "resource", check_disks),
    Check("clock", "the clock", "configuration", check_clock),
    Check("database", "the database", "configuration", check_database),
    Check("keys", "the keys", "token", check_keys),
    Check("token", "tokens", "token", check_token),
    Check("whatsapp", "the ways to WhatsApp", "connection", check_whatsapp),
    Check("webhooks", "the webhooks", "connection", check_webhooks),
    Check("versions", "the versions", "configuration", check_versions),
    Check("supervisor", "the supervisor", "connection", check_supervisor),
    Check("connections", "the connections' records", "connection", check_connections),
    Check("growth", "how memory grows", "resource", check_growth),
    Check("machine", "memory, CPU and network", "resource", check_machine, alone=True),
    Check("backups", "the backups", "configuration", check_backups),
    Check("managers", "who starts it again", "configuration", check_managers),
)
"""Cause before effect: of two equally severe issues that is told first whose check stands first."""
NAMES: Final = tuple(check.name for check in CHECKS)
FRESH_SECONDS: Final = 15.0
"""However many ask the supervisor, a check is carried out so seldom."""

COUNT_SECONDS: Final = 3.0
"""Before the checks begin, the data directory's holder is looked up and the sessions are counted,
and behind them the usage is read: nobody waits longer for any of that.
"""


def chosen(names: Collection[str], among: Sequence[Check] = CHECKS) -> list[Check]:
    """The checks of these names; without one, all."""
    return [check for check in among if not names or check.name in names]


def unknown(names: Iterable[str], among: Sequence[Check] = CHECKS) -> list[str]:
    """Which of these are no checks."""
    known = {check.name for check in among}
    return [name for name in names if name not in known]


async def usage_of(subject: Subject) -> ResourceUsage | None:
    """What is in use. None: the machine does not say so in time, and what the checks have found is
    not held up for that.
    """
    try:
        async with asyncio.timeout(COUNT_SECONDS):
            return await ResourceDiagnosticService(subject).usage()
    except TimeoutError:
        return None


class Diagnostics:
    """The checks within a running supervisor: one examination at a time, whoever asks how often."""

    def __init__(self, subject: Callable[[], Subject]) -> None:
        self._subject = subject
        self._one_at_a_time = asyncio.Lock()
        self._known: dict[str, tuple[float, Checked]] = {}

    def subject(self) -> Subject:
        """What would be examined now."""
        return self._subject()

    async def examination(self, names: Collection[str] = ()) -> Examination:
        """What these checks find, or have found seconds ago."""
        began = time.monotonic()
        checks = chosen(names)
        async with self._one_at_a_time:
            subject, now = self._subject(), time.monotonic()
            due = [check for check in checks if self._due(check.name, now)]
            for one in await examine(subject, due):
                self._known[one.name] = (time.monotonic(), one)
            usage = await usage_of(subject)
            found = [self._known[check.name][1] for check in checks]
        return concluded(found, time.monotonic() - began, usage)

    def _due(self, name: str, now: float) -> bool:
        known = self._known.get(name)
        return known is None or now - known[0] > FRESH_SECONDS


def within(
    settings: Settings,
    directory: Path,
    store: Store,
    host: Callable[[], Awaitable[Reading]],
    fleet: Fleet,
    access: Access,
    growth: Callable[[], MemoryGrowth],
) -> Callable[[], Subject]:
    """What the running supervisor examines: itself, as it is at that moment."""
    since = time.time()

    def subject() -> Subject:
        sessions = fleet.sessions()
        times = [session.performance().average_response_time for session in sessions]
        known = [one for one in times if one is not None]
        return Subject(
            settings=settings,
            directory=directory,
            host=host,
            store=store,
            sessions=len(sessions),
            supervisor=os.getpid(),
            since=since,
            logs=log_file(),
            latency_ms=round(statistics.fmean(known), 1) if known else None,
            access=access,
            growth=growth,
            within=True,
        )

    return subject


@asynccontextmanager
async def from_outside(settings: Settings, ask: Ask | None) -> AsyncIterator[Subject]:
    """What a command examines. `ask`: the API of the supervisor that runs, if one does."""
    directory = data_directory(settings)
    note = await _note(directory)
    store = await _store(settings)
    try:
        sessions = await _count(store)
        yield Subject(
            settings=settings,
            directory=directory,
            host=_sampled(settings, directory),
            store=store if sessions is not None else None,
            sessions=sessions or 0,
            supervisor=int(note["pid"]) if "pid" in note and "command" not in note else None,
            since=_seconds(note.get("since")),
            logs=Path(note["log"]) if "log" in note else None,
            ask=ask,
        )
    finally:
        if store is not None:
            await store.close()


async def _count(store: Store | None) -> int | None:
    """How many sessions there are. None: the store cannot be read, for which the check of the
    database has the reason; nobody else needs to wait for it.
    """
    if store is None:
        return None
    try:
        async with asyncio.timeout(COUNT_SECONDS):
            return len(await store.sessions())
    except (StoreError, TimeoutError):
        return None


def _sampled(settings: Settings, directory: Path) -> Callable[[], Awaitable[Reading]]:
    """The host's figures: of the first second, then since the reading before."""
    port = settings.api_port
    host = Host()
    began = time.monotonic()
    sampler = HostSampler(host, settings.web_socket_ports(port))
    one_at_a_time = asyncio.Lock()

    async def read() -> Reading:
        async with one_at_a_time:
            await asyncio.sleep(max(0.0, began + SAMPLE_SECONDS - time.monotonic()))
            targets = await in_thread(lambda: find_targets(directory))
            return await in_thread(lambda: sampler.reading(time.monotonic(), targets))

    return read


async def _note(directory: Path) -> dict[str, str]:
    """What the holder of the data directory has noted; empty: nobody holds it, it is closed to us,
    or it hangs.
    """
    try:
        async with asyncio.timeout(COUNT_SECONDS):
            return await in_thread(lambda: lock.holder(directory)) or {}
    except (OSError, ValueError):
        return {}


async def _store(settings: Settings) -> Store | None:
    """The store to read from, if there is one whose file can be looked at."""
    url = store_url(settings)
    try:
        if is_sqlite(url):
            async with asyncio.timeout(COUNT_SECONDS):
                if not await in_thread(Path(url.database or "").exists):
                    return None
        return Store.beside(url, store_cipher(settings))
    except OSError:
        return None  # the checks of permissions and of the database tell why


def _seconds(instant: str | None) -> float | None:
    try:
        return wall_seconds(instant) if instant else None
    except (ValueError, OverflowError):
        return None
