"""Supervisors that several tests use one after the other: a start with its spare worker costs more
than most tests.

A test that asks only about sessions of its own shares one. It finds no session and no webhook, and
sees no events but its own; what there was before is still counted. It may restart the supervisor. A
test that spoils its store or reads figures of the whole fleet has one of its own.
"""

import os
import shutil
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from scripts.lab import Supervisor
from scripts.lab.processes import ROOT

AT_ONCE: Final = 2
"""So many are kept running; each takes some 150 MiB."""

COMPILED: Final = (
    ROOT
    / ".make"
    / f"compiled-{zlib.crc32((ROOT / 'sessions/worker/package-lock.json').read_bytes()):08x}"
)
"""Node's compile cache of these packages, which are nearly all that a worker loads; what is new
besides is compiled as ever.
"""

Settings = tuple[tuple[str, str], ...]


class SharedSupervisors:
    """Those that run, by their settings; who was used last comes last."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._running: dict[Settings, Supervisor] = {}
        self._started = 0

    async def lend(self, environment: Mapping[str, str]) -> Supervisor:
        """One with these settings; it is started if there is none."""
        settings = tuple(sorted(environment.items()))
        supervisor = self._running.pop(settings, None)
        if supervisor is None:
            while len(self._running) >= AT_ONCE:
                await _ended_in_order(self._running.pop(next(iter(self._running))))
            self._started += 1
            directory = self._directory / f"shared-{self._started}"
            supply_compiled(directory)
            supervisor = await Supervisor(directory, environment).start()
        self._running[settings] = supervisor
        supervisor.since = await supervisor.last_event()
        return supervisor

    async def take_back(self, supervisor: Supervisor, failed: bool) -> None:
        """A test is over: the next one finds nothing of it.

        If it has failed, or has left the supervisor stopped or with other settings, nobody uses
        that one any more.
        """
        assert supervisor.process is not None
        settings = tuple(sorted(supervisor.settings.items()))
        if failed or supervisor.process.status is not None or settings not in self._running:
            self._running = {
                key: one for key, one in self._running.items() if one is not supervisor
            }
            await supervisor.close()
            assert failed or supervisor.process.status in {0, -9}, supervisor.process.tail()
            return
        for session in (await supervisor.get("/sessions"))["sessions"]:
            await supervisor.must("DELETE", f"/sessions/{session['id']}?purge=true")
        for webhook in (await supervisor.get("/webhooks"))["webhooks"]:
            await supervisor.must("DELETE", f"/webhooks/{webhook['id']}")

    async def close(self) -> None:
        """End all."""
        for supervisor in self._running.values():
            await _ended_in_order(supervisor)


def supply_compiled(directory: Path) -> None:
    """A data directory finds what earlier workers have compiled, as it does at every start but its
    first.
    """
    if COMPILED.exists() and not directory.exists():
        directory.mkdir(mode=0o700)
        shutil.copytree(COMPILED, directory / "cache", copy_function=_link)


def keep_compiled(directory: Path) -> None:
    """What the workers of a supervisor that has ended have compiled is kept for others, also of
    later runs; of two who keep at the same time one does.
    """
    cache = directory / "cache"
    if any(cache.glob("*/*")) and not COMPILED.exists():
        own = COMPILED.with_name(f"{COMPILED.name}-{os.getpid()}")
        shutil.copytree(cache, own)
        try:
            own.rename(COMPILED)
        except OSError:
            shutil.rmtree(own)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)


async def _ended_in_order(supervisor: Supervisor) -> None:
    await supervisor.close()
    assert supervisor.process is not None
    assert supervisor.process.status == 0, supervisor.process.tail()
